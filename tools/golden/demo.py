"""Goldens of the demo checkpoint: token ids and chat renders, no weights.

The demo model is retrained now and then; what a forward pass gives is tested on the
random checkpoints of models.py.
"""

import hashlib
import json
from pathlib import Path

from tokenizers import Tokenizer

from chat import render
from conversations import CONVERSATIONS
from output import write_cases
from texts import ADDED, MORE, PIECES

CHECKPOINT = Path(__file__).resolve().parents[2] / "internal" / "demo" / "checkpoint"
STORY = [
    "Once upon a time, there was a little girl named Lily.",
    "The quick brown fox jumps over the lazy dog. 0123456789",
    "\"Can I play?\" asked Tom. \"Yes!\" said his mom, and they went home.",
    "<|im_start|>user\nTell me a story about a cat.<|im_end|>\n<|im_start|>assistant\n",
]
TEXTS = STORY + PIECES[:14] + MORE[26:38] + ADDED[:12]


def special_tokens():
    """bos_token and friends of tokenizer_config.json, as the template sees them."""
    path = CHECKPOINT / "tokenizer_config.json"
    config = json.loads(path.read_text()) if path.exists() else {}
    tokens = {k: v for k, v in config.items() if k.endswith("_token") and v is not None}
    tokens = {k: v["content"] if isinstance(v, dict) else v for k, v in tokens.items()
              if isinstance(v, (str, dict))}
    return tokens, config.get("chat_template")


def make(out):
    folder = out / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    source = CHECKPOINT / "tokenizer.json"
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    tokenizer = Tokenizer.from_file(str(source))
    plain = Tokenizer.from_str(json.dumps(json.loads(source.read_text()) | {"added_tokens": []}))
    cases = []
    for text in TEXTS:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        cases.append({
            "text": text, "ids": ids,
            "plain_ids": plain.encode(text, add_special_tokens=False).ids,
            "decoded": tokenizer.decode(ids, skip_special_tokens=False),
            "decoded_skip_special": tokenizer.decode(ids, skip_special_tokens=True)})
    write_cases(folder / "tokenizer.json", {"tokenizer_sha256": digest}, cases)

    special, template = special_tokens()
    file = CHECKPOINT / "chat_template.jinja"
    if file.exists():
        template = file.read_text()
    chats = []
    for conversation in CONVERSATIONS:
        if conversation["only"] is None or "qwen3" in conversation["only"]:
            case = {k: v for k, v in conversation.items() if k != "only"}
            variables = {k: case[k] for k in ("messages", "tools", "add_generation_prompt")}
            case["kwargs"] = case["kwargs"] | special
            case["text"] = render(template, variables | case["kwargs"])
            case["ids"] = tokenizer.encode(case["text"], add_special_tokens=False).ids
            chats.append(case)
    write_cases(folder / "chat.json", {"template": template}, chats)
    print(f"demo: {len(cases)} texts, {len(chats)} chats")
