"""One turn of one workload against one server, in a process of its own; told one line of JSON, it answers with one."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import resource
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from bench.hub_servers import NATS, OURS, cpu_seconds, resident
from bench.lines import order, say
from bench.measuring import run
from bench.nats_peer import NatsDialler
from orchestrator.client.load.connecting import connect
from orchestrator.client.load.dialling import HubDialler, opened
from orchestrator.client.load.direct import direct, round_trips
from orchestrator.client.load.fan_out import fan_out
from orchestrator.client.load.figures import Found, Latency
from orchestrator.client.load.flow import Flow
from orchestrator.client.load.run import LoadRun
from orchestrator.client.load.stream import streams
from orchestrator.client.url import parse_origin
from orchestrator.protocol.tokens import Claims, SecretKey, mint

if TYPE_CHECKING:
    from orchestrator.client.load.run import Span

_SETTLE = 1.0
"""Seconds after which what connecting has cost a server in passing is given back."""
_PUBLISHED = 4_096
"""Channels that are published to in turns."""
_SHAPES = (
    "fleet/sensor-{}/*",
    "jobs/{}/**",
    "rooms/{}/members/*",
    "*/events/{}",
    "users/{}/inbox-*",
    "shop/*/orders/{}",
    "logs/{}*",
    "load/other-{}-*",
    "**/audit/{}",
    "tenants/{}/regions/*/alarms",
)
"""Of patterns that match nothing which is published: most of them begin with a word or two, as they do in earnest."""


def token(key: SecretKey, name: str) -> str:
    return mint(key, Claims(sub=name, exp=int(time.time()) + 3600, rate="unlimited"))


def dialler_for(reach: dict[str, Any]) -> HubDialler | NatsDialler:
    if reach["kind"] == NATS:
        return NatsDialler(reach["port"])
    key = SecretKey(*reach["key"])
    return HubDialler(parse_origin(reach["url"]), partial(token, key), rosters=reach["kind"] == OURS)


async def storm(dialler: HubDialler, load: LoadRun, pid: int, connections: int, together: int) -> dict[str, Any]:
    """Open connections with tokens that were made beforehand, and look at what they cost while nothing happens."""
    dialler.prepare(f"load-{number}" for number in range(connections))
    gc.collect()
    gc.freeze()
    before = resident(pid)
    found = await connect(dialler, load, connections=connections, together=together)
    if found.refused is not None:
        raise found.refused
    await asyncio.sleep(_SETTLE)
    kept = (resident(pid) - before) / 1024 / connections
    return {**spent(found.span), **dataclasses.asdict(found.latency), "kb_per_connection": round(kept, 2)}


def spent(span: Span) -> dict[str, Any]:
    each = None if span.server_cpu is None else round(span.server_cpu / max(span.operations, 1) * 1e6, 3)
    return {
        "per_s": round(span.per_second, 1),
        "server_cpu_us": each,
        "server_share": None if span.server_cpu is None else round(span.server_cpu / span.seconds, 3),
        "generator_share": round(span.generator_cpu / span.seconds, 3),
    }


def figures(found: Found) -> dict[str, Any]:
    return {
        **spent(found.span),
        **dataclasses.asdict(found.latency),
        "lost": found.lost,
        "uneven": found.uneven,
    }


async def surround(dialler: HubDialler | NatsDialler, bystanders: int, channels: int, patterns: int) -> None:
    """Have others there who hold channels and patterns, and have nothing to do with what is measured."""
    peers = await opened(dialler, [f"bystander-{number}" for number in range(bystanders)])
    wanted = [f"held/{number}" for number in range(channels)]
    wanted += [_SHAPES[number % len(_SHAPES)].format(number) for number in range(patterns)]

    async def hold(place: int) -> None:
        for name in wanted[place :: len(peers)]:
            await peers[place].join(name)

    if peers:
        await asyncio.gather(*(hold(place) for place in range(len(peers))))


async def publishes(
    dialler: HubDialler | NatsDialler, load: LoadRun, *, window: int, warm: float, seconds: float
) -> Found:
    """Publish to many channels in turns, to which nobody listens: an operation is a publish with its ack."""
    dialler.lost = load.lost
    publisher = await dialler.open("load-publisher")
    frames = [publisher.publishing(f"load/channel-{n}", 120).cast(n, 0) for n in range(_PUBLISHED)] * 2

    def cast(first: int, count: int) -> bytes:
        start = first % _PUBLISHED
        return b"".join(frames[start : start + count])

    flow = Flow(publisher.write, cast, window=window, copies=1, budget=dialler.budget())

    def on_acks(count: int, acks: bytes) -> None:
        flow.delivered += count
        flow.on_acks(count, acks)

    publisher.count_acks(on_acks, numbers=_PUBLISHED)
    flow.pump()
    span = await load.measured(warm, seconds, lambda: flow.acked)
    flow.end()
    await asyncio.wait([flow.done], timeout=_SETTLE)
    return Found(span, Latency(), flow.lost)


async def turn(asked: dict[str, Any]) -> dict[str, Any]:
    dialler, options = dialler_for(asked["reach"]), asked["options"]
    load = LoadRun(lambda: cpu_seconds(asked["pid"]))
    await surround(dialler, **asked["around"])
    match asked["workload"]:
        case "storm":
            assert isinstance(dialler, HubDialler)
            return await storm(dialler, load, asked["pid"], **options)
        case "fan_out":
            return figures(await fan_out(dialler, load, **options))
        case "direct":
            return figures(await direct(dialler, load, **options))
        case "round_trips":
            return figures(await round_trips(dialler, load, **options))
        case "publishes":
            return figures(await publishes(dialler, load, **options))
        case "streams":
            return figures(await streams(dialler, load, **options))
    raise ValueError(asked["workload"])


async def main() -> None:
    say(**await turn(order()))


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    run(main())
