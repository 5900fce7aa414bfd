"""What peers cost a cluster by being there: who connects, subscribes, stays and leaves at one hub, and the other knows."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from typing import TYPE_CHECKING, Any, Final

from bench.cluster_tap import Tap
from bench.hub_servers import cpu_seconds, resident
from orchestrator.client.load.dialling import opened
from orchestrator.client.load.figures import Latency

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from orchestrator.client.budget import Budget
    from orchestrator.client.load.dialling import HubDialler
    from orchestrator.client.load.peer import HubPeer, LoadPeer

_SETTLE: Final = 0.3
"""Seconds that others have to hear of it."""
_APART: Final = 0.03
"""Seconds between two that come, so that each change is told by itself."""
_TOGETHER: Final = 64
_PATIENCE: Final = 1.2
"""Seconds after which no timer is left of those that hubs set for whoever waits for the engine."""


class Costs:
    """Reads processor times and memory, and what the hubs say; each figure is for one of so many operations."""

    def __init__(self, hubs: Sequence[int], engine: int | None, tap: Tap | None) -> None:
        self._processes = {"here": hubs[0]} | ({"there": hubs[-1]} if len(hubs) > 1 else {})
        self._engine = engine
        self.tap = tap
        self.found: dict[str, Any] = {}
        self._resident = self._memory()

    async def of(self, what: str, count: float, act: Callable[[], Awaitable[object]], settle: float = _SETTLE) -> None:
        before, began = self._times(), time.perf_counter()
        if self.tap is not None:
            self.tap.count()
        await act()
        elapsed = time.perf_counter() - began
        await asyncio.sleep(settle)
        after = self._times()
        told: dict[str, Any] = {
            f"cpu_us_{name}": round((after[name] - before[name]) / count * 1e6, 1) for name in after
        }
        if self.tap is not None:
            said = self.tap.count()
            told |= {"messages": round(said["messages"] / count, 3), "bytes": round(said["bytes"] / count, 1)}
            told["kinds"] = said["kinds"]
        self.found[what] = {"count": count, "seconds": round(elapsed, 3), **told}

    def memory(self, what: str, count: int) -> None:
        """Note by how much the hubs have grown since this was made."""
        now = self._memory()
        self.found[what] = {f"kb_{name}": round((now[name] - self._resident[name]) / 1024 / count, 2) for name in now}

    def _times(self) -> dict[str, float]:
        processes = self._processes | ({"engine": self._engine} if self._engine is not None else {})
        return {name: cpu_seconds(pid) or 0.0 for name, pid in processes.items()}

    def _memory(self) -> dict[str, int]:
        return {name: resident(pid) for name, pid in self._processes.items()}


class _Timed:
    """A dialler that notes how long each connection took from its first packet to its welcome."""

    def __init__(self, dialler: HubDialler) -> None:
        self._dialler = dialler
        self.lost: Callable[[str], None] = dialler.lost
        self.times: list[int] = []

    async def open(self, name: str) -> HubPeer:
        began = time.monotonic_ns()
        peer = await self._dialler.open(name)
        self.times.append(time.monotonic_ns() - began)
        return peer

    def budget(self) -> Budget:
        return self._dialler.budget()

    def rate(self) -> float:
        return self._dialler.rate()

    async def close(self) -> None:
        await self._dialler.close()

    def told(self) -> dict[str, Any]:
        """Return the latencies since it was asked last."""
        times, self.times = self.times, []
        return dataclasses.asdict(Latency.of(times))


async def presence(
    dialler: HubDialler,
    hubs: Sequence[int],
    engine: int | None,
    engine_at: tuple[str, int],
    *,
    peers: int,
    idle: float,
    spaced: int,
) -> dict[str, Any]:
    """Connect to the first hub, `spaced` of them one after the other, and then `peers` at once; all subscribe, each to a
    channel of its own, are idle for so many seconds, and leave. `engine` is `None` where a hub is alone.
    """
    few, many = [f"spaced-{number}" for number in range(spaced)], [f"crowd-{number}" for number in range(peers)]
    dialler.prepare(few + many)
    tap = await Tap.opened(*engine_at) if engine is not None else None
    timed, costs = _Timed(dialler), Costs(hubs, engine, tap)
    there: list[LoadPeer] = []

    async def come() -> None:
        for name in few:
            there.append(await timed.open(name))
            await asyncio.sleep(_APART)

    async def storm() -> None:
        there.extend(await opened(timed, many, _TOGETHER))

    async def join(some: Sequence[LoadPeer], apart: float) -> None:
        for peer in some:
            await peer.join(f"own/{peer.name}")
            await asyncio.sleep(apart)

    async def join_all() -> None:
        await asyncio.gather(*(join(there[place::_TOGETHER], 0.0) for place in range(spaced, spaced + _TOGETHER)))

    async def go() -> None:
        for peer in there[:spaced]:
            peer.close()
            await asyncio.sleep(_APART)

    async def go_all() -> None:
        for peer in there[spaced:]:
            peer.close()

    await costs.of("connect", spaced, come)
    costs.found["connect latency"] = timed.told()
    await costs.of("connect in a crowd", peers, storm)
    costs.found["connect in a crowd latency"] = timed.told()
    costs.memory("memory connected", peers + spaced)
    await costs.of("subscribe", spaced, lambda: join(there[:spaced], _APART))
    await costs.of("subscribe in a crowd", peers, join_all)
    costs.memory("memory subscribed", peers + spaced)
    if tap is not None:
        await asyncio.sleep(_PATIENCE)
    await costs.of("idle second", idle, lambda: asyncio.sleep(idle), 0.0)
    await costs.of("leave", spaced, go)
    await costs.of("leave in a crowd", peers, go_all, 2 * _SETTLE)
    if tap is not None:
        tap.close()
    return costs.found
