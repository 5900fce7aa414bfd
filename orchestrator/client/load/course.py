"""The workloads one after the other against one hub, until they are done or somebody has seen enough."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from orchestrator.client.load.connecting import connect
from orchestrator.client.load.direct import direct, round_trips
from orchestrator.client.load.fan_out import fan_out
from orchestrator.client.load.figures import Found
from orchestrator.client.load.run import LoadRun
from orchestrator.client.load.stream import streams

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchestrator.client.load.dialling import HubDialler

Workload: TypeAlias = Literal["connect", "fan-out", "direct", "stream"]
Part: TypeAlias = Literal["connect", "fan-out", "direct", "round trip", "stream"]
"""What has figures of its own."""

PARTS: Final[dict[Workload, tuple[Part, ...]]] = {
    "connect": ("connect",),
    "fan-out": ("fan-out",),
    "direct": ("direct", "round trip"),
    "stream": ("stream",),
}
WINDOW: Final = 16
"""Messages under way in a fan-out."""
DIRECT_WINDOW: Final = 8
"""Messages under way in each pair."""
_WARM: Final = 0.5
_WARM_SHARE: Final = 0.2
"""Seconds of warming up, and which part of a workload's time at most."""
_LEAVING: Final = 2.0
"""Seconds that a workload has to end, once it is told to."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the load is to be."""

    connections: int
    seconds: float
    """Of all workloads together, without the time that their connections take."""
    size: int
    """Bytes of the JSON of each message."""
    chunks_per_second: float
    """Of all streams together."""
    channel: str


class Course:
    """`dialler` makes what opens the connections of each part; `tell` is called with what each has found.

    The second of its numbers is how many messages a second the hub lets a connection send.
    """

    def __init__(
        self, dialler: Callable[[], HubDialler], wishes: Wishes, tell: Callable[[Part, Found, float], None]
    ) -> None:
        self._dialler, self._wishes, self._tell = dialler, wishes, tell
        self._run: LoadRun | None = None
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """End the part that is under way, and begin no other."""
        self._stopped.set()
        if self._run is not None:
            self._run.stop()

    async def go(self, workloads: Sequence[Workload]) -> None:
        """Raises `ConnectionProblem` for the first connection that fails or ends; what was found before has been told."""
        timed = sum(workload != "connect" for workload in workloads)
        for workload in workloads:
            seconds = self._wishes.seconds / max(timed, 1) / len(PARTS[workload])
            for part in PARTS[workload]:
                if not self._stopped.is_set():
                    await self._play(part, self._wishes.seconds if part == "connect" else seconds)

    async def _play(self, part: Part, seconds: float) -> None:
        dialler, self._run = self._dialler(), LoadRun()
        playing = asyncio.create_task(self._found(part, dialler, self._run, seconds), name=part)
        stopped = asyncio.create_task(self._stopped.wait(), name="stopped")
        try:
            await asyncio.wait([playing, stopped], return_when=asyncio.FIRST_COMPLETED)
            if self._stopped.is_set():
                await asyncio.wait([playing], timeout=_LEAVING)
            if playing.done():
                found = playing.result()
                if found.span.operations:
                    self._tell(part, found, dialler.rate())
        finally:
            self._run = None
            playing.cancel()
            stopped.cancel()
            await asyncio.wait([playing, stopped])
            await dialler.close()

    async def _found(self, part: Part, dialler: HubDialler, run: LoadRun, seconds: float) -> Found:
        wishes, pairs = self._wishes, max(self._wishes.connections // 2, 1)
        warm = min(_WARM, seconds * _WARM_SHARE)
        load: dict[str, Any] = {"size": wishes.size, "warm": warm, "seconds": seconds - warm}
        match part:
            case "connect":
                connected = await connect(dialler, run, connections=wishes.connections, seconds=seconds)
                if connected.refused is not None:
                    raise connected.refused
                return Found(connected.span, connected.latency, 0)
            case "fan-out":
                subscribers = max(wishes.connections - 1, 1)
                return await fan_out(
                    dialler, run, subscribers=subscribers, window=WINDOW, channel=wishes.channel, **load
                )
            case "direct":
                return await direct(dialler, run, pairs=pairs, window=DIRECT_WINDOW, **load)
            case "round trip":
                return await round_trips(dialler, run, pairs=1, **load)
            case "stream":
                return await streams(dialler, run, count=pairs, per_second=wishes.chunks_per_second, **load)
