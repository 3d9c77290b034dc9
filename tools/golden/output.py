"""How golden JSON files are laid out: readable in a diff, the same bytes every time."""

import json


def write_json(path, value, indent=1, **how):
    path.write_text(json.dumps(value, indent=indent, ensure_ascii=False, **how) + "\n")


def write_cases(path, head, cases):
    """The head's keys, then one case per line; escapes instead of unprintable text."""
    opening = json.dumps(head, ensure_ascii=True)[:-1]
    lines = ",\n".join(json.dumps(case, ensure_ascii=True) for case in cases)
    path.write_text(f'{opening},\n"cases": [\n{lines}\n]}}\n')
