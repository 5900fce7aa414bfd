"""Those who wait, by where they come from: when somebody has to go, the largest group gives up its oldest."""

from __future__ import annotations

from typing import Generic, TypeVar

_T = TypeVar("_T")


class Crowd(Generic[_T]):
    """Every step takes the same time, however many wait."""

    def __init__(self) -> None:
        self._groups: dict[str, dict[_T, None]] = {}
        """Of each source, those who wait, oldest first."""
        self._of_size: list[dict[str, None]] = [{}]
        """The sources whose groups have this size, in the order in which they came to have it; the last is not empty."""

    def add(self, one: _T, source: str) -> None:
        group = self._groups.setdefault(source, {})
        group[one] = None
        self._resize(source, len(group) - 1, len(group))

    def remove(self, one: _T, source: str) -> None:
        group = self._groups[source]
        del group[one]
        self._resize(source, len(group) + 1, len(group))
        if not group:
            del self._groups[source]

    def first_to_go(self) -> _T | None:
        """Return the oldest of the largest group, of several the one that has been so large for longest."""
        largest = next(iter(self._of_size[-1]), None)
        return None if largest is None else next(iter(self._groups[largest]))

    def _resize(self, source: str, before: int, after: int) -> None:
        sizes = self._of_size
        if before:
            del sizes[before][source]
        if after == len(sizes):
            sizes.append({})
        if after:
            sizes[after][source] = None
        while len(sizes) > 1 and not sizes[-1]:
            sizes.pop()
