"""The port's methods, each as a request to another process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.store import wire_requests as requests
from orchestrator.store.tasks import FINAL

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from orchestrator.store.port import Capabilities, Lease
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
        Verdict,
    )
    from orchestrator.store.wire_requests import AnyRequest


class Asking(Protocol):
    capabilities: Capabilities

    def number(self) -> int: ...

    async def ask(self, request: AnyRequest) -> Any: ...


class RemoteTasks:
    def __init__(self, store: Asking) -> None:
        self._ask, self._number, self._store = store.ask, store.number, store

    @property
    def capabilities(self) -> Capabilities:
        return self._store.capabilities

    async def enqueue(self, tasks: Sequence[NewTask]) -> tuple[Enqueued, ...]:
        answer: tuple[Enqueued, ...] = await self._ask(requests.Enqueue(self._number(), tuple(tasks)))
        return answer

    async def claim(
        self, queue: str, worker: str, capabilities: Collection[str] = (), *, limit: int = 1, lease: float = 30.0
    ) -> Claimed:
        request = requests.Claim(self._number(), queue, worker, tuple(capabilities), limit, lease)
        answer: Claimed = await self._ask(request)
        return answer

    async def extend(self, hold: Hold, lease: float) -> None:
        await self._ask(requests.Extend(self._number(), hold, lease))

    async def complete(self, hold: Hold, result: bytes) -> None:
        await self._ask(requests.Complete(self._number(), hold, result))

    async def fail(self, hold: Hold, failure: Failure, *, retry: bool = True, counts: bool = True) -> Verdict:
        answer: Verdict = await self._ask(requests.Fail(self._number(), hold, failure, retry, counts))
        return answer

    async def release(self, hold: Hold) -> None:
        await self._ask(requests.Release(self._number(), hold))

    async def reclaim(self, queue: str, worker: str, *, held: Collection[str] = (), begun: bool = True) -> int:
        answer: int = await self._ask(requests.Reclaim(self._number(), queue, worker, tuple(held), begun))
        return answer

    async def once(self, hold: Hold, key: str) -> Effect:
        answer: Effect = await self._ask(requests.Once(self._number(), hold, key))
        return answer

    async def cancel(self, task_id: str, *, caller: str | None = None) -> State:
        answer: State = await self._ask(requests.Cancel(self._number(), task_id, caller))
        return answer

    async def result(self, task_id: str, *, caller: str | None = None) -> Outcome | None:
        answer: Outcome | None = await self._ask(requests.Result(self._number(), task_id, caller))
        return answer

    async def outcomes(self, task_ids: Collection[str], *, caller: str | None = None) -> dict[str, Outcome | None]:
        request = requests.Outcomes(self._number(), tuple(task_ids), caller)
        answer: dict[str, Outcome | None] = await self._ask(request)
        return answer

    async def get(self, task_id: str, *, caller: str | None = None) -> TaskHistory:
        answer: TaskHistory = await self._ask(requests.Get(self._number(), task_id, caller))
        return answer

    async def list(
        self,
        *,
        states: Collection[State] = (),
        queue: str | None = None,
        caller: str | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> tuple[TaskInfo, ...]:
        request = requests.List(self._number(), tuple(states), queue, caller, limit, before)
        answer: tuple[TaskInfo, ...] = await self._ask(request)
        return answer

    async def dead(self, *, queue: str | None = None, limit: int = 100) -> tuple[TaskInfo, ...]:
        answer: tuple[TaskInfo, ...] = await self._ask(requests.Dead(self._number(), queue, limit))
        return answer

    async def retry_dead(self, task_ids: Collection[str] | None = None, *, queue: str | None = None) -> int:
        ids = None if task_ids is None else tuple(task_ids)
        answer: int = await self._ask(requests.RetryDead(self._number(), ids, queue))
        return answer

    async def purge(self, older: float, *, states: Collection[State] = FINAL) -> int:
        answer: int = await self._ask(requests.Purge(self._number(), older, tuple(states)))
        return answer

    async def sweep(self) -> float | None:
        answer: float | None = await self._ask(requests.Sweep(self._number()))
        return answer

    async def stats(self) -> tuple[QueueStats, ...]:
        answer: tuple[QueueStats, ...] = await self._ask(requests.Stats(self._number()))
        return answer


class RemoteLeases:
    def __init__(self, store: Asking) -> None:
        self._ask, self._number, self._store = store.ask, store.number, store

    @property
    def capabilities(self) -> Capabilities:
        return self._store.capabilities

    async def acquire(self, name: str, holder: str, ttl: float) -> Lease | None:
        answer: Lease | None = await self._ask(requests.Acquire(self._number(), name, holder, ttl))
        return answer

    async def renew(self, name: str, holder: str, ttl: float) -> Lease | None:
        answer: Lease | None = await self._ask(requests.Renew(self._number(), name, holder, ttl))
        return answer

    async def release(self, name: str, holder: str) -> None:
        await self._ask(requests.LetGo(self._number(), name, holder))

    async def get(self, name: str) -> Lease | None:
        answer: Lease | None = await self._ask(requests.Holder(self._number(), name))
        return answer
