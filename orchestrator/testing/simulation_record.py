"""What happened in one simulation: every call, every run of a handler, every word said to the hub, and what went wrong."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.patterns.jobs import Finished, Order

SHOWN: Final = 12
"""Lines of the trace that a failure shows, those before it."""
_WIDTH: Final = 160


@dataclass(slots=True, eq=False)
class Call:
    """A task as its caller sees it."""

    order: Order
    caller: str
    idempotent: bool
    began: float
    finished: Finished | None = None
    ended: float = 0.0
    read: list[bytes] = field(default_factory=list)
    """The JSON of each chunk that the caller was given."""
    read_out: bool = False
    """Of a stream: the caller has come to its end, or been told why there is none."""
    left: bool = False
    """The caller wants it no longer, or was killed."""

    @property
    def id(self) -> str:
        return self.order.id

    @property
    def named(self) -> str:
        return f"{self.order.task} {self.id} of {self.caller}"


@dataclass(slots=True, eq=False)
class Run:
    """One run of a handler, for one attempt at a task."""

    task_id: str
    caller: str
    attempt: int
    peer: str
    life: int
    """Which start of that peer it is in."""
    began: float
    ended: float | None = None
    complete: bool = False
    """It came to its end without an exception."""
    said: list[bytes] = field(default_factory=list)
    """The JSON of its chunks, or of its reply."""


@dataclass(frozen=True, slots=True)
class Violation:
    invariant: str
    """One of the invariants' names."""
    at: float
    """Virtual seconds since the workload has begun."""
    sentence: str


class Record:
    """Belongs to one simulation; times are virtual seconds since its workload has begun."""

    def __init__(self, clock: Callable[[], float], on_violation: Callable[[], None]) -> None:
        self.clock, self._on_violation = clock, on_violation
        self.calls: dict[tuple[str, str], Call] = {}
        """By caller and id."""
        self.runs: dict[tuple[str, str], list[Run]] = {}
        """By caller and id of the task."""
        self.trace: list[str] = []
        self.violation: Violation | None = None
        """The first one."""
        self._runs_of_attempts: Counter[tuple[str, str, int, str, int]] = Counter()

    def violate(self, invariant: str, sentence: str) -> None:
        if self.violation is None:
            self.violation = Violation(invariant, round(self.clock(), 6), sentence)
            self.note("violated", f"{invariant}: {sentence}")
            self._on_violation()

    def note(self, who: str, what: str) -> None:
        self.trace.append(f"{self.clock():.6f} {who} {what}")

    def wrote(self, peer: str, text: str) -> None:
        if '"type":"part"' in text:  # its id is nobody's but its own
            text = f"a part of {len(text)} characters"
        self.note(peer, text)

    @property
    def digest(self) -> str:
        """A hash of the whole trace."""
        return blake2b("\n".join(self.trace).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

    def tail(self) -> str:
        lines = [line if len(line) <= _WIDTH else f"{line[: _WIDTH - 1]}…" for line in self.trace[-SHOWN:]]
        return "".join(f"    {line}\n" for line in lines)

    # -- callers

    def called(self, order: Order, caller: str, *, idempotent: bool) -> Call:
        key = (caller, order.id)
        if key in self.calls:
            self.violate("each call ends once", f"{caller} has begun {order.task} {order.id} twice")
        call = self.calls[key] = Call(order, caller, idempotent, self.clock())
        return call

    def finished(self, caller: str, finished: Finished) -> None:
        call = self.calls.get((caller, finished.id))
        if call is None:
            self.violate("each call ends once", f"{caller} was told the end of {finished.id}, which it never began")
        elif call.finished is not None:
            self.violate("each call ends once", f"{call.named} has ended twice: {_end(call)}, then {finished}")
        else:
            call.finished, call.ended = finished, self.clock()
            self.note(caller, f"{call.order.task} {call.id}: {_end(call)}")

    def left(self, caller: str, task_id: str) -> None:
        """Note that a caller does not want an answer any more, if it has none yet."""
        call = self.calls.get((caller, task_id))
        if call is not None and call.finished is None:
            call.left = True

    def open_calls(self) -> list[Call]:
        return [call for call in self.calls.values() if call.finished is None]

    # -- workers

    def began(self, task_id: str, caller: str, attempt: int, peer: str, life: int, *, harmless: bool) -> Run:
        """Note that a handler begins; `harmless`: it says of itself that doing its task twice does no harm."""
        run = Run(task_id, caller, attempt, peer, life, self.clock())
        before = self.runs.setdefault((caller, task_id), [])
        before.append(run)
        self._runs_of_attempts[caller, task_id, attempt, peer, life] += 1
        if self._runs_of_attempts[caller, task_id, attempt, peer, life] > 1:
            self.violate("each attempt runs once", f"{peer} has begun attempt {attempt} at {task_id} of {caller} twice")
        call = self.calls.get((caller, task_id))
        if len(before) > 1 and call is not None and not harmless:
            self.violate(
                "at-most-once tasks begin once",
                f"{call.named}, which must not be done twice, was begun at {', then at '.join(run.peer for run in before)}",
            )
        return run


def _end(call: Call) -> str:
    finished = call.finished
    if finished is None:
        return "under way"
    if finished.error is not None:
        return f"{type(finished.error).__name__}: {finished.error}"
    return f"{len(call.read)} chunks" if finished.result is None else bytes(finished.result).decode("utf-8", "replace")
