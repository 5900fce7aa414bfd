"""Several connections to one server of Redis, for a process that asks much at once.

In one turn a server reads 16 KiB of each connection, does what they ask, syncs its file once, and answers. So what waits on
one connection beyond that waits for another sync, and what comes over others does not.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from orchestrator.store.redis_scripts import CLAIM, RECLAIM

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.store.port import Capabilities
    from orchestrator.store.redis_link import RedisLink
    from orchestrator.store.redis_scripts import Script

MOST: Final = 8
"""Connections of one process."""
ENOUGH: Final = 24
"""Requests on their way over each connection before another one is made."""
IN_TURN: Final = (CLAIM, RECLAIM)
"""A worker that takes back what it has given up waiting for comes after what it asked for, so they go one way."""


class RedisLinks:
    """The first connections do what they can; the others stand in for them, and are made when there is so much to do."""

    def __init__(self, make: Callable[[], RedisLink]) -> None:
        self._make = make
        self._links = [make()]

    @property
    def name(self) -> str:
        return self._links[0].name

    @property
    def capabilities(self) -> Capabilities:
        return self._links[0].capabilities

    async def open(self) -> None:
        """Raises `StoreUnavailable` and `StoreUnfit`."""
        await self._links[0].open()

    async def run(self, script: Script, *words: bytes | str | int | float) -> Any:
        """Return what a script answers. Raises `StoreUnavailable`."""
        return await self._link(script).run(script, *words)

    def _link(self, script: Script) -> RedisLink:
        if script in IN_TURN:
            return self._links[0]
        for link in self._links:
            if link.running < ENOUGH:
                return link
        if len(self._links) < MOST:
            self._links.append(self._make())
            return self._links[-1]
        return min(self._links, key=lambda link: link.running)

    async def close(self) -> None:
        await asyncio.gather(*(link.close() for link in self._links))
