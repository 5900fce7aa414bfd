"""A line of a file as a terminal shows it: a window around one place, a caret under it, secrets masked."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WINDOW: Final = 100
"""Columns of a long line that are shown."""
_BEFORE: Final = 60
"""Of these, so many stand before the place at most, where there is more after it."""
_TAB: Final = "    "
_BREAK: Final = re.compile("\r\n|\r|\n")


class Excerpt(NamedTuple):
    line: str
    caret: int
    """Columns that stand before the caret."""


class _Cell(NamedTuple):
    """What one character of the file becomes, and how many columns that takes."""

    shown: str
    width: int


def excerpt(text: str, line: int, column: int) -> Excerpt | None:
    """Return line `line` of `text` and where in it `column` is; both count from 1. `None` where there is no such line."""
    from orchestrator.topology.masking import secret_spans

    lines = _BREAK.split(text)
    if not 0 < line <= len(lines):
        return None
    cells = list(_cells(lines[line - 1], secret_spans(lines, line - 1)))
    at = min(max(column, 1), len(cells) + 1) - 1
    while 0 < at < len(cells) and not cells[at].width:  # a mark that is written over the character before it
        at -= 1
    first, last = _window(cells, at)
    head, tail = "…" if first else "", "…" if last < len(cells) else ""
    shown = "".join(cell.shown for cell in cells[first:last])
    return Excerpt(f"{head}{shown}{tail}".rstrip(), len(head) + sum(cell.width for cell in cells[first:at]))


def _cells(line: str, secrets: Sequence[tuple[int, int]]) -> Iterator[_Cell]:
    """Yield a cell for each character; a secret is its mask at its first one, and nothing from there on."""
    from orchestrator.topology.masking import MASK

    begin = dict(secrets)
    hidden = 0
    for index, character in enumerate(line):
        if index in begin:
            hidden = begin[index]
            yield _Cell(MASK, len(MASK))
        elif index < hidden:
            yield _Cell("", 0)
        else:
            yield _cell(character)


def _cell(character: str) -> _Cell:
    if character == "\t":
        return _Cell(_TAB, len(_TAB))
    if unicodedata.category(character) in ("Mn", "Me"):
        return _Cell(character, 0)
    if not character.isprintable():
        return _Cell("\N{REPLACEMENT CHARACTER}", 1)
    return _Cell(character, 2 if unicodedata.east_asian_width(character) in "WF" else 1)


def _window(cells: Sequence[_Cell], at: int) -> tuple[int, int]:
    """Return the first cell that is shown, and the one after the last: `WINDOW` columns around cell `at`."""
    if sum(cell.width for cell in cells) <= WINDOW:
        return 0, len(cells)
    after = sum(cell.width for cell in cells[at:])
    first, room = at, max(_BEFORE, WINDOW - after)
    while first and room >= cells[first - 1].width:
        first -= 1
        room -= cells[first].width
    while 0 < first < at and not cells[first].width:  # does not begin in the middle of a character, or of a mask
        first += 1
    last, room = first, WINDOW
    while last < len(cells) and room >= cells[last].width:
        room -= cells[last].width
        last += 1
    return first, last
