"""What is open in one queue, in the order in which it is given out: a picture of the stream, which decides nothing.

Whoever takes a task from it writes on the condition that the task is as the picture has it.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.store.nats_record import Record, settled
from orchestrator.store.tasks import CLAIM_BYTES, FINAL, State

if TYPE_CHECKING:
    import random
    from collections.abc import Collection, Iterator


@dataclass(slots=True, eq=False)
class Entry:
    """An open task as it was last seen."""

    record: Record
    seq: int
    taken: bool = False
    """Somebody of this process is writing to it, or has found it to be otherwise by now; what comes next says how it is."""


@dataclass(slots=True)
class _Lane:
    """The tasks that require the same. What has moved on is passed over when it comes up."""

    ready: list[tuple[float, int, int, Entry]] = field(default_factory=list)
    due: list[tuple[float, int, int, Entry]] = field(default_factory=list)


class Index:
    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self._lanes: defaultdict[frozenset[str], _Lane] = defaultdict(_Lane)
        self._gone: dict[str, int] = {}
        """Tasks that are known to have ended by a message that has not come by yet."""
        self._heard = 0

    def put(self, record: Record, seq: int, *, heard: bool = False) -> None:
        """Take in a message about a task, unless a later one is known; `heard` = it has come by, and is not one of ours."""
        if heard:
            self._heard = max(self._heard, seq)
        entry = self.entries.get(record.id)
        if seq <= (self._gone.get(record.id, 0) if entry is None else entry.seq):
            self._forget(record.id)
            return
        if record.state in FINAL:
            self.entries.pop(record.id, None)
            self._gone[record.id] = seq
        else:
            entry = self.entries[record.id] = Entry(record, seq)
            self._enter(entry, ready=False)
        self._forget(record.id)

    def drop(self, entry: Entry) -> None:
        """Leave out what is not so any more, until something later is known."""
        if self.entries.get(entry.record.id) is entry:
            del self.entries[entry.record.id]

    def _forget(self, task_id: str) -> None:
        if self._gone.get(task_id, self._heard + 1) <= self._heard or task_id in self.entries:
            self._gone.pop(task_id, None)

    def pick(self, able: Collection[str], limit: int, now: float) -> tuple[list[Entry], list[Entry]]:
        """Take the first tasks that are due, and those found on the way that have ended by themselves.

        What is taken is out of the picture until it is put or given back.
        """
        able = frozenset(able)
        lanes = [lane for requires, lane in self._lanes.items() if requires <= able]
        over = [entry for lane in lanes for entry in self._fall_due(lane, now)]
        picked: list[Entry] = []
        size = 0
        while len(picked) < limit and size < CLAIM_BYTES:
            first = [lane for lane in lanes if self._first(lane.ready, None) is not None]
            if not first:
                break
            entry = heapq.heappop(min(first, key=lambda lane: lane.ready[0]).ready)[3]
            if settled(entry.record, now).state in FINAL:
                over.append(entry)
                continue
            picked.append(entry)
            size += entry.record.payload.size
        for entry in (*picked, *over):
            entry.taken = True
        return picked, over

    def pick_some(
        self, able: Collection[str], limit: int, now: float, spread: int, rng: random.Random
    ) -> tuple[list[Entry], list[Entry]]:
        """Do what `pick` does while others pick from the same tasks: take any of those that are equal to the first, and at
        most so many places behind."""
        picked, over = self.pick(able, limit + spread, now)
        alike = [entry for entry in picked if entry.record.priority == picked[0].record.priority]
        places = sorted(rng.sample(range(len(alike)), min(limit, len(alike))))
        chosen = [alike[place] for place in places]
        mine = {entry.record.id for entry in chosen}
        for entry in picked:
            if entry.record.id not in mine:
                entry.taken = False
                self._enter(entry, ready=True)
        return chosen, over

    def give_back(self, entries: Collection[Entry]) -> None:
        """Have what was taken in the picture again, when nothing is known of what was written."""
        for entry in entries:
            if entry.taken and self.entries.get(entry.record.id) is entry:
                entry.taken = False
                self._enter(entry, ready=False)

    def next_due(self, able: Collection[str], now: float) -> float | None:
        """Return the seconds until there is something to take; 0 = there is at once, `None` = nothing waits."""
        able = frozenset(able)
        lanes = [lane for requires, lane in self._lanes.items() if requires <= able]
        times: list[float] = []
        for lane in lanes:
            if self._first(lane.ready, None) is not None:
                return 0.0
            waiting = self._first(lane.due, None)
            if waiting is not None:
                times.append(waiting.record.since)
        return max(min(times) - now, 0.0) if times else None

    def held_by(self, worker: str) -> list[Entry]:
        return [
            entry
            for entry in self.entries.values()
            if entry.record.state is State.LEASED and entry.record.worker == worker
        ]

    def _enter(self, entry: Entry, *, ready: bool) -> None:
        record = entry.record
        lane = self._lanes[record.requires]
        if ready:
            heapq.heappush(lane.ready, (-record.priority, record.order, entry.seq, entry))
        else:
            heapq.heappush(lane.due, (record.since, record.order, entry.seq, entry))

    def _fall_due(self, lane: _Lane, now: float) -> Iterator[Entry]:
        """Let what is due wait to be taken; yield what has ended by that."""
        while (entry := self._first(lane.due, now)) is not None:
            heapq.heappop(lane.due)
            if settled(entry.record, now).state in FINAL and entry.record.state is State.LEASED:
                yield entry
            else:
                self._enter(entry, ready=True)

    def _first(self, heap: list[tuple[float, int, int, Entry]], now: float | None) -> Entry | None:
        """Return what comes first in a heap and is still so; with `now`, only if its time has come."""
        while heap:
            entry = heap[0][3]
            if entry.taken or self.entries.get(entry.record.id) is not entry:
                heapq.heappop(heap)
                continue
            return entry if now is None or entry.record.since <= now else None
        return None
