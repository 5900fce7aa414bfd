"""The last that each source of a run has said, for whoever looks at it later, and whatever it says next for those who follow.

All of it is bounded. A follower that does not read is told how many records it missed, and holds up nobody.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from orchestrator.runtime.lanes import Entry, Lanes, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from orchestrator.runtime.records import Record, Source

MAX_RECORDS: Final = 1_000
MAX_TEXT: Final = 1_048_576
"""Records, and characters of their text, that are kept of one source; the oldest go first."""
MAX_WEIGHT: Final = 67_108_864
"""Bytes, about, that are kept of all sources together."""
MAX_UNREAD: Final = 10_000
MAX_UNREAD_WEIGHT: Final = 8_388_608
"""Records, and bytes of them, that wait for one follower; beyond them the oldest are missed."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What a follower is given at once; `missed` records came before it, and were not kept."""

    records: tuple[tuple[Source, Record], ...]
    missed: int = 0


class Recent:
    """Of one run; for any thread."""

    def __init__(
        self, *, max_records: int = MAX_RECORDS, max_text: int = MAX_TEXT, max_weight: int = MAX_WEIGHT
    ) -> None:
        self._max_records, self._max_text, self._max_weight = max_records, max_text, max_weight
        self._lanes = Lanes()
        self._followers: list[Follower] = []
        self._turn = threading.Lock()

    def put(self, source: Source, record: Record) -> None:
        entry = self._short_enough(source, record)
        with self._turn:
            records, text = self._lanes.size(source)
            while records and (records >= self._max_records or text + entry.text > self._max_text):
                self._lanes.pop_of(source)
                records, text = self._lanes.size(source)
            self._lanes.add(entry)
            while self._lanes.weight > self._max_weight and len(self._lanes) > 1:
                self._lanes.pop_oldest()
            for follower in self._followers:
                follower._put(entry)

    def sources(self) -> list[Source]:
        """Return whose records are kept."""
        with self._turn:
            return self._lanes.sources()

    def tail(
        self, names: Collection[str], lines: int, fits: Callable[[Record], bool] | None = None
    ) -> tuple[tuple[Source, Record], ...]:
        """Return the last `lines` records that fit, in their order, of sources or agents with these names; no names = all."""
        with self._turn:
            return self._tail(names, lines, fits)

    @contextmanager
    def follow(
        self,
        names: Collection[str] = (),
        lines: int = 0,
        fits: Callable[[Record], bool] | None = None,
        *,
        apart: bool = False,
    ) -> Iterator[Follower]:
        """Follow sources or agents with these names, no names = all, from the last `lines` records that fit on, without a gap.

        `apart`: those last records are not among what is read, but in `Follower.before`. To be called in the event loop in
        which the follower is read.
        """
        with self._turn:
            last = self._tail(names, lines, fits)
            follower = Follower(frozenset(names), () if apart else last, fits, before=last if apart else ())
            self._followers.append(follower)
        try:
            yield follower
        finally:
            with self._turn:
                self._followers.remove(follower)

    def _tail(
        self, names: Collection[str], lines: int, fits: Callable[[Record], bool] | None
    ) -> tuple[tuple[Source, Record], ...]:
        found: list[tuple[int, Entry]] = []
        for source in self._lanes.sources() if lines > 0 else ():
            if named(source, names):
                numbered = self._lanes.numbered(source)
                found += numbered if fits is None else [each for each in numbered if fits(each[1].record)]
        found.sort(key=lambda numbered: numbered[0])
        return tuple((entry.source, entry.record) for _, entry in found[-lines:])

    def _short_enough(self, source: Source, record: Record) -> Entry:
        text = text_of(record)
        if text > self._max_text:  # one record is not to cost all the others
            room = self._max_text // 4
            record = replace(record, event=cut(record.event, room), exception=cut(record.exception, room), fields={})
            text = text_of(record)
        return Entry(source, record, text)


class Follower:
    """What one reader has not read yet: filled in any thread, read in one event loop."""

    def __init__(
        self,
        names: frozenset[str],
        first: tuple[tuple[Source, Record], ...],
        fits: Callable[[Record], bool] | None = None,
        before: tuple[tuple[Source, Record], ...] = (),
    ) -> None:
        self._names, self._fits = names, fits
        self.before = before
        self._lanes = Lanes()
        self._missed = 0
        self._loop = asyncio.get_running_loop()
        self._more = asyncio.Event()
        self._woken = False
        self._turn = threading.Lock()
        for source, record in first:
            self._put(Entry(source, record, text_of(record)))

    async def next(self) -> Heard:
        """Wait until there is something, or `end`, and return what there is."""
        await self._more.wait()
        return self.now()

    def now(self) -> Heard:
        """Return what there is, which may be nothing."""
        with self._turn:
            lanes, self._lanes = self._lanes, Lanes()
            missed, self._missed, self._woken = self._missed, 0, False
            self._more.clear()
        entries = [lanes.pop_oldest() for _ in range(len(lanes))]
        return Heard(tuple((entry.source, entry.record) for entry in entries), missed)

    def end(self) -> None:
        """Have `next` wait no longer."""
        self._more.set()

    def _put(self, entry: Entry) -> None:
        if not named(entry.source, self._names) or (self._fits is not None and not self._fits(entry.record)):
            return
        with self._turn:
            self._lanes.add(entry)
            while len(self._lanes) > MAX_UNREAD or (len(self._lanes) > 1 and self._lanes.weight > MAX_UNREAD_WEIGHT):
                self._lanes.pop_oldest()
                self._missed += 1
            if self._woken:
                return
            self._woken = True
        try:
            self._loop.call_soon_threadsafe(self._wake)
        except RuntimeError:  # its loop has ended, and it with it
            return

    def _wake(self) -> None:
        with self._turn:
            if self._woken:
                self._more.set()


def named(source: Source, names: Collection[str]) -> bool:
    """Tell whether these names mean a source: its own, or its agent's; no names mean all."""
    return not names or source.name in names or (source.agent is not None and source.agent in names)


def cut(text: str, room: int) -> str:
    return text if len(text) <= room else f"{text[:room]}… ({len(text):,} characters)"
