"""One WebSocket: frames become messages for the hub, and its outbox becomes writes.

picows reads frames, and checks masks, sizes and opcodes. Fragments, UTF-8, reserved bits, pings and the closing
handshake are done here. What messages mean is up to the driver's hub.
"""

from __future__ import annotations

import codecs
import logging
from typing import TYPE_CHECKING, Final, cast

from picows import WSFrame, WSListener, WSMsgType, WSTransport

from orchestrator.hub import wire
from orchestrator.hub.lingering import UNREAD, Line, Lingering
from orchestrator.hub.rosters import Reason
from orchestrator.protocol.codes import CloseCode, closing

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from orchestrator.hub.admission import Identity
    from orchestrator.hub.connections import Connection
    from orchestrator.hub.driver import Driver

_SLOW_WAIT: Final = 10.0
"""Seconds that a reader which was too slow gets to read why: as long as memory is not needed for others."""
_TEXT: Final = WSMsgType.TEXT
_UTF8: Final = codecs.getincrementaldecoder("utf-8")
_log: Final = logging.getLogger("orchestrator.hub")


class SocketPeer(WSListener):
    """Made with whom the credential stands for, or with the code that refuses it."""

    __slots__ = (
        "_admitted",
        "_answered",
        "_binary",
        "_closing",
        "_connection",
        "_deadline",
        "_driver",
        "_faulty",
        "_gone",
        "_ignored",
        "_last_frame",
        "_lingering",
        "_message",
        "_message_late",
        "_on_lost",
        "_outbox",
        "_paused",
        "_settings",
        "_transport",
        "_utf8",
        "_write",
        "_ws",
    )

    def __init__(
        self,
        driver: Driver,
        transport: asyncio.Transport,
        admitted: Identity | CloseCode,
        on_lost: Callable[[SocketPeer], None],
    ) -> None:
        settings = driver.hub.settings
        self._driver = driver
        self._transport = transport
        self._write = transport.write
        self._admitted = admitted
        self._on_lost = on_lost
        self._settings = settings
        self._outbox = driver.hub.outbox()
        self._outbox.owner = self
        self._connection: Connection | None = None
        self._ws: WSTransport | None = None
        self._last_frame: WSFrame | None = None
        self._paused = False
        self._faulty = False
        """The frames of the other side make no sense any more."""
        self._closing = False
        """Our close frame is written, or there is nobody to write one to."""
        self._answered = False
        """The other side's close frame came while ours was on its way."""
        self._lingering: Lingering | None = None
        self._gone = False
        self._ignored = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._message: bytearray | None = None
        """What has come of a message in fragments."""
        self._message_late: asyncio.TimerHandle | None = None
        self._binary = False
        self._utf8: codecs.IncrementalDecoder | None = None
        """Of the text that comes in fragments."""

    # -- called by picows

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._ws = transport
        self._transport.set_write_buffer_limits(high=1, low=0)  # whatever waits, waits in the outbox
        self._outbox.put(cast(Line, transport.underlying_transport).response)  # it goes along with what comes first
        if not isinstance(self._admitted, CloseCode):
            now = self._driver.clock()
            self._connection = self._driver.hub.connect(self._admitted, self._outbox, now, self._driver.wall())
        else:
            self._outbox.close(self._admitted, closing(self._admitted).meaning)
        self._driver.settle()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:  # noqa: ARG002  # it is ours
        self._last_frame = frame
        connection, driver = self._connection, self._driver
        if connection is None or not connection.open:
            self._ignore(frame)
            return
        try:
            if (
                frame.msg_type == _TEXT
                and frame.fin
                and self._message is None
                and not (frame.rsv1 or frame.rsv2 or frame.rsv3)
            ):
                driver.hub.receive(connection, frame.get_payload_as_bytes(), driver.clock())
            else:
                self._other_frame(connection, frame)
        except Exception:  # noqa: BLE001  # a fault of ours ends this connection, loudly, and no other
            _log.exception("a frame could not be handled")
            self._driver.hub.violation(connection, CloseCode.INTERNAL_ERROR, self._driver.clock())
        if not driver.flushing:
            driver.settle()

    def on_ws_disconnected(self, transport: WSTransport) -> None:  # noqa: ARG002  # it is ours
        self._lost()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._connection is not None:
            self._driver.hub.resumed(self._connection, self._driver.clock())
            self._driver.settle()

    # -- called by the reader

    def line(self) -> Line:
        """Return the transport as picows is to see it; nobody but picows keeps it."""
        return Line(self._transport, self._fault)

    def text_so_far(self) -> tuple[bytes, int] | None:
        """Return the state of the UTF-8 decoder after the fragments that have come; `None` if they are no text."""
        return None if self._utf8 is None else self._utf8.getstate()

    def ends_with_frame(self) -> bool:
        """Tell whether there were frames since this was asked last, and what was read ended where the last one does."""
        last, self._last_frame = self._last_frame, None
        return last is not None and not last.tail_size

    def refuse(self, code: CloseCode) -> None:
        """Close for a fault in a frame that is not whole yet; of all that follows, nothing will make sense."""
        self._fail(code)

    # -- called by the driver

    def flush(self, now: float) -> None:
        outbox = self._outbox
        if outbox.held or self._connection is None:
            self._flush_held(now)
        elif data := outbox.take(now):
            self._write(data)
            if self._paused:
                self._driver.hub.stalled(self._connection, self._transport.get_write_buffer_size(), now)
            else:
                outbox.sent(now)

    def _flush_held(self, now: float) -> None:
        """Write what is to be written before the end, and bring that about, as far as the socket goes along."""
        outbox = self._outbox
        if self._gone or self._ws is None:
            return
        if outbox.aborted:
            self._transport.abort()
            return
        data = outbox.take(now)
        if data and not self._closing:
            self._transport.write(data)
            if self._paused and self._connection is not None:
                self._driver.hub.stalled(self._connection, self._transport.get_write_buffer_size(), now)
            else:
                outbox.sent(now)
        if outbox.closing is None:
            return
        if outbox.stalled and outbox.frames:  # they come before the close, once the socket takes more
            self._cut_after(self._settings.close_wait)
        else:
            self._close(*outbox.closing)

    def cut(self) -> None:
        """End the connection at once, without a word."""
        self._transport.abort()

    # -- frames

    def _other_frame(self, connection: Connection, frame: WSFrame) -> None:
        hub, now, kind = self._driver.hub, self._driver.clock(), frame.msg_type
        if frame.rsv1 or frame.rsv2 or frame.rsv3:
            hub.violation(connection, CloseCode.PROTOCOL_ERROR, now)
        elif kind == WSMsgType.PING:
            hub.receive_ping(connection, frame.get_payload_as_bytes(), now)
        elif kind == WSMsgType.PONG:
            hub.receive_pong(connection, now)
        elif kind == WSMsgType.CLOSE:
            self._close_received(connection, frame, now)
        elif (kind == WSMsgType.CONTINUATION) == (self._message is None):
            hub.violation(connection, CloseCode.PROTOCOL_ERROR, now)
        else:
            self._fragment(connection, frame, now)

    def _fragment(self, connection: Connection, frame: WSFrame, now: float) -> None:
        hub = self._driver.hub
        if self._message is None:
            self._message = bytearray()
            self._message_late = self._driver.loop.call_later(
                self._settings.frame_timeout, self.refuse, CloseCode.POLICY_VIOLATION
            )
            self._binary = frame.msg_type == WSMsgType.BINARY
            self._utf8 = None if self._binary else _UTF8()
        payload = frame.get_payload_as_bytes()
        if len(self._message) + len(payload) > self._settings.max_frame:
            hub.violation(connection, CloseCode.MESSAGE_TOO_BIG, now)
            return
        self._message += payload
        if self._utf8 is not None:
            try:
                self._utf8.decode(payload, final=frame.fin)
            except UnicodeDecodeError:
                hub.violation(connection, CloseCode.INVALID_TEXT, now)
                return
        if not frame.fin:
            hub.receive_fragment(connection, now)
            return
        message, self._message, self._utf8 = bytes(self._message), None, None
        if self._message_late is not None:
            self._message_late.cancel()
            self._message_late = None
        if self._binary:
            hub.receive_binary(connection, message, now)
        else:
            hub.receive(connection, message, now)

    # -- the end

    def _close_received(self, connection: Connection, frame: WSFrame, now: float) -> None:
        """Answer the other side's close frame, after all that was queued before it."""
        payload = frame.get_payload_as_bytes()
        code = int.from_bytes(payload[:2], "big") if payload else CloseCode.NORMAL
        if not _may_be_sent(code):
            self._faulty = True
            self._driver.hub.violation(connection, CloseCode.PROTOCOL_ERROR, now)
            return
        self._driver.hub.disconnect(connection, now, Reason.LEFT)
        self.flush(now)
        self._close(code, "")
        self._transport.close()

    def _close(self, code: int, reason: str) -> None:
        """Send a close frame and wait for the other side's, since closing before it came may lose ours."""
        if self._closing or self._gone or self._ws is None:
            return
        self._closing = True
        self._transport.write(wire.close_frame(code, reason))
        wait = self._settings.close_wait
        if self._answered:
            self._transport.close()
        elif self._faulty:
            self._linger()
            return
        if code == CloseCode.POLICY_VIOLATION:
            wait = max(wait, _SLOW_WAIT)
        self._cut_after(wait)

    def _cut_after(self, wait: float) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self._driver.loop.call_later(wait, self._transport.abort)

    def _ignore(self, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            self._answered = True
            if self._closing:
                self._transport.close()
            return
        self._ignored += frame.payload_size + 16
        if self._ignored > UNREAD:
            self._transport.pause_reading()

    def _fault(self, code: int) -> None:
        """Be told by picows, which has yet to hand over the frame before the one that it found fault with."""
        self._driver.loop.call_soon(self._fail, code)

    def _fail(self, code: int) -> None:
        self._faulty = True
        if self._gone or self._lingering is not None or self._transport.is_closing():
            return
        if self._connection is not None and self._connection.open:
            self._driver.hub.violation(self._connection, CloseCode(code), self._driver.clock())
            self._driver.settle()
        elif self._closing:
            self._linger()

    def _linger(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._lingering = Lingering(self._transport, self._settings.close_wait, self._lost)

    def _lost(self) -> None:
        if self._gone:
            return
        self._gone = True
        self._outbox.lost()
        self._ws = None
        for timer in (self._deadline, self._message_late):
            if timer is not None:
                timer.cancel()
        self._deadline = self._message_late = None
        if self._connection is not None and self._connection.open:
            self._driver.hub.disconnect(self._connection, self._driver.clock())
        self._driver.settle()
        self._on_lost(self)
        self._outbox.part()


def _may_be_sent(code: int) -> bool:
    """Tell whether a close frame may hold this code: one that is registered, or in a range that is free to use."""
    return 3000 <= code < 5000 or (1000 <= code < 1015 and code not in (1004, 1005, 1006))
