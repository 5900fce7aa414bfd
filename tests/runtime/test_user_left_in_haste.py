"""A user whose block is cancelled while it is being left: no connection and no task outlives it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from orchestrator import connect
from tests.client.scripted import SAFETY
from tests.client.test_with_hub import Hubs, provider, running


@pytest.fixture
async def hubs() -> AsyncIterator[Hubs]:
    async with running() as hubs:
        yield hubs


async def test_leaving_that_is_cancelled_still_ends_the_connection(hubs: Hubs) -> None:
    left, before = asyncio.Event(), asyncio.all_tasks()

    async def stays(seconds: float) -> None:
        left.set()
        await asyncio.Event().wait()

    async def program() -> None:
        async with connect(hubs.url, token_provider=provider("a")) as user:
            user._courier.settled = stays  # type: ignore[method-assign]  # a hub that does not answer the goodbye

    running_program = asyncio.create_task(program())
    async with asyncio.timeout(SAFETY):
        await left.wait()
        running_program.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running_program
    assert not [task for task in asyncio.all_tasks() - before if task.get_name() == "user"]
