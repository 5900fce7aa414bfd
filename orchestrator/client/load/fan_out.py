"""One publisher, many subscribers."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from orchestrator.client.load.dialling import opened
from orchestrator.client.load.figures import Found, Latency
from orchestrator.client.load.flow import Flow
from orchestrator.client.load.mould import ages, place_of_time

if TYPE_CHECKING:
    from orchestrator.client.load.dialling import Dialler
    from orchestrator.client.load.peer import LoadPeer
    from orchestrator.client.load.run import LoadRun

SETTLING: Final = 5.0
"""Seconds until every subscriber has heard of all others, and until the last message arrives, at most."""
_SAMPLE: Final = 15
"""Of so many reads and one more, whoever's they are, the ages of the messages are noted."""


class _Deliveries:
    """What all subscribers together have read."""

    def __init__(self, flow: Flow) -> None:
        self._delivered = flow.on_delivered
        self.latencies: list[int] = []
        self._reads = 0
        self._place = 0

    def on_frames(self, count: int, frames: bytes) -> None:
        self._reads += 1
        if not self._reads & _SAMPLE:
            now, size = time.monotonic_ns(), len(frames) // count
            self._place = self._place or place_of_time(frames)
            self.latencies += ages(frames, self._place, size, now)
        self._delivered(count, frames)


async def fan_out(
    dialler: Dialler,
    run: LoadRun,
    *,
    subscribers: int,
    window: int = 16,
    size: int = 120,
    warm: float = 0.5,
    seconds: float = 2.0,
    channel: str = "load/fan-out",
) -> Found:
    """Publish with at most `window` messages under way; an operation is a delivery.

    A message is under way until it is acked and has arrived as often as there are subscribers. Raises
    `ConnectionProblem`.
    """
    dialler.lost = run.lost
    names = [f"load-subscriber-{number}" for number in range(subscribers)]
    peers = await opened(dialler, names)
    publisher = await dialler.open("load-publisher")
    for start in range(0, subscribers, 50):
        await asyncio.gather(*(peer.join(channel) for peer in peers[start : start + 50]))
    await _settled(peers)
    mould = publisher.publishing(channel, size)

    def cast(first: int, count: int) -> bytes:
        now = time.monotonic_ns()
        return b"".join([mould.cast(number, now) for number in range(first, first + count)])

    flow = Flow(publisher.write, cast, window=window, copies=subscribers, budget=dialler.budget())
    deliveries = _Deliveries(flow)
    counters = [peer.count_messages(channel, size, deliveries.on_frames) for peer in peers]
    publisher.count_acks(flow.on_acks)
    flow.pump()
    span = await run.measured(warm, seconds, lambda: flow.delivered, deliveries.latencies.clear)
    flow.end()
    await asyncio.wait([flow.done], timeout=SETTLING)
    totals = [counter.total for counter in counters]
    return Found(span, Latency.of(deliveries.latencies), flow.lost, sum(total != totals[0] for total in totals))


async def _settled(peers: list[LoadPeer]) -> None:
    """Wait until everybody has heard of everybody; where that takes too long, what is still told is passed over later."""
    waiting = [asyncio.create_task(peer.settled(len(peers)), name="settled") for peer in peers]
    await asyncio.wait(waiting, timeout=SETTLING)
    for each in waiting:
        each.cancel()
    await asyncio.wait(waiting)
