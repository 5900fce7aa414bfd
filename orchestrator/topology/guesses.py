"""Nearest names for misspelt ones, as many as somebody will read: a file full of nonsense is refused quickly too."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from orchestrator.errors import did_you_mean, listed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

MAX_GUESSES: Final = 20
MAX_LISTED: Final = 12


class Guesses:
    def __init__(self) -> None:
        self._left = MAX_GUESSES

    def nearest(self, name: str, known: Iterable[str]) -> str:
        """Return `` (did you mean 'x'?)``, or an empty string."""
        self._left -= 1
        return did_you_mean(name, known) if self._left >= 0 else ""


def some(names: Collection[str]) -> str:
    """Return names as a reader would list them, and of many the first few."""
    if len(names) <= MAX_LISTED:
        return listed(names)
    return f"{', '.join(map(repr, islice(names, MAX_LISTED)))} and {len(names) - MAX_LISTED} more"
