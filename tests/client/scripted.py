"""A WebSocket server whose every word a test writes, and which tells what the client said."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve

if TYPE_CHECKING:
    from types import TracebackType

SAFETY = 5.0
"""Seconds after which a test that waits for something has failed."""


class Caller:
    """The server's end of one connection."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        assert socket.request is not None
        self.target = socket.request.path

    @property
    def parameters(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query)

    async def say(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def welcome(self, peer: str = "me", **fields: Any) -> None:
        await self.say(
            "welcome", **{"peerId": peer, "expiresAt": None, "serverTime": 1, "maxMessageSize": 65_536, **fields}
        )

    async def hear(self, kind: str | None = None) -> dict[str, Any]:
        """Return the client's next frame, which has to be of the given type."""
        async with asyncio.timeout(SAFETY):
            frame: dict[str, Any] = json.loads(await self.socket.recv(decode=True))
        assert kind in (None, frame["type"]), frame
        return frame

    async def ack(self, frame: dict[str, Any], **fields: Any) -> None:
        await self.say("ack", requestId=frame["requestId"], **fields)

    async def hear_and_ack(self, kind: str) -> dict[str, Any]:
        frame = await self.hear(kind)
        await self.ack(frame)
        return frame

    async def closed(self) -> tuple[int | None, str | None]:
        """Return the code and reason with which the client closed."""
        async with asyncio.timeout(SAFETY):
            await self.socket.wait_closed()
        return self.socket.close_code, self.socket.close_reason

    def cut(self) -> None:
        self.socket.transport.abort()


class ScriptedHub:
    """A server on a free port of the loopback interface; `reopen` brings it back on the same one."""

    def __init__(self) -> None:
        self.callers: asyncio.Queue[Caller] = asyncio.Queue()
        self.accepted = 0
        self._server: Server | None = None
        self._port = 0

    async def __aenter__(self) -> Self:
        await self.reopen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self._port}"

    async def reopen(self) -> None:
        self._server = await serve(
            self._serve, "127.0.0.1", self._port, compression=None, ping_interval=None, close_timeout=1
        )
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, socket: ServerConnection) -> None:
        self.accepted += 1
        await self.callers.put(Caller(socket))
        await socket.wait_closed()

    async def caller(self) -> Caller:
        """Return the next connection, welcomed not yet."""
        async with asyncio.timeout(SAFETY):
            return await self.callers.get()

    async def welcomed(self, **fields: Any) -> Caller:
        caller = await self.caller()
        await caller.welcome(**fields)
        return caller
