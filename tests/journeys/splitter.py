"""One address for several hubs: each connection goes to the next one of those that take it, as with a load balancer."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from itertools import count
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Address = tuple[str, int]


class Splitter:
    """`targets` are the hubs by name; whoever stops one takes it out first, so that nobody is sent there any more."""

    def __init__(self) -> None:
        self.targets: dict[str, Address] = {}
        self.port = 0
        self._turn = count()
        self._joining: set[asyncio.Task[None]] = set()
        self._ends: set[_End] = set()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def take(self, end: _End) -> None:
        task = asyncio.create_task(self._join(end), name="splitter")
        self._joining.add(task)
        task.add_done_callback(self._joining.discard)
        self._ends.add(end)

    def forget(self, end: _End) -> None:
        self._ends.discard(end)

    async def _join(self, end: _End) -> None:
        """Join a connection to the next hub that takes one, or cut it."""
        loop, turn = asyncio.get_running_loop(), next(self._turn)
        names = sorted(self.targets)
        for step in range(len(names)):
            target = self.targets.get(names[(turn + step) % len(names)])
            if target is None:
                continue
            try:
                _, other = await loop.create_connection(lambda: _End(None), *target)
            except OSError:
                continue
            end.join(other)
            other.join(end)
            return
        end.transport.abort()

    async def close(self) -> None:
        for task in list(self._joining):
            task.cancel()
        await asyncio.gather(*self._joining, return_exceptions=True)
        for end in list(self._ends):
            end.transport.abort()


class _End(asyncio.Protocol):
    """One side of a connection, which hands what it reads to the other one."""

    transport: asyncio.Transport

    def __init__(self, splitter: Splitter | None) -> None:
        self._splitter = splitter
        self._other: _End | None = None
        self._early: list[bytes] = []
        self._lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if self._splitter is not None:
            self._splitter.take(self)

    def join(self, other: _End) -> None:
        self._other = other
        if self._early:
            other.transport.write(b"".join(self._early))
        if self._lost:
            other.transport.close()

    def data_received(self, data: bytes) -> None:
        if self._other is None:
            self._early.append(data)
        else:
            self._other.transport.write(data)

    def pause_writing(self) -> None:
        if self._other is not None:
            self._other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self._other is not None:
            self._other.transport.resume_reading()

    def connection_lost(self, _exc: Exception | None) -> None:
        self._lost = True
        if self._other is not None:
            self._other.transport.close()
        if self._splitter is not None:
            self._splitter.forget(self)


@asynccontextmanager
async def splitter() -> AsyncIterator[Splitter]:
    loop = asyncio.get_running_loop()
    here = Splitter()
    server = await loop.create_server(lambda: _End(here), "127.0.0.1", 0, backlog=1024)
    here.port = server.sockets[0].getsockname()[1]
    try:
        yield here
    finally:
        server.close()
        await here.close()
        await server.wait_closed()
