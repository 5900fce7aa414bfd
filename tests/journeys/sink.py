"""A system outside of a run, with which agents book things: it takes each key once, and nobody who is late.

It lives in the test's own process, which nobody kills, and also tells the test what the agents are at.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

import msgspec

ADDRESS: Final = "SINK_SOCKET"
"""The variable in which agents find the sink."""


class Book(msgspec.Struct, frozen=True, tag="book"):
    """Have the effect of this key, for the attempt of a task that was the first to record it."""

    number: int
    key: str
    task: str
    fence: int


class Arrive(msgspec.Struct, frozen=True, tag="arrive"):
    """Somebody stands before a gate, and goes on when the test opens it."""

    number: int
    gate: str
    pid: int
    item: int = 0
    attempt: int = 0


class Answer(msgspec.Struct, frozen=True):
    number: int
    said: str
    """``booked``, ``again``, ``late``, or ``open``."""


@dataclass(frozen=True)
class Arrival:
    pid: int
    item: int
    attempt: int
    at: float
    """Seconds of the machine's monotonic clock."""


_requests: Final = msgspec.json.Decoder(Book | Arrive)
_answers: Final = msgspec.json.Decoder(Answer)
_encode: Final = msgspec.json.Encoder().encode


class Sink:
    def __init__(self) -> None:
        self.booked: dict[str, str] = {}
        """The task of each key."""
        self.refused: Counter[str] = Counter()
        """How often ``again`` or ``late`` was said."""
        self.arrivals: dict[str, list[Arrival]] = {}
        """Who came to each gate, in order."""
        self._fences: dict[str, int] = {}
        self._open: dict[str, float] = {}
        """How many a gate still lets through."""
        self._before: dict[str, list[Callable[[], None]]] = {}
        """Those who stand before a gate."""
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    async def until(self, fact: Callable[[], bool], seconds: float) -> None:
        """Wait for something to be true of what is here. Raises `TimeoutError`."""
        if fact():
            return
        future = asyncio.get_running_loop().create_future()
        waiting = (fact, future)
        self._waiting.append(waiting)
        try:
            async with asyncio.timeout(seconds):
                await future
        finally:
            self._waiting.remove(waiting)

    def open(self, gate: str, places: float = float("inf")) -> None:
        """Let through so many, those first who stand there already."""
        self._open[gate] = self._open.get(gate, 0) + places
        before = self._before.get(gate, [])
        while before and self._open[gate] > 0:
            self._open[gate] -= 1
            before.pop(0)()

    def hear(self, request: Book | Arrive, answer: Callable[[Answer], None]) -> None:
        if isinstance(request, Book):
            answer(Answer(request.number, self._book(request)))
        else:
            self._arrive(request, lambda: answer(Answer(request.number, "open")))
        for fact, future in self._waiting:
            if not future.done() and fact():
                future.set_result(None)

    def _book(self, request: Book) -> str:
        newest = self._fences.get(request.task, 0)
        self._fences[request.task] = max(newest, request.fence)
        verdict = "late" if request.fence < newest else "again" if request.key in self.booked else "booked"
        if verdict == "booked":
            self.booked[request.key] = request.task
        else:
            self.refused[verdict] += 1
        return verdict

    def _arrive(self, request: Arrive, through: Callable[[], None]) -> None:
        arrival = Arrival(request.pid, request.item, request.attempt, time.monotonic())
        self.arrivals.setdefault(request.gate, []).append(arrival)
        self._before.setdefault(request.gate, []).append(through)
        self.open(request.gate, 0)


class _Lines(asyncio.Protocol):
    """Cuts what arrives into lines."""

    def __init__(self, hear: Callable[[bytes], None]) -> None:
        self._hear, self._rest = hear, b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._hear(line)

    def say(self, message: Book | Arrive | Answer) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(_encode(message) + b"\n")


@asynccontextmanager
async def sink() -> AsyncIterator[tuple[Sink, str]]:
    """Open a sink, and tell the address that agents reach it at."""
    here = Sink()
    ends: list[_Lines] = []

    def accepted() -> _Lines:
        end = _Lines(lambda line: here.hear(_requests.decode(line), end.say))
        ends.append(end)
        return end

    with tempfile.TemporaryDirectory(prefix="o-", dir="/tmp") as folder:  # the path of a socket is a short one
        address = str(Path(folder) / "sink.sock")
        server = await asyncio.get_running_loop().create_unix_server(accepted, address)
        try:
            yield here, address
        finally:
            server.close()
            for end in ends:
                if end.transport is not None:
                    end.transport.abort()


class Till:
    """An agent's way to the sink."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._asked: dict[int, asyncio.Future[str]] = {}
        self._lines = _Lines(self._heard)

    @classmethod
    async def reached(cls) -> Till:
        till = cls()
        await asyncio.get_running_loop().create_unix_connection(lambda: till._lines, os.environ[ADDRESS])
        return till

    async def book(self, key: str, task: str, fence: int) -> str:
        return await self._ask(Book(next(self._numbers), key, task, fence))

    async def pass_gate(self, gate: str, item: int = 0, attempt: int = 0) -> None:
        await self._ask(Arrive(next(self._numbers), gate, os.getpid(), item, attempt))

    def close(self) -> None:
        if self._lines.transport is not None:
            self._lines.transport.abort()

    async def _ask(self, request: Book | Arrive) -> str:
        self._asked[request.number] = asyncio.get_running_loop().create_future()
        self._lines.say(request)
        try:
            return await self._asked[request.number]
        finally:
            del self._asked[request.number]

    def _heard(self, line: bytes) -> None:
        answer = _answers.decode(line)
        asked = self._asked.get(answer.number)
        if asked is not None and not asked.done():
            asked.set_result(answer.said)
