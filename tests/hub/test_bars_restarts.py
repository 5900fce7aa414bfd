"""Hazard 55, fifty times over: the same clients send to each other while their hub is restarted under them."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import msgspec
import pytest

from orchestrator.client.connection import Client
from orchestrator.client.events import Connected, DirectReceived
from orchestrator.client.policy import ReconnectPolicy
from orchestrator.errors import ConnectionProblem, RequestRefused
from tests.interop.hub_process import HubProcess, hub_process, reserved_address

if TYPE_CHECKING:
    from pathlib import Path

RESTARTS = 50
PAIRS = 6
AT_ONCE = 10
"""Messages that each source has under way."""
POLICY = ReconnectPolicy(initial=0.05, cap=0.2, max_attempts=None, per_minute=None)


class Pair:
    """One that sends numbers and notes which of them were acked, and one that notes what it heard."""

    def __init__(self, hub: HubProcess, number: int) -> None:
        self.sink = self._client(hub, f"sink {number}")
        self.source = self._client(hub, f"source {number}")
        self._to = f"sink {number}"
        self.heard: list[int] = []
        self.acked: set[int] = set()
        self.sent = 0
        self.welcomes = 0
        self.progress = asyncio.Event()

    def _client(self, hub: HubProcess, sub: str) -> Client:
        async def token() -> str:
            return hub.token(sub, rate="unlimited")

        return Client(hub.url, token_provider=token, reconnect=POLICY, daemon=True)

    async def listen(self) -> None:
        async for event in self.sink.events():
            if isinstance(event, DirectReceived):
                self.heard.append(msgspec.json.decode(event.data))
            elif isinstance(event, Connected):
                self.welcomes += 1

    async def look_away(self) -> None:
        async for _ in self.source.events():
            pass

    async def talk(self) -> None:
        while True:
            self.sent += 1
            number = self.sent
            try:
                await self.source.send(self._to, number)
            except (ConnectionProblem, RequestRefused):
                await asyncio.sleep(0.01)  # until there is a hub, and somebody who listens
            else:
                self.acked.add(number)
                self.progress.set()

    async def until_it_works(self) -> None:
        self.progress.clear()
        await self.progress.wait()


@pytest.mark.bars
async def test_hazard_55_fifty_restarts_under_load_lose_nothing_that_was_acked(tmp_path: Path) -> None:
    clock = asyncio.get_running_loop().time
    longest = 0.0
    with reserved_address() as address:
        async with AsyncExitStack() as stack:
            hubs = [hub_process(tmp_path / "keys.yaml", address, "--drain-window", "0.3") for _ in range(RESTARTS + 1)]
            hub = await stack.enter_async_context(hubs.pop())
            pairs = [Pair(hub, number) for number in range(PAIRS)]
            tasks = [asyncio.create_task(work()) for pair in pairs for work in (pair.listen, pair.look_away)]
            for pair in pairs:
                for client in (pair.sink, pair.source):
                    await client.connect()
                    stack.push_async_callback(client.close)
            talks = [asyncio.create_task(pair.talk()) for pair in pairs for _ in range(AT_ONCE)]
            for _ in range(RESTARTS):
                async with asyncio.timeout(20):
                    await asyncio.gather(*(pair.until_it_works() for pair in pairs))
                began = clock()
                assert await hub.stop() == 0
                longest = max(longest, clock() - began)
                hub = await stack.enter_async_context(hubs.pop())
            async with asyncio.timeout(20):
                await asyncio.gather(*(pair.until_it_works() for pair in pairs))
            for talk in talks:
                talk.cancel()
            await asyncio.gather(*talks, return_exceptions=True)
            assert await hub.stop() == 0
            for pair in pairs:
                await pair.sink.close()
                await pair.source.close()
            await asyncio.gather(*tasks)
    assert longest < 15.0
    for pair in pairs:
        assert pair.welcomes > RESTARTS
        assert len(pair.acked) > 10 * RESTARTS
        assert len(set(pair.heard)) == len(pair.heard), "nothing came twice"
        assert pair.acked <= set(pair.heard)
