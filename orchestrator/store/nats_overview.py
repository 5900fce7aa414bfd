"""All tasks of a namespace, for those who look after them: followed from the first question on, without what is large."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeVar

from msgspec.structs import replace

from orchestrator.store.errors import UnknownTask
from orchestrator.store.nats_follower import Follower
from orchestrator.store.nats_packs import Packs
from orchestrator.store.nats_reading import PAYLOAD, RESULT, Found
from orchestrator.store.nats_record import Bulk, Record, decoded, encoded, retried, settled, told_info
from orchestrator.store.nats_writer import Write
from orchestrator.store.tasks import FINAL, QueueStats, State, TaskInfo

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from orchestrator.store.nats_engine import Engine
    from orchestrator.store.nats_reading import Reader
    from orchestrator.store.nats_writer import Writer

T = TypeVar("T")
_TOLD: Final = 3_600
"""Seconds for which the engine keeps the message that something is gone, for those who follow."""
_AT_ONCE: Final = 1_024
"""Tasks that are written to at a time."""


class Overview:
    def __init__(self, engine: Engine, reader: Reader, writer: Writer) -> None:
        self._engine, self._reader, self._writer = engine, reader, writer
        self._subjects, self._clock = engine.subjects, engine.clock
        self._forget()
        filters = [self._subjects.tasks, self._subjects.packs]
        self._follower = Follower(engine, filters, self._heard, self._begin)

    async def close(self) -> None:
        await self._follower.close()

    # -- what came by

    async def _begin(self) -> int:
        self._forget()
        return 0

    def _forget(self) -> None:
        self._open: dict[str, Found] = {}
        """By subject, like those that have ended."""
        self._ended: dict[str, Found] = {}
        self._subject_of: dict[str, str] = {}
        self._packs = Packs()

    def _heard(self, subject: str, seq: int, data: bytes) -> None:
        if not subject.startswith(self._subjects.tasks[:-1]):
            for record, at in self._packs.told(subject, seq, data):
                self._enter(self._subjects.task(record.queue, record.id), record, at)
        elif not data:
            for known in (self._open, self._ended):
                if (found := known.pop(subject, None)) is not None and found.record is not None:
                    self._subject_of.pop(found.record.id, None)
        else:
            record = decoded(data, seq)
            if self._packs.counts(self._subjects.pack(record.pack) if record.pack else "", record, seq):
                self._enter(subject, record, seq)

    def _enter(self, subject: str, record: Record, seq: int) -> None:
        self._subject_of[record.id] = subject
        if record.state in FINAL:
            self._open.pop(subject, None)
            self._ended[subject] = Found(_slim(record), seq)
        else:
            self._ended.pop(subject, None)
            self._open[subject] = Found(record, seq)

    async def _freshen(self) -> None:
        last = await self._engine.last(self._subjects.tasks)
        await self._follower.reach(0 if last is None else last.seq)

    # -- what is asked

    async def sweep(self) -> float | None:
        while True:
            await self._freshen()
            now = self._clock.now()
            over = [
                (subject, found.seq, new)
                for subject, found in self._open.items()
                if found.record is not None and (new := settled(found.record, now)) is not found.record
            ]
            if not over:
                return self._next(now)
            for some in _some(over):
                writes = (self._writer.write([Write(subject, encoded(new), seq)]) for subject, seq, new in some)
                await asyncio.gather(*writes)

    def _next(self, now: float) -> float | None:
        times: list[float] = []
        for record, _ in self._open.values():
            assert record is not None
            if record.state is State.LEASED or record.since > now:
                times.append(record.since)
            if record.state is State.READY and record.expires is not None:
                times.append(record.expires)
        return max(min(times) - now, 0.0) if times else None

    def listed(
        self, states: Collection[State], queue: str | None, caller: str | None, limit: int, before: str | None
    ) -> tuple[TaskInfo, ...]:
        """Raises `UnknownTask`."""
        known = self._known()
        if before is not None:
            last = next((each for each in known if each.id == before), None)
            if last is None or caller not in (None, last.caller):
                raise UnknownTask(before)
            known = [each for each in known if each.order < last.order]
        found = (
            told_info(record)
            for record in sorted(known, key=lambda each: -each.order)
            if (not states or record.state in states)
            and queue in (None, record.queue)
            and caller in (None, record.caller)
        )
        return tuple(islice(found, limit))

    def counted(self) -> tuple[QueueStats, ...]:
        now = self._clock.now()
        counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for record in self._known():
            later = record.state is State.READY and record.since > now
            counts[record.queue]["later" if later else record.state.value] += 1
        words = ("ready", "later", "leased", "done", "dead", "cancelled")
        return tuple(QueueStats(queue, *(counts[queue][word] for word in words)) for queue in sorted(counts))

    def _known(self) -> list[Record]:
        return [record for found in (self._open, self._ended) for record, _ in found.values() if record is not None]

    # -- what is changed

    async def retry_dead(self, task_ids: Collection[str] | None, queue: str | None) -> int:
        if task_ids is None:
            await self._freshen()
            ended = sorted((each for each, _ in self._ended.values() if each is not None), key=lambda each: each.order)
            task_ids = [record.id for record in ended if record.state is State.DEAD and queue in (None, record.queue)]
        count = 0
        for some in _some(list(dict.fromkeys(task_ids))):
            count += sum(await asyncio.gather(*(self._retry(task_id, queue) for task_id in some)))
        return count

    async def _retry(self, task_id: str, queue: str | None) -> bool:
        while True:
            record, seq = await self._reader.find(task_id)
            if record is None or record.state is not State.DEAD or queue not in (None, record.queue):
                return False
            subject = self._subjects.task(record.queue, record.id)
            if await self._writer.write([Write(subject, encoded(retried(record, self._clock.now())), seq)]) is not None:
                return True

    async def purge(self, older: float, states: Collection[State]) -> int:
        limit, count = self._clock.now() - older, 0
        asked = FINAL & set(states)
        while True:
            await self._freshen()
            gone = [
                (subject, record, seq)
                for subject, (record, seq) in self._ended.items()
                if record is not None and record.state in asked and record.since <= limit
            ]
            if not gone:
                return count
            for some in _some(gone):
                purged = await asyncio.gather(*(self._writer.write(self._purged(*each)) for each in some))
                count += sum(first is not None for first in purged)

    def _purged(self, subject: str, record: Record, seq: int) -> list[Write]:
        names = self._subjects
        subjects = [names.effect(record.queue, key) for key in record.effects]
        if record.key is not None:
            subjects.append(names.key(record.caller, record.queue, record.type, record.key))
        for of, kept in ((PAYLOAD, record.payload), (RESULT, record.result)):
            subjects += [names.part(record.id, of, number) for number in range(0 if kept is None else kept.parts)]
        return [Write(subject, b"", seq, ttl=_TOLD), *(Write(each, b"", None, ttl=_TOLD) for each in subjects)]


def _slim(record: Record) -> Record:
    """Return what is needed of a task that has ended."""
    result = None if record.result is None else Bulk(record.result.size, None, record.result.parts)
    payload = Bulk(record.payload.size, None, record.payload.parts)
    return replace(record, payload=payload, result=result, attempts=())


def _some(many: list[T]) -> Iterator[list[T]]:
    for start in range(0, len(many), _AT_ONCE):
        yield many[start : start + _AT_ONCE]
