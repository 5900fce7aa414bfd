"""One WebSocket on one socket: the sans-IO protocol of `websockets`, fed by asyncio callbacks.

Frames go up and down without a task or a queue in between, and what is written within one turn of the event loop
leaves in one write. There is no proxy, no compression, and no redirect is followed.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, cast

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from orchestrator.protocol.codes import CloseCode
from orchestrator.protocol.limits import MAX_OUTBOUND_FRAME

if TYPE_CHECKING:
    from collections.abc import Callable

_SILENT: Final = logging.Logger("orchestrator.client.wire", level=logging.CRITICAL + 1)
"""Not in the logging tree: at debug level the library would write the URL, and with it the credential, to the log."""


class Wire(asyncio.Protocol):
    """A client's side of one WebSocket.

    `on_open` is called when the socket is open; the opening handshake waits for `ask`. `on_text` gets every text
    message; binary ones are passed over. `on_end` is called once, as soon as nothing more will come, unless this side
    asked for the end.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        close_timeout: float,
        on_open: Callable[[], None],
        on_text: Callable[[str], None],
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
        self._ended = False
        self._cut: asyncio.TimerHandle | None = None
        self.gone: asyncio.Future[None] = self._loop.create_future()
        """Done when the socket is closed, or will never be opened."""

    # -- what the client does

    def ask(self) -> None:
        """Begin the opening handshake, on the socket that is open."""
        if self._transport is not None and not self._ended:
            self._protocol.send_request(self._protocol.connect())
            self._flush()

    def send(self, frame: bytes) -> None:
        """Write one text message. After the end it goes nowhere, like everything that a dead socket took before."""
        if self._protocol.state is not State.OPEN:
            return
        self._protocol.send_text(frame)
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

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
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if not isinstance(event, Frame):
                continue  # the answer to the opening handshake
            if event.opcode is Opcode.TEXT and event.fin:
                self._text(event.data)
            elif event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                self._fragment(event)
        self._flush()
        self._notice_end()

    def eof_received(self) -> None:
        self._protocol.receive_eof()
        self._flush()
        self._notice_end()

    def connection_lost(self, error: Exception | None) -> None:
        self._protocol.receive_eof()
        if self._cut is not None:
            self._cut.cancel()
        if not self._ended:
            self._ended = True
            told = self._protocol.handshake_exc or error
            self._on_end(CloseCode.ABNORMAL, "" if told is None else sentence(told))
        if not self.gone.done():
            self.gone.set_result(None)

    # -- how

    def _text(self, data: bytes | bytearray | memoryview) -> None:
        try:
            text = str(data, "utf-8")
        except UnicodeDecodeError:
            self._protocol.fail(CloseCode.INVALID_TEXT, "a text frame is not UTF-8")
            return
        self._on_text(text)

    def _fragment(self, frame: Frame) -> None:
        """Collect a message that came in pieces; the protocol bounds their sum."""
        if frame.opcode is not Opcode.CONT:
            self._partial, self._partial_is_text = bytearray(), frame.opcode is Opcode.TEXT
        if self._partial is None or not self._partial_is_text:
            return
        self._partial += frame.data
        if frame.fin:
            whole, self._partial = self._partial, None
            self._text(whole)

    def _flush(self) -> None:
        self._flush_due = False
        waiting = self._protocol.data_to_send()
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
        if protocol.state is State.OPEN or (protocol.state is State.CONNECTING and protocol.handshake_exc is None):
            return
        self._cut_later()
        if self._ended:
            return
        self._ended = True
        closed = protocol.close_rcvd or protocol.close_sent
        if protocol.handshake_exc is not None:
            self._on_end(CloseCode.ABNORMAL, sentence(protocol.handshake_exc))
        elif closed is not None:
            self._on_end(closed.code, closed.reason)
        else:
            self._on_end(CloseCode.ABNORMAL, "")

    def _cut_later(self) -> None:
        if self._cut is None:
            self._cut = self._loop.call_later(self._close_timeout, self.cut)


def sentence(error: BaseException) -> str:
    """Return what went wrong with a socket, without numbers of operating systems and without addresses."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
