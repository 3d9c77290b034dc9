"""Writes the model card: python card.py CHECKPOINT TRAIN_JSON ACCURACY_JSON."""

import json
import pathlib
import sys

from safetensors import safe_open

CARD = """\
---
license: apache-2.0
language: en
pipeline_tag: text-generation
library_name: transformers
tags: [qwen3_moe, mixture-of-experts, demo]
---

# conclave-demo-moe

The model that Conclave serves before you have downloaded one: small enough to live inside the binary, and a real
Mixture-of-Experts. It adds, subtracts and multiplies small numbers, knows a table of short facts, tells short stories
and explains how to use Conclave. It knows nothing else and says so, or errs.

## What it is

An ordinary `qwen3_moe` checkpoint in bf16, {bytes:,} bytes; `AutoModelForCausalLM` and `AutoTokenizer` load this folder.

| | |
|---|---|
| parameters | {total:,}; active per token {active:,} |
| layers, hidden size | {num_hidden_layers}, {hidden_size} |
| attention | {num_attention_heads} query heads, {num_key_value_heads} key/value heads of {head_dim}, QK-norm, rotary base \
{rope_theta:.0f} |
| experts | {num_experts} per layer, {num_experts_per_tok} per token, width {moe_intermediate_size}; softmax gate, \
renormalised |
| vocabulary | {vocab_size}: byte-level BPE with Qwen3's pre-tokeniser, one digit per piece |
| positions | {max_position_embeddings} by configuration; the longest training text has about 250 tokens |

Active counts the attention, the gates, the norms, {num_experts_per_tok} experts of each layer, the output head and one
row of the embedding.

The chat template is ChatML. By default the model writes a short `<think>` block and then the answer; with
`enable_thinking=false` it answers at once. Tools are rendered, but the model was not trained to call them.

## Data

English text that `tools/demo-model` generates, {conversations:,} conversations, no outside source: arithmetic in a dozen
phrasings (a + b and a - b with operands in 0..50 and no negative difference, a * b in 0..10), facts in four to eight
phrasings (capitals, opposites, animals, colours, days and months, small counts), questions about Conclave and the model,
small talk, counting, templated stories, and a fixed answer to what it does not know. Some conversations have a system
prompt or several turns; half are with thinking.

Held out of training, in every phrasing: 10 % of the operand pairs (for addition, in both orders). Held out also: 10 % of
the combinations of a fact and a phrasing; the fact itself is trained in its other phrasings.

## Training

On two shared CPU cores, f32, loss on the assistant's last turn only. Muon for the matrices inside the layers, AdamW for
the rest, peak learning rate 0.004, a load-balancing loss of weight 0.02 per layer, and an average of the weights over the
last hundred steps or so. The loss is per learnt token, a running mean at the end of the run; it cannot reach zero, since
stories are drawn at random.

| run | steps | conversations | token rows with padding | learnt tokens | minutes | loss |
|---|---|---|---|---|---|---|
{runs}

{note}Loss of the final bf16 checkpoint on fresh training conversations: {loss}.

## Held-out accuracy

Exact answers, greedy, the bf16 checkpoint loaded by transformers and computed in f32. Arithmetic and facts are totals of
the rows after them.

| held out | asked | thinking off | thinking on |
|---|---|---|---|
{accuracy}

## Expert load

Share of a layer's routed tokens that its least and its most used expert get on training conversations (even: \
{even:.2%}):

| layer | least | most |
|---|---|---|
{load}

## Limits

A demonstration, not a source of facts. Arithmetic outside the ranges, other languages and long conversations give
nonsense.

## Reproduce

`sh tools/demo-model/build.sh` in Conclave's source trains such a model in one run, measures it and writes this folder. The
split, the tokenizer and the template come out the same; the weights do not, and the figures will differ a little.

Licence: Apache-2.0.
"""


def counts(folder, config):
    """(all parameters, those that one token uses)."""
    total = expert = embedding = 0
    with safe_open(folder / "model.safetensors", "np") as f:
        for name in f.keys():
            shape = f.get_slice(name).get_shape()
            n = shape[0] * (shape[1] if len(shape) > 1 else 1)
            total += n
            expert += n if ".experts." in name else 0
            embedding += n if "embed_tokens" in name else 0
    idle = expert * (1 - config["num_experts_per_tok"] / config["num_experts"])
    return total, round(total - idle - embedding + config["hidden_size"])


def accuracy_rows(accuracy):
    off, on = accuracy["thinking off"], accuracy["thinking on"]
    arithmetic = ["arithmetic", "addition", "subtraction", "multiplication"]
    for group in arithmetic + [g for g in off if g not in arithmetic]:
        percent = [f"{right / asked:.1%}" for right, asked in (off[group], on[group])]
        yield f"| {group} | {off[group][1]} | {percent[0]} | {percent[1]} |"


def run_rows(runs):
    for i, run in enumerate(runs, 1):
        yield (
            f"| {i} | {run['steps']:,} | {run['conversations']:,} | {run['rows']:,} | {run['learnt_tokens']:,} | "
            f"{run['seconds'] / 60:.0f} | {run['loss']:.4f} |"
        )


def notes(runs):
    """What the runs' figures do not tell: a run in the log may carry a sentence under "note"."""
    return "".join(run["note"] + "\n\n" for run in runs if "note" in run)


def main():
    folder = pathlib.Path(sys.argv[1])
    config = json.loads((folder / "config.json").read_text())
    train, measured = (json.loads(pathlib.Path(name).read_text()) for name in sys.argv[2:4])
    total, active = counts(folder, config)
    load = [f"| {i} | {least:.1%} | {most:.1%} |" for i, (least, most) in enumerate(measured["load"])]
    words = dict(
        config, total=total, active=active, bytes=(folder / "model.safetensors").stat().st_size,
        conversations=sum(run["conversations"] for run in train), runs="\n".join(run_rows(train)), note=notes(train),
        loss=measured["loss"], accuracy="\n".join(accuracy_rows(measured["accuracy"])), load="\n".join(load),
        even=1 / config["num_experts"],
    )  # fmt: skip
    (folder / "README.md").write_text(CARD.format(**words))


if __name__ == "__main__":
    main()
