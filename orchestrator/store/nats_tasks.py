"""Tasks in NATS, each under a subject of its own, and each step of it written on the condition that nobody was faster.

The engine's own work queues are not used: they know no priority, no order of what comes back, no listing and no fence, and
they take the late answer of a worker that has lost its task. What is kept is the truth, and a worker that follows its queue
has a picture of it. A claim's message number is its fence.
"""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from orchestrator.store.attempting import lost_because, lost_body
from orchestrator.store.errors import LeaseLost, UnknownTask
from orchestrator.store.nats_enqueue import Enqueuer
from orchestrator.store.nats_queue import Queue
from orchestrator.store.nats_reading import PAYLOAD, RESULT, Found, Reader
from orchestrator.store.nats_record import (
    Record,
    affected,
    bulk,
    cancelled,
    completed,
    encoded,
    ended_by,
    extended,
    failed,
    is_held,
    leased,
    numbered,
    released,
    settled,
    taken_back,
    told_history,
    told_leased,
    told_outcome,
    was_released,
)
from orchestrator.store.nats_writer import Write
from orchestrator.store.tasks import (
    FINAL,
    Claimed,
    Effect,
    Ending,
    Enqueued,
    Failure,
    Hold,
    Leased,
    NewTask,
    Outcome,
    QueueStats,
    State,
    TaskHistory,
    TaskInfo,
    Verdict,
    check_claim,
    check_lease,
    check_outcomes,
)

if TYPE_CHECKING:
    import random
    from collections.abc import Collection, Sequence

    from orchestrator.store.nats_engine import Engine
    from orchestrator.store.nats_index import Entry
    from orchestrator.store.nats_overview import Overview
    from orchestrator.store.nats_writer import Writer
    from orchestrator.store.port import Capabilities

A = TypeVar("A")
_Step: TypeAlias = "tuple[Record | None, A]"
"""What is to be written of a task, `None` = nothing, and what is answered then."""
_ROUNDS: Final = 8
"""How often a claim looks again after others took all that it had found."""


