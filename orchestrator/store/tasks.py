"""What a store of tasks promises. Every adapter keeps all of it, and one suite of tests runs over all of them.

What is made for every single task is a struct, which costs a fraction of a dataclass to make and to send.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from orchestrator.store.port import Capabilities

MAX_CLAIM: Final = 1_024
"""Tasks that one claim returns at most, whatever its limit."""
MAX_OUTCOMES: Final = 1_024
"""Tasks whose outcomes may be asked for at once."""
CLAIM_BYTES: Final = 8 * 1_048_576
"""Bytes of payload after which a claim takes no further task."""
LEAST_PRIORITY, GREATEST_PRIORITY = -(2**31), 2**31 - 1
LONGEST: Final = 10 * 365 * 86_400.0
"""Seconds that a delay, a lease or the like may last."""


class State(StrEnum):
    READY = "ready"
    """It waits for a worker, or for the time at which it is due."""
    LEASED = "leased"
    DONE = "done"
    DEAD = "dead"
    """It failed as often as it may, or expired. It stays, with its history, until it is retried or purged."""
    CANCELLED = "cancelled"


FINAL: Final = frozenset({State.DONE, State.DEAD, State.CANCELLED})


class Ending(StrEnum):
    """How an attempt ended."""

    DONE = "done"
    FAILED = "failed"
    LAPSED = "lapsed"
    """Its worker let the lease run out."""
    CANCELLED = "cancelled"


class Backoff(Struct, frozen=True, array_like=True, gc=False):
    """Seconds before another attempt: any time up to `delay`, doubled with each attempt, and never above `max_delay`."""

    delay: float = 1.0
    max_delay: float = 60.0


class NewTask(Struct, frozen=True, array_like=True, gc=False, kw_only=True):
    """A task to be stored. Its id is the caller's choice: ids that ascend with time cost a large store far less."""

    id: str
    queue: str
    """The agent that is to do it."""
    type: str
    payload: bytes
    """JSON; the store does not look into it."""
    caller: str
    """The agent that wants it done. Keys, results and cancelling are within what one caller has stored."""
    origin: str = ""
    """The peer id of the replica that stored it, whom messages about it go to; empty = nobody that messages reach."""
    traceparent: str | None = None
    key: str | None = None
    """The idempotency key: of one caller's tasks of one type and queue, one is stored under a key until it is purged."""
    requires: frozenset[str] = frozenset()
    """Capabilities that a worker must have, all of them."""
    priority: int = 0
    """Greater goes first; equals go in the order in which they were stored."""
    delay: float = 0.0
    """Seconds before it is given to anybody."""
    expires: float | None = None
    """Seconds after which nobody begins with it any more; `None` = never."""
    timeout: float | None = None
    """Seconds that an attempt may take, for its worker to heed."""
    max_attempts: int = 5
    backoff: Backoff = Backoff()

    def __post_init__(self) -> None:
        if not (self.id and self.queue and self.type and self.caller):
            raise ValueError("a task has an id, a queue, a type and a caller, none of them empty")
        if self.max_attempts < 1:
            raise ValueError(f"a task is tried at least once, so max_attempts is not {self.max_attempts}")
        if not LEAST_PRIORITY <= self.priority <= GREATEST_PRIORITY:
            raise ValueError(f"a priority is a number of 32 bits, not {self.priority}")
        for name, seconds in (
            ("delay", self.delay),
            ("expires", self.expires),
            ("timeout", self.timeout),
            ("backoff.delay", self.backoff.delay),
            ("backoff.max_delay", self.backoff.max_delay),
        ):
            if seconds is not None and not 0 <= seconds <= LONGEST:
                raise ValueError(f"{name} is a number of seconds from 0 to {LONGEST:.0f}, not {seconds}")


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong in an attempt, as its worker tells it."""

    type: str
    message: str
    frames: tuple[str, ...] = ()
    """Where in the handler, outermost first: ``agents/newsroom.py:41 in research``."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a task ended."""

    id: str
    state: State
    """One of those in `FINAL`."""
    result: bytes | None
    """What its worker gave to `complete`; `None` in any other state than `DONE`."""
    failure: Failure | None
    """The last one; only in state `DEAD`."""
    attempt: int
    """Attempts that were counted; 0 = nobody began."""
    worker: str | None
    """Whose attempt was the last; `None` = nobody began."""


