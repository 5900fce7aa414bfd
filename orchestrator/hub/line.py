"""One connection to an engine: what is said goes out in one write per turn of the loop, bounded; silence is noticed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

_LOOK: Final = 1.0
"""Seconds between two looks at whether the other side is there; when it was silent, it is asked for a sign."""
_SILENT_LOOKS: Final = 5
"""Looks without a sign after which it is lost: 4 to 5 s of silence. Looks are counted and not seconds, so that nothing
is lost because this process was held up.
"""
_PIECE: Final = 256 * 1024
"""Bytes that are written at a time."""


class Line(asyncio.Protocol):
    """`take` is given bytes as they come. `lost` is called once, with the reason, unless it is closed from here; `ask`
    is called after a second of silence.
    """

    def __init__(
        self, take: Callable[[bytes], None], lost: Callable[[str], None], ask: Callable[[], None], room: int
    ) -> None:
        self._take = take
        self._lost = lost
        self._ask = ask
        self._room = room
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._waiting = 0
        """Bytes in `_out`."""
        self._scheduled = False
        self._paused = False
        self._over = False
        self._silent = 0
        self._timer: asyncio.TimerHandle | None = None

    async def connect(self, host: str, port: int, context: ssl.SSLContext | None = None) -> None:
        await self._loop.create_connection(lambda: self, host, port, ssl=context)
        self._timer = self._loop.call_later(_LOOK, self._look)

    async def secure(self, context: ssl.SSLContext, host: str | None) -> None:
        """Go on encrypted."""
        assert self._transport is not None, "it is connected"
        self.flush()
        try:
            self._transport = await self._loop.start_tls(self._transport, self, context, server_hostname=host)
        except BaseException:
            self._end()  # nobody else says so
            raise

    @property
    def over(self) -> bool:
        return self._over

    # -- out

    def say(self, data: bytes) -> None:
        """Send what cannot be refused, since somebody else bounds it."""
        self._out.append(data)
        self._waiting += len(data)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def offer(self, data: bytes) -> bool:
        """Send, if there is room for it."""
        if self._waiting + len(data) > self._room:
            return False
        self.say(data)
        return True

    def _turn(self) -> None:
        self._scheduled = False
        if not self._paused:
            self.flush()

    def flush(self) -> None:
        if self._transport is None or self._over:
            return
        if self._waiting <= _PIECE:
            out, self._out, self._waiting = self._out, [], 0
            if out:
                self._transport.write(b"".join(out) if len(out) > 1 else out[0])
            return
        while self._out and not self._paused:
            size = count = 0
            while count < len(self._out) and size < _PIECE:
                size += len(self._out[count])
                count += 1
            piece = b"".join(self._out[:count])
            del self._out[:count]
            self._waiting -= size
            self._transport.write(piece)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._silent = 0  # the other side reads on
        self.flush()

    # -- in

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._silent = 0
        if not self._over:
            self._take(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()
        self.fail(f"the connection broke ({exc})" if exc is not None else "the engine closed the connection")

    def _end(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    def _look(self) -> None:
        self._silent += 1
        if self._silent >= _SILENT_LOOKS:
            self.fail(f"it has not answered for {_SILENT_LOOKS * _LOOK:g} s")
        else:
            if self._silent > 1:
                self._ask()
            self._timer = self._loop.call_later(_LOOK, self._look)

    # -- the end

    def fail(self, why: str) -> None:
        """Give it up, and say so; what waits to be written is gone."""
        if not self._over:
            self.abort()
            self._lost(why)

    def abort(self) -> None:
        self._over = True
        self._out, self._waiting = [], 0
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()

    async def close(self) -> None:
        """Disconnect, and be back when that is done."""
        if self._transport is not None and not self._ended.done():
            self.flush()
            self._over = True
            self._transport.close()
            await asyncio.wait([self._ended], timeout=_LOOK)
        self.abort()
        if self._transport is not None and not self._ended.done():
            await asyncio.wait([self._ended], timeout=_LOOK)
