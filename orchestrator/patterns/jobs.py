"""A task between its order and its end, as the one who gives it out sees it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeAlias

from msgspec import Raw

from orchestrator.errors import OrchestratorError
from orchestrator.patterns.effects import Note, Publish, Send
from orchestrator.patterns.stream import Reader
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
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """A task is over. `result` is the JSON of its reply; exactly one of the two is given, for streams perhaps neither."""

    id: str
    result: Raw | None = None
    error: OrchestratorError | None = None


@dataclass(frozen=True, slots=True)
class Chunked:
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


@dataclass(slots=True)
class Job:
    """One task between its order and its end."""

    order: Order
    deadline: float
    idempotent: bool
    attempt: int = 0
    seat: Seat | None = None
    """Who holds it; `None` while it waits."""
    tried: set[str] = field(default_factory=set)
    """Everybody who may have got it: a result from one of them counts."""
    avoid: set[str] = field(default_factory=set)
    """Those that could not be reached since it began to wait."""
    lost_at: float | None = None
    """When it is given up, unless its worker speaks before."""
    heard_at: float = 0.0
    probe_at: float = float("inf")
    """When the silence of its worker is looked at next."""
    reader: Reader | None = None
    chunks: list[Raw] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.order.task

    @property
    def started(self) -> bool:
        """Whether chunks have arrived: from then on nothing is done again."""
        return self.reader is not None and self.reader.started
