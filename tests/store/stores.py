"""The adapters that the suite runs over: each brings its leases, and a way to let their clock go on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, TypeAlias

from orchestrator.store.memory import MemoryLeases
from orchestrator.store.port import Leases


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
        self.leases = MemoryLeases(lambda: self._now)

    async def advance(self, seconds: float) -> None:
        self._now += seconds


Opened: TypeAlias = Callable[[], AbstractAsyncContextManager[Store]]


@asynccontextmanager
async def memory() -> AsyncIterator[Store]:
    yield MemoryStore()


ADAPTERS: Final[dict[str, Opened]] = {"memory": memory}
