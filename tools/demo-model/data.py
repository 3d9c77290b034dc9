"""The demo model's conversations: what it is trained on, and what is held out.

A conversation is (messages, thought, answer). `messages` is everything before the last assistant turn.
With thinking on, the model writes the thought in <think>...</think> and then the answer; with thinking off, the
prompt already ends with an empty think block and the model writes the answer alone.
"""

import hashlib
import random

from facts import all_facts
from talk import (
    ANIMALS, NAMES, STORY_ABOUT, STORY_FORMS, TALK, UNKNOWN_ANSWER, UNKNOWN_FORMS, UNKNOWN_SUBJECTS, UNKNOWN_THOUGHT,
    story,
)  # fmt: skip

HELD_OUT = 0.10  # of the operand pairs, and of the (fact, phrasing) combinations

SUM_MAX = 50  # a + b and a - b with a, b in 0..50, the difference never negative
TIMES_MAX = 10  # a * b with a, b in 0..10

PHRASINGS = {
    "+": ["What is {a} + {b}?", "{a} + {b}", "What is {a} plus {b}?", "{a} plus {b}", "Add {a} and {b}.",
          "How much is {a} + {b}?", "Calculate {a} + {b}.", "{a} + {b} = ?", "What is the sum of {a} and {b}?",
          "Can you add {a} and {b}?", "{a}+{b}", "What's {a} + {b}?", "Compute {a}+{b}."],
    "-": ["What is {a} - {b}?", "{a} - {b}", "What is {a} minus {b}?", "{a} minus {b}", "Subtract {b} from {a}.",
          "How much is {a} - {b}?", "Calculate {a} - {b}.", "{a} - {b} = ?", "Take {b} away from {a}.", "{a}-{b}",
          "What's {a} - {b}?", "Compute {a}-{b}."],
    "*": ["What is {a} * {b}?", "{a} * {b}", "What is {a} times {b}?", "{a} times {b}", "Multiply {a} by {b}.",
          "How much is {a} * {b}?", "Calculate {a} * {b}.", "{a} * {b} = ?", "{a} x {b}", "{a}*{b}",
          "What's {a} times {b}?"],
}  # fmt: skip

SYSTEM_PROMPTS = [
    "You are a helpful assistant.", "You are Conclave's demo model.", "Answer briefly.", "You are a friendly assistant.",
    "Be kind and answer in short sentences.", "You are a helpful assistant. Answer in English.",
]  # fmt: skip

# share of each kind among the last questions of training conversations
MIXTURE = {"sum": 0.55, "times": 0.05, "fact": 0.26, "talk": 0.06, "story": 0.03, "unknown": 0.02, "name": 0.02,
           "count": 0.01}  # fmt: skip


