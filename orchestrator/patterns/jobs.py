"""A task between its order and its end, as the one who gives it out sees it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from msgspec import Raw, Struct

from orchestrator.errors import OrchestratorError
from orchestrator.patterns.effects import Note, Publish, Send
from orchestrator.patterns.stream import REPLAY_BYTES, Reader
from orchestrator.patterns.workforce import Seat

ASKED: Final = "ask"
"""The task type under which a pool says that it takes questions in words."""


@dataclass(frozen=True, slots=True)
class Order:
    """A task as its caller states it."""

    id: str
    task: str
    payload: Raw
    timeout: float
    """Seconds until it must have ended."""
    streams: bool = False
    prompt: str | None = None
    requires: frozenset[str] = frozenset()
    key: str | None = None
    """Orders with one key go to one worker, for as long as it is there."""
    wait: float = 0.0
    """Seconds for which nobody need be there who can take it."""
    traceparent: str | None = None


class Finished(Struct, frozen=True):
    """A task is over. `result` is the JSON of its reply; exactly one of the two is given, for streams perhaps neither."""

    id: str
    result: Raw | None = None
    error: OrchestratorError | None = None


class Chunked(Struct, frozen=True):
    """The next chunk of a stream task."""

    id: str
    content: Raw


@dataclass(frozen=True, slots=True)
class Progressed:
    id: str
    worker: str
    progress: float | None
    message: str | None


Effect: TypeAlias = Publish | Send | Note | Finished | Chunked | Progressed


class Received:
    """The last chunks of a stream, for whoever is told that it broke."""

    def __init__(self) -> None:
        self.chunks: deque[Raw] = deque()
        self.count = 0
        """How many there were in all."""
        self._bytes = 0

    def append(self, chunk: Raw) -> None:
        self.chunks.append(chunk)
        self.count += 1
        self._bytes += memoryview(chunk).nbytes
        while self._bytes > REPLAY_BYTES and len(self.chunks) > 1:
            self._bytes -= memoryview(self.chunks.popleft()).nbytes


@dataclass(slots=True)
class Job:
    """One task between its order and its end."""

    order: Order
    deadline: float
    patient_until: float
    """When it ends, unless somebody who can take it is there by then."""
    idempotent: bool
    number: int = 0
    """Counts the orders of one dispatcher."""
    attempt: int = 0
    seat: Seat | None = None
    """Who holds it; `None` while it waits."""
    tried: set[str] = field(default_factory=set)
    """Everybody who may have got it: a result from one of them counts."""
    avoid: set[str] = field(default_factory=set)
    """Those that could not be reached since it began to wait."""
    lost_at: float | None = None
    """When it is given up, unless its worker speaks before."""
    offered_at: float = 0.0
    """When its latest offer left."""
    answered: bool = False
    """The hub has answered that offer, or will not: nothing of it is still to come."""
    heard_at: float = 0.0
    """When its worker last said anything of it, for a stream: when the last chunk came."""
    probe_at: float = float("inf")
    """When the silence of its worker is looked at next."""
    reader: Reader | None = None
    received: Received = field(default_factory=Received)

    @property
    def name(self) -> str:
        return self.order.task

    @property
    def started(self) -> bool:
        """Whether chunks have arrived: from then on nothing is done again."""
        return self.reader is not None and self.reader.started
