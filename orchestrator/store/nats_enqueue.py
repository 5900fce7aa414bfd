"""Storing new tasks, all or none: in one batch, or, where they do not fit into one, in several of which the last one counts."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from orchestrator.store.errors import TaskExists
from orchestrator.store.nats_packs import STORED, VOID
from orchestrator.store.nats_reading import PAYLOAD, RESULT, Found
from orchestrator.store.nats_record import bulk, encoded, stored, told_outcome
from orchestrator.store.nats_writer import LARGEST_BATCH, Write
from orchestrator.store.tasks import Enqueued, NewTask, State

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from orchestrator.store.nats_clock import StoreClock
    from orchestrator.store.nats_reading import Reader
    from orchestrator.store.nats_subjects import Subjects
    from orchestrator.store.nats_writer import Writer

_NONE: Final = Found(None, 0)


@dataclass(slots=True)
class _Known:
    """What is known of the tasks of one request: nothing at first, since most are new."""

    tasks: dict[str, Found] = field(default_factory=dict)
    keys: dict[str, tuple[int, str]] = field(default_factory=dict)
    """The last message about each key, by its subject, and the id of its task; an empty one = it is free."""


@dataclass(slots=True)
class _Plan:
    stands_for: list[str] = field(default_factory=list)
    """The id of the task that each task of the request stands for, its own or another."""
    fresh: dict[str, NewTask] = field(default_factory=dict)


class Enqueuer:
    def __init__(
        self,
        reader: Reader,
        writer: Writer,
        subjects: Subjects,
        clock: StoreClock,
        settle: Callable[[str, Found], Awaitable[Found]],
    ) -> None:
        """`settle` returns a task as it is after what time has made of it is written."""
        self._reader, self._writer, self._subjects, self._clock = reader, writer, subjects, clock
        self._settle = settle

    async def enqueue(self, tasks: Sequence[NewTask]) -> tuple[Enqueued, ...]:
        known, looked = _Known(), False
        while True:
            plan = self._plan(tasks, known)
            if (plan.fresh or not tasks) and await self._store(plan, known):
                break
            if looked and not plan.fresh:
                break
            known, looked = await self._look(tasks), True
        before = {task_id: known.tasks[task_id] for task_id in plan.stands_for if task_id not in plan.fresh}
        results = {task_id: await self._told(task_id, found) for task_id, found in before.items()}
        first: set[str] = set()
        answers = []
        for task_id in plan.stands_for:
            if task_id not in plan.fresh:
                answers.append(results[task_id])
            else:
                answers.append(Enqueued(task_id, task_id not in first, State.READY))
                first.add(task_id)
        return tuple(answers)

    async def _told(self, task_id: str, found: Found) -> Enqueued:
        record = found.record
        assert record is not None
        result = await self._reader.whole(task_id, RESULT, record.result)
        return Enqueued(task_id, False, record.state, told_outcome(record, result))

    def _plan(self, tasks: Sequence[NewTask], known: _Known) -> _Plan:
        callers: dict[str, str] = {}
        for task in tasks:
            there = known.tasks.get(task.id, _NONE).record
            if callers.setdefault(task.id, task.caller if there is None else there.caller) != task.caller:
                raise TaskExists(task.id)
        plan, by_key = _Plan(), dict[str, str]()
        for task in tasks:
            key = self._key(task)
            there = known.tasks.get(task.id, _NONE).record
            if there is None and task.id not in plan.fresh:
                other = by_key.get(key) or known.keys.get(key, (0, ""))[1]
                if other:
                    plan.stands_for.append(other)
                    continue
                plan.fresh[task.id] = task
                if key:
                    by_key[key] = task.id
            plan.stands_for.append(task.id)
        return plan

    def _key(self, task: NewTask) -> str:
        """Return the subject of a task's key; empty = it has none."""
        return "" if task.key is None else self._subjects.key(task.caller, task.queue, task.type, task.key)

    # -- what is there

    async def _look(self, tasks: Sequence[NewTask]) -> _Known:
        known = _Known()
        ids = dict.fromkeys(task.id for task in tasks)
        keys = dict.fromkeys(key for task in tasks if (key := self._key(task)))
        for key, kept in zip(keys, await self._reader.last_of(keys), strict=True):
            if kept is not None:
                known.keys[key] = (kept.seq, kept.data.decode())
                if kept.data:
                    ids[kept.data.decode()] = None
        for task_id, found in zip(ids, await asyncio.gather(*map(self._decided, ids)), strict=True):
            known.tasks[task_id] = await self._settle(task_id, found)
        for key, (seq, task_id) in known.keys.items():
            if task_id and known.tasks[task_id].record is None:
                known.keys[key] = (seq, "")  # it was stored with a task that never counted
        return known

    async def _decided(self, task_id: str) -> Found:
        """Return a task; one of a pack of which nothing was said is void from now on, unless something is said first."""
        found = await self._reader.find_staged(task_id)
        while found.record is not None and found.record.pack:
            pack = self._subjects.pack(found.record.pack)
            (said,) = await self._reader.last_of([pack])
            if said is not None:
                return found if said.data == STORED else Found(None, found.seq)
            await self._writer.write([Write(pack, VOID, 0)])
        return found

    # -- what is new

    async def _store(self, plan: _Plan, known: _Known) -> bool:
        """Write what is new; `False` = something of it is there by now."""
        chunks = self._chunked([self._writes(task, known, "") for task in plan.fresh.values()])
        if len(chunks) > 1:
            return await self._store_pack(plan, known)
        return all([await self._writer.write(chunk) is not None for chunk in chunks])

    async def _store_pack(self, plan: _Plan, known: _Known) -> bool:
        pack = secrets.token_hex(12)
        said = self._subjects.pack(pack)
        *before, last = self._chunked([self._writes(task, known, pack) for task in plan.fresh.values()])
        for chunk in before:
            if await self._writer.write(chunk) is None:
                await self._writer.write([Write(said, VOID, 0)])
                return False
        if await self._writer.write([Write(said, STORED, 0), *last]) is None:
            await self._writer.write([Write(said, VOID, 0)])
            return False
        return True

    def _chunked(self, orders: Iterable[list[Write]]) -> list[list[Write]]:
        chunks: list[list[Write]] = []
        for order in orders:
            if not chunks or len(chunks[-1]) + len(order) >= LARGEST_BATCH:
                chunks.append([])
            chunks[-1] += order
        return chunks

    def _writes(self, task: NewTask, known: _Known, pack: str) -> list[Write]:
        payload = bulk(task.payload, self._reader.part)
        record = stored(task, self._clock.now(), payload, pack)
        there = known.tasks.get(task.id, _NONE).seq
        anywhere = self._subjects.task_anywhere(task.id)
        writes = [Write(self._subjects.task(task.queue, task.id), encoded(record), there, anywhere)]
        if key := self._key(task):
            writes.append(Write(key, task.id.encode(), known.keys.get(key, (0, ""))[0]))
        return writes + self._reader.parts(task.id, PAYLOAD, payload, task.payload)