class Enqueued(Struct, frozen=True, array_like=True, gc=False):
    id: str
    """That of the first task under the same key, where there was one."""
    fresh: bool
    """Whether it was stored now; else it was there already, and what came with it this time was ignored."""
    state: State
    outcome: Outcome | None = None
    """How it ended, when it has; only of a task that was there already."""


class Hold(Struct, frozen=True, array_like=True, gc=False):
    """One worker's right to end one attempt, to be named in all that is said of it."""

    id: str
    fence: int
    """Grows with each claim. A sink that remembers the greatest it has seen can refuse whoever is late."""
    worker: str


class Leased(Struct, frozen=True, array_like=True, gc=False):
    """A task in the hands of a worker."""

    hold: Hold
    attempt: int
    """Counts from 1; claims that were released, and those before a task was retried by hand, do not count."""
    max_attempts: int
    type: str
    payload: bytes
    caller: str
    traceparent: str | None
    key: str | None
    timeout: float | None
    origin: str = ""


class Claimed(Struct, frozen=True, array_like=True, gc=False):
    tasks: tuple[Leased, ...]
    next_due: float | None
    """Seconds until there is something to claim here again, should nobody store or release a task before; 0 = there is
    more at once, `None` = nothing waits."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a task whose attempt failed."""

    state: State
    retry_in: float | None
    """Seconds until it is due again; `None` = never, it is dead."""


@dataclass(frozen=True, slots=True)
class Effect:
    """Who was the first to record a key; a sink that is given both does nothing twice and nothing late."""

    first: bool
    """Whether it was recorded by this very call. A call that is repeated is no longer the first."""
    task_id: str
    fence: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """Times are Unix seconds of the store's clock, as everywhere in what is listed."""

    number: int
    fence: int
    worker: str
    began: float
    ended: float | None
    ending: Ending | None
    """`None` = it is under way."""
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """A task at a glance."""

    id: str
    queue: str
    type: str
    caller: str
    state: State
    attempt: int
    max_attempts: int
    priority: int
    requires: frozenset[str]
    key: str | None
    worker: str | None
    """Whose attempt was the last, or is under way."""
    stored: float
    since: float
    """When it came into this state; for one that is ready, when it is due; for one that is leased, when the lease ends."""
    failure: Failure | None
    origin: str = ""


@dataclass(frozen=True, slots=True)
class TaskHistory:
    info: TaskInfo
    payload: bytes
    result: bytes | None
    attempts: tuple[Attempt, ...]
    """The one that is under way comes last."""


@dataclass(frozen=True, slots=True)
class QueueStats:
    queue: str
    ready: int
    """Those that are due now."""
    later: int
    """Those that are ready but not due yet."""
    leased: int
    done: int
    dead: int
    cancelled: int

    @property
    def open(self) -> int:
        return self.ready + self.later + self.leased


