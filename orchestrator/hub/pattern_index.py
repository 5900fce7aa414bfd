"""Which of very many patterns match a name, without trying those that cannot.

Nearly all patterns hold a literal text before their first star, or one after their last, and a name that they match
begins and ends with these. So patterns are found by the two texts, and the few that are left are tried.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from orchestrator.protocol.globs import Star, compiled, tokens

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orchestrator.protocol.globs import Pattern, Token

_T = TypeVar("_T")


@dataclass(slots=True)
class _Held(Generic[_T]):
    pattern: Pattern
    item: _T


@dataclass(slots=True)
class _Alike(Generic[_T]):
    """Patterns that begin with the same text."""

    by_end: dict[str, dict[str, _Held[_T]]] = field(default_factory=dict)
    """By the text after their last star, then by their whole text."""
    sizes: Counter[int] = field(default_factory=Counter)
    """How many of those texts have which length."""


@dataclass(slots=True)
class _Folder(Generic[_T]):
    """Patterns that begin with texts which are the same up to their last slash."""

    by_start: dict[str, _Alike[_T]] = field(default_factory=dict)
    """By the text before the first star."""
    sizes: Counter[int] = field(default_factory=Counter)


class PatternIndex(Generic[_T]):
    """Items by the patterns that they belong to, of which each has a star."""

    def __init__(self) -> None:
        self._folders: dict[str, _Folder[_T]] = {}
        self._items: dict[str, _T] = {}

    def __bool__(self) -> bool:
        return bool(self._items)

    def get(self, text: str) -> _T | None:
        return self._items.get(text)

    def add(self, text: str, item: _T) -> None:
        """Record an item under a pattern that has none yet."""
        start, end = _ends(text)
        folder = self._folders.setdefault(_folder(start), _Folder())
        alike = folder.by_start.get(start)
        if alike is None:
            alike = folder.by_start[start] = _Alike()
            folder.sizes[len(start)] += 1
        held = alike.by_end.get(end)
        if held is None:
            held = alike.by_end[end] = {}
            alike.sizes[len(end)] += 1
        held[text] = _Held(compiled(text), item)
        self._items[text] = item

    def remove(self, text: str) -> None:
        start, end = _ends(text)
        folder = self._folders[_folder(start)]
        alike = folder.by_start[start]
        del alike.by_end[end][text], self._items[text]
        if not alike.by_end[end]:
            del alike.by_end[end]
            _take(alike.sizes, len(end))
        if not alike.by_end:
            del folder.by_start[start]
            _take(folder.sizes, len(start))
        if not folder.by_start:
            del self._folders[_folder(start)]

    def matching(self, name: str) -> Iterator[_T]:
        """Return the items of all patterns that match the whole of `name`."""
        at = 0
        while True:
            folder = self._folders.get(name[:at])
            if folder is not None:
                for size in folder.sizes:
                    alike = folder.by_start.get(name[:size])
                    if alike is not None and size <= len(name):
                        yield from self._in(alike, name)
            at = name.find("/", at) + 1
            if not at:
                return

    def _in(self, alike: _Alike[_T], name: str) -> Iterator[_T]:
        for size in alike.sizes:
            if size <= len(name):
                for held in alike.by_end.get(name[len(name) - size :], {}).values():
                    if held.pattern.matches(name):
                        yield held.item


def _take(sizes: Counter[int], size: int) -> None:
    sizes[size] -= 1
    if not sizes[size]:
        del sizes[size]


def _folder(text: str) -> str:
    return text[: text.rfind("/") + 1]


def _ends(pattern: str) -> tuple[str, str]:
    """Return the literal text before the first star and after the last one, escapes resolved."""
    parts = tokens(pattern)
    return "".join(_literal(parts)), "".join(_literal(reversed(parts)))[::-1]


def _literal(parts: Iterable[Token]) -> Iterator[str]:
    for part in parts:
        if isinstance(part, Star):
            return
        yield part
