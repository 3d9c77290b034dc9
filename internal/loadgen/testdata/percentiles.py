"""Writes percentiles.json: what numpy.percentile says, by its default method.

Run with numpy 2: python percentiles.py > percentiles.json
"""

import json
import sys

import numpy

random = numpy.random.default_rng(7)
samples = {
    "one": [3.5],
    "two": [1.0, 2.0],
    "ties": [5.0, 5.0, 5.0, 1.0],
    "ten": list(range(10)),
    "hundred": list(range(100)),
    "lognormal": [round(x, 6) for x in random.lognormal(3, 1, 37).tolist()],
    "tiny and huge": [1e-9, 1e9, 1.0],
}
cases = []
for name, values in samples.items():
    p = [0, 1, 10, 50, 90, 99, 99.9, 100]
    cases.append(
        {
            "name": name,
            "values": values,
            "p": p,
            "want": numpy.percentile(values, p).tolist(),
            "mean": float(numpy.mean(values)),
        }
    )
json.dump({"numpy": numpy.__version__, "cases": cases}, sys.stdout, indent=1)
print()
