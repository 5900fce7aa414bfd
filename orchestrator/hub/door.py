"""The first request of a connection: its head decides whether picows or aiohttp takes the socket over."""

from __future__ import annotations

import asyncio
import contextlib
import os
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, cast

from orchestrator.hub.crowd import Crowd
from orchestrator.hub.lingering import Lingering
from orchestrator.hub.request_head import END, UPGRADE_STARTS, HttpRefusal, Upgrade, is_upgrade, read_upgrade
from orchestrator.protocol.limits import MAX_REQUEST_HEAD, MAX_URL

if TYPE_CHECKING:
    from collections.abc import Callable

_CHANCE: Final = 0.25
"""Seconds that a request may take to come before its socket is given up for another one's sake."""


class Waiting:
    """The doors that have not seen a whole head yet; the oldest are shut when their time is over.

    When there are too many, the source with the most of them gives up its oldest: who sends thousands pushes out
    nobody else. Sockets that were refused are kept here too until they have ended, and there may be as many of those.
    """

    def __init__(self, most: int, patience: float) -> None:
        """`most` is 0 for no limit; `patience` is in seconds, from the moment that a socket is taken."""
        self._most = most
        self._patience = patience
        self._doors: dict[Door, float] = {}
        """With the time until which each may wait, which is in the order of their coming."""
        self._crowd: Crowd[Door] = Crowd()
        self._refused: dict[asyncio.Transport, None] = {}
        self._visitors: dict[asyncio.Transport, None] = {}
        """Those who asked over HTTP, and may stay to ask again."""
        self._timer: asyncio.TimerHandle | None = None

    def add(self, door: Door) -> None:
        if self._most and len(self._doors) >= self._most:
            cast(Door, self._crowd.first_to_go()).shut()
        loop = asyncio.get_running_loop()
        self._doors[door] = loop.time() + self._patience
        self._crowd.add(door, door.source)
        if self._timer is None:
            self._timer = loop.call_later(self._patience, self._shut_late)

    def remove(self, door: Door) -> None:
        if self._doors.pop(door, None) is not None:
            self._crowd.remove(door, door.source)

    def shed(self) -> bool:
        """Give up one socket that has had its chance, for the sake of its descriptor; tell whether there was one."""
        for guests in (self._refused, self._visitors):
            if guests:
                _abort_oldest(guests)
                return True
        had_its_chance = asyncio.get_running_loop().time() - _CHANCE + self._patience
        for door in (self._crowd.first_to_go(), next(iter(self._doors), None)):
            if door is not None and self._doors[door] <= had_its_chance:
                door.shut()
                return True
        return False

    def shut_all(self) -> None:
        for door in list(self._doors):
            door.shut()
        for transport in (*self._refused, *self._visitors):
            transport.abort()
        if self._timer is not None:
            self._timer.cancel()

    def refuse(self, transport: asyncio.Transport, response: bytes, read_all: bool = False) -> None:
        """Answer by HTTP and end the connection, with the least work if all that it sends was read already."""
        if read_all and transport.get_extra_info("sslcontext") is None:
            with contextlib.suppress(OSError):  # it is gone, or does not take a few bytes
                os.write(transport.get_extra_info("socket").fileno(), response)
            transport.abort()  # with nothing unread and nothing unsent this is no reset
            return
        if self._most and len(self._refused) >= self._most:
            _abort_oldest(self._refused)
        self._refused[transport] = None
        transport.write(response)
        Lingering(transport, 1.0, lambda: self._refused.pop(transport, None))

    def visited(self, transport: asyncio.Transport) -> None:
        """Note that a connection speaks HTTP, and stays until it ends or its descriptor is needed."""
        self._visitors[transport] = None

    def left(self, transport: asyncio.Transport) -> None:
        self._visitors.pop(transport, None)

    def _shut_late(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        while self._doors:
            door, deadline = next(iter(self._doors.items()))
            if deadline > loop.time():
                self._timer = loop.call_at(deadline, self._shut_late)
                return
            door.shut()


def _abort_oldest(transports: dict[asyncio.Transport, None]) -> None:
    oldest = next(iter(transports))
    del transports[oldest]
    oldest.abort()


class Door(asyncio.Protocol):
    """Reads a head of at most 32 KiB, and hands the socket on with what was read."""

    def __init__(
        self,
        source: str,
        waiting: Waiting,
        answer_unread: Callable[[str], bytes | None],
        to_websocket: Callable[[asyncio.Transport, Upgrade], None],
        to_http: Callable[[Callable[[], None]], asyncio.Protocol],
    ) -> None:
        """`answer_unread` gives what an upgrade from a source is answered whatever else it says, if there is that;
        `to_websocket` may raise `HttpRefusal`; `to_http` makes the protocol that answers all other requests, and
        calls what it is given when it has let go of the socket."""
        self.source = source
        self._waiting = waiting
        self._answer_unread = answer_unread
        self._to_websocket = to_websocket
        self._to_http = to_http
        self._head = bytearray()
        self._transport: asyncio.Transport | None = None
        self._coming: asyncio.Task[None] | None = None
        waiting.add(self)

    @property
    def reached(self) -> bool:
        """Whether the socket has come, after its TLS handshake if there is one."""
        return self._transport is not None

    def expect(self, coming: asyncio.Task[None]) -> None:
        """Be told of what leads the socket here; it ends as soon as the socket has come."""
        self._coming = coming

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop has one of its own
        self._coming = None

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None, "nothing is read before"
        if not self._head:
            data = data.lstrip(b"\r\n")  # empty lines before a request say nothing
            if data.startswith(UPGRADE_STARTS) and (answer := self._answer_unread(self.source)) is not None:
                self.leave()
                self._waiting.refuse(self._transport, answer, data.find(END) == len(data) - len(END))
                return
        self._head += data
        end = self._head.find(END)
        try:
            if end < 0:
                self._check_size(len(self._head))
                return
            self._check_size(end)
            self.leave()
            self._hand_over(self._transport, bytes(self._head), end)
        except HttpRefusal as refusal:
            self.leave()
            self._waiting.refuse(self._transport, refusal.response())

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # however it ended
        self.leave()

    def shut(self) -> None:
        """Give up waiting."""
        self.leave()
        if self._transport is not None:
            self._transport.abort()
        elif self._coming is not None:
            self._coming.cancel()

    def leave(self) -> None:
        """Wait no longer."""
        self._waiting.remove(self)

    def _check_size(self, size: int) -> None:
        line = self._head.find(b"\r\n")
        if (line if line >= 0 else size) > MAX_URL + len("OPTIONS  HTTP/1.1"):
            raise HttpRefusal(HTTPStatus.REQUEST_URI_TOO_LONG)
        if size > MAX_REQUEST_HEAD:
            raise HttpRefusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def _hand_over(self, transport: asyncio.Transport, read: bytes, end: int) -> None:
        head = read[:end]
        if not is_upgrade(head):
            protocol = self._to_http(partial(self._waiting.left, transport))
            self._waiting.visited(transport)
            transport.set_protocol(protocol)
            protocol.connection_made(transport)
            protocol.data_received(read)
            return
        if len(read) > end + len(END):  # frames before the handshake, or a second request behind the first
            raise HttpRefusal(HTTPStatus.BAD_REQUEST)
        self._to_websocket(transport, read_upgrade(head))
