"""Writes processors.json: distributions as transformers' logits processors leave them.

Usage: python make.py (needs torch and transformers)

Each case holds logits, parameters and the probability of every token after
allowed tokens, bad words, bias, penalties, temperature, top-k, top-p, min-p and
typical-p, in that order. Bias, allowed tokens, bad words, frequency and presence
penalties have no counterpart in transformers; they are vLLM's formulas, written
out here.
"""

import json
import random

import torch
from transformers.generation import logits_process as lp


def case(rng: random.Random, vocab: int) -> dict:
    spread = rng.choice([0.5, 2.0, 5.0])
    logits: list[float] = []
    while len(set(logits)) != vocab:  # transformers keeps ties at the cut, Conclave the lower id
        logits = [round(rng.gauss(0, spread), 4) for _ in range(vocab)]
    prompt = [rng.randrange(vocab) for _ in range(rng.randrange(6))]
    output = [rng.randrange(vocab) for _ in range(rng.randrange(8))]
    pick = lambda *values: rng.choice(values)
    p = {
        "temperature": pick(0.3, 0.7, 1.0, 1.8),
        "top_k": pick(0, 0, 1, 3, 20),
        "top_p": pick(1.0, 0.95, 0.8, 0.3),
        "min_p": pick(0.0, 0.0, 0.05, 0.3),
        "typical_p": pick(1.0, 1.0, 0.9, 0.5, 0.1),
        "repetition_penalty": pick(1.0, 1.0, 1.3, 0.7),
        "frequency_penalty": pick(0.0, 0.0, 0.5, -1.0),
        "presence_penalty": pick(0.0, 0.0, 1.5, -0.5),
        "logit_bias": {str(rng.randrange(vocab)): pick(-100.0, -2.0, 3.0) for _ in range(rng.randrange(3))},
    }
    p["allowed_token_ids"] = sorted(rng.sample(range(vocab), vocab // 2 + 1)) if rng.random() < 0.2 else []
    # Single tokens, and words whose beginning is, or is not, at the end of the output.
    p["bad_words"] = [
        pick([rng.randrange(vocab)], output[-1:] + [rng.randrange(vocab)], [0, rng.randrange(vocab)],
             output[-3:] + [rng.randrange(vocab)])
        for _ in range(pick(0, 0, 1, 2))
    ]
    s = torch.tensor([logits], dtype=torch.float32)
    if p["allowed_token_ids"]:
        mask = torch.ones(vocab, dtype=torch.bool)
        mask[p["allowed_token_ids"]] = False
        s[0, mask] = -float("inf")
    for word in p["bad_words"]:
        if len(word) <= len(output) + 1 and word[:-1] == output[len(output) - len(word) + 1:]:
            s[0, word[-1]] = -float("inf")
    for token, bias in p["logit_bias"].items():
        s[0, int(token)] += bias
    seen = torch.tensor([prompt + output], dtype=torch.long)
    if p["repetition_penalty"] != 1.0 and seen.numel():
        s = lp.RepetitionPenaltyLogitsProcessor(p["repetition_penalty"])(seen, s)
    counts = torch.bincount(torch.tensor(output, dtype=torch.long), minlength=vocab)[None]
    s = s - p["frequency_penalty"] * counts
    s = s - p["presence_penalty"] * (counts > 0)
    s = lp.TemperatureLogitsWarper(p["temperature"])(seen, s)
    if p["top_k"]:
        s = lp.TopKLogitsWarper(p["top_k"])(seen, s)
    if p["top_p"] < 1:
        s = lp.TopPLogitsWarper(p["top_p"])(seen, s)
    if p["min_p"] > 0:
        s = lp.MinPLogitsWarper(p["min_p"])(seen, s)
    if p["typical_p"] < 1:
        s = lp.TypicalLogitsWarper(p["typical_p"])(seen, s)
    probs = torch.softmax(s.double(), -1)[0].tolist()
    kept = {str(i): round(q, 9) for i, q in enumerate(probs) if q > 0}
    return {"logits": logits, "prompt": prompt, "output": output, "params": p, "probs": kept}


def main() -> None:
    rng = random.Random(20)
    cases = [case(rng, rng.choice([5, 40, 100])) for _ in range(200)]
    with open("processors.json", "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases) + "\n]\n")


if __name__ == "__main__":
    main()
