"""Goldens of products with activations in int8: python activations.py. Needs numpy alone.

Written from the definitions in docs/models.md; nothing is shared with the engine. A case has weights
and activations as float32 bits, or weights as codes and exponents of MXFP4, and the products as
float32 bits, by tokens. Sums are fractions, which are rounded where the definition says so.
"""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np

import loadtime

OUT = Path(__file__).resolve().parents[2] / "kernels" / "testdata" / "rounded.json"
GROUP = loadtime.GROUP
LEAST = np.float32(2.0**-100)
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])


def groups_of(m):
    """[rows, cols] -> [rows, groups, 32], the last group padded with 0."""
    padded = np.zeros((len(m), -(-m.shape[1] // GROUP) * GROUP), np.float32)
    padded[:, : m.shape[1]] = m
    return padded.reshape(len(m), -1, GROUP)


def rounded_activations(x):
    """Quants [tokens, groups, 32] and scales [tokens, groups]."""
    groups = groups_of(x)
    most = np.abs(groups).max(2)
    zero = most < LEAST
    most[zero] = 1
    scales = most / np.float32(127)
    quants = np.rint(groups * (np.float32(127) / most)[:, :, None]).astype(int)
    scales[zero], quants[zero] = 0, 0
    return quants, scales


def float32_of(exact):
    """The float32 nearest to a fraction, ties to even."""
    if exact == 0:
        return np.float32(0)
    size = abs(exact)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    if size < Fraction(2) ** exponent:
        exponent -= 1
    step = Fraction(2) ** max(exponent - 23, -149)
    return np.float32(float(round(exact / step) * step))  # exact in a double


def product(x, weights, scales):
    """One token and one row: a chain of fused multiply-adds over the groups."""
    acc = np.float32(0)
    for quants, scale, w, of_w in zip(*x, weights, scales):
        both = np.float32(of_w) * scale
        if both != 0 and quants @ w != 0:
            acc = float32_of(int(quants @ w) * Fraction(float(both)) + Fraction(float(acc)))
    return acc


def products(x, weights, scales):
    quants, of_x = rounded_activations(x)
    out = [product((quants[t], of_x[t]), weights[r], scales[r])
           for t in range(len(x)) for r in range(len(weights))]
    return bits(np.array(out))


def bits(m):
    return np.ascontiguousarray(m, np.float32).view(np.uint32).ravel().tolist()


def activations(rng, tokens, cols):
    x = rng.normal(0, 1, (tokens, cols)).astype(np.float32)
    x[0, :GROUP] *= 100  # outliers
    x[1, :GROUP] = 0
    x[2, : GROUP // 2] = np.arange(GROUP // 2) + 0.5  # ties
    x[2, GROUP // 2 : GROUP] = 127
    x[3, :GROUP] *= np.float32(2.0**-103)  # below what counts, or about there
    return x


def quantised_case(m, rng):
    rows, cols = m.shape
    x = activations(rng, 5, cols)
    out = {"rows": rows, "cols": cols, "tokens": len(x), "weights": bits(m), "x": bits(x)}
    for name, quantise in (("int8", loadtime.int8), ("int4", loadtime.int4)):
        scales, quants = quantise(groups_of(m).reshape(-1, GROUP))
        scales = loadtime.value(scales).reshape(rows, -1)
        out[name] = products(x, quants.reshape(rows, -1, GROUP), scales)
    return out


def mxfp4_case(rows, cols, rng):
    x = activations(rng, 5, cols)
    codes = rng.integers(0, 16, (rows, cols))
    exponents = rng.integers(110, 132, (rows, cols // GROUP))
    twice = (2 * E2M1[codes & 7] * np.where(codes & 8, -1, 1)).astype(int)
    scales = np.exp2(exponents - 128.0).astype(np.float32)
    return {
        "rows": rows, "cols": cols, "tokens": len(x), "x": bits(x),
        "codes": codes.ravel().tolist(), "exponents": exponents.ravel().tolist(),
        "mxfp4": products(x, twice.reshape(rows, -1, GROUP), scales),
    }


def cases():
    rng = np.random.default_rng(2027)
    ordinary = rng.normal(0, 0.03, (18, 96))
    heavy = rng.standard_t(2, (17, 70)) * 0.01
    for m in (ordinary, heavy):
        yield quantised_case(m.astype(np.float32), rng)
    yield mxfp4_case(18, 96, rng)


if __name__ == "__main__":
    OUT.write_text("[\n" + ",\n".join(json.dumps(c) for c in cases()) + "\n]\n")
