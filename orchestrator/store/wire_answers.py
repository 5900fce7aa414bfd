"""What a store's process answers, and how the errors of the port travel."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from msgspec import Struct

from orchestrator.errors import StoreUnavailable
from orchestrator.store.errors import (
    LeaseLost,
    StoreDamaged,
    StoreFailing,
    StoreFull,
    StoreLocked,
    StoreReadOnly,
    StoreRefused,
    StoreTooNew,
    TaskExists,
    UnknownTask,
)
from orchestrator.store.port import Capabilities, Lease
from orchestrator.store.tasks import (
    Claimed,
    Effect,
    Enqueued,
    Outcome,
    QueueStats,
    State,
    TaskHistory,
    TaskInfo,
    Verdict,
)

# -- about the connection


class Welcome(Struct, frozen=True, array_like=True, gc=False, tag=0):
    """The token was accepted, and requests may come."""

    capabilities: Capabilities


class NotAdmitted(Struct, frozen=True, array_like=True, gc=False, tag=1):
    """The connection is closed after this."""

    sentence: str


class Goodbye(Struct, frozen=True, array_like=True, gc=False, tag=2):
    """All requests up to number `last` have been answered, and those after it were not begun; come again for them."""

    last: int


# -- to a request


class Answer(Struct, frozen=True, array_like=True, gc=False):
    number: int
    value: Any


class Done(Answer, frozen=True, tag=10):
    value: None


class Refusal(Answer, frozen=True, tag=11):
    value: tuple[str, tuple[str | int | None, ...]]
    """The kind of an error, and what it is made of."""


class Stored(Answer, frozen=True, tag=12):
    value: tuple[Enqueued, ...]


class Given(Answer, frozen=True, tag=13):
    value: Claimed


class Judged(Answer, frozen=True, tag=14):
    value: Verdict


class Recorded(Answer, frozen=True, tag=15):
    value: Effect


class Counted(Answer, frozen=True, tag=16):
    value: int


class Became(Answer, frozen=True, tag=17):
    value: State


class Ended(Answer, frozen=True, tag=18):
    value: Outcome | None


class AllEnded(Answer, frozen=True, tag=19):
    value: dict[str, Outcome | None]


class Known(Answer, frozen=True, tag=20):
    value: TaskHistory


class Listed(Answer, frozen=True, tag=21):
    value: tuple[TaskInfo, ...]


class Left(Answer, frozen=True, tag=22):
    value: float | None


class Summed(Answer, frozen=True, tag=23):
    value: tuple[QueueStats, ...]


class Held(Answer, frozen=True, tag=24):
    value: Lease | None


AnyAnswer: TypeAlias = (
    Done
    | Refusal
    | Stored
    | Given
    | Judged
    | Recorded
    | Counted
    | Became
    | Ended
    | AllEnded
    | Known
    | Listed
    | Left
    | Summed
    | Held
)
ToClient: TypeAlias = Welcome | NotAdmitted | Goodbye | AnyAnswer

# -- errors

_KINDS: Final[dict[str, type[Exception]]] = {
    kind.__name__: kind
    for kind in (
        LeaseLost,
        UnknownTask,
        TaskExists,
        StoreRefused,
        StoreFull,
        StoreReadOnly,
        StoreLocked,
        StoreDamaged,
        StoreFailing,
        StoreTooNew,
        StoreUnavailable,
        ValueError,
    )
}


def refusal(number: int, error: Exception) -> Refusal | None:
    """Return the answer that tells of an error; `None` = it is none that a store raises on purpose."""
    kind, parts = type(error).__name__, error.args
    if isinstance(error, StoreLocked):
        parts = (error.file, error.found, error.pid)
    elif isinstance(error, (ValueError, OverflowError)):
        kind, parts = "ValueError", (str(error),)
    elif _KINDS.get(kind) is not type(error):
        if not isinstance(error, StoreUnavailable):
            return None
        kind, parts = "StoreUnavailable", (str(error),)
    return Refusal(number, (kind, tuple(map(_sendable, parts))))


def _sendable(part: Any) -> str | int | None:
    """Text of any kind can be in an error, but not all of it is Unicode that can be written."""
    if part is None or isinstance(part, int):
        return part
    return str(part).encode("utf-8", "backslashreplace").decode()


def raised(answer: Refusal) -> Exception:
    """Return the error that a refusal tells of."""
    kind, parts = answer.value
    try:
        return _KINDS[kind](*parts)
    except (KeyError, TypeError):
        return StoreUnavailable(f"the store refused a request with {kind}, which this release does not know")
