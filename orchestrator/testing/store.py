"""One life's way to the store of a test: it can be cut, and is when the life ends by being killed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar

from orchestrator.errors import StoreUnavailable
from orchestrator.store.tasks import FINAL

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine, Sequence

    from orchestrator.store.opening import Store
    from orchestrator.store.port import Lease, Leases
    from orchestrator.store.tasks import (
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
        Tasks,
        Verdict,
    )

T = TypeVar("T")


class WayToStore:
    """A store, as long as it is reached. While `cut`, every method raises `StoreUnavailable`.

    Where it is cut between a request and its answer, what was asked for was done, or not, and the answer is never heard.
    """

    def __init__(self, store: Store, *, cut: bool = False) -> None:
        self._store, self.cut = store, cut
        self.tasks: Final[Tasks] = TasksAway(self, store.tasks)
        self.leases: Final[Leases] = LeasesAway(self, store.leases)

    async def open(self) -> None:
        await self.over(self._store.open())

    async def close(self) -> None:
        """The store is there for others still."""

    async def over(self, request: Coroutine[object, object, T]) -> T:
        """Return the answer to a request, which is a turn of the event loop on its way, and its answer another one."""
        try:
            await self._turn()
        except BaseException:
            request.close()
            raise
        answer = await request
        await self._turn()
        return answer

    async def _turn(self) -> None:
        if not self.cut:
            await asyncio.sleep(0)
        if self.cut:
            raise StoreUnavailable("the store is out of reach")


class LeasesAway:
    """The leases at the end of a way."""

    def __init__(self, way: WayToStore, leases: Leases) -> None:
        self._way, self._leases = way, leases
        self.capabilities = leases.capabilities

    async def acquire(self, name: str, holder: str, ttl: float) -> Lease | None:
        return await self._way.over(self._leases.acquire(name, holder, ttl))

    async def renew(self, name: str, holder: str, ttl: float) -> Lease | None:
        return await self._way.over(self._leases.renew(name, holder, ttl))

    async def release(self, name: str, holder: str) -> None:
        await self._way.over(self._leases.release(name, holder))

    async def get(self, name: str) -> Lease | None:
        return await self._way.over(self._leases.get(name))


class TasksAway:
    """The tasks at the end of a way."""

    def __init__(self, way: WayToStore, tasks: Tasks) -> None:
        self._way, self._tasks = way, tasks
        self.capabilities = tasks.capabilities

    async def enqueue(self, tasks: Sequence[NewTask]) -> tuple[Enqueued, ...]:
        return await self._way.over(self._tasks.enqueue(tasks))

    async def claim(
        self, queue: str, worker: str, capabilities: Collection[str] = (), *, limit: int = 1, lease: float = 30.0
    ) -> Claimed:
        return await self._way.over(self._tasks.claim(queue, worker, capabilities, limit=limit, lease=lease))

    async def reclaim(self, queue: str, worker: str, *, held: Collection[str] = (), begun: bool = True) -> int:
        return await self._way.over(self._tasks.reclaim(queue, worker, held=held, begun=begun))

    async def extend(self, hold: Hold, lease: float) -> None:
        await self._way.over(self._tasks.extend(hold, lease))

    async def complete(self, hold: Hold, result: bytes) -> None:
        await self._way.over(self._tasks.complete(hold, result))

    async def fail(self, hold: Hold, failure: Failure, *, retry: bool = True, counts: bool = True) -> Verdict:
        return await self._way.over(self._tasks.fail(hold, failure, retry=retry, counts=counts))

    async def release(self, hold: Hold) -> None:
        await self._way.over(self._tasks.release(hold))

    async def once(self, hold: Hold, key: str) -> Effect:
        return await self._way.over(self._tasks.once(hold, key))

    async def cancel(self, task_id: str, *, caller: str | None = None) -> State:
        return await self._way.over(self._tasks.cancel(task_id, caller=caller))

    async def result(self, task_id: str, *, caller: str | None = None) -> Outcome | None:
        return await self._way.over(self._tasks.result(task_id, caller=caller))

    async def outcomes(self, task_ids: Collection[str], *, caller: str | None = None) -> dict[str, Outcome | None]:
        return await self._way.over(self._tasks.outcomes(task_ids, caller=caller))

    async def get(self, task_id: str, *, caller: str | None = None) -> TaskHistory:
        return await self._way.over(self._tasks.get(task_id, caller=caller))

    async def list(
        self,
        *,
        states: Collection[State] = (),
        queue: str | None = None,
        caller: str | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> tuple[TaskInfo, ...]:
        request = self._tasks.list(states=states, queue=queue, caller=caller, limit=limit, before=before)
        return await self._way.over(request)

    async def dead(self, *, queue: str | None = None, limit: int = 100) -> tuple[TaskInfo, ...]:
        return await self._way.over(self._tasks.dead(queue=queue, limit=limit))

    async def retry_dead(self, task_ids: Collection[str] | None = None, *, queue: str | None = None) -> int:
        return await self._way.over(self._tasks.retry_dead(task_ids, queue=queue))

    async def purge(self, older: float, *, states: Collection[State] = FINAL) -> int:
        return await self._way.over(self._tasks.purge(older, states=states))

    async def sweep(self) -> float | None:
        return await self._way.over(self._tasks.sweep())

    async def stats(self) -> tuple[QueueStats, ...]:
        return await self._way.over(self._tasks.stats())
