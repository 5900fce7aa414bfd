"""Our agents of `bench/peers.py`: one that asks and reads, one that answers with what it was asked and yields tokens."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from bench.peers_turn import TEXT, ask_many, words
from orchestrator import StreamTask, Task, Workers, agent, task
from orchestrator.client.session import Session
from orchestrator.client.wire import Wire

TOPOLOGY: Final = """\
version: 1
hub: {key: "${BENCH_KEY}"}
defaults: {restart: {condition: never}}
coordinators:
  boss: {handler: bench.peers_agents:Boss, workers: [worker]}
workers:
  worker: {handler: bench.peers_agents:Worker, concurrency: 64}
"""
TIMEOUT: Final = 600.0
_OPEN_FILES: Final = Path("/proc/self/fd")
_ACKED, _RECEIVED, _INFO_BYTES = 120, 128, 256
"""Where Linux has, in what it tells of a TCP socket, the bytes that the other side has acknowledged, and those it sent."""


class Echoed(BaseModel):
    number: int
    text: str


class Echo(Task[Echoed]):
    number: int
    text: str


class Tell(StreamTask[str]):
    tokens: int


class Measured(BaseModel):
    """One turn, as the boss saw it; what a kind of turn does not know is 0."""

    seconds: float
    p50_ms: float = 0.0
    p95_ms: float = 0.0
    p99_ms: float = 0.0
    wrong: int
    first_ms: float = 0.0
    """From the question to the first token."""


class Ask(Task[Measured]):
    count: int
    window: int


class Read(Task[Measured]):
    tokens: int


class Traffic(BaseModel):
    """Of one agent's connection since the last look: bytes of TCP, frames where they were counted."""

    bytes_out: int
    bytes_in: int
    frames_out: int
    frames_in: int


class Look(Task[Traffic]):
    """`count` says whether frames are counted from now on, which costs a little."""

    count: bool


class Meter:
    """What goes over this process's only connection."""

    def __init__(self) -> None:
        self._before = (0, 0)
        self._frames = [0, 0]
        self._send, self._received = Wire.send, Session.received

    def look(self, asked: Look) -> Traffic:
        now = next(_tcp_bytes(), (0, 0))
        (out_before, in_before), self._before = self._before, now
        frames, self._frames = self._frames, [0, 0]
        self._count(asked.count)
        return Traffic(
            bytes_out=now[0] - out_before, bytes_in=now[1] - in_before, frames_out=frames[0], frames_in=frames[1]
        )

    def _count(self, counts: bool) -> None:
        def send(wire: Wire, frame: bytes) -> None:
            self._frames[0] += 1
            self._send(wire, frame)

        def received(session: Session, *arguments: Any) -> Any:
            self._frames[1] += 1
            return self._received(session, *arguments)

        setattr(Wire, "send", send if counts else self._send)  # noqa: B010 - types allow no other way
        setattr(Session, "received", received if counts else self._received)  # noqa: B010


def _tcp_bytes() -> Iterator[tuple[int, int]]:
    """Yield, for each TCP connection of this process, the bytes out and in, as the system counts them."""
    if not _OPEN_FILES.is_dir():
        return
    for file in list(_OPEN_FILES.iterdir()):
        try:
            with socket.socket(fileno=os.dup(int(file.name))) as known:
                if known.family in (socket.AF_INET, socket.AF_INET6):
                    info = known.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
                    yield (
                        int.from_bytes(info[_ACKED:_RECEIVED], "little"),
                        int.from_bytes(info[_RECEIVED:][:8], "little"),
                    )
        except OSError:  # no socket, or not one of TCP
            continue


@agent
class Boss:
    workers: Workers

    def __post_init__(self) -> None:
        self._meter = Meter()

    @task
    async def look(self, asked: Look) -> Traffic:
        return self._meter.look(asked)

    @task
    async def ask(self, asked: Ask) -> Measured:
        async def one(number: int) -> int:
            return (await self.workers.run(Echo(number=number, text=TEXT))).number

        return Measured(**await ask_many(one, asked.count, asked.window))

    @task
    async def read(self, asked: Read) -> Measured:
        read: list[str] = []
        began = first = time.perf_counter()
        async for token in self.workers.stream(Tell(tokens=asked.tokens)):
            if not read:
                first = time.perf_counter()
            read.append(token)
        seconds = time.perf_counter() - first
        return Measured(seconds=seconds, first_ms=(first - began) * 1e3, wrong=int(read != words(asked.tokens)))


@agent
class Worker:
    def __post_init__(self) -> None:
        self._meter = Meter()

    @task
    async def look(self, asked: Look) -> Traffic:
        return self._meter.look(asked)

    @task
    async def echo(self, asked: Echo) -> Echoed:
        return Echoed(number=asked.number, text=asked.text)

    @task
    async def tell(self, asked: Tell) -> AsyncIterator[str]:
        for word in words(asked.tokens):
            yield word
