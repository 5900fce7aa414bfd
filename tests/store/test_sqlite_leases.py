"""What every store promises of leases, for the one in a file."""

from __future__ import annotations

import random
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from orchestrator.store.sqlite import SqliteStore
from tests.store.stores import Opened, Store
from tests.store.task_stores import Clock
from tests.store.test_leases import *  # noqa: F403  # the same tests, over the store that is opened here


class FileStore(Store):
    def __init__(self, store: SqliteStore, clock: Clock) -> None:
        self.leases, self._clock = store.leases, clock

    async def advance(self, seconds: float) -> None:
        self._clock.now += seconds


@asynccontextmanager
async def sqlite() -> AsyncIterator[Store]:
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        async with SqliteStore(Path(folder) / "leases.db", clock=clock, rng=random.Random(1)) as store:
            yield FileStore(store, clock)


@pytest.fixture  # type: ignore[no-redef]
def opened() -> Opened:
    return sqlite


async def test_leases_and_their_fences_outlive_the_process(tmp_path: Path) -> None:
    clock = Clock()
    async with SqliteStore(tmp_path / "s.db", clock=clock) as first:
        lease = await first.leases.acquire("x", "a/1", 30)
        assert lease is not None
    clock.now -= 1_000  # the machine's clock was put back meanwhile
    async with SqliteStore(tmp_path / "s.db", clock=clock) as second:
        assert await second.leases.get("x") == lease
        assert await second.leases.acquire("x", "b/1", 30) is None
        await second.leases.release("x", "a/1")
        again = await second.leases.acquire("x", "b/1", 30)
        assert again is not None
        assert again.fence > lease.fence
