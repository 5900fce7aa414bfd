"""Patterns by a second reading of their rules: slow, plain, and with nothing in common with what it checks."""

from __future__ import annotations

import re


def words(pattern: str) -> tuple[str, ...]:
    r"""Cut a pattern up: `=x` is a literal, `*` and `**` are stars."""
    found: list[str] = []
    for word in re.findall(r"\\[*\\]|\*+|.", pattern, re.DOTALL):
        if word[0] == "*":
            found.append(word[:2])
        else:
            found.append("=" + word[-1])
    return tuple(found)


def letters(name: str) -> tuple[str, ...]:
    return tuple(f"={letter}" for letter in name)


def consumes(pattern: tuple[str, ...], text: tuple[str, ...]) -> bool:
    """The protocol's rule, word for word: what each word of a pattern may consume of a name or of another pattern.

    A table from the end: whether the words from here on consume the text from there on.
    """
    rest = [False] * len(text) + [True]
    for word in reversed(pattern):
        row = [False] * (len(text) + 1)
        for at in range(len(text), -1, -1):
            here = text[at] if at < len(text) else None
            if word[0] == "=":
                row[at] = here == word and rest[at + 1]
            else:
                takes = here is not None and (word == "**" or here not in ("=/", "**"))
                row[at] = rest[at] or (takes and row[at + 1])
        rest = row
    return rest[0]