class NatsTasks:
    def __init__(self, engine: Engine, reader: Reader, writer: Writer, overview: Overview, rng: random.Random) -> None:
        self._engine, self._reader, self._writer, self._rng = engine, reader, writer, rng
        self._subjects, self._clock = engine.subjects, engine.clock
        self._queues: dict[str, Queue] = {}
        self._overview = overview
        self._enqueuer = Enqueuer(reader, writer, engine.subjects, engine.clock, self._settle)

    @property
    def capabilities(self) -> Capabilities:
        return self._engine.capabilities

    async def close(self) -> None:
        for queue in self._queues.values():
            await queue.close()

    # -- what callers do

    async def enqueue(self, tasks: Sequence[NewTask]) -> tuple[Enqueued, ...]:
        await self._engine.ready()
        return await self._enqueuer.enqueue(tasks)

    async def cancel(self, task_id: str, *, caller: str | None = None) -> State:
        await self._engine.ready()

        def decide(record: Record | None, now: float) -> _Step[State]:
            record = _known(record, task_id, caller)
            return (None, record.state) if record.state in FINAL else (cancelled(record, now), State.CANCELLED)

        return await self._step(task_id, decide)

    async def result(self, task_id: str, *, caller: str | None = None) -> Outcome | None:
        record = await self._looked_at(task_id, caller)
        return told_outcome(record, await self._reader.whole(task_id, RESULT, record.result))

    async def outcomes(self, task_ids: Collection[str], *, caller: str | None = None) -> dict[str, Outcome | None]:
        asked = check_outcomes(task_ids)
        await self._engine.ready()
        told = await asyncio.gather(*(self._outcome(task_id, caller) for task_id in asked))
        return {task_id: each[0] for task_id, each in zip(asked, told, strict=True) if each is not None}

    async def _outcome(self, task_id: str, caller: str | None) -> tuple[Outcome | None] | None:
        try:
            return (await self.result(task_id, caller=caller),)
        except UnknownTask:
            return None

    async def get(self, task_id: str, *, caller: str | None = None) -> TaskHistory:
        record = await self._looked_at(task_id, caller)
        payload = await self._reader.whole(task_id, PAYLOAD, record.payload)
        result = await self._reader.whole(task_id, RESULT, record.result)
        return told_history(record, payload or b"", result)

    async def _looked_at(self, task_id: str, caller: str | None) -> Record:
        await self._engine.ready()
        found = await self._settle(task_id, await self._reader.find(task_id))
        return _known(found.record, task_id, caller)

    # -- what workers do

    async def claim(
        self, queue: str, worker: str, capabilities: Collection[str] = (), *, limit: int = 1, lease: float = 30.0
    ) -> Claimed:
        limit = check_claim(limit, lease)
        await self._engine.ready()
        own = self._queue(queue)
        for _ in range(_ROUNDS):
            await own.freshen()
            now, spread = self._clock.now(), own.spread
            if spread:
                picked, over = own.index.pick_some(capabilities, limit, now, spread, self._rng)
            else:
                picked, over = own.index.pick(capabilities, limit, now)
            if not picked and not over:
                return Claimed((), own.index.next_due(capabilities, self._clock.now()))
            try:
                taken, _ = await asyncio.gather(self._take(own, picked, worker, lease), self._bury(own, over))
            finally:
                own.index.give_back((*picked, *over))
            own.contended(len(picked), len(picked) - len(taken))
            if taken:
                tasks = await asyncio.gather(*(self._handed_out(record) for record in taken))
                return Claimed(
                    tuple(task for task in tasks if task is not None),
                    own.index.next_due(capabilities, self._clock.now()),
                )
        return Claimed((), 0.0)

    async def _take(self, own: Queue, entries: Sequence[Entry], worker: str, lease: float) -> builtins.list[Record]:
        now, end = self._clock.now(), self._clock.end(lease)
        new = [leased(settled(entry.record, now), worker, now, end) for entry in entries]
        put = (self._put_entry(own, entry, record) for entry, record in zip(entries, new, strict=True))
        return [record for record in await asyncio.gather(*put) if record is not None]

    async def _bury(self, own: Queue, entries: Sequence[Entry]) -> None:
        now = self._clock.now()
        await asyncio.gather(*(self._put_entry(own, entry, settled(entry.record, now)) for entry in entries))

    async def _put_entry(self, own: Queue, entry: Entry, record: Record) -> Record | None:
        put = await self._put(Found(entry.record, entry.seq), record, alone=own.spread > 0)
        if put is None:
            own.index.drop(entry)  # until what has become of it comes by
        return None if put is None else put.record

    async def _handed_out(self, record: Record) -> Leased | None:
        payload = await self._reader.whole(record.id, PAYLOAD, record.payload)
        if payload is not None:
            return told_leased(record, payload)
        lost = lost_body(self._engine.address.shown)
        dead, _ = failed(record, lost, self._clock.now(), retry=False, counts=True, uniform=self._rng.uniform)
        await self._put(Found(record, record.fence), dead)
        return None

    async def extend(self, hold: Hold, lease: float) -> None:
        check_lease(lease)

        def decide(record: Record | None, _now: float) -> _Step[None]:
            return extended(_held(record, hold), self._clock.end(lease)), None

        await self._say(hold, decide)

    async def complete(self, hold: Hold, result: bytes) -> None:
        await self._engine.ready()
        kept = bulk(result, self._reader.part)

        def decide(record: Record | None, now: float) -> _Step[None]:
            if record is not None and ended_by(record, hold) is Ending.DONE:
                return None, None
            return completed(_held(record, hold), kept, now), None

        await self._say(hold, decide, self._reader.parts(hold.id, RESULT, kept, result))

    async def fail(self, hold: Hold, failure: Failure, *, retry: bool = True, counts: bool = True) -> Verdict:
        def decide(record: Record | None, now: float) -> _Step[Verdict]:
            if record is not None and ended_by(record, hold) is Ending.FAILED:
                again = max(record.since - now, 0.0) if record.state is State.READY else None
                return None, Verdict(record.state, again)
            record = _held(record, hold)
            return failed(record, failure, now, retry=retry, counts=counts, uniform=self._rng.uniform)

        return await self._say(hold, decide)

    async def release(self, hold: Hold) -> None:
        def decide(record: Record | None, now: float) -> _Step[None]:
            if record is not None and was_released(record, hold):
                return None, None
            return released(_held(record, hold), now), None

        await self._say(hold, decide)

    async def reclaim(self, queue: str, worker: str, *, held: Collection[str] = (), begun: bool = True) -> int:
        await self._engine.ready()
        own, kept_back, count = self._queue(queue), frozenset(held), 0
        while True:
            await own.freshen()
            now = self._clock.now()
            entries = [
                entry
                for entry in own.index.held_by(worker)
                if entry.record.id not in kept_back and entry.record.since > now
            ]
            if not entries:
                return count
            back = taken_back if begun else released
            put = await asyncio.gather(*(self._put_entry(own, entry, back(entry.record, now)) for entry in entries))
            count += sum(record is not None for record in put)

    async def once(self, hold: Hold, key: str) -> Effect:
        await self._engine.ready()
        while True:
            found = await self._reader.find(hold.id)
            record = _held(None if found.record is None else settled(found.record, self._clock.now()), hold)
            subject = self._subjects.effect(record.queue, key)
            (known,) = await self._reader.last_of([subject])
            if known is not None and known.data:
                fence, _, task_id = known.data.decode().partition(" ")
                return Effect(False, task_id, int(fence))
            effect = Write(subject, f"{hold.fence} {hold.id}".encode(), 0 if known is None else known.seq)
            if await self._put(found, affected(record, key), [effect]) is not None:
                return Effect(True, hold.id, hold.fence)

    # -- what people look at

    async def list(
        self,
        *,
        states: Collection[State] = (),
        queue: str | None = None,
        caller: str | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> tuple[TaskInfo, ...]:
        await self._engine.ready()
        await self._overview.sweep()
        return self._overview.listed(states, queue, caller, limit, before)

    async def dead(self, *, queue: str | None = None, limit: int = 100) -> tuple[TaskInfo, ...]:
        return await self.list(states={State.DEAD}, queue=queue, limit=limit)

    async def retry_dead(self, task_ids: Collection[str] | None = None, *, queue: str | None = None) -> int:
        await self._engine.ready()
        return await self._overview.retry_dead(task_ids, queue)

    async def purge(self, older: float, *, states: Collection[State] = FINAL) -> int:
        await self._engine.ready()
        return await self._overview.purge(older, states)

    async def sweep(self) -> float | None:
        await self._engine.ready()
        return await self._overview.sweep()

    async def stats(self) -> tuple[QueueStats, ...]:
        await self._engine.ready()
        await self._overview.sweep()
        return self._overview.counted()

    # -- one step of one task

    async def _say(
        self,
        hold: Hold,
        decide: Callable[[Record | None, float], _Step[A]],
        beside: Sequence[Write] = (),
    ) -> A:
        await self._engine.ready()
        return await self._step(hold.id, decide, beside, self._pictured(hold))

    async def _step(
        self,
        task_id: str,
        decide: Callable[[Record | None, float], _Step[A]],
        beside: Sequence[Write] = (),
        pictured: Found | None = None,
    ) -> A:
        """Decide on a task as it is, and write that; again, when somebody was faster.

        A picture of the task is enough to write, since that fails when it is not so any more; only what the leader says is
        enough to refuse, or to leave everything as it is.
        """
        if pictured is not None and pictured.record is not None:
            now = self._clock.now()
            try:
                new, answer = decide(settled(pictured.record, now), now)
            except LeaseLost:
                new = None
            if new is not None and await self._put(pictured, new, beside) is not None:
                return answer
        while True:
            found, now = await self._reader.find(task_id), self._clock.now()
            new, answer = decide(None if found.record is None else settled(found.record, now), now)
            if new is None or await self._put(found, new, beside) is not None:
                return answer

    def _pictured(self, hold: Hold) -> Found | None:
        for queue in self._queues.values():
            entry = queue.index.entries.get(hold.id)
            if entry is not None:
                return Found(entry.record, entry.seq)
        return None

    async def _settle(self, task_id: str, found: Found) -> Found:
        """Write what time has made of a task before it is told."""
        while found.record is not None:
            record = settled(found.record, self._clock.now())
            if record is found.record:
                break
            found = await self._put(found, record) or await self._reader.find(task_id)
        return found

    async def _put(
        self, found: Found, record: Record, beside: Sequence[Write] = (), *, alone: bool = False
    ) -> Found | None:
        """Write a record in the place of the one found; `None` = that was not the last any more."""
        subject = self._subjects.task(record.queue, record.id)
        write = self._writer.write_alone if alone else self._writer.write
        seq = await write([Write(subject, encoded(record), found.seq), *beside])
        if seq is None:
            return None
        record = numbered(record, seq)
        if (queue := self._queues.get(record.queue)) is not None:
            queue.put(record, seq)
        return Found(record, seq)

    def _queue(self, name: str) -> Queue:
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = Queue(self._engine, name)
        return queue


def _known(record: Record | None, task_id: str, caller: str | None) -> Record:
    if record is None or caller not in (None, record.caller):
        raise UnknownTask(task_id)
    return record


def _held(record: Record | None, hold: Hold) -> Record:
    if record is None or not is_held(record, hold):
        raise LeaseLost(hold.id, hold.fence, lost_because(None if record is None else record.state))
    return record
