"""A run as its user's commands see it."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

from orchestrator.runtime.letting_in import LettingIn
from orchestrator.runtime.lives import HUB_NAME, STORE_NAME
from orchestrator.runtime.operator_wire import ReplicaView, RunView
from orchestrator.runtime.readiness import Standing
from orchestrator.runtime.run_loop import UNSEEN, Hurried

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from orchestrator.runtime.lives import Seat
    from orchestrator.runtime.operator_wire import Entry, Linked, State, Where
    from orchestrator.runtime.plan_source import PlanSource
    from orchestrator.runtime.reloading import Reloader
    from orchestrator.runtime.run_loop import RunLoop
    from orchestrator.topology.replica import Replica

_STATES: dict[Standing, State] = {
    Standing.STARTING: "starting",
    Standing.READY: "ready",
    Standing.OFFLINE: "offline",
    Standing.GONE: "waiting",
    Standing.OVER: "finished",
}


class OperatedRun:
    def __init__(self, loop: RunLoop, reloader: Reloader, seat: Seat, source: PlanSource | None) -> None:
        self._loop, self._reloader, self._hub_url = loop, reloader, seat.url
        self._source = source
        entrance = getattr(loop.lives, "entrance", None)
        self._letting_in = LettingIn(seat, None if entrance is None else entrance.new_code)
        self._began = time.time()

    def view(self) -> RunView:
        plan = self._loop.plan
        servers = [name for name in (HUB_NAME, STORE_NAME) if self._loop.supervisor.has(name)]
        rows = [*map(self._server, servers), *map(self._replica, plan.replicas)]
        return RunView(
            plan.name,
            str(plan.source),
            os.getpid(),
            self._hub_url,
            self._began,
            self._loop.complete,
            tuple(rows),
        )

    def _server(self, name: str) -> ReplicaView:
        pid, since = self._loop.lives.process_of(name)
        state: State = "stopping" if self._loop.supervisor.stopping else "waiting" if pid is None else "ready"
        restarts, detail = self._loop.restarts[name], self._loop.detail.get(name, "")
        return ReplicaView("", name, "here", state, pid, _wall(since), restarts, detail)

    def _replica(self, replica: Replica) -> ReplicaView:
        loop, name = self._loop, replica.peer_id
        where: Where = "external" if replica.external else "elsewhere" if name in loop.plan.elsewhere else "here"
        standing = loop.readiness[name]
        state = _STATES[standing]
        pid, since = loop.lives.process_of(name) if where == "here" else (None, None)
        if where != "here":
            state = "unseen" if loop.detail.get(name) == UNSEEN else "awaited" if state == "starting" else state
        elif name in loop.supervisor.failed:
            state = "failed"
        elif pid is not None and loop.lives.drains(name):
            state = "stopping"
        detail = loop.detail.get(name, "")
        return ReplicaView(replica.agent, name, where, state, pid, _wall(since), loop.restarts[name], detail)

    async def scale(self, wished: Mapping[str, int]) -> str:
        return await self._reloader.scale(wished)

    async def restart(self, names: Sequence[str], progress: Callable[[str], None]) -> str:
        return await self._reloader.restart(names, progress)

    async def reload(self) -> str:
        return await self._reloader.reload()

    def enter(self, sub: str, instance: str) -> Entry:
        reports = {} if self._source is None else self._source.current.reports
        return self._letting_in.entry(self._loop.plan, reports, sub, instance, time.time())

    def link(self) -> Linked:
        return self._letting_in.link(self._loop.plan, time.time())

    def stop(self, grace: float | None) -> None:
        self._loop.facts.put_nowait(Hurried(grace))


def _wall(since: float | None) -> float | None:
    """Return when that was in Unix seconds."""
    return None if since is None else time.time() - (asyncio.get_running_loop().time() - since)
