"""Clients of the stock Python SDK in a storm; run by the interpreter of the SDK's own environment."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import metered_realtime as sdk  # type: ignore[import-not-found]  # it lives in an environment of its own

from bench.storm_journal import Journal, weather_storm

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def connect(number: int, url: str, token: str, journal: Journal) -> Callable[[], Awaitable[None]]:
    async def provide() -> str:
        return token

    def on_connected(event: Any) -> None:
        if event.is_reconnect:
            journal.back(number)

    def on_disconnected(event: Any) -> None:
        journal.lost(number) if event.will_reconnect else journal.gave_up(number)

    client: Any = sdk.SignallingClient(url=url, token_provider=provide)
    client.on(sdk.Connected, on_connected)
    client.on(sdk.Disconnected, on_disconnected)
    await client.connect()
    close: Callable[[], Awaitable[None]] = client.close
    return close


if __name__ == "__main__":
    asyncio.run(weather_storm(connect))
