"""Clients of this package in a storm; `bench/storm_journal.py` says what they are told and tell."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import structlog

from bench.storm_journal import Journal, weather_storm
from orchestrator.client.connection import Client
from orchestrator.client.events import Connected, Disconnected

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def connect(number: int, url: str, token: str, journal: Journal) -> Callable[[], Awaitable[None]]:
    async def provide() -> str:
        return token

    async def watch() -> None:
        async for event in client.events():
            if isinstance(event, Connected) and event.resumed:
                journal.back(number)
            elif isinstance(event, Disconnected):
                journal.lost(number) if event.will_reconnect else journal.gave_up(number)

    async def close() -> None:
        await client.close()
        await watching

    client = Client(url, token_provider=provide)
    await client.connect()
    watching = asyncio.create_task(watch())
    return close


if __name__ == "__main__":
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(40), logger_factory=structlog.PrintLoggerFactory(sys.stderr)
    )
    asyncio.run(weather_storm(connect))
