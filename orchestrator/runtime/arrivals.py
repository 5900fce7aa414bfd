"""The replicas of a run that cannot say themselves that they are ready: programs, started here or by somebody else.

They are ready when they are seen at the hub. From here only facts go out; the run decides what follows from them.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from orchestrator.errors import OrchestratorError
from orchestrator.runtime.pinned import trusting
from orchestrator.runtime.summary import awaited_line
from orchestrator.topology.part import presence_channel

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
        self._seat, self._output, self._report = seat, output, report
        self._awaited: set[str] = set()
        self._watch: PresenceWatch | None = None
        self._watching: asyncio.Task[None] | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._take(plan)

    def _take(self, plan: Plan) -> None:
        self._plan = plan
        here = {replica.peer_id for replica in plan.here}
        self.elsewhere = tuple(replica.peer_id for replica in plan.replicas if replica.peer_id not in here)
        """Those that this run does not start: they are external, or another run's."""
        self.channels = {
            replica.peer_id: channel
            for replica in plan.replicas
            if (replica.peer_id not in here or replica.handler is None)
            and (channel := presence_channel(replica)) is not None
        }
        """Where each of those is seen that do not say themselves that they are ready, if it can be seen at all."""

    def start(self, tasks: asyncio.TaskGroup) -> None:
        if self.elsewhere:
            self._patience = asyncio.get_running_loop().call_later(PATIENCE, self._report, PatienceOver())
        self._look_out(tasks)

    def revised(self, plan: Plan, tasks: asyncio.TaskGroup) -> None:
        """Look for those of another plan from now on."""
        before = self.channels
        self._take(plan)
        if self.channels != before:
            self._end_watch()
            self._look_out(tasks)

    def _look_out(self, tasks: asyncio.TaskGroup) -> None:
        if not self.channels:
            return
        # A run of handlers alone loads neither a client nor structlog into its parent.
        from orchestrator.runtime.own_logs import route_structlog
        from orchestrator.runtime.presence_watch import PresenceWatch

        route_structlog(self._output)
        tls = trusting(self._seat.trusted)
        self._watch = PresenceWatch(self._seat.url, self._seat.key, self.channels, self._seen, tls=tls)
        for name in self._awaited:
            self._watch.expect(name)
        self._watching = tasks.create_task(self._look(self._watch), name="presence watch")

    def stop(self) -> None:
        """See nobody come any more: this connection is not to be one that the hub waits for at its end."""
        self._end_watch()
        if self._patience is not None:
            self._patience.cancel()

    def _end_watch(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
        self._watch = None

    def expect(self, name: str) -> None:
        """Look for a replica that is about to come; for one that says itself when it is ready nothing is done."""
        self._awaited.add(name)
        if self._watch is not None:
            self._watch.expect(name)

    def forget(self, name: str) -> None:
        self._awaited.discard(name)
        if self._watch is not None:
            self._watch.forget(name)

    def still_awaited(self, names: Sequence[str]) -> str:
        """Return the sentence about external replicas that have not come."""
        tokens = f"`orchestrator token {self._plan.source} AGENT [--replica N]` makes a token"
        if self._plan.elsewhere.issuperset(names):
            tokens = f"`orchestrator run {self._plan.source} --only …` on their machine starts them"
        elif self._plan.hub.key is None:
            tokens = "without a `key` in the `hub` section nobody outside this run can be given a token"
        return awaited_line(names, self._seat.url, tokens)

    def _seen(self, name: str) -> None:
        self._awaited.discard(name)
        self._report(Seen(name))

    async def _look(self, watch: PresenceWatch) -> None:
        try:
            await watch.run()
        except OrchestratorError as error:
            if self._watch is watch:
                self._watch = None
                self._report(Blind(error))
