"""Records that wait to be written: bounded for each source and in all, counted when they are dropped, taken fairly.

While little waits they are taken in their order. When more does, the sources take turns, so that one that says a lot
keeps nobody else's records waiting. Pure: no thread and no clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orchestrator.runtime.lanes import OVERHEAD, Entry, Lanes, text_of
from orchestrator.runtime.records import Record

if TYPE_CHECKING:
    from orchestrator.runtime.records import Source

MAX_WAITING: Final = 10_000
MAX_WAITING_TEXT: Final = 4_194_304
"""Records, and characters of their text, of one source that may wait to be written; more of them are dropped."""
MAX_WEIGHT: Final = 67_108_864
"""Bytes, about, that may wait of all sources together; beyond them the source of which most waits loses records."""
IN_ORDER: Final = 200
"""Records that may wait, in all, and are still taken in the order in which they came."""


class Backlog:
    def __init__(self, max_weight: int = MAX_WEIGHT) -> None:
        self._max_weight = max_weight
        self._lanes = Lanes()
        self._dropped: dict[Source, _Dropped] = {}

    def __len__(self) -> int:
        """Return how many there are to take at least: what was dropped is told, too."""
        return len(self._lanes) + len(self._dropped)

    def add(self, source: Source, record: Record) -> None:
        """Have a record wait, or drop and count it, or one of the source of which most waits in its place."""
        text = text_of(record)
        records, waiting = self._lanes.size(source)
        if records >= MAX_WAITING or waiting + text > MAX_WAITING_TEXT:
            self._drop(source, record)
            return
        while self._lanes.weight + text + OVERHEAD > self._max_weight:
            heaviest = self._lanes.heaviest() if self._lanes else source
            if heaviest == source:
                self._drop(source, record)
                return
            self._drop(heaviest, self._lanes.pop_of(heaviest).record)
        self._lanes.add(Entry(source, record, text))

    def take(self, *, last: bool = False) -> tuple[Source, Record] | None:
        """Return what is to be written next, `None` = nothing; `last`: no more will be added.

        What was dropped of a source is told after it, once there is room again.
        """
        if not self._lanes:
            return self._told(next(iter(self._dropped))) if self._dropped else None
        entry = self._lanes.pop_oldest() if len(self._lanes) <= IN_ORDER else self._lanes.pop_in_turn()
        if entry.source in self._dropped and (last or self._has_room(entry.source)):
            source, lost = self._told(entry.source)
            self._lanes.add(Entry(source, lost, text_of(lost)))
        return entry.source, entry.record

    def _has_room(self, source: Source) -> bool:
        return self._lanes.size(source)[0] <= MAX_WAITING // 2 and self._lanes.weight <= self._max_weight // 2

    def _drop(self, source: Source, record: Record) -> None:
        dropped = self._dropped.setdefault(source, _Dropped())
        dropped.count += 1
        dropped.time = record.time

    def _told(self, source: Source) -> tuple[Source, Record]:
        dropped = self._dropped.pop(source)
        return source, Record(dropped.time, "warning", "log lines were dropped", {"count": dropped.count})


@dataclass(slots=True)
class _Dropped:
    """What of one source was dropped since that was last told."""

    count: int = 0
    time: float = 0.0
    """Of the last of them."""
