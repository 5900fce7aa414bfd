"""A store as one replica may use it: as itself, on its own queue, for the workers and teams that its topology names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

from msgspec.structs import replace

from orchestrator.errors import listed
from orchestrator.store.errors import LeaseLost, StoreRefused
from orchestrator.store.tasks import FINAL

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

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
    from orchestrator.topology.store_access import Access

_FOR_OPERATORS: Final = "only 'orchestrator tasks' and the runtime itself may"


class ConfinedStore:
    """What every method does for `peer_id`; whatever is not its own is refused with `StoreRefused`.

    What it stores is its agent's and comes from itself, whatever a task says of its origin. It learns of tasks of its agent
    only, and any other is unknown to it.
    """

    def __init__(self, store: Store, peer_id: str, access: Access) -> None:
        self._store = store
        self.tasks: Tasks = ConfinedTasks(store.tasks, peer_id, access)
        self.leases: Leases = ConfinedLeases(store.leases, peer_id, access)

    async def open(self) -> None:
        await self._store.open()

    async def close(self) -> None:
        """The store is open for others still."""


class ConfinedTasks:
    def __init__(self, tasks: Tasks, peer_id: str, access: Access) -> None:
        self._tasks, self._me, self._access = tasks, peer_id, access
        self.capabilities = tasks.capabilities
        self._queues = frozenset(access.queues)

    # -- as a caller

    async def enqueue(self, tasks: Sequence[NewTask]) -> tuple[Enqueued, ...]:
        return await self._tasks.enqueue([self._own(task) for task in tasks])

    def _own(self, task: NewTask) -> NewTask:
        if task.queue not in self._queues:
            self._refuse(
                f"store tasks for {task.queue!r}",
                f"its workers that are at-least-once are {listed(sorted(self._queues))} "
                f"(coordinators.{self._access.agent}.workers in the topology)",
            )
        if task.caller != self._access.agent:
            self._refuse(
                f"store tasks of {task.caller!r}", f"what it stores is of its own agent, {self._access.agent!r}"
            )
        return task if task.origin == self._me else replace(task, origin=self._me)

    async def cancel(self, task_id: str, *, caller: str | None = None) -> State:
        return await self._tasks.cancel(task_id, caller=self._caller(caller))

    async def result(self, task_id: str, *, caller: str | None = None) -> Outcome | None:
        return await self._tasks.result(task_id, caller=self._caller(caller))

    async def outcomes(self, task_ids: Collection[str], *, caller: str | None = None) -> dict[str, Outcome | None]:
        return await self._tasks.outcomes(task_ids, caller=self._caller(caller))

    async def get(self, task_id: str, *, caller: str | None = None) -> TaskHistory:
        return await self._tasks.get(task_id, caller=self._caller(caller))

    def _caller(self, caller: str | None) -> str:
        if caller not in (None, self._access.agent):
            self._refuse(
                f"ask for tasks of {caller!r}", f"only those of its own agent, {self._access.agent!r}, are told"
            )
        return self._access.agent

    # -- as a worker

    async def claim(
        self, queue: str, worker: str, capabilities: Collection[str] = (), *, limit: int = 1, lease: float = 30.0
    ) -> Claimed:
        self._check_worker(queue, worker)
        return await self._tasks.claim(queue, worker, capabilities, limit=limit, lease=lease)

    async def reclaim(self, queue: str, worker: str, *, held: Collection[str] = (), begun: bool = True) -> int:
        self._check_worker(queue, worker)
        return await self._tasks.reclaim(queue, worker, held=held, begun=begun)

    async def extend(self, hold: Hold, lease: float) -> None:
        self._check_hold(hold)
        await self._tasks.extend(hold, lease)

    async def complete(self, hold: Hold, result: bytes) -> None:
        self._check_hold(hold)
        await self._tasks.complete(hold, result)

    async def fail(self, hold: Hold, failure: Failure, *, retry: bool = True, counts: bool = True) -> Verdict:
        self._check_hold(hold)
        return await self._tasks.fail(hold, failure, retry=retry, counts=counts)

    async def release(self, hold: Hold) -> None:
        self._check_hold(hold)
        await self._tasks.release(hold)

    async def once(self, hold: Hold, key: str) -> Effect:
        self._check_hold(hold)
        return await self._tasks.once(hold, key)

    def _check_worker(self, queue: str, worker: str) -> None:
        if not self._access.claims:
            self._refuse_claims()
        if queue != self._access.agent:
            self._refuse(f"take tasks of {queue!r}", f"its queue is that of its own agent, {self._access.agent!r}")
        if worker != self._me:
            self._refuse(f"take tasks as {worker!r}", f"it is known to the store as {self._me!r}")

    def _check_hold(self, hold: Hold) -> None:
        """A worker that claims from one queue holds nothing of another, so that whose hold it is says everything."""
        if not self._access.claims:
            self._refuse_claims()
        if hold.worker != self._me:
            raise LeaseLost(hold.id, hold.fence, f"it is not {self._me} that has it")

    def _refuse_claims(self) -> NoReturn:
        self._refuse(
            "take tasks", f"workers.{self._access.agent}.tasks.delivery is not 'at-least-once' in the topology"
        )

    # -- what operators do

    async def list(
        self,
        *,
        states: Collection[State] = (),  # noqa: ARG002
        queue: str | None = None,  # noqa: ARG002
        caller: str | None = None,  # noqa: ARG002
        limit: int = 100,  # noqa: ARG002
        before: str | None = None,  # noqa: ARG002
    ) -> tuple[TaskInfo, ...]:
        self._refuse("list tasks", _FOR_OPERATORS)

    async def dead(self, *, queue: str | None = None, limit: int = 100) -> tuple[TaskInfo, ...]:  # noqa: ARG002
        self._refuse("list dead tasks", _FOR_OPERATORS)

    async def retry_dead(self, task_ids: Collection[str] | None = None, *, queue: str | None = None) -> int:  # noqa: ARG002
        self._refuse("retry dead tasks", _FOR_OPERATORS)

    async def purge(self, older: float, *, states: Collection[State] = FINAL) -> int:  # noqa: ARG002
        self._refuse("purge tasks", _FOR_OPERATORS)

    async def sweep(self) -> float | None:
        self._refuse("sweep the store", _FOR_OPERATORS)

    async def stats(self) -> tuple[QueueStats, ...]:
        self._refuse("count tasks", _FOR_OPERATORS)

    def _refuse(self, wish: str, remedy: str) -> NoReturn:
        raise StoreRefused(self._me, wish, remedy)


class ConfinedLeases:
    """Leases on the items of the teams that a replica is a member of, ``teams/{team}/claims/{item}``, held as itself."""

    def __init__(self, leases: Leases, peer_id: str, access: Access) -> None:
        self._leases, self._me = leases, peer_id
        self.capabilities = leases.capabilities
        self._teams = access.teams
        self._names = tuple(f"teams/{team}/claims/" for team in access.teams)

    async def acquire(self, name: str, holder: str, ttl: float) -> Lease | None:
        self._check(name, holder)
        return await self._leases.acquire(name, holder, ttl)

    async def renew(self, name: str, holder: str, ttl: float) -> Lease | None:
        self._check(name, holder)
        return await self._leases.renew(name, holder, ttl)

    async def release(self, name: str, holder: str) -> None:
        self._check(name, holder)
        await self._leases.release(name, holder)

    async def get(self, name: str) -> Lease | None:
        self._check_name(name)
        return await self._leases.get(name)

    def _check(self, name: str, holder: str) -> None:
        self._check_name(name)
        if not holder.startswith(f"{self._me}/"):
            raise StoreRefused(self._me, f"hold {name!r} as {holder!r}", f"its holders are named {self._me}/…")

    def _check_name(self, name: str) -> None:
        if not name.startswith(self._names):
            remedy = (
                f"its teams with strong claims are {listed(self._teams)} (teams.….members and "
                "teams.….claims.consistency in the topology)"
            )
            raise StoreRefused(self._me, f"claim {name!r}", remedy)
