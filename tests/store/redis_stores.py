"""Stores on one server of Redis, which is started when a test first needs it and ends with the tests."""

from __future__ import annotations

import asyncio
import atexit
import functools
import itertools
import random
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from orchestrator.store.redis import RedisStore
from orchestrator.store.redis_address import redis_address
from orchestrator.store.shared import Needs
from tests.brokers import Broker, start_valkey

_namespaces = (f"test {number}" for number in itertools.count(1))
DURABLE: Final = {"appendonly": "yes", "appendfsync": "always", "repl-diskless-sync-delay": "0"}
NOTHING: Final = Needs(durable=False, strong=False)


@functools.cache
def server() -> Broker:
    """It keeps nothing: what these tests ask is not about crashes."""
    folder = Path(tempfile.mkdtemp(prefix="valkey"))
    broker = start_valkey(folder)
    atexit.register(shutil.rmtree, folder)
    atexit.register(broker.kill)
    return broker


@asynccontextmanager
async def opened(
    clock: Callable[[], float] | None = None, rng: random.Random | None = None
) -> AsyncIterator[RedisStore]:
    """Yield a store of which nobody else knows."""
    address = redis_address(f"{server().url}/0")
    namespace = next(_namespaces)
    store = RedisStore(address, namespace=namespace, needs=NOTHING, clock=clock, rng=rng or random.Random(1))
    try:
        await store.open()
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def at(
    broker: Broker, needs: Needs = NOTHING, *, options: str = "", namespace: str = "one", answer: float = 5.0
) -> AsyncIterator[RedisStore]:
    """Yield a store on a server of the test's own, which is not opened."""
    address = redis_address(f"{broker.url}/0{options}")
    store = RedisStore(address, namespace=namespace, needs=needs, answer=answer)
    try:
        yield store
    finally:
        await store.close()


async def said(broker: Broker, *words: str) -> str:
    """Return what a server answers to a command of an operator's."""
    reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
    try:
        writer.write((" ".join(words) + "\r\n").encode())
        return (await reader.readline()).decode().strip()
    finally:
        writer.close()
        await writer.wait_closed()
