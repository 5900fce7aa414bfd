"""Streams of chunks at a set pace, each from one peer to another."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from orchestrator.client.load.direct import pairs_of
from orchestrator.client.load.fan_out import SETTLING
from orchestrator.client.load.figures import Found, Latency
from orchestrator.client.load.mould import ages, place_of_time

if TYPE_CHECKING:
    from orchestrator.client.load.dialling import Dialler
    from orchestrator.client.load.peer import LoadPeer
    from orchestrator.client.load.run import LoadRun

_STEP: Final = 0.001
"""Seconds between two looks at what is due."""
_MOST: Final = 1_000
"""Chunks that are sent at a time; who cannot keep up with what is asked for sends as many as it can."""
_SLOWER: Final = 0.9
"""Of what a hub allows each connection to send, where that is the limit."""


class _Arrivals:
    """What has arrived of all streams together."""

    def __init__(self) -> None:
        self.count = 0
        self.awaited = -1
        """How many there will have been in the end; -1 = that is not known yet."""
        self.latencies: list[int] = []
        self.all: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def note(self, count: int) -> None:
        self.count += count
        if self.count == self.awaited and not self.all.done():
            self.all.set_result(None)


class _Stream:
    def __init__(self, one: LoadPeer, other: LoadPeer, size: int, arrivals: _Arrivals) -> None:
        self._write = one.write
        self._mould = one.sending(other.name, size)
        self._arrivals = arrivals
        self._place = 0
        self._sent = 0
        one.count_acks(_pass_over)
        other.count_directs(size, self._on_chunks)

    def send(self) -> None:
        self._write(self._mould.cast(self._sent, time.monotonic_ns()))
        self._sent += 1

    def _on_chunks(self, count: int, frames: bytes) -> None:
        now = time.monotonic_ns()
        self._place = self._place or place_of_time(frames)
        self._arrivals.latencies += ages(frames, self._place, len(frames) // count, now)
        self._arrivals.note(count)


def _pass_over(_count: int, _frames: bytes) -> None:
    """Acks need to be read, and no more."""


class _Pace:
    """Has the streams take turns, so many chunks a second of all together."""

    def __init__(self, streams: list[_Stream], per_second: float) -> None:
        self._streams, self._per_second = streams, per_second
        self.sent = 0

    async def keep(self) -> None:
        began = time.perf_counter()
        while True:
            due = min(int((time.perf_counter() - began) * self._per_second), self.sent + _MOST)
            for number in range(self.sent, due):
                self._streams[number % len(self._streams)].send()
            self.sent = due
            await asyncio.sleep(_STEP)


async def streams(
    dialler: Dialler,
    run: LoadRun,
    *,
    count: int,
    per_second: float,
    size: int = 120,
    warm: float = 0.5,
    seconds: float = 2.0,
) -> Found:
    """Send chunks at a pace, whatever becomes of them; an operation is a chunk that arrived.

    `per_second` is of all streams together; less is sent where the hub lets each connection send less. Latencies are
    those of one way. Raises `ConnectionProblem`.
    """
    dialler.lost = run.lost
    pairs = await pairs_of(dialler, count)
    arrivals = _Arrivals()
    pace = _Pace(
        [_Stream(one, other, size, arrivals) for one, other in pairs], min(per_second, count * dialler.rate() * _SLOWER)
    )
    sending = asyncio.create_task(pace.keep(), name="pace")
    try:
        span = await run.measured(warm, seconds, lambda: arrivals.count, arrivals.latencies.clear)
    finally:
        sending.cancel()
        await asyncio.wait([sending])
    latency = Latency.of(arrivals.latencies)
    arrivals.awaited = pace.sent
    arrivals.note(0)
    await asyncio.wait([arrivals.all], timeout=SETTLING)
    return Found(span, latency, pace.sent - arrivals.count)
