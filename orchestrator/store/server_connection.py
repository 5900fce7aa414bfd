"""One connection to the store's process: admitted by a token, then requests come and answers go, each when it is ready."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from orchestrator.errors import StoreUnavailable
from orchestrator.store.wire import (
    MAX_ANSWER,
    MAX_FRAME,
    BadFrame,
    BadRequest,
    Incoming,
    TooLarge,
    frames_of,
    read_requests,
)
from orchestrator.store.wire_answers import Answer, Goodbye, NotAdmitted, Refusal, Welcome, refusal
from orchestrator.store.wire_requests import VERSION, Hello, Idle

if TYPE_CHECKING:
    import logging
    from collections.abc import Coroutine

    from orchestrator.store.opening import Store
    from orchestrator.store.wire_requests import AnyRequest
    from orchestrator.topology.store_access import Access

ADMISSION_SECONDS: Final = 2.0
"""How long a connection may take to show its token."""
PARTING_SECONDS: Final = 2.0
"""How long a client may take to close a connection that it was told goodbye on."""
MAX_HELLO: Final = 65_536
MAX_UNDER_WAY: Final = 256
"""Requests of one connection that are being done; it is not read as long as there are as many."""
MAX_UNREAD: Final = 64 * 1_048_576
"""Bytes of answers that a client has not read, beyond which it is cut off."""
_PAUSE_UNREAD: Final = 1_048_576
"""Bytes of answers beyond which nothing more is read from it."""
_CREDENTIALS: Final = struct.Struct("3i")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a token belongs to."""

    peer_id: str | None
    """`None` = an operator, who may do everything."""
    access: Access | None = None
    left: float | None = None
    """Seconds until the token ends; `None` = never."""


OPERATOR: Final = Caller(None)


class TokenUnwelcome(Exception):
    """A token opens no connection; its sentence is told to whoever brought it."""


class Serving(Protocol):
    """What a connection needs of the server."""

    log: logging.Logger

    def opened(self, connection: Connection) -> bool:
        """Count a connection in; `False` = there are too many."""
        ...

    def closed(self, connection: Connection) -> None: ...

    def admitted(self, token: str) -> tuple[Caller, Store]:
        """Raises `TokenUnwelcome`."""
        ...

    def wait_for_idle(self, connection: Connection, request: Idle) -> None: ...

    def done(self, request: AnyRequest, value: Any) -> None: ...

    def failed(self, request: AnyRequest, error: Exception) -> None: ...