def chance(*key):
    """A number in [0, 1) that depends on the key alone: the held-out split never changes."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def is_held_out(op, a, b):
    """Addition holds out both orders of a pair; subtraction and multiplication the pair as asked."""
    if op == "+":
        a, b = min(a, b), max(a, b)
    return chance("pair", op, a, b) < HELD_OUT


def arithmetic(op, a, b):
    """(answer, thought) of one exercise."""
    value = {"+": a + b, "-": a - b, "*": a * b}[op]
    line = f"{a} {op} {b} = {value}"
    return line + ".", line


class Data:
    """All exercises and facts, split once, and a sampler of training conversations."""

    def __init__(self):
        plus = [("+", a, b) for a in range(SUM_MAX + 1) for b in range(SUM_MAX + 1)]
        minus = [("-", a, b) for a in range(SUM_MAX + 1) for b in range(a + 1)]
        times = [("*", a, b) for a in range(TIMES_MAX + 1) for b in range(TIMES_MAX + 1)]
        self.pairs = {p[0][0]: [q for q in p if not is_held_out(*q)] for p in (plus, minus, times)}
        self.held_out_pairs = [p for p in plus + minus + times if is_held_out(*p)]
        facts = list(all_facts())
        self.facts = [f for f in facts if chance("fact", *f[0]) >= HELD_OUT]
        self.held_out_facts = [f for f in facts if chance("fact", *f[0]) < HELD_OUT]

    def held_out_exercises(self):
        """[(kind, question, answer, thought)]: every held-out pair in one of its phrasings, every held-out fact."""
        out = []
        for op, a, b in self.held_out_pairs:
            rng = random.Random(f"{op}{a},{b}")
            out.append((op, rng.choice(PHRASINGS[op]).format(a=a, b=b), *arithmetic(op, a, b)))
        for key, question, answer, thought in self.held_out_facts:
            out.append((key[0], question, answer, thought))
        return out

    def question(self, rng, kind):
        """One (question, answer, thought)."""
        if kind in ("sum", "times"):
            op, a, b = rng.choice(self.pairs[rng.choice("+-") if kind == "sum" else "*"])
            return (vary(rng, rng.choice(PHRASINGS[op]).format(a=a, b=b)), *arithmetic(op, a, b))
        if kind == "fact":
            _, question, answer, thought = rng.choice(self.facts)
            return vary(rng, question), answer, thought
        if kind == "talk":
            questions, answer, thought = rng.choice(TALK)
            return vary(rng, rng.choice(questions), polite=False), answer, thought
        if kind == "story":
            hero = rng.choice([None, rng.choice(ANIMALS)])
            form = rng.choice(STORY_ABOUT).format(hero) if hero else rng.choice(STORY_FORMS)
            return (vary(rng, form.replace("a owl", "an owl"), polite=False), *story(rng, hero))
        if kind == "unknown":
            form = rng.choice(UNKNOWN_FORMS).format(rng.choice(UNKNOWN_SUBJECTS))
            return vary(rng, form, polite=False), UNKNOWN_ANSWER, UNKNOWN_THOUGHT
        first = rng.choice([1, 1, rng.randint(1, 10)])
        last = first + rng.randint(1, 10)
        form = rng.choice(["Count from {} to {}.", "Can you count from {} to {}?", "Count to {1}."] if first == 1 else
                          ["Count from {} to {}.", "Can you count from {} to {}?"])  # fmt: skip
        numbers = ", ".join(str(n) for n in range(first, last + 1))
        return vary(rng, form.format(first, last), polite=False), numbers + ".", f"Count from {first} to {last}."

    def conversation(self, rng):
        """One training conversation: (messages, thought, answer)."""
        kind = rng.choices(list(MIXTURE), MIXTURE.values())[0]
        messages = []
        if rng.random() < 0.12:
            messages.append(("system", rng.choice(SYSTEM_PROMPTS)))
        history = rng.choices([0, 1, 2, 3], [0.90, 0.06, 0.03, 0.01])[0]
        if kind == "name":
            name = rng.choice(NAMES)
            hello = rng.choice(["My name is {}.", "I am {}.", "Hi, I am {}.", "Hello, my name is {}.", "Call me {}."])
            welcome = f"Nice to meet you, {name}!"
            if rng.random() < 0.4:
                return messages + [("user", hello.format(name))], f"The user is called {name}.", welcome
            messages += [("user", hello.format(name)), ("assistant", welcome)]
        for _ in range(history):
            question, answer, _ = self.question(rng, rng.choices(["sum", "fact", "talk"], [3, 4, 3])[0])
            messages += [("user", question), ("assistant", answer)]
        if kind == "name":
            question = rng.choice(["What is my name?", "Who am I?", "Do you know my name?", "What's my name?"])
            return messages + [("user", question)], f"The user is called {name}.", f"Your name is {name}."
        question, answer, thought = self.question(rng, kind)
        return messages + [("user", question)], thought, answer


def vary(rng, question, polite=True):
    """The same question as people type it: sometimes with a greeting, in lower case, without the last mark."""
    roll = rng.random()
    if roll < 0.65:
        return question
    if roll < 0.75 and polite:
        return rng.choice(["Please tell me: ", "Hi! ", "Hello. ", "Please: ", "Quick question: "]) + question
    if roll < 0.85 and question[-1] in "?.":
        question = question[:-1].rstrip(" =")
    if roll > 0.80 and not question.startswith(("I ", "OK")):
        question = question[0].lower() + question[1:]
    return question


def render(messages, thinking, thought, answer):
    """(prompt, completion) exactly as chat_template.jinja renders them; train.py checks that it is so."""
    prompt = "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in messages) + "<|im_start|>assistant\n"
    if thinking:
        return prompt, f"<think>\n{thought}\n</think>\n\n{answer}<|im_end|>\n"
    return prompt + "<think>\n\n</think>\n\n", f"{answer}<|im_end|>\n"
