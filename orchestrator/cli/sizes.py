"""Tables whose columns are as wide as what is in them, as far as a screen has room, and numbers that fit into them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.cli.tasks_text import columns, cut

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

_GAP: Final = 2
_LEAST: Final = 12
"""Columns that the last one keeps, if there is anything in it, before another one is left out."""
_UNITS: Final = ("B", "K", "M", "G", "T")
_KILO: Final = 1024
_TENTHS_UNTIL: Final = 10


def aligned(
    rows: Sequence[Sequence[str]],
    right: Collection[str],
    width: int | None = None,
    spare: Sequence[str] = (),
) -> list[str]:
    """Return rows as lines, the titles first; all cells are plain texts.

    `right` has the titles of columns that are aligned to the right. Where the lines would be wider than `width`, the columns
    of `spare` are left out, the first of them first, and then lines are cut.
    """
    titles = list(rows[0])
    widths = {title: max(columns(row[at]) for row in rows) for at, title in enumerate(titles)}
    shown = list(titles)
    last = titles[-1]
    if width is not None:
        for title in spare:
            needed = sum(widths[each] + _GAP for each in shown[:-1]) + min(widths[last], max(_LEAST, len(last)))
            if needed <= width:
                break
            shown.remove(title)
    return [
        cut(
            (" " * _GAP).join(_aligned(row[titles.index(title)], widths[title], title in right) for title in shown)
            .rstrip(),
            width,
        )
        for row in rows
    ]  # fmt: skip


def _aligned(text: str, width: int, right: bool) -> str:
    blank = " " * (width - columns(text))
    return blank + text if right else text + blank


def bytes_text(count: float) -> str:
    """Return a number of bytes in few characters, ``-`` for none: ``45M``, ``1.2G``."""
    if not count:
        return "-"
    for unit in _UNITS:
        if count < _KILO or unit == _UNITS[-1]:
            break
        count /= _KILO
    return f"{count:.1f}{unit}" if count < _TENTHS_UNTIL and unit not in ("B", "K") else f"{count:.0f}{unit}"
