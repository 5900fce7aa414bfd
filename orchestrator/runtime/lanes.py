"""What many sources have said and is kept or waits, in its order, and for each source alone: pure bookkeeping."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from orchestrator.runtime.records import Record, Source

OVERHEAD: Final = 512
"""Bytes that a record takes besides its text."""
_NUMBER: Final = 8
"""Characters that a value without text counts for."""


class Entry(NamedTuple):
    source: Source
    record: Record
    text: int
    """Characters of its text, those of its fields among them."""


@dataclass(slots=True)
class Lane:
    """What there is of one source."""

    numbers: deque[int] = field(default_factory=deque)
    text: int = 0


class Lanes:
    """Records by source, numbered in the order in which they came; no limits of its own."""

    def __init__(self) -> None:
        self._entries: OrderedDict[int, Entry] = OrderedDict()
        self._lanes: OrderedDict[Source, Lane] = OrderedDict()  # whose turn is next comes first
        self._count = 0
        self.text = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def weight(self) -> int:
        """About how many bytes all of it takes."""
        return self.text + OVERHEAD * len(self._entries)

    def size(self, source: Source) -> tuple[int, int]:
        """Return how many records there are of a source, and the characters of their text."""
        lane = self._lanes.get(source)
        return (0, 0) if lane is None else (len(lane.numbers), lane.text)

    def heaviest(self) -> Source:
        """Return the source of which there is most; there must be one."""
        return max(
            self._lanes, key=lambda source: self._lanes[source].text + OVERHEAD * len(self._lanes[source].numbers)
        )

    def sources(self) -> list[Source]:
        return list(self._lanes)

    def numbered(self, source: Source) -> list[tuple[int, Entry]]:
        """Return all of one source, with the numbers that tell its order among what others have said."""
        lane = self._lanes.get(source)
        return [] if lane is None else [(number, self._entries[number]) for number in lane.numbers]

    def add(self, entry: Entry) -> None:
        self._count += 1
        self._entries[self._count] = entry
        lane = self._lanes.setdefault(entry.source, Lane())
        lane.numbers.append(self._count)
        lane.text += entry.text
        self.text += entry.text

    def pop_oldest(self) -> Entry:
        """Take what came first of all. There must be something, as for the others."""
        return self._pop(next(iter(self._entries.values())).source)

    def pop_in_turn(self) -> Entry:
        """Take what came first of the source whose turn it is; its next turn comes after everybody else's."""
        source = next(iter(self._lanes))
        self._lanes.move_to_end(source)
        return self._pop(source)

    def pop_of(self, source: Source) -> Entry:
        """Take what came first of a source."""
        return self._pop(source)

    def _pop(self, source: Source) -> Entry:
        lane = self._lanes[source]
        entry = self._entries.pop(lane.numbers.popleft())
        lane.text -= entry.text
        self.text -= entry.text
        if not lane.numbers:
            del self._lanes[source]
        return entry


def text_of(record: Record) -> int:
    """Return about how many characters a record holds."""
    return len(record.event) + len(record.exception) + (_text(record.fields) if record.fields else 0)


def _text(value: Any) -> int:
    total, left = 0, [value]
    while left:
        match left.pop():
            case str() | bytes() as text:
                total += len(text)
            case dict() as pairs:
                left += pairs.keys()
                left += pairs.values()
            case list() | tuple() as items:
                left += items
            case _:
                total += _NUMBER
    return total
