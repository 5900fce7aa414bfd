"""One connection to Redis, which carries the requests of many at once: answers come in the order of the questions."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final, cast

import hiredis

from orchestrator.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_WAITING: Final = 4_096
"""Requests on their way at once; whoever comes after that waits for room."""

ReplyError: Final = hiredis.ReplyError


class Wire(asyncio.Protocol):
    """What is asked in one turn of the loop is written as one piece, and the server syncs its file once for all of it."""

    def __init__(self, name: str, lost: Callable[[Wire], None], answer: float) -> None:
        """`name` is what errors call the server; `lost` is called once when the connection has ended; `answer` = seconds
        within which each request is answered, or the server counts as gone.
        """
        self._name, self._lost, self._answer = name, lost, answer
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader()
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[tuple[asyncio.Future[Any], float]] = deque()
        self._out: list[bytes] = []
        self._watch: asyncio.TimerHandle | None = None
        self._room, self.ended, self._gone = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._room.set()
        self._stuck = False
        self._why = "the connection was closed"

    # -- what is asked

    async def ask(self, *words: bytes | str | int | float) -> Any:
        """Return the answer, which may be a `ReplyError`. Raises `StoreUnavailable` when there is none."""
        while not self._room.is_set() and not self.ended.is_set():
            try:
                async with asyncio.timeout(self._answer):
                    await self._room.wait()
            except TimeoutError:
                raise StoreUnavailable(f"the store {self._name} has too much to do") from None
        if self.ended.is_set():
            raise StoreUnavailable(f"the store {self._name} is away: {self._why}")
        answer: asyncio.Future[Any] = self._loop.create_future()
        if self._watch is None:
            self._watch = self._loop.call_later(self._answer, self._look)
        self._waiting.append((answer, self._loop.time()))
        if not self._out:
            self._loop.call_soon(self._write)
        self._out.append(hiredis.pack_command(words))  # type: ignore[arg-type]  # it takes words of any number
        if len(self._waiting) >= MOST_WAITING:
            self._room.clear()
        return await answer

    def _write(self) -> None:
        out, self._out = self._out, []
        if self._transport is not None and out:
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))

    def _look(self) -> None:
        """See whether the oldest question waits for too long."""
        self._watch = None
        if not self._waiting:
            return
        left = self._waiting[0][1] + self._answer - self._loop.time()
        if left <= 0:
            self.abort(f"it gave no answer within {self._answer:g} s")
        else:
            self._watch = self._loop.call_later(left, self._look)

    # -- what comes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # which those of other loops are in all but name

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
                answer, _ = self._waiting.popleft()
                if not answer.done():
                    answer.set_result(reply)
        except (hiredis.ProtocolError, IndexError):
            self.abort("it does not speak as Redis does")
            return
        self._make_room()

    def pause_writing(self) -> None:
        self._stuck = True
        self._room.clear()

    def resume_writing(self) -> None:
        self._stuck = False
        self._make_room()

    def _make_room(self) -> None:
        if not self._stuck and len(self._waiting) < MOST_WAITING:
            self._room.set()

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None:
            self._why = str(error) or type(error).__name__
        self._gone.set()
        self._end()

    # -- how it ends

    def abort(self, why: str) -> None:
        """End the connection at once; whoever waits for an answer gets `StoreUnavailable` with this reason."""
        if not self.ended.is_set():
            self._why = why
            if self._transport is not None:
                self._transport.abort()
            self._end()

    async def close(self) -> None:
        """End the connection, and wait until it has."""
        self.abort("it was closed")
        if self._transport is not None:
            await self._gone.wait()

    def _end(self) -> None:
        if self.ended.is_set():
            return
        self.ended.set()
        if self._watch is not None:
            self._watch.cancel()
        self._out.clear()
        while self._waiting:
            answer, _ = self._waiting.popleft()
            if not answer.done():
                answer.set_exception(StoreUnavailable(f"the store {self._name} gave no answer: {self._why}"))
        self._room.set()
        self._lost(self)
