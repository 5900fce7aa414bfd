"""What the clients of one process go through in a storm, on whichever client library."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Any

from bench.lines import order, say

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_AT_ONCE = 50
"""Clients that connect at the same time in the beginning."""
_LAG_STEP = 0.01


class Journal:
    def __init__(self, clients: int) -> None:
        self._clients = clients
        self._back: dict[int, float] = {}
        self._gave_up: set[int] = set()
        self._late: list[float] = []
        self.settled = asyncio.Event()

    def back(self, client: int) -> None:
        self._back[client] = time.monotonic()
        self._check()

    def lost(self, client: int) -> None:
        """Note that a client is away, whether or not it has been back already."""
        self._back.pop(client, None)

    def gave_up(self, client: int) -> None:
        self._gave_up.add(client)
        self._check()

    def _check(self) -> None:
        if len(self._back) + len(self._gave_up) >= self._clients:
            self.settled.set()

    async def watch_lag(self) -> None:
        """Note by how much this process is behind its timers: a generator that is late is what is measured."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(_LAG_STEP)
            self._late.append(time.monotonic() - before - _LAG_STEP)

    def told(self) -> dict[str, Any]:
        return {
            "back_at": list(self._back.values()),
            "gave_up": len(self._gave_up),
            "late": sorted(self._late)[-max(1, len(self._late) // 100) :],
            "cpu": time.process_time(),
        }


async def weather_storm(connect: Callable[[int, str, str, Journal], Awaitable[Callable[[], Awaitable[None]]]]) -> None:
    """Connect every client of the order, say so, and tell how they fared once all are settled or the input ends.

    `connect` gets the number of a client, the address, its token and the journal, and returns what closes the client.
    """
    asked = order()
    tokens: list[str] = asked["tokens"]
    journal = Journal(len(tokens))
    gate = asyncio.Semaphore(_AT_ONCE)

    async def connected(number: int) -> Callable[[], Awaitable[None]]:
        async with gate:
            return await connect(number, asked["url"], tokens[number], journal)

    closers = await asyncio.gather(*(connected(number) for number in range(len(tokens))))
    watching = asyncio.create_task(journal.watch_lag())
    ended, settled = asyncio.create_task(_input_ended()), asyncio.create_task(journal.settled.wait())
    say(connected=len(tokens))
    await asyncio.wait({ended, settled}, return_when=asyncio.FIRST_COMPLETED)
    say(**journal.told())
    watching.cancel()
    settled.cancel()
    await ended
    await asyncio.gather(*(close() for close in closers))


async def _input_ended() -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()
