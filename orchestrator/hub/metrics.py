"""``GET /metrics``: what the hub and its run have counted, for those who may know it.

Whoever asks from this machine, by its own name, may; from elsewhere, whoever holds a secret key of the hub. No name of a
peer, a channel or an app is among the figures.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Protocol

from aiohttp import web

from orchestrator.hub.agent_figures import by_agent
from orchestrator.hub.callers import is_near, refuse_other_sites
from orchestrator.hub.rest import refused, unstored
from orchestrator.hub.rest_requests import RestRefusal, authenticate

if TYPE_CHECKING:
    from orchestrator.hub.agent_figures import AgentFigures, Counted
    from orchestrator.hub.core import Hub
    from orchestrator.hub.keys import KeyRing
    from orchestrator.hub.loop_lag import LoopLag
    from orchestrator.hub.traffic import Traffic

MAX_AT_ONCE: Final = 8
"""Requests that wait for a text that is being written; one more is refused."""
_MISSING: Final = (
    "metrics need the package prometheus-client, which the hub does not find: "
    "pip install 'topology-orchestrator[metrics]', and start it again"
)


class RunFigures(Protocol):
    """The run that a hub belongs to, as far as it counts."""

    @property
    def bounds(self) -> Sequence[float]:
        """Seconds that separate the steps of what tasks took."""
        ...

    async def figures(self) -> Sequence[Counted] | None:
        """Return those of its replicas; `None` = it does not answer just now."""
        ...


class Measured(Protocol):
    """What metrics need of the server."""

    @property
    def keys(self) -> KeyRing: ...
    @property
    def hub(self) -> Hub: ...
    @property
    def lag(self) -> LoopLag: ...
    @property
    def run_figures(self) -> RunFigures | None:
        """`None` = the hub belongs to no run."""
        ...

    def refused(self, cause: str) -> None:
        """Count somebody who was not let in."""
        ...


@dataclass(frozen=True, slots=True)
class ClusterReading:
    neighbours: int
    up: bool
    stale: bool
    unsent: int


@dataclass(frozen=True, slots=True)
class RunReading:
    agents: Sequence[AgentFigures] | None
    """`None` = the run has not answered."""
    bounds: Sequence[float]


@dataclass(frozen=True, slots=True)
class Reading:
    """All figures at one moment; nothing in it changes any more."""

    connections: int
    subscriptions: int
    waiting: int
    most_waiting: int
    traffic: Traffic
    lag: tuple[tuple[int, ...], float]
    cluster: ClusterReading | None
    run: RunReading | None


def metrics_routes(server: Measured) -> list[web.RouteDef]:
    return [web.get("/metrics", _Desk(server).answer, allow_head=False)]


def read_figures(hub: Hub, lag: tuple[tuple[int, ...], float], run: RunReading | None) -> Reading:
    """Return what a hub has counted until now."""
    connections = list(hub.connections())
    cluster = hub.cluster
    return Reading(
        connections=len(connections),
        subscriptions=sum(len(connection.subscriptions) for connection in connections),
        waiting=hub.turn.backlog.total,
        most_waiting=max((connection.outbox.backlog for connection in connections), default=0),
        traffic=copy.deepcopy(hub.turn.traffic),
        lag=lag,
        cluster=None
        if cluster is None
        else ClusterReading(len(list(cluster.neighbours)), cluster.voice.backplane.up, cluster.stale, cluster.unsent),
        run=run,
    )


class _Desk:
    def __init__(self, server: Measured) -> None:
        self._server = server
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def answer(self, request: web.Request) -> web.Response:
        try:
            self._check(request)
            if self._waiting >= MAX_AT_ONCE:
                message = "too many read the metrics just now; try again in a moment"
                raise RestRefusal(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", message, {"Retry-After": "1"})
            self._waiting += 1
            try:
                async with self._turn:
                    body, kind = await self._written(_is_old(request))
            finally:
                self._waiting -= 1
        except RestRefusal as refusal:
            return refused(request, refusal)
        return unstored(web.Response(body=body, headers={"Content-Type": kind}))

    def _check(self, request: web.Request) -> None:
        """Raise `RestRefusal` for whoever may not know."""
        try:
            refuse_other_sites(request)
        except RestRefusal:
            self._server.refused("page")
            raise
        if is_near(request):
            return
        try:
            authenticate(request.headers.getall("Authorization", []), self._server.keys)
        except RestRefusal:
            self._server.refused("secret key")
            raise

    async def _written(self, old: bool) -> tuple[bytes, str]:
        """Return the text, which is made beside the loop: it may be long."""
        server, run = self._server, None
        if server.run_figures is not None:
            told = await server.run_figures.figures()
            run = RunReading(None if told is None else by_agent(told), server.run_figures.bounds)
        reading = read_figures(server.hub, server.lag.read(asyncio.get_running_loop()), run)
        try:
            return await asyncio.to_thread(_write, reading, old)
        except ModuleNotFoundError as missing:
            if missing.name != "prometheus_client":
                raise
            raise RestRefusal(HTTPStatus.NOT_IMPLEMENTED, "not_installed", _MISSING) from None


def _write(reading: Reading, old: bool) -> tuple[bytes, str]:
    from orchestrator.hub.metrics_text import write  # it needs an extra

    return write(reading, old=old)


def _is_old(request: web.Request) -> bool:
    """Tell whether the reader knows only the format that was before OpenMetrics."""
    accepted = request.headers.get("Accept", "")
    return "text/plain" in accepted and "openmetrics" not in accepted
