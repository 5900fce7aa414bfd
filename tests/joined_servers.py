"""Two servers joined by a broker that look like one: they take the connections to one address by turns."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from orchestrator.hub.server import Server
from tests.joined_cores import TwoHubs
from tests.nodes import new_neighbourhood

if TYPE_CHECKING:
    from orchestrator.hub.core import Hub
    from orchestrator.hub.door import Door
    from orchestrator.hub.keys import KeyRing
    from orchestrator.hub.settings import Settings


def new_server(keys: KeyRing, settings: Settings) -> Server:
    """Return a server, or, where a test is to be run on two hubs, both of them."""
    url = new_neighbourhood()
    return Server(keys, settings) if url is None else cast(Server, TwoServers(keys, settings, url))


class TwoServers:
    """Does what a `Server` does."""

    def __init__(self, keys: KeyRing, settings: Settings, url: str) -> None:
        second = Server(keys, replace(settings, backplane=url, node_name="second"))
        self._first = _First(keys, replace(settings, backplane=url, node_name="first"), second)
        self._second = second
        self._both = (self._first, self._second)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._first, name)

    @property
    def hub(self) -> Hub:
        return cast("Hub", TwoHubs([server.hub for server in self._both]))

    @property
    def _peers(self) -> set[Any]:
        return {peer for server in self._both for peer in server._peers}

    @property
    def unready(self) -> str:
        return self._first.unready

    @unready.setter
    def unready(self, why: str) -> None:
        for server in self._both:
            server.unready = why

    async def start(self, listening: socket.socket) -> None:
        try:
            await self._second.start(socket.create_server(("127.0.0.1", 0)))
        except BaseException:
            listening.close()
            raise
        try:
            await self._first.start(listening)
        except BaseException:
            await self._second.cut()
            raise

    async def drain(self) -> None:
        other = asyncio.create_task(self._second.drain())
        await self._first.drain()
        await other

    async def cut(self) -> None:
        await asyncio.gather(*(server.cut() for server in self._both))

    def hurry(self, seconds: float) -> None:
        for server in self._both:
            server.hurry(seconds)

    def rekey(self, keys: KeyRing) -> None:
        for server in self._both:
            server.rekey(keys)


class _First(Server):
    """Takes every connection, and has the other one open the door to each second one."""

    def __init__(self, keys: KeyRing, settings: Settings, second: Server) -> None:
        super().__init__(keys, settings)
        self._second = second
        self._taken = 0

    def _door(self, source: str) -> Door:
        self._taken += 1
        return super()._door(source) if self._taken % 2 else self._second._door(source)
