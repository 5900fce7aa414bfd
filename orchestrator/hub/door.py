"""The first request of a connection: its head decides whether picows or aiohttp takes the socket over."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, cast

from orchestrator.hub.lingering import Lingering
from orchestrator.hub.request_head import HttpRefusal, Upgrade, is_upgrade, read_upgrade
from orchestrator.protocol.limits import MAX_REQUEST_HEAD, MAX_URL

if TYPE_CHECKING:
    from collections.abc import Callable

_END: Final = b"\r\n\r\n"


class Waiting:
    """The doors that have not seen a whole head yet; when there are too many, the oldest is shut.

    Sockets that were refused are kept here too until they have ended.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._doors: dict[Door, None] = {}
        self._refused: set[asyncio.Transport] = set()

    def add(self, door: Door) -> None:
        if len(self._doors) >= self._most:
            next(iter(self._doors)).shut()
        self._doors[door] = None

    def remove(self, door: Door) -> None:
        self._doors.pop(door, None)

    def shut_all(self) -> None:
        for door in list(self._doors):
            door.shut()
        for transport in list(self._refused):
            transport.abort()

    def refuse(self, transport: asyncio.Transport, refusal: HttpRefusal) -> None:
        """Answer by HTTP and end the connection."""
        self._refused.add(transport)
        transport.write(refusal.response())
        Lingering(transport, 1.0, lambda: self._refused.discard(transport))


class Door(asyncio.Protocol):
    """Reads a head of at most 32 KiB within the time allowed, and hands the socket on with what was read."""

    def __init__(
        self,
        waiting: Waiting,
        patience: float,
        to_websocket: Callable[[asyncio.Transport, Upgrade], None],
        to_http: Callable[[], asyncio.Protocol],
    ) -> None:
        """`to_websocket` may raise `HttpRefusal`; `to_http` makes the protocol that answers all other requests."""
        self._waiting = waiting
        self._patience = patience
        self._to_websocket = to_websocket
        self._to_http = to_http
        self._head = bytearray()
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop has one of its own
        self._timer = asyncio.get_running_loop().call_later(self._patience, self.shut)
        self._waiting.add(self)

    def data_received(self, data: bytes) -> None:
        self._head += data if self._head else data.lstrip(b"\r\n")  # empty lines before a request say nothing
        end = self._head.find(_END)
        try:
            if end < 0:
                self._check_size(len(self._head))
                return
            self._check_size(end)
            self._leave()
            self._hand_over(bytes(self._head), end)
        except HttpRefusal as refusal:
            self._leave()
            self._waiting.refuse(self._transport, refusal)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # however it ended
        self._leave()

    def shut(self) -> None:
        """Give up waiting."""
        self._leave()
        self._transport.abort()

    def _leave(self) -> None:
        self._timer.cancel()
        self._waiting.remove(self)

    def _check_size(self, size: int) -> None:
        line = self._head.find(b"\r\n")
        if (line if line >= 0 else size) > MAX_URL + len("OPTIONS  HTTP/1.1"):
            raise HttpRefusal(HTTPStatus.REQUEST_URI_TOO_LONG)
        if size > MAX_REQUEST_HEAD:
            raise HttpRefusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def _hand_over(self, read: bytes, end: int) -> None:
        head = read[:end]
        if not is_upgrade(head):
            protocol = self._to_http()
            self._transport.set_protocol(protocol)
            protocol.connection_made(self._transport)
            protocol.data_received(read)
            return
        if len(read) > end + len(_END):  # frames before the handshake, or a second request behind the first
            raise HttpRefusal(HTTPStatus.BAD_REQUEST)
        self._to_websocket(self._transport, read_upgrade(head))
