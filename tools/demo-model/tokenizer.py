"""Trains the demo model's tokenizer: byte-level BPE with Qwen3's pre-tokeniser."""

import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from data import PHRASINGS, SYSTEM_PROMPTS, vary
from facts import all_facts
from talk import NAMES, STORY_ABOUT, STORY_FORMS, TALK, UNKNOWN_FORMS, UNKNOWN_SUBJECTS, story

QWEN3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
VOCAB = 1792  # with the added tokens; a multiple of 256
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
PLAIN = ["<think>", "</think>", "<tool_call>", "</tool_call>"]


def corpus():
    """All the words of the training text, without its numbers: digits are pieces of their own and merge with nothing.

    So the tokenizer stays the same when ranges and shares of exercises change."""
    rng = random.Random(1)
    for _, question, answer, thought in all_facts():
        yield from (question, question.lower(), answer, thought)
    for questions, answer, thought in TALK:
        yield from questions * 4
        yield from [answer, thought] * 8
    for phrasings in PHRASINGS.values():
        for _ in range(60):
            yield from (vary(rng, p.format(a=0, b=0)) for p in phrasings)
    for form in UNKNOWN_FORMS:
        yield from (form.format(subject) for subject in UNKNOWN_SUBJECTS)
    for name in NAMES:
        yield from [f"Hello, my name is {name}.", f"Nice to meet you, {name}!", f"Your name is {name}."] * 4
    for form in (STORY_FORMS + STORY_ABOUT) * 20:
        yield form.format("fox")
    for _ in range(800):
        yield from story(rng)
    yield from SYSTEM_PROMPTS * 20
    yield from ["system\n", "user\n", "assistant\n", "\n\n"] * 100


def build():
    tok = Tokenizer(models.BPE())
    tok.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(QWEN3_PATTERN), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    tok.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tok.decoder = decoders.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    tok.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB - len(SPECIAL) - len(PLAIN),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tok.train_from_iterator(corpus(), trainer)
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    tok.add_tokens([AddedToken(t, special=False, normalized=False) for t in PLAIN])
    return tok
