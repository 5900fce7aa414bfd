"""Users of the hub of this package, in the event loop of the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from orchestrator import ReconnectPolicy, User, connect
from tests.client.scripted import SAFETY
from tests.client.test_with_hub import Hubs, provider

T = TypeVar("T")

SOON = ReconnectPolicy(initial=0.02)


@asynccontextmanager
async def user(hubs: Hubs, sub: str, *, reconnect: ReconnectPolicy = SOON, **claims: Any) -> AsyncIterator[User]:
    """Connect a user; whatever is awaited while it is there has to come within a few seconds."""
    async with asyncio.timeout(SAFETY):
        async with connect(hubs.url, token_provider=provider(sub, **claims), reconnect=reconnect) as connected:
            yield connected


async def until(feed: AsyncIterator[Any], kind: type[T]) -> T:
    """Read up to the next item of a type."""
    while True:
        item = await anext(feed)
        if isinstance(item, kind):
            return item


async def collected(feed: AsyncIterator[T]) -> list[T]:
    """Read to the end."""
    return [item async for item in feed]
