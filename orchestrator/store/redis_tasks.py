"""Tasks kept by a server of Redis: each method is one script there, or as many as it takes pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from orchestrator.store import redis_scripts as scripts
from orchestrator.store.attempting import lost_because
from orchestrator.store.errors import LeaseLost, TaskExists, UnknownTask
from orchestrator.store.redis_answers import (
    confined_to,
    counted,
    enqueued,
    history_of,
    info_of,
    leased,
    outcome_of,
    state_of,
    told,
    words_of,
)
from orchestrator.store.tasks import (
    FINAL,
    Claimed,
    Effect,
    Enqueued,
    Failure,
    Hold,
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

    from orchestrator.store.port import Capabilities
    from orchestrator.store.redis_answers import Word
    from orchestrator.store.redis_links import RedisLinks
    from orchestrator.store.redis_scripts import Script

AT_ONCE: Final = 1_024
"""Tasks that one script moves on or forgets, so that others are not kept waiting; the scripts say the same."""


class RedisTasks:
    """The tasks of a `RedisStore`."""

    def __init__(self, links: RedisLinks, rng: random.Random) -> None:
        self._links, self._rng = links, rng

    @property
    def capabilities(self) -> Capabilities:
        return self._links.capabilities

    # -- what callers do

    async def enqueue(self, tasks: Sequence[NewTask]) -> tuple[Enqueued, ...]:
        if not tasks:
            return ()
        rows = await self._links.run(scripts.ENQUEUE, *words_of(tasks))
        if rows[0] == b"taken":
            raise TaskExists(rows[1].decode())
        return tuple(map(enqueued, tasks, rows))

    async def cancel(self, task_id: str, *, caller: str | None = None) -> State:
        return state_of(await self._known(scripts.CANCEL, task_id, caller))

    async def result(self, task_id: str, *, caller: str | None = None) -> Outcome | None:
        rows = await self._links.run(scripts.OUTCOMES, confined_to(caller), task_id)
        if not rows:
            raise UnknownTask(task_id)
        return outcome_of(rows[0])

    async def outcomes(self, task_ids: Collection[str], *, caller: str | None = None) -> dict[str, Outcome | None]:
        rows = await self._links.run(scripts.OUTCOMES, confined_to(caller), *check_outcomes(task_ids))
        return {row[0].decode(): outcome_of(row) for row in rows}

    # -- what workers do

    async def claim(
        self, queue: str, worker: str, capabilities: Collection[str] = (), *, limit: int = 1, lease: float = 30.0
    ) -> Claimed:
        limit = check_claim(limit, lease)
        next_due, *rows = await self._links.run(scripts.CLAIM, queue, worker, limit, lease, *capabilities)
        return Claimed(tuple(leased(row, worker) for row in rows), float(next_due) if next_due else None)

    async def extend(self, hold: Hold, lease: float) -> None:
        check_lease(lease)
        await self._held(scripts.EXTEND, hold, lease)

    async def complete(self, hold: Hold, result: bytes) -> None:
        await self._held(scripts.COMPLETE, hold, result)

    async def fail(self, hold: Hold, failure: Failure, *, retry: bool = True, counts: bool = True) -> Verdict:
        part = self._rng.random()
        state, pause = await self._held(scripts.FAIL, hold, told(failure), int(retry), int(counts), part)
        return Verdict(state_of(state), float(pause) if pause else None)

    async def release(self, hold: Hold) -> None:
        await self._held(scripts.RELEASE, hold)

    async def reclaim(self, queue: str, worker: str, *, held: Collection[str] = (), begun: bool = True) -> int:
        count: int = await self._links.run(scripts.RECLAIM, queue, worker, int(begun), *held)
        return count

    async def once(self, hold: Hold, key: str) -> Effect:
        first, by = await self._held(scripts.ONCE, hold, key)
        fence, _, task_id = by.decode().partition(" ")
        return Effect(first == 1, task_id, int(fence))

    # -- what people look at

    async def get(self, task_id: str, *, caller: str | None = None) -> TaskHistory:
        return history_of(task_id, await self._known(scripts.GET, task_id, caller))

    async def list(
        self,
        *,
        states: Collection[State] = (),
        queue: str | None = None,
        caller: str | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> tuple[TaskInfo, ...]:
        await self._swept()
        wanted = {state.value for state in states or State}
        if State.READY in wanted:
            wanted.add("later")
        found: list[TaskInfo] = []
        start = confined_to(before)
        while len(found) < limit:
            answer = await self._links.run(
                scripts.LIST, start, confined_to(queue), confined_to(caller), limit - len(found), *sorted(wanted)
            )
            if answer[0] == b"unknown":
                raise UnknownTask(before or "")
            found += map(info_of, answer[2:])
            if not answer[1]:
                break
            start = f"#{int(answer[1])}"
        return tuple(found)

    async def dead(self, *, queue: str | None = None, limit: int = 100) -> tuple[TaskInfo, ...]:
        return await self.list(states={State.DEAD}, queue=queue, limit=limit)

    async def stats(self) -> tuple[QueueStats, ...]:
        await self._swept()
        return counted(await self._links.run(scripts.STATS))

    async def retry_dead(self, task_ids: Collection[str] | None = None, *, queue: str | None = None) -> int:
        count = 0
        if task_ids is None:
            start: Word = "+inf"
            while start:
                done, start = await self._links.run(scripts.RETRY, confined_to(queue), start)
                count += done
            return count
        asked = tuple(dict.fromkeys(task_ids))
        for at in range(0, len(asked), AT_ONCE):
            done, _ = await self._links.run(scripts.RETRY, confined_to(queue), "", *asked[at : at + AT_ONCE])
            count += done
        return count

    async def purge(self, older: float, *, states: Collection[State] = FINAL) -> int:
        wanted = sorted(state.value for state in FINAL & frozenset(states))
        until: Word = older
        count = 0
        while wanted:
            done, limit = await self._links.run(scripts.PURGE, until, *wanted)
            count += done
            if done < AT_ONCE:
                break
            until = b"@" + limit
        return count

    async def sweep(self) -> float | None:
        left = await self._links.run(scripts.SWEEP)
        return float(left) if left else None

    async def _swept(self) -> None:
        while await self.sweep() == 0:
            pass

    # -- who may speak of a task

    async def _held(self, script: Script, hold: Hold, *words: Word) -> Any:
        """Return what a script answers to whoever holds a task. Raises `LeaseLost`."""
        answer = await self._links.run(script, hold.id, hold.fence, hold.worker, *words)
        if answer[0] == b"lost":
            state = answer[1]
            raise LeaseLost(hold.id, hold.fence, lost_because(state_of(state) if state else None))
        return answer[1:]

    async def _known(self, script: Script, task_id: str, caller: str | None) -> Any:
        """Return what a script answers about a task that a caller may know of. Raises `UnknownTask`."""
        answer = await self._links.run(script, task_id, confined_to(caller))
        if answer[0] == b"unknown":
            raise UnknownTask(task_id)
        return answer[1]
