"""Tasks and leases in NATS: one stream of JetStream's for a namespace, used by any number of processes on any machines."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from orchestrator.store.nats_address import read_address
from orchestrator.store.nats_clock import ServerClock, SetClock
from orchestrator.store.nats_engine import Engine
from orchestrator.store.nats_leases import NatsLeases
from orchestrator.store.nats_overview import Overview
from orchestrator.store.nats_reading import Reader
from orchestrator.store.nats_subjects import Subjects
from orchestrator.store.nats_tasks import NatsTasks
from orchestrator.store.nats_writer import Writer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from orchestrator.store.nats_address import NatsAddress
    from orchestrator.store.shared import Needs


class NatsStore:
    """What one process does with the store of a namespace. It connects when it is first asked, and again when it must.

    It belongs to the event loop that uses it first.
    """

    def __init__(
        self,
        address: NatsAddress,
        *,
        namespace: str,
        needs: Needs,
        clock: Callable[[], float] | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """`clock` gives Unix seconds that all who use the namespace agree on; `None` = the servers' own time."""
        self._engine = Engine(address, Subjects(namespace), needs, ServerClock() if clock is None else SetClock(clock))
        self._writer = Writer(self._engine)
        reader = Reader(self._engine)
        self._overview = Overview(self._engine, reader, self._writer)
        self.tasks = NatsTasks(self._engine, reader, self._writer, self._overview, rng or random.SystemRandom())
        self.leases = NatsLeases(self._engine, self._writer)

    async def open(self) -> None:
        """See whether the store can be used now. Raises `StoreUnavailable`, of which `StoreUnfit` lasts."""
        await self._engine.ready()

    async def close(self) -> None:
        """Finish what was asked for, and disconnect."""
        await self._writer.close()
        await self.tasks.close()
        await self._overview.close()
        await self._engine.close()


def nats_store(
    url: str,
    *,
    namespace: str,
    needs: Needs,
    clock: Callable[[], float] | None = None,
    rng: random.Random | None = None,
) -> NatsStore:
    """Make a store without asking it anything. Raises `ValueError` for an address that is none."""
    return NatsStore(read_address(url), namespace=namespace, needs=needs, clock=clock, rng=rng)


@asynccontextmanager
async def open_nats_store(
    url: str,
    *,
    namespace: str,
    needs: Needs,
    clock: Callable[[], float] | None = None,
    rng: random.Random | None = None,
) -> AsyncIterator[NatsStore]:
    """Yield a store that is open. Raises what `open` and `nats_store` raise."""
    store = nats_store(url, namespace=namespace, needs=needs, clock=clock, rng=rng)
    try:
        await store.open()
        yield store
    finally:
        await store.close()