class Tasks(Protocol):
    """Tasks that each end in exactly one final state, whoever dies meanwhile.

    - A method that returns has done what it says, and in a store that is `durable` that outlives a loss of power. One that
      raises `StoreUnavailable`, or is cancelled, did it or not, as a whole; each may be repeated until there is an answer.
    - A task is given to one worker at a time, for as long as its lease is extended. When a lease ends by itself the task is
      due again at once, and its late worker is refused, whether or not somebody else has claimed it since.
    - So a task is done at least once. It is done twice only if a worker loses its lease and does not know it yet.
    - Methods may be called at the same time. `requires`, keys and times hold for a task as it was first stored.
    - Strings are any text, payloads and results any bytes; durations are seconds.
    """

    @property
    def capabilities(self) -> Capabilities: ...

    async def enqueue(self, tasks: Sequence[NewTask]) -> tuple[Enqueued, ...]:
        """Store tasks, all or none, and tell of each in turn what is stored for it.

        Repeating it stores nothing twice: a task whose id is there, or whose key is, stands for the one that was first.
        Raises `TaskExists` when an id belongs to another caller's task.
        """
        ...

    async def claim(
        self, queue: str, worker: str, capabilities: Collection[str] = (), *, limit: int = 1, lease: float = 30.0
    ) -> Claimed:
        """Take up to `limit` tasks that are due and that somebody with these capabilities may do; the first first."""
        ...

    async def extend(self, hold: Hold, lease: float) -> None:
        """Have a lease end `lease` seconds from now. Raises `LeaseLost`."""
        ...

    async def complete(self, hold: Hold, result: bytes) -> None:
        """End a task well. Repeating it changes nothing. Raises `LeaseLost`."""
        ...

    async def fail(self, hold: Hold, failure: Failure, *, retry: bool = True, counts: bool = True) -> Verdict:
        """End an attempt. The task is due again after a random part of its backoff, or is dead.

        `retry` = whether another attempt may do better. `counts` = whether it is one of those that the task has; one that
        was cut off for no fault of the task's is made up for, and the task due again at once. Repeating it changes nothing. Raises `LeaseLost`.
        """
        ...

    async def release(self, hold: Hold) -> None:
        """Give back what was not begun: due at once, as if it had never been claimed. Raises `LeaseLost`."""
        ...

    async def reclaim(self, queue: str, worker: str, *, held: Collection[str] = (), begun: bool = True) -> int:
        """Put back the tasks of a queue that are leased to a worker, but for those `held`; return how many.

        Only the worker itself knows what it has: it says so before it claims, and not while one of its claims is under
        way. `begun` = an earlier process of its own, which is gone, may have begun with them, so that their attempts end as
        lapsed ones do; else they were claimed, but the answer was lost, and are given back as by `release`. Whoever still
        speaks of them is late.
        """
        ...

    async def once(self, hold: Hold, key: str) -> Effect:
        """Record that an effect is about to be had under this lease, or tell who was first. Raises `LeaseLost`.

        Keys are those of the hold's queue. They are kept until the task that recorded them is purged.
        """
        ...

    async def cancel(self, task_id: str, *, caller: str | None = None) -> State:
        """End a task that has not ended, and return its state after that. Whoever holds it learns of it by `LeaseLost`.

        Here and below `caller` confines it to tasks of that caller; any other raises `UnknownTask` like one that is not
        there.
        """
        ...

    async def result(self, task_id: str, *, caller: str | None = None) -> Outcome | None:
        """Return how a task ended; `None` = it has not. Raises `UnknownTask`."""
        ...

    async def outcomes(self, task_ids: Collection[str], *, caller: str | None = None) -> dict[str, Outcome | None]:
        """Return what `result` does for many; those that it does not know are missing.

        Raises `ValueError` for more than `MAX_OUTCOMES`.
        """
        ...

    async def get(self, task_id: str, *, caller: str | None = None) -> TaskHistory:
        """Return all that is known of a task. Raises `UnknownTask`."""
        ...

    async def list(
        self,
        *,
        states: Collection[State] = (),
        queue: str | None = None,
        caller: str | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> tuple[TaskInfo, ...]:
        """Return tasks, the last that was stored first; no states = all of them, `before` = the last id of the page
        before this one. Raises `UnknownTask` for such an id."""
        ...

    async def dead(self, *, queue: str | None = None, limit: int = 100) -> tuple[TaskInfo, ...]:
        """Return dead tasks, the last that was stored first."""
        ...

    async def retry_dead(self, task_ids: Collection[str] | None = None, *, queue: str | None = None) -> int:
        """Make dead tasks due again, with all their attempts before them and no expiry; return how many those were.

        `None` = all that are dead. Their history stays.
        """
        ...

    async def purge(self, older: float, *, states: Collection[State] = FINAL) -> int:
        """Forget tasks, with their keys and recorded effects, that ended `older` seconds ago or before; return how many."""
        ...

    async def sweep(self) -> float | None:
        """End what has expired and put back what lapsed, and return in how many seconds there will be more; `None` = never.

        `claim` does so for its own queue, and every reading method for what it tells of.
        """
        ...

    async def stats(self) -> tuple[QueueStats, ...]:
        """Return how many tasks of each queue are in each state, by name of the queue."""
        ...


def check_claim(limit: int, lease: float) -> int:
    """Return how many tasks a claim may have. Raises `ValueError`."""
    if limit < 1:
        raise ValueError(f"a claim is for at least 1 task, not {limit}")
    check_lease(lease)
    return min(limit, MAX_CLAIM)


def check_lease(lease: float) -> None:
    if not (math.isfinite(lease) and 0 < lease <= LONGEST):
        raise ValueError(f"a lease lasts for more than 0 seconds, and at most {LONGEST:.0f}, not {lease!r}")


def check_outcomes(task_ids: Collection[str]) -> tuple[str, ...]:
    """Return each id once. Raises `ValueError`."""
    if len(task_ids) > MAX_OUTCOMES:
        raise ValueError(f"outcomes are asked for {MAX_OUTCOMES} at once at most, not {len(task_ids)}")
    return tuple(dict.fromkeys(task_ids))
