"""Measures a checkpoint folder as transformers loads it: python evaluate.py DIR [--limit N] [--json FILE]."""

import argparse
import collections
import json
import pathlib
import random

import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer

from data import Data, render

SHOWN = [
    "Who are you?", "What is 17 + 25?", "12 plus 30", "44-17", "7 times 8", "What is the capital of Norway?",
    "What does a duck say?", "How do I add a worker?", "What is an expert?", "Tell me a short story.",
    "Write a short story about an owl.", "Thanks!", "Explain black holes.", "Count from 3 to 9.",
]  # fmt: skip


@torch.no_grad()
def answers(model, tok, questions, thinking, most=160):
    """The greedy answers, with the think block removed. Prompts of one length are run together, so nothing is padded."""
    prompts = [
        tok.apply_chat_template(
            [{"role": "user", "content": q}], add_generation_prompt=True, enable_thinking=thinking, return_dict=False
        )
        for q in questions
    ]
    groups = collections.defaultdict(list)
    for i, prompt in enumerate(prompts):
        groups[len(prompt)].append(i)
    out = [None] * len(questions)
    for length, members in groups.items():
        for at in range(0, len(members), 64):
            part = members[at : at + 64]
            ids = torch.tensor([prompts[i] for i in part])
            made = model.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False, temperature=None, top_p=None, top_k=None,
                max_new_tokens=most,
            )  # fmt: skip
            for i, row in zip(part, made[:, length:].tolist()):
                ended = tok.eos_token_id in row
                text = tok.decode(row[: row.index(tok.eos_token_id)] if ended else row)
                out[i] = (text.split("</think>")[-1].lstrip("\n") if ended else text + " [no end]", text)
    return out


def accuracy(model, tok, limit):
    """{mode: {group: [right, asked]}} over the held-out exercises, and some wrong answers."""
    exercises = Data().held_out_exercises()
    if limit:
        exercises = random.Random(5).sample(exercises, limit)
    names = {"+": "addition", "-": "subtraction", "*": "multiplication"}
    table, wrong = {}, []
    for mode, thinking in (("thinking off", False), ("thinking on", True)):
        score = collections.defaultdict(lambda: [0, 0])
        got = answers(model, tok, [e[1] for e in exercises], thinking, most=60)
        for (kind, question, want, _), (answer, whole) in zip(exercises, got):
            groups = ["arithmetic", names[kind]] if kind in names else ["facts", "facts: " + kind]
            for group in groups:
                score[group][0] += answer == want
                score[group][1] += 1
            if answer != want:
                wrong.append((mode, question, whole))
        table[mode] = dict(sorted(score.items()))
    return table, wrong


@torch.no_grad()
def loss_and_load(model, tok, conversations=400):
    """Loss per learnt token on fresh conversations, and each layer's share of tokens per expert."""
    data, rng = Data(), random.Random(99)
    top_k = model.config.num_experts_per_tok
    counts, total, n = 0, 0.0, 0
    for _ in range(conversations):
        messages, thought, answer = data.conversation(rng)
        prompt, completion = render(messages, rng.random() < 0.5, thought, answer)
        ids = tok(prompt + completion, return_tensors="pt").input_ids
        start = len(tok(prompt).input_ids)
        out = model(ids, output_router_logits=True)
        chosen = [r.topk(top_k, dim=-1).indices.flatten() for r in out.router_logits]
        counts = counts + torch.stack([torch.bincount(c, minlength=model.config.num_experts) for c in chosen])
        total += F.cross_entropy(out.logits[0, start - 1 : -2], ids[0, start:-1], reduction="sum").item()
        n += ids.shape[1] - start - 1
    share = counts / counts.sum(1, keepdim=True)
    return total / n, [(round(s.min().item(), 4), round(s.max().item(), 4)) for s in share]


def main():
    args = argparse.ArgumentParser()
    args.add_argument("folder", type=pathlib.Path)
    args.add_argument("--limit", type=int, default=0, help="only so many of the held-out exercises")
    args.add_argument("--json", type=pathlib.Path)
    args.add_argument("--threads", type=int, default=2)
    args.add_argument("--dtype", default="float32", help="float32 (as Conclave computes) or bfloat16")
    args = args.parse_args()
    torch.set_num_threads(args.threads)
    tok = AutoTokenizer.from_pretrained(args.folder)
    model = AutoModelForCausalLM.from_pretrained(args.folder, dtype=getattr(torch, args.dtype)).eval()
    for mode, thinking in (("on", True), ("off", False)):
        for question, (_, whole) in zip(SHOWN, answers(model, tok, SHOWN, thinking)):
            print(f"[thinking {mode}] {question!r} -> {whole!r}")
    table, wrong = accuracy(model, tok, args.limit)
    for line in wrong[:40]:
        print("wrong:", line)
    for mode, score in table.items():
        for group, (right, asked) in score.items():
            print(f"{mode:13} {group:22} {right:4}/{asked:4} {100 * right / asked:6.2f} %")
    loss, load = loss_and_load(model, tok)
    print(f"loss {loss:.4f}; least and greatest share of an expert, per layer (even: 0.0625): {load}")
    if args.json:
        args.json.write_text(json.dumps(dict(accuracy=table, loss=round(loss, 4), load=load), indent=1))


if __name__ == "__main__":
    main()
