"""An agent that says what it hears of the end of its connection, and that it was taken down."""

from __future__ import annotations

import asyncio

import structlog

from orchestrator import Disconnected, agent, on_disconnect

log = structlog.get_logger()


@agent
class Leaver:
    @on_disconnect
    async def gone(self, disconnected: Disconnected) -> None:
        await asyncio.to_thread(lambda: None)  # it may take its time: an end waits for it
        log.info("heard", code=disconnected.code, will_reconnect=disconnected.will_reconnect)

    async def teardown(self) -> None:
        log.info("torn down")
