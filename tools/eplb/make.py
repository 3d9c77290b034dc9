"""Writes shard/testdata/eplb.json: loads, and what DeepSeek's EPLB makes of them.

    pip install torch numpy
    git clone https://github.com/deepseek-ai/EPLB
    python tools/eplb/make.py EPLB > shard/testdata/eplb.json

The loads of the first case are those of EPLB's README; the others are drawn
from a fixed seed, at the size of DeepSeek-V3. "hottest" is, by layer, the load of
the GPU that has most of it, when each copy of an expert gets an equal part.
"worst" is the same of unequal machines: the time of the slowest, where GPU i has
speed speeds[i].
"""

import json
import random
import sys

SPEEDS = [1, 1, 2, 4]


def place(eplb, torch, load, case):
    phy, _, count = eplb.rebalance_experts(
        torch.tensor(load), case["replicas"], case["groups"], case["nodes"], case["gpus"])
    slots = case["replicas"] // case["gpus"]
    hottest, worst = [], []
    for layer, experts in enumerate(phy.tolist()):
        gpus = [0.0] * case["gpus"]
        for slot, expert in enumerate(experts):
            gpus[slot // slots] += load[layer][expert] / count[layer][expert].item()
        hottest.append(round(max(gpus), 3))
        worst.append(round(max(v / SPEEDS[i % len(SPEEDS)] for i, v in enumerate(gpus)), 3))
    return hottest, worst


def draw(kind, rng, experts):
    if kind == "zipf":
        load = [100000 / (rank + 1) for rank in range(experts)]
        rng.shuffle(load)
    else:
        load = [1000 * rng.lognormvariate(0, 1) for _ in range(experts)]
    return [round(v) + 1 for v in load]


def main():
    sys.path.insert(0, sys.argv[1])
    import eplb
    import torch

    readme = {
        "name": "README", "replicas": 16, "groups": 4, "nodes": 2, "gpus": 8,
        "load": [[90, 132, 40, 61, 104, 165, 39, 4, 73, 56, 183, 86],
                 [20, 107, 104, 64, 19, 197, 187, 157, 172, 86, 16, 27]]}
    cases = [readme, dict(readme, name="README, groups ignored", groups=1)]
    rng = random.Random(5)
    for kind in ("zipf", "lognormal"):
        # Four layers say as much as 58; with the groups of nodes, and without them.
        load = [draw(kind, rng, 256) for _ in range(4)]
        for groups, how in ((8, "grouped"), (1, "global")):
            cases.append({"name": f"{kind}, {how}", "replicas": 288, "groups": groups,
                          "nodes": 4, "gpus": 32, "load": load})
    for case in cases:
        case["hottest"], case["worst"] = place(eplb, torch, case["load"], case)
    out = {"source": "github.com/deepseek-ai/EPLB, commit d52c72d, MIT licence; tools/eplb/make.py",
           "speeds": SPEEDS, "cases": cases}
    text = json.dumps(out, separators=(",", ":"))
    print(text.replace('{"name"', '\n{"name"').replace('],[', '],\n['))


if __name__ == "__main__":
    main()
