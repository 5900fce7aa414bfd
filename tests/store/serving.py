"""A store's server and its clients in one process, over a real socket; it can be killed and started again."""

from __future__ import annotations

import asyncio
import logging
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from orchestrator.store.opening import Store
from orchestrator.store.remote import RemoteStore
from orchestrator.store.server import StoreServer
from orchestrator.store.server_connection import OPERATOR, Caller, TokenUnwelcome
from orchestrator.store.wire import Incoming, frames_of, read_answers
from orchestrator.store.wire_answers import Welcome
from orchestrator.store.wire_requests import Hello
from orchestrator.topology.store_access import Access

LOG = logging.getLogger("tests.store")
ACCESS = {
    "boss.1": Access("boss", queues=("helper",), teams=("desk",)),
    "chief.1": Access("chief", queues=("helper", "writer")),
    "helper.1": Access("helper", claims=True),
    "helper.2": Access("helper", claims=True),
}


class Door:
    """Admits by what a token says in plain words: ``operator``, or a peer id; what is in `left` is the token's life."""

    def __init__(self) -> None:
        self.left: dict[str, float | None] = {}
        self.shown: list[str] = []

    def __call__(self, token: str) -> Caller:
        self.shown.append(token)
        if token == "operator":
            return OPERATOR
        if token not in ACCESS:
            raise TokenUnwelcome("the token is not of this run")
        return Caller(token, ACCESS[token], self.left.get(token))


class Served:
    def __init__(self, store: Store, listening: socket.socket, path: str) -> None:
        self.store, self.path, self.door = store, path, Door()
        self._listening = listening
        self._stop = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None
        self.server = StoreServer(store, self.door, LOG)

    def start(self, store: Store | None = None) -> None:
        """Serve, another store than before if one is given."""
        self.store = store or self.store
        self.server = StoreServer(self.store, self.door, LOG)
        self._stop = asyncio.Event()
        self._serving = asyncio.create_task(self.server.serve(self._listening.dup(), self._stop))

    async def stop(self, *, grace: float = 5.0) -> None:
        """End well; `grace` 0 = like a process that is killed."""
        self.server.grace = grace
        self._stop.set()
        if self._serving is not None:
            serving, self._serving = self._serving, None
            await serving

    def client(self, token: str = "operator", *, patience: float = 10.0) -> RemoteStore:
        async def fresh() -> str:
            return token

        return RemoteStore(self.path, fresh, patience=patience)

    @asynccontextmanager
    async def talking(self, token: str = "operator", *, patience: float = 10.0) -> AsyncIterator[RemoteStore]:
        client = self.client(token, patience=patience)
        try:
            yield client
        finally:
            await client.close()


@asynccontextmanager
async def served(store: Store) -> AsyncIterator[Served]:
    """The socket lies in a folder whose path is short enough for one."""
    with tempfile.TemporaryDirectory(prefix="store") as folder, socket.socket(socket.AF_UNIX) as listening:
        path = str(Path(folder) / "store.sock")
        listening.bind(path)
        listening.listen(100)
        listening.setblocking(False)
        here = Served(store, listening, path)
        here.start()
        try:
            yield here
        finally:
            await here.stop()


@asynccontextmanager
async def remote(store: Store) -> AsyncIterator[RemoteStore]:
    """The store as it is reached by an operator."""
    async with served(store) as here, here.talking() as client:
        await client.open()
        yield client


class Raw:
    """One end of a socket, for what no client of ours would do."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.transport = cast(asyncio.Transport, writer.transport)
        self._incoming = Incoming(2**31)
        self._heard: list[Any] = []

    def say(self, *messages: object) -> None:
        for frame in frames_of(messages, 2**31, lambda _message, _problem: None):
            self.writer.write(frame)

    async def hear(self) -> Any:
        """Return the next message; `None` = the other side has closed."""
        async with asyncio.timeout(10):
            while not self._heard:
                try:
                    data = await self.reader.read(1_048_576)
                except ConnectionError:
                    return None
                if not data:
                    return None
                for frame in self._incoming.feed(data):
                    self._heard += read_answers(frame)
        return self._heard.pop(0)

    async def admitted(self, token: str = "operator") -> None:
        self.say(Hello(1, token))
        assert isinstance(await self.hear(), Welcome)


@asynccontextmanager
async def raw(here: Served) -> AsyncIterator[Raw]:
    reader, writer = await asyncio.open_unix_connection(here.path)
    try:
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()
