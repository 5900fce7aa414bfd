"""The replicas of a run that cannot say themselves that they are ready: programs, started here or by somebody else.

They are ready when they are seen at the hub. From here only facts go out; the run decides what follows from them.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from orchestrator.errors import OrchestratorError
from orchestrator.runtime.readiness import seen_on
from orchestrator.runtime.summary import awaited_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchestrator.runtime.lives import Seat
    from orchestrator.runtime.output import Output
    from orchestrator.runtime.presence_watch import PresenceWatch
    from orchestrator.topology.plan import Plan

PATIENCE: Final = 3.0
"""Seconds after which it is said which external replicas are still awaited."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A program is on its channel at the hub."""

    name: str


@dataclass(frozen=True, slots=True)
class Blind:
    """It cannot be seen any more who is at the hub."""

    error: OrchestratorError


@dataclass(frozen=True, slots=True)
class PatienceOver:
    """External replicas have had some time to come."""


Arrival: TypeAlias = Seen | Blind | PatienceOver


class Arrivals:
    """Looks for the programs of one run while they are awaited, over one connection; without programs there is none."""

    def __init__(self, plan: Plan, seat: Seat, output: Output, report: Callable[[Arrival], None]) -> None:
        self._plan, self._seat, self._output, self._report = plan, seat, output, report
        self.channels: Final = {
            replica.peer_id: channel for replica in plan.replicas if (channel := seen_on(replica)) is not None
        }
        """Where each program is seen, if it can be seen at all."""
        self.external: Final = tuple(replica.peer_id for replica in plan.replicas if replica.external)
        self._watch: PresenceWatch | None = None
        self._watching: asyncio.Task[None] | None = None
        self._patience: asyncio.TimerHandle | None = None

    def start(self, tasks: asyncio.TaskGroup) -> None:
        if self.external:
            self._patience = asyncio.get_running_loop().call_later(PATIENCE, self._report, PatienceOver())
        if not self.channels:
            return
        # A run of handlers alone loads neither a client nor structlog into its parent.
        from orchestrator.runtime.own_logs import route_structlog
        from orchestrator.runtime.presence_watch import PresenceWatch

        route_structlog(self._output)
        self._watch = PresenceWatch(self._seat.url, self._seat.key, self.channels, self._seen)
        self._watching = tasks.create_task(self._look(self._watch), name="presence watch")

    def stop(self) -> None:
        """See nobody come any more: this connection is not to be one that the hub waits for at its end."""
        if self._watching is not None:
            self._watching.cancel()
        if self._patience is not None:
            self._patience.cancel()
        self._watch = None

    def expect(self, name: str) -> None:
        """Look for a replica that is about to come; for one that says itself when it is ready nothing is done."""
        if self._watch is not None:
            self._watch.expect(name)

    def forget(self, name: str) -> None:
        if self._watch is not None:
            self._watch.forget(name)

    def still_awaited(self, names: Sequence[str]) -> str:
        """Return the sentence about external replicas that have not come."""
        tokens = f"`orchestrator token {self._plan.source} AGENT [--replica N]` makes a token"
        if self._plan.hub.key is None:
            tokens = "without a `key` in the `hub` section nobody outside this run can be given a token"
        return awaited_line(names, self._seat.url, tokens)

    def _seen(self, name: str) -> None:
        self._report(Seen(name))

    async def _look(self, watch: PresenceWatch) -> None:
        try:
            await watch.run()
        except OrchestratorError as error:
            self._watch = None
            self._report(Blind(error))
