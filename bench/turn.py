"""One turn of a client in the comparison: it takes messages, then it publishes, and tells what each has cost.

The library is the caller's; everything that is measured is here, so that it is the same for both.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

WARM_UP = 0.1
"""This part of the publishes comes before those that count."""


@dataclass(slots=True)
class Spent:
    """Time of the clock and of the processor, in seconds, from the making of this object to `stop`."""

    wall: float = 0.0
    cpu: float = 0.0

    def start(self) -> None:
        self.wall, self.cpu = -time.perf_counter(), -time.process_time()

    def stop(self) -> None:
        self.wall += time.perf_counter()
        self.cpu += time.process_time()

    def over(self, operations: int) -> dict[str, float]:
        return {
            "per_s": operations / self.wall,
            "cpu_us": self.cpu / operations * 1e6,
            "cpu_share": self.cpu / self.wall,
        }


class Handler:
    """What a program does with a message: as little as can be, with its data decoded."""

    def __init__(self, messages: int) -> None:
        self._messages = messages
        self._sum = 0
        self.done = asyncio.Event()

    def __call__(self, data: Any) -> None:
        self._sum += data["n"]
        if self._sum >= self._messages:
            self.done.set()


async def publish_all(publish: Callable[[str, Any], Awaitable[Any]], count: int, window: int) -> Spent:
    """Publish `count` messages and await each ack, `window` of them at a time."""
    data = {"n": 1, "text": "x" * 64}

    async def some(number: int) -> None:
        for _ in range(number):
            await publish("bench", data)

    async def windowful(number: int) -> None:
        await asyncio.gather(*(some(number // window) for _ in range(window)))

    await windowful(int(count * WARM_UP))
    spent = Spent()
    spent.start()
    await windowful(count)
    spent.stop()
    return spent