class Connection(asyncio.Protocol):
    def __init__(self, server: Serving) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._incoming = Incoming(MAX_HELLO)
        self._caller: Caller | None = None
        self._store: Store | None = None
        self._waiting: deque[AnyRequest] = deque()
        self._under_way = 0
        self._last = 0
        self._outgoing: list[object] = []
        self._leaving = self._parted = False
        self._reading, self._unread, self._going_on = True, False, False
        self._timer: asyncio.TimerHandle | None = None

    # -- the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast("asyncio.Transport", transport)  # the loops have classes of their own
        transport.set_write_buffer_limits(high=_PAUSE_UNREAD)
        if not self._server.opened(self):
            self._turn_away("the store has as many connections as it may; try again")
        elif not _is_ours(transport):
            self._turn_away("the store belongs to another user")
        else:
            self._in(ADMISSION_SECONDS, self.abort)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self._timer is not None:
            self._timer.cancel()
        self._leaving = self._parted = True
        self._waiting.clear()
        self._server.closed(self)

    def pause_writing(self) -> None:
        self._unread = True
        self._regulate()

    def resume_writing(self) -> None:
        self._unread = False
        self._go_on()

    def data_received(self, data: bytes) -> None:
        if self._leaving:
            return
        try:
            for frame in self._incoming.feed(data):
                for message in read_requests(frame):
                    self._take(message)
        except BadFrame as error:
            self._server.log.warning("a connection of %s is closed: %s", self.name, error)
            self.abort()
            return
        self._regulate()

    @property
    def name(self) -> str:
        if self._caller is None:
            return "somebody unknown"
        return self._caller.peer_id or "the operator"

    @property
    def caller(self) -> Caller | None:
        """`None` before it is admitted."""
        return self._caller

    @property
    def is_operator(self) -> bool:
        return self._caller is not None and self._caller.peer_id is None

    # -- admission

    def _take(self, message: AnyRequest | Hello | BadRequest) -> None:
        if self._leaving:
            return
        if self._store is None:
            self._admit(message)
        elif isinstance(message, BadRequest):
            self.say(Refusal(message.number, ("ValueError", (message.problem,))))
        elif isinstance(message, Hello):
            raise BadFrame("it was admitted already")
        elif self._waiting or not self._has_room():
            self._waiting.append(message)
        else:
            self._begin(message)

    def _admit(self, message: AnyRequest | Hello | BadRequest) -> None:
        if not isinstance(message, Hello):
            raise BadFrame("the first message is no token")
        if message.version != VERSION:
            self._turn_away(f"this store speaks version {VERSION}, and not {message.version}: start everything again")
            return
        try:
            self._caller, self._store = self._server.admitted(message.token)
        except TokenUnwelcome as error:
            self._turn_away(str(error))
            return
        self._incoming.limit = MAX_FRAME
        self.say(Welcome(self._store.tasks.capabilities))
        self._in(self._caller.left, self.leave)

    def _turn_away(self, sentence: str) -> None:
        self._leaving = self._parted = True
        self.say(NotAdmitted(sentence))
        self._flush()
        if self._transport is not None:
            self._transport.close()

    # -- requests and answers

    def _begin(self, request: AnyRequest) -> None:
        assert self._store is not None
        self._last = request.number
        if isinstance(request, Idle):
            self._server.wait_for_idle(self, request)
            return
        self._under_way += 1
        _Asked(self, request, request.to(self._store)).go_on()

    def answer(self, request: AnyRequest, value: Any) -> None:
        self._server.done(request, value)
        self.say(request.answer(request.number, value))
        self._ended()

    def refuse(self, request: AnyRequest, error: Exception) -> None:
        self._server.failed(request, error)
        answer = refusal(request.number, error)
        if answer is None:
            kind = type(request).__name__
            self._server.log.error("%s of %s failed", kind, self.name, exc_info=error)
            unavailable = StoreUnavailable(f"the store failed at {kind.lower()}: {type(error).__name__}; see its log")
            answer = refusal(request.number, unavailable)
        self.say(answer)
        self._ended()

    def say(self, message: object) -> None:
        """Send a message with all others of this turn of the event loop."""
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(message)

    def _ended(self) -> None:
        self._under_way -= 1
        if self._leaving:
            self._part()
        elif not self._reading and not self._going_on:
            self._go_on()

    def _has_room(self) -> bool:
        """Whether another request may be begun. An answer counts until it is written."""
        return not self._unread and self._under_way + len(self._outgoing) < MAX_UNDER_WAY

    def _go_on(self) -> None:
        self._going_on = True  # what is answered at once ends while it is begun
        while self._waiting and self._has_room():
            self._begin(self._waiting.popleft())
        self._going_on = False
        self._regulate()

    def _flush(self) -> None:
        messages, self._outgoing = self._outgoing, []
        transport = self._transport
        if not messages or transport is None or transport.is_closing():
            return
        for frame in frames_of(messages, MAX_ANSWER, _instead):
            transport.write(frame)
        if transport.get_write_buffer_size() > MAX_UNREAD:
            self._server.log.warning("a connection of %s is closed: it does not read its answers", self.name)
            self.abort()
        elif not self._reading:
            self._go_on()

    def _regulate(self) -> None:
        """Read on or not, as there is room for more or not."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        room = self._parted or (not self._waiting and self._has_room())
        if room and not self._reading:
            self._reading = True
            transport.resume_reading()
        elif not room and self._reading:
            self._reading = False
            transport.pause_reading()

    # -- the end

    def leave(self) -> None:
        """Answer what is under way, begin nothing more, and have the client close the connection."""
        if self._leaving:
            return
        if self._store is None:
            self.abort()
            return
        self._leaving = True
        self._waiting.clear()
        self._part()

    def _part(self) -> None:
        if self._under_way or self._parted:
            return
        self._parted = True
        self.say(Goodbye(self._last))
        self._regulate()
        self._in(PARTING_SECONDS, self.abort)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _in(self, seconds: float | None, then: Any) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self._loop.call_later(seconds, then)


class _Asked:
    """A request that is being done. A task for each would cost as much as all the rest of it."""

    __slots__ = ("_connection", "_request", "_steps")

    def __init__(self, connection: Connection, request: AnyRequest, steps: Coroutine[Any, Any, Any]) -> None:
        self._connection, self._request, self._steps = connection, request, steps

    def go_on(self, _done: asyncio.Future[Any] | None = None) -> None:
        """Run until something has to be waited for that is not there yet, and again when it is."""
        try:
            waited_for = self._steps.send(None)
        except StopIteration as end:
            self._connection.answer(self._request, end.value)
        except asyncio.CancelledError:
            self._connection.refuse(self._request, StoreUnavailable("the store was closed meanwhile"))
        except Exception as error:  # noqa: BLE001  # whoever asked is told, whatever it is
            self._connection.refuse(self._request, error)
        else:
            if waited_for is None:
                asyncio.get_running_loop().call_soon(self.go_on)
            else:
                waited_for.add_done_callback(self.go_on)


def _instead(message: Any, problem: Exception) -> object | None:
    if not isinstance(message, Answer) or isinstance(message, Refusal):
        return None
    sentence = "the answer cannot be sent"
    if isinstance(problem, TooLarge):
        sentence = f"the answer cannot be sent: {problem}; ask for less"
    return Refusal(message.number, ("ValueError", (sentence,)))


def _is_ours(transport: asyncio.Transport) -> bool:
    """Whether who connects is the user that this process runs as, as far as the system tells."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    end = transport.get_extra_info("socket")
    _, user, _ = _CREDENTIALS.unpack(end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return bool(user == os.geteuid())
