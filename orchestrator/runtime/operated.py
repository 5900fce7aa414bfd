"""A run as its user's commands see it."""

from __future__ import annotations

import asyncio
import functools
import os
import time
from collections import Counter
from typing import TYPE_CHECKING

from orchestrator.runtime.control import BUCKETS
from orchestrator.runtime.letting_in import LettingIn
from orchestrator.runtime.lives import HUB_NAME, STORE_NAME
from orchestrator.runtime.memory_use import memory_of, uses
from orchestrator.runtime.operator_wire import ProcessUse, ReplicaView, RunView, TopView, WorkCounts
from orchestrator.runtime.readiness import Standing
from orchestrator.runtime.run_loop import UNSEEN, Hurried

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from orchestrator.runtime.control import ReplicaFigures
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
        self._letting_in = LettingIn(seat, loop.lives.entrance.new_code)
        self._began = time.time()

    def view(self) -> RunView:
        plan = self._loop.plan
        servers = [name for name in (HUB_NAME, STORE_NAME) if self._loop.supervisor.has(name)]
        memory = functools.cache(memory_of)  # replicas may share a process
        rows = [self._server(name, memory) for name in servers]
        rows += [self._replica(replica, memory) for replica in plan.replicas]
        return RunView(
            plan.name,
            str(plan.source),
            os.getpid(),
            self._hub_url,
            self._began,
            self._loop.complete,
            tuple(rows),
        )

    def counts(self) -> TopView:
        view = self.view()
        pids = [os.getpid(), *(row.pid for row in view.replicas if row.pid is not None)]
        return TopView(
            view,
            time.time(),
            BUCKETS,
            {figures.peer: _work(figures) for figures in self._loop.lives.gathered.totals()},
            {pid: ProcessUse(*use) for pid, use in uses(pids).items()},
        )

    def _server(self, name: str, memory: Callable[[int], int]) -> ReplicaView:
        loop = self._loop
        pid, since = loop.lives.process_of(name)
        state: State = "stopping" if loop.supervisor.stopping else "waiting" if pid is None else "ready"
        return ReplicaView(
            "",
            name,
            "here",
            state,
            pid,
            _wall(since),
            loop.restarts[name],
            loop.detail.get(name, ""),
            ready_since=_wall(loop.ready_since.get(name)) if state == "ready" else None,
            memory=0 if pid is None else memory(pid),
            last_error=loop.last_error.get(name, ""),
        )

    def _replica(self, replica: Replica, memory: Callable[[int], int]) -> ReplicaView:
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
        work = loop.lives.gathered.standing(name)
        return ReplicaView(
            replica.agent,
            name,
            where,
            state,
            pid,
            _wall(since),
            loop.restarts[name],
            loop.detail.get(name, ""),
            ready_since=_wall(loop.ready_since.get(name)) if state == "ready" else None,
            inflight=work.inflight,
            capacity=work.capacity,
            done=work.done,
            failed=work.failed,
            memory=0 if pid is None else memory(pid),
            last_error=loop.last_error.get(name, ""),
        )

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


def _work(figures: ReplicaFigures) -> WorkCounts:
    ends = Counter[str]()
    for series, count in figures.counts.items():
        if series.startswith("tasks/"):
            ends[series.rpartition("/")[2]] += count
    steps = tuple(map(sum, zip(*figures.seconds.values(), strict=True)))
    return WorkCounts(
        ends["done"],
        ends["failed"],
        ends["cancelled"],
        ends["lost"],
        figures.counts.get("chunks", 0),
        figures.counts.get("reconnects", 0),
        steps,
    )


def _wall(since: float | None) -> float | None:
    """Return when that was in Unix seconds."""
    return None if since is None else time.time() - (asyncio.get_running_loop().time() - since)
