"""Writes testdata/golden/demo/heldout.json: text that the demo model was not trained on. python heldout.py

Three quarters are held-out exercises, half of them with thinking, the rest fresh conversations as
evaluate.py draws them for the loss.
"""

import json
import pathlib
import random

from data import Data, render

OUT = pathlib.Path(__file__).resolve().parents[2] / "testdata" / "golden" / "demo" / "heldout.json"
EXERCISES, CONVERSATIONS = 36, 12


def main():
    data, rng = Data(), random.Random(7)
    texts = []
    for i, (_, question, answer, thought) in enumerate(rng.sample(data.held_out_exercises(), EXERCISES)):
        texts.append(render([("user", question)], i % 2 == 0, thought, answer))
    for i in range(CONVERSATIONS):
        messages, thought, answer = data.conversation(rng)
        texts.append(render(messages, i % 2 == 0, thought, answer))
    lines = ",\n".join(json.dumps({"prompt": p, "completion": c}) for p, c in texts)
    OUT.write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
