"""One connection of a client to the store's process, from its token to its end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from orchestrator.store.wire import MAX_ANSWER, MAX_FRAME, BadFrame, Incoming, frames_of, read_answers
from orchestrator.store.wire_answers import Goodbye, NotAdmitted, Welcome
from orchestrator.store.wire_requests import VERSION, Hello

if TYPE_CHECKING:
    from orchestrator.store.port import Capabilities
    from orchestrator.store.wire_answers import AnyAnswer
    from orchestrator.store.wire_requests import AnyRequest

NOTHING_HEARD: Final = "it closed the connection"


class Client(Protocol):
    """What a link tells of."""

    def answered(self, answer: AnyAnswer) -> None: ...

    def waits_for(self, request: AnyRequest) -> bool: ...

    def unsendable(self, request: AnyRequest, problem: Exception) -> None: ...

    def lost(self, link: Link) -> None:
        """The connection is over; requests up to number `link.heard` may have been done, and no others."""
        ...


class Link(asyncio.Protocol):
    def __init__(self, client: Client, token: str) -> None:
        self._client, self._token = client, token
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._incoming = Incoming(MAX_ANSWER)
        self._outgoing: list[AnyRequest] = []
        self.welcome: asyncio.Future[Capabilities] = self._loop.create_future()
        """Done when requests may be sent; `ConnectionError` with what the store said, else."""
        self.heard = 0
        self.over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast("asyncio.Transport", transport)  # the loops have classes of their own
        hello, self._token = Hello(VERSION, self._token), ""
        for frame in frames_of([hello], MAX_FRAME, lambda _message, _problem: None):
            transport.write(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        self.over = True
        if not self.welcome.done():
            self.welcome.set_exception(ConnectionError(str(exc) if exc else NOTHING_HEARD))
        self._client.lost(self)

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._incoming.feed(data):
                for message in read_answers(frame):
                    self._hear(message)
        except BadFrame as error:
            if not self.welcome.done():
                self.welcome.set_exception(ConnectionError(str(error)))
            self.close()

    def _hear(self, message: Any) -> None:
        if isinstance(message, Welcome):
            if not self.welcome.done():
                self.welcome.set_result(message.capabilities)
        elif isinstance(message, NotAdmitted):
            if not self.welcome.done():
                self.welcome.set_exception(ConnectionError(message.sentence))
        elif isinstance(message, Goodbye):
            self.over, self.heard = True, message.last
            self._outgoing.clear()
            self.close()
        else:
            self._client.answered(message)

    def send(self, request: AnyRequest) -> None:
        """Send a request with all others of this turn of the event loop."""
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(request)

    def _flush(self) -> None:
        requests, self._outgoing = [each for each in self._outgoing if self._client.waits_for(each)], []
        transport = self._transport
        if not requests or self.over or transport is None or transport.is_closing():
            return
        self.heard = requests[-1].number
        for frame in frames_of(requests, MAX_FRAME, self._instead):
            transport.write(frame)

    def _instead(self, request: AnyRequest, problem: Exception) -> None:
        self._client.unsendable(request, problem)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
