"""One WebSocket on one socket: the sans-IO protocol of `websockets`, fed by asyncio callbacks.

Frames go up and down without a task or a queue in between. The first that is written within a turn of the event loop
leaves at once, and what follows in the same turn leaves together, in one write or in a few. Whole text messages pass
the library by once the connection is open. There is no proxy, no compression, and no redirect is followed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol, cast

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import Event, State
from websockets.uri import parse_uri

from orchestrator.client.framing import Frames, text_frame
from orchestrator.protocol.codes import CloseCode
from orchestrator.protocol.limits import MAX_OUTBOUND_FRAME

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

WRITTEN_AT_ONCE: Final = 16
"""Frames: of many in one turn, the hub has the first while the last are still made."""

_SILENT: Final = logging.Logger("orchestrator.client.wire", level=logging.CRITICAL + 1)
"""Not in the logging tree: at debug level the library would write the URL, and with it the credential, to the log."""

_CALL: Final = "Connect call failed"
_NUMBER: Final = re.compile(r"\[Errno (\d+)\]")
_END_OF_HEAD: Final = b"\r\n\r\n"


class AnyWire(Protocol):
    """One connection as its driver uses it: a WebSocket, or what stands for one. `Wire` says what each call does."""

    gone: asyncio.Future[None]

    async def dial(self, host: str, port: int, tls: ssl.SSLContext | None) -> None: ...
    def ask(self) -> None: ...
    def send(self, frame: bytes) -> None: ...
    def close(self, code: int, reason: str) -> None: ...
    def cut(self) -> None: ...
    def abandon_unopened(self) -> None: ...


class WireFactory(Protocol):
    """Makes the connection of one attempt."""

    def __call__(
        self,
        endpoint: str,
        *,
        close_timeout: float,
        on_open: Callable[[], None],
        on_text: Callable[[str], bool],
        on_end: Callable[[int, str], None],
    ) -> AnyWire: ...


class Wire(asyncio.Protocol):
    """A client's side of one WebSocket.

    `on_open` is called when the socket is open; the opening handshake waits for `ask`. `on_text` gets every text
    message; binary ones are passed over. When it says that somebody is to have a turn first, what was read beyond
    that message waits for the next turn of the event loop, and nothing more is read until then. `on_end` is called
    once, as soon as nothing more will come, unless this side asked for the end.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        close_timeout: float,
        on_open: Callable[[], None],
        on_text: Callable[[str], bool],
        on_end: Callable[[int, str], None],
    ) -> None:
        self._protocol = ClientProtocol(parse_uri(endpoint), max_size=MAX_OUTBOUND_FRAME, logger=_SILENT)
        self._close_timeout = close_timeout
        self._on_open, self._on_text, self._on_end = on_open, on_text, on_end
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._partial: bytearray | None = None
        self._partial_is_text = False
        self._flush_due = False
        self._head = b""
        """The last bytes of what has come so far, while the answer to the opening handshake goes on."""
        self._frames = Frames(MAX_OUTBOUND_FRAME)
        self._outgoing: list[bytes] = []
        """Frames that leave at the end of this turn of the event loop, before anything of the library's."""
        self._unread: deque[bytes | Event] = deque()
        """What has arrived and waits for its turn: at most what one read holds."""
        self._waiting = False
        self._lost = False
        """The socket is closed; what it had still said may wait."""
        self._error: Exception | None = None
        self._ended = False
        self._cut: asyncio.TimerHandle | None = None
        self.gone: asyncio.Future[None] = self._loop.create_future()
        """Done when the socket is closed, or will never be opened."""

    # -- what the client does

    async def dial(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        """Open the socket. Raises `OSError`."""
        await self._loop.create_connection(lambda: self, host, port, ssl=tls)

    def ask(self) -> None:
        """Begin the opening handshake, on the socket that is open."""
        if self._transport is not None and not self._ended:
            self._protocol.send_request(self._protocol.connect())
            self._flush()

    def send(self, frame: bytes) -> None:
        """Write one text message. After the end it goes nowhere, like everything that a dead socket took before."""
        if self._protocol.state is not State.OPEN:
            return
        self._outgoing.append(text_frame(frame))
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)
            self._write()
        elif len(self._outgoing) >= WRITTEN_AT_ONCE:
            self._write()

    def close(self, code: int, reason: str) -> None:
        """Say goodbye, and cut the socket if the hub has not closed it within the close timeout."""
        self._ended = True
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(code, reason)
            self._flush()
            self._cut_later()
        elif self._protocol.state is State.CONNECTING:
            self.cut()

    def cut(self) -> None:
        """Close the socket without a word."""
        self._ended = True
        if self._transport is not None:
            self._transport.abort()

    def abandon_unopened(self) -> None:
        """Note that nobody opens a socket any more; without effect once there was one."""
        if self._transport is None:
            self._ended = True
            self.gone.set_result(None)

    # -- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not derived from it
        if self._ended:
            self._transport.abort()
            return
        self._on_open()

    def data_received(self, data: bytes) -> None:
        if self._protocol.state is State.CONNECTING:
            data = self._opened_by(data)
        if self._protocol.state is State.OPEN:
            self._split(data)
        elif data:
            self._of_library(data)
        if not self._waiting:
            self._read()

    def _opened_by(self, data: bytes) -> bytes:
        """Give the library the answer to the opening handshake, and return what follows it."""
        end = (self._head + data).find(_END_OF_HEAD)
        cut = len(data) if end < 0 else end + len(_END_OF_HEAD) - len(self._head)
        self._head = (self._head + data)[-len(_END_OF_HEAD) + 1 :]
        self._of_library(data[:cut])
        return data[cut:]

    def _split(self, data: bytes) -> None:
        for found in self._frames.receive(data):
            if isinstance(found, bytes):
                self._unread.append(found)
            else:
                self._of_library(found.data)
                if self._protocol.state is not State.OPEN:
                    return  # after a close, or a mistake, nothing counts any more

    def _of_library(self, data: bytes) -> None:
        self._protocol.receive_data(data)
        self._unread.extend(self._protocol.events_received())

    def _read(self) -> None:
        """Hand on what has arrived, until it is all or somebody is to have a turn."""
        unread = self._unread
        while unread:
            event = unread.popleft()
            if isinstance(event, bytes):
                enough = self._text(event)
            elif not isinstance(event, Frame):
                continue  # the answer to the opening handshake
            elif event.opcode is Opcode.TEXT and event.fin:
                enough = self._text(event.data)
            elif event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                enough = self._fragment(event)
            else:
                continue
            if enough and not self._ended:
                self._wait()
                return
        if not self._lost:
            self._flush()
        self._notice_end()

    def _wait(self) -> None:
        self._waiting = True
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()
        self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._waiting = False
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
        self._read()

    def eof_received(self) -> None:
        self._end_of_stream()
        if not self._waiting:
            self._read()

    def connection_lost(self, error: Exception | None) -> None:
        self._end_of_stream()
        self._lost, self._error = True, error
        if not self._waiting:
            self._read()

    # -- how

    def _end_of_stream(self) -> None:
        if rest := self._frames.rest():
            self._of_library(rest)
        self._protocol.receive_eof()

    def _text(self, data: bytes | bytearray | memoryview) -> bool:
        try:
            text = str(data, "utf-8")
        except UnicodeDecodeError:
            self._protocol.fail(CloseCode.INVALID_TEXT, "a text frame is not UTF-8")
            self._unread.clear()  # after a mistake nothing counts any more
            return False
        return self._on_text(text)

    def _fragment(self, frame: Frame) -> bool:
        """Collect a message that came in pieces; the protocol bounds their sum."""
        if frame.opcode is not Opcode.CONT:
            self._partial, self._partial_is_text = bytearray(), frame.opcode is Opcode.TEXT
        if self._partial is None or not self._partial_is_text:
            return False
        self._partial += frame.data
        if not frame.fin:
            return False
        whole, self._partial = self._partial, None
        return self._text(whole)

    def _flush(self) -> None:
        self._flush_due = False
        self._write()

    def _write(self) -> None:
        waiting = [*self._outgoing, *self._protocol.data_to_send()]
        self._outgoing.clear()
        if not waiting or self._transport is None or self._transport.is_closing():
            return
        self._transport.write(b"".join(waiting))
        if waiting[-1] == b"":  # the protocol's sign for the end of the stream
            if self._transport.can_write_eof():
                self._transport.write_eof()
            else:
                self._transport.close()

    def _notice_end(self) -> None:
        protocol = self._protocol
        opening = protocol.state is State.CONNECTING and protocol.handshake_exc is None
        if not self._lost and (opening or protocol.state is State.OPEN):
            return
        if self._lost:
            self._gone()
        else:
            self._cut_later()
        if self._ended:
            return
        self._ended = True
        closed = protocol.close_rcvd or protocol.close_sent
        told = protocol.handshake_exc or (None if closed else self._error)
        if told is not None:
            self._on_end(CloseCode.ABNORMAL, sentence(told))
        elif closed is not None:
            self._on_end(closed.code, closed.reason)
        else:
            self._on_end(CloseCode.ABNORMAL, "")

    def _gone(self) -> None:
        if self._cut is not None:
            self._cut.cancel()
        if not self.gone.done():
            self.gone.set_result(None)

    def _cut_later(self) -> None:
        if self._cut is None:
            self._cut = self._loop.call_later(self._close_timeout, self.cut)


def sentence(error: BaseException) -> str:
    """Return what went wrong with a socket, without numbers of operating systems and without addresses."""
    numbers = _NUMBER.findall(str(error)) if isinstance(error, OSError) else []
    if numbers and _CALL in str(error):  # asyncio's words, for each address that it tried
        return ", ".join(dict.fromkeys(os.strerror(int(number)) for number in numbers))
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
