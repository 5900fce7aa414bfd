"""`--until-idle`: a run that ends when its store has nothing left to do, and says what became of the tasks."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Final

from orchestrator.errors import ExitCode, OrchestratorError, StoreUnavailable
from orchestrator.runtime.shared_engine import engine_of, made
from orchestrator.runtime.summary import counted
from orchestrator.store.remote import RemoteStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType
    from typing import Self

    from orchestrator.runtime.output import Output
    from orchestrator.runtime.store_seat import StoreSeat
    from orchestrator.store.opening import Store
    from orchestrator.topology.plan import Plan

PAUSE: Final = 1.0
"""Seconds after which a store that gave no answer is asked again."""
LOOK: Final = 0.5
"""Seconds between two looks at an engine that tells nobody when there is nothing left to do."""
ENDS: Final = ("done", "dead", "cancelled")


class NothingKept(OrchestratorError):
    """There is no store whose tasks could be waited for."""

    exit_code = ExitCode.USAGE

    def __str__(self) -> str:
        return (
            "--until-idle: this topology needs no store, so there are no tasks to wait for; "
            "they are kept for workers with 'tasks: {delivery: at-least-once}'"
        )


class TasksDied(OrchestratorError):
    """Some tasks failed as often as they may, or expired, while they were waited for."""

    def __init__(self, count: int, topology: str) -> None:
        self.count, self.topology = count, topology
        super().__init__(count, topology)

    def __str__(self) -> str:
        return f"{counted(self.count, 'task')} died: `orchestrator tasks {self.topology} --state dead` says of what"


def check_until_idle(plan: Plan) -> None:
    """Raise `NothingKept` for a plan without a store."""
    if plan.store is None:
        raise NothingKept


class Idling:
    """Counts what ends in the store of a run from its start on, as long as it is entered."""

    def __init__(self, plan: Plan, seat: StoreSeat | None, output: Output) -> None:
        """`seat` is where the store of the run is; `None` = the plan's is one that machines share."""
        self._output, self._topology = output, str(plan.source)
        self._before: Counter[str] = Counter()
        self._store, self._idle = _way_to(plan, seat)

    async def __aenter__(self) -> Self:
        try:
            self._before = await self._ended()
        except BaseException:
            await self._store.close()
            raise
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self._store.close()

    async def wait(self) -> None:
        """Return when no task waits or is worked on, and say how they ended. Raises `TasksDied`."""
        told = ""
        while True:
            try:
                await self._idle()
                ended = await self._ended() - self._before
            except StoreUnavailable as error:  # it may come back, and what it keeps is not lost meanwhile
                if str(error) != told:
                    told = str(error)
                    self._output.say("warning", f"the tasks are still waited for: {told}")
                await asyncio.sleep(PAUSE)
            else:
                break
        self._output.say("info", f"nothing is left to do in the store · {_shown(ended)}")
        if ended["dead"]:
            raise TasksDied(ended["dead"], self._topology)

    async def _ended(self) -> Counter[str]:
        """Return how many tasks of all queues are in each final state."""
        queues = await self._store.tasks.stats()
        return Counter({end: sum(getattr(queue, end) for queue in queues) for end in ENDS})


def store_of(plan: Plan, seat: StoreSeat | None) -> Store:
    """Return the store of a run, to be closed; `seat` is where it is, `None` = it is one that machines share."""
    if seat is not None:

        async def secret() -> str:
            return seat.operator

        return RemoteStore(seat.path, secret)
    engine = engine_of(plan)
    assert engine is not None, "a store is in one place or the other"
    return made(engine)


def _way_to(plan: Plan, seat: StoreSeat | None) -> tuple[Store, Callable[[], Awaitable[None]]]:
    """Return the store of a run, and what returns once nothing is left to do in it."""
    shared = store_of(plan, seat)
    if isinstance(shared, RemoteStore):
        return shared, shared.idle

    async def idle() -> None:
        while True:
            queues = await shared.tasks.stats()
            if not any(queue.open for queue in queues):
                return
            await asyncio.sleep(LOOK)

    return shared, idle


def _shown(ended: Counter[str]) -> str:
    first, *rest = [end for end in ENDS if ended[end]] or ["done"]
    return ", ".join([f"{counted(ended[first], 'task')} {first}", *(f"{ended[end]} {end}" for end in rest)])
