"""Goldens of the quantisations that are made at load time: python loadtime.py. Needs numpy alone.

Written from the formats' definitions in docs/models.md; nothing is shared with the engine. For
each matrix the file has the weights as float32 bits, and for int8 and int4 the scales as the
upper 16 bits of a float32 and the quants, all by rows, the last group of a row padded with 0.
"""

import json
from pathlib import Path

import numpy as np

OUT = Path(__file__).resolve().parents[2] / "kernels" / "testdata" / "quants.json"
GROUP = 32
FACTORS = np.array([1, 15 / 16, 14 / 16, 13 / 16, 12 / 16], np.float32)


def upper_half(x):
    """float32 -> the bits of the nearest bfloat16, ties to even."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32).astype(np.uint64)
    lower, upper = bits & 0xFFFF, bits >> 16
    up = (lower > 0x8000) | ((lower == 0x8000) & (upper & 1 == 1))
    return (upper + up).astype(np.uint32)


def value(bits):
    return (bits << 16).astype(np.uint32).view(np.float32)


def rounded(group, scale, least, most):
    """Quants of groups [n, 32] under scales [n]; a scale of 0 gives 0."""
    with np.errstate(all="ignore"):
        ratio = group / scale[:, None]
    ratio[scale == 0] = 0
    return np.rint(np.clip(ratio, least, most)).astype(np.int64)


def int8(groups):
    bits = upper_half(np.abs(groups).max(1) / np.float32(127))
    return bits, rounded(groups, value(bits), -127, 127)


def int4(groups):
    """The best of the factors. Squared errors are summed in 16 lanes, and those by halves."""
    extremes = groups[np.arange(len(groups)), np.abs(groups).argmax(1)]
    best = np.zeros(len(groups), np.uint32)
    quants = np.zeros(groups.shape, np.int64)
    least = np.full(len(groups), np.inf, np.float32)
    for factor in FACTORS:
        bits = upper_half(extremes / np.float32(-8) * factor)
        scale = value(bits)
        q = rounded(groups, scale, -8, 7)
        difference = groups - q.astype(np.float32) * scale[:, None]
        squares = difference * difference
        errors = squares[:, :16] + squares[:, 16:]
        for half in (8, 4):
            errors = errors[:, :half] + errors[:, half:]
        errors = (errors[:, 0] + errors[:, 2]) + (errors[:, 1] + errors[:, 3])
        better = (errors < least) & (scale != 0)
        best[better], quants[better], least[better] = bits[better], q[better], errors[better]
    return best, quants


def matrices():
    rng = np.random.default_rng(2026)
    ordinary = rng.normal(0, 0.03, (4, 96))
    heavy = rng.standard_t(2, (3, 80)) * 0.01
    odd = rng.normal(0, 1, (3, 70))
    odd[0, :32] = 0
    odd[1, 32:64] *= 1e-39  # scales that are subnormal, or nothing
    odd[1, 64:] *= 1e-43
    odd[2, :32] = np.round(odd[2, :32] * 4) / 4  # ties
    halves = rng.normal(0, 0.02, (2, 64)).astype(np.float16)
    return [m.astype(np.float32) for m in (ordinary, heavy, odd, halves)]


def case(m):
    rows, cols = m.shape
    padded = np.zeros((rows, -(-cols // GROUP) * GROUP), np.float32)
    padded[:, :cols] = m
    groups = padded.reshape(-1, GROUP)
    out = {"rows": rows, "cols": cols, "bits": m.view(np.uint32).ravel().tolist()}
    for name, quantise in (("int8", int8), ("int4", int4)):
        scales, quants = quantise(groups)
        out[name] = {"scales": scales.tolist(), "quants": quants.ravel().tolist()}
    return out


if __name__ == "__main__":
    cases = ",\n".join(json.dumps(case(m)) for m in matrices())
    OUT.write_text(f"[\n{cases}\n]\n")
