"""Pairs of peers that send to each other directly: as many messages as go through, or one at a time and back."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from orchestrator.client.load.dialling import opened
from orchestrator.client.load.fan_out import SETTLING
from orchestrator.client.load.figures import Found, Latency
from orchestrator.client.load.flow import Flow

if TYPE_CHECKING:
    from orchestrator.client.load.dialling import Dialler
    from orchestrator.client.load.peer import LoadPeer
    from orchestrator.client.load.run import LoadRun

_POOL: Final = 1_000
"""Frames that are made beforehand for each pair; the numbers go through them over and over."""


async def pairs_of(dialler: Dialler, count: int) -> list[tuple[LoadPeer, LoadPeer]]:
    """Open pairs of connections. Raises `ConnectionProblem`."""
    names = [f"load-{side}-{number}" for number in range(count) for side in ("a", "b")]
    peers = await opened(dialler, names)
    return list(zip(peers[::2], peers[1::2], strict=True))


async def direct(
    dialler: Dialler,
    run: LoadRun,
    *,
    pairs: int,
    window: int = 8,
    size: int = 120,
    warm: float = 0.5,
    seconds: float = 2.0,
) -> Found:
    """Send from one to the other of each pair, `window` messages under way at a time; an operation is one that arrived.

    Raises `ConnectionProblem`.
    """
    dialler.lost = run.lost
    flows = []
    for one, other in await pairs_of(dialler, pairs):
        mould = one.sending(other.name, size)
        pool = [mould.cast(number, 0) for number in range(_POOL)] * 2

        def cast(first: int, count: int, pool: list[bytes] = pool) -> bytes:
            start = first % _POOL
            return b"".join(pool[start : start + count])

        flow = Flow(one.write, cast, window=window, copies=1, budget=dialler.budget())
        one.count_acks(flow.on_acks, numbers=_POOL)
        other.count_directs(size, flow.on_delivered, numbers=_POOL)
        flows.append(flow)
    for flow in flows:
        flow.pump()
    span = await run.measured(warm, seconds, lambda: sum(flow.delivered for flow in flows))
    for flow in flows:
        flow.end()
    await asyncio.wait([flow.done for flow in flows], timeout=SETTLING)
    return Found(span, Latency(), sum(flow.lost for flow in flows))


class _Rally:
    """One message between two peers, sent back as soon as it comes."""

    def __init__(self, one: LoadPeer, other: LoadPeer, size: int, dialler: Dialler, trips: list[int]) -> None:
        self._there, self._back = one.sending(other.name, size), other.sending(one.name, size)
        self._one, self._other, self._trips = one, other, trips
        self._budgets = dialler.budget(), dialler.budget()
        self._loop = asyncio.get_running_loop()
        self._began = 0
        self._number = 0
        self._ending = False
        self.ended: asyncio.Future[None] = self._loop.create_future()
        one.count_directs(size, self._on_back)
        other.count_directs(size, self._on_there)

    def serve(self) -> None:
        now = time.monotonic()
        wait = max(budget.wait(now) for budget in self._budgets)
        if wait and not self._ending:
            self._loop.call_later(wait, self.serve)
            return
        if self._ending:
            if not self.ended.done():
                self.ended.set_result(None)
            return
        for budget in self._budgets:
            budget.spend(now)
        self._began = time.monotonic_ns()
        self._one.write(self._there.cast(self._number, 0))

    def end(self) -> None:
        self._ending = True

    def _on_there(self, _count: int, _frames: bytes) -> None:
        self._other.write(self._back.cast(self._number, 0))

    def _on_back(self, _count: int, _frames: bytes) -> None:
        self._trips.append(time.monotonic_ns() - self._began)
        self._number += 1
        self.serve()


async def round_trips(
    dialler: Dialler, run: LoadRun, *, pairs: int = 1, size: int = 120, warm: float = 0.5, seconds: float = 2.0
) -> Found:
    """Have one message go there and back in each pair; an operation is a round trip, of two sends with their acks.

    Raises `ConnectionProblem`.
    """
    dialler.lost = run.lost
    trips: list[int] = []
    rallies = [_Rally(one, other, size, dialler, trips) for one, other in await pairs_of(dialler, pairs)]
    for rally in rallies:
        rally.serve()
    counted = 0

    def begin() -> None:
        nonlocal counted
        counted += len(trips)
        trips.clear()

    span = await run.measured(warm, seconds, lambda: len(trips), begin)
    latency = Latency.of(trips)
    for rally in rallies:
        rally.end()
    await asyncio.wait([rally.ended for rally in rallies], timeout=SETTLING)
    return Found(span, latency, sum(not rally.ended.done() for rally in rallies))
