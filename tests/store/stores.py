"""The adapters that the suite runs over: each brings its leases, and a way to let their clock go on."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, TypeAlias

from orchestrator.store import opening
from orchestrator.store.memory import MemoryLeases
from orchestrator.store.port import Leases
from tests.store.nats_stores import opened as nats_store
from tests.store.redis_stores import opened as redis_store
from tests.store.serving import remote
from tests.store.task_stores import Clock


class Store(ABC):
    """One store for one test."""

    leases: Leases
    unit = 1.0
    """Seconds that are long beside what a request takes, and short beside what a test may: tests count in these."""

    @abstractmethod
    async def advance(self, seconds: float) -> None:
        """Let the store's clock go on."""


class MemoryStore(Store):
    def __init__(self) -> None:
        self._now = 1_000.0
        self.leases: MemoryLeases = MemoryLeases(lambda: self._now)

    async def advance(self, seconds: float) -> None:
        self._now += seconds


Opened: TypeAlias = Callable[[], AbstractAsyncContextManager[Store]]


@asynccontextmanager
async def memory() -> AsyncIterator[Store]:
    yield MemoryStore()


class RemoteStore(Store):
    """A store in memory, by way of its socket."""

    def __init__(self, behind: MemoryStore, leases: Leases) -> None:
        self._behind, self.leases = behind, leases

    async def advance(self, seconds: float) -> None:
        await self._behind.advance(seconds)


@asynccontextmanager
async def remote_memory() -> AsyncIterator[Store]:
    behind = MemoryStore()
    store = opening.MemoryStore(lambda: 0.0, random.Random(1))
    store.leases = behind.leases
    async with remote(store) as client:
        yield RemoteStore(behind, client.leases)


class ServedStore(Store):
    """A store on a server, whose clock the test sets."""

    def __init__(self, clock: Clock, leases: Leases) -> None:
        self._clock, self.leases = clock, leases

    async def advance(self, seconds: float) -> None:
        self._clock.now += seconds


@asynccontextmanager
async def redis() -> AsyncIterator[Store]:
    clock = Clock()
    async with redis_store(clock) as store:
        yield ServedStore(clock, store.leases)


@asynccontextmanager
async def nats() -> AsyncIterator[Store]:
    clock = Clock()
    async with nats_store(clock) as store:
        yield ServedStore(clock, store.leases)


ADAPTERS: Final[dict[str, Opened]] = {"memory": memory, "remote": remote_memory, "redis": redis, "nats": nats}
