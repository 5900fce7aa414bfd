"""One turn of one workload across hubs, in a process of its own; told one line of JSON, it answers with one."""

from __future__ import annotations

import gc
import resource
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from bench.cluster_presence import presence
from bench.cluster_redis_peer import RedisDialler
from bench.cluster_servers import CLUSTER
from bench.hub_generator import figures, token
from bench.hub_servers import NATS, cpu_seconds
from bench.lines import order, say
from bench.measuring import run
from bench.nats_peer import NatsDialler
from orchestrator.client.load.dialling import HubDialler
from orchestrator.client.load.direct import direct, round_trips
from orchestrator.client.load.fan_out import fan_out
from orchestrator.client.load.run import LoadRun
from orchestrator.client.url import parse_origin
from orchestrator.protocol.tokens import SecretKey

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.client.budget import Budget
    from orchestrator.client.load.peer import HubPeer

_FIRST: Final = ("load-publisher", "load-a-")
"""Names of those who are connected to the first hub; all others are at the last one."""


class AcrossDialler:
    """Opens connections to the hubs of a cluster, so that what is sent crosses over."""

    def __init__(self, diallers: list[HubDialler]) -> None:
        self.diallers = diallers
        self._lost: Callable[[str], None] = diallers[0].lost

    @property
    def lost(self) -> Callable[[str], None]:
        return self._lost

    @lost.setter
    def lost(self, lost: Callable[[str], None]) -> None:
        self._lost = lost
        for dialler in self.diallers:
            dialler.lost = lost

    async def open(self, name: str) -> HubPeer:
        return await self.diallers[0 if name.startswith(_FIRST) else -1].open(name)

    def budget(self) -> Budget:
        return self.diallers[0].budget()

    def rate(self) -> float:
        return min(dialler.rate() for dialler in self.diallers)

    async def close(self) -> None:
        for dialler in self.diallers:
            await dialler.close()


class Meter:
    """Reads the processor time of the servers; `LoadRun` asks for it before and after what is measured."""

    def __init__(self, hubs: list[int], engine: int | None) -> None:
        self._hubs, self._engine = hubs, engine
        self.engine: list[float] = []

    def read(self) -> float | None:
        """Return that of all hubs, or of the engine where there is none, and note that of the engine."""
        engine = cpu_seconds(self._engine) if self._engine is not None else 0.0
        hubs = [cpu_seconds(pid) for pid in self._hubs]
        if engine is None or None in hubs:
            return None
        self.engine.append(engine)
        return sum(taken for taken in hubs if taken is not None) if hubs else engine

    def engine_us(self, operations: int) -> float:
        return round((self.engine[-1] - self.engine[-2]) / max(operations, 1) * 1e6, 3)


def dialler_for(reach: dict[str, Any]) -> AcrossDialler | NatsDialler | RedisDialler:
    if reach["kind"] == NATS:
        return NatsDialler(reach["port"])
    if reach["kind"] != CLUSTER:
        return RedisDialler(reach["port"])
    key = SecretKey(*reach["key"])
    return AcrossDialler([HubDialler(parse_origin(url), partial(token, key)) for url in reach["urls"]])


async def turn(asked: dict[str, Any]) -> dict[str, Any]:
    dialler, options = dialler_for(asked["reach"]), asked["options"]
    meter = Meter(asked["hubs"], asked["engine"])
    load = LoadRun(meter.read)
    match asked["workload"]:
        case "fan_out":
            found = await fan_out(dialler, load, **options)
        case "direct":
            found = await direct(dialler, load, **options)
        case "round_trips":
            found = await round_trips(dialler, load, **options)
        case "presence":
            assert isinstance(dialler, AcrossDialler)
            return await presence(
                dialler.diallers[0], asked["hubs"], asked["engine"], asked["reach"]["engine"], **options
            )
        case unknown:
            raise ValueError(unknown)
    told = figures(found)
    cpu, operations = told["server_cpu_us"], found.span.operations
    if cpu is not None:
        told["per_cpu_s"] = round(1e6 / cpu, 1) if cpu else None
        told["engine_cpu_us"] = meter.engine_us(operations)
        whole = cpu if not asked["hubs"] else cpu + told["engine_cpu_us"]
        told["per_cpu_s_with_engine"] = round(1e6 / whole, 1) if whole else None
    return told


async def main() -> None:
    gc.freeze()
    say(**await turn(order()))


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    run(main())
