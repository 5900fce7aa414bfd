"""What tasks are in the hands of a server, and back: words of scripts, and what they answer."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import msgspec

from orchestrator.store.attempting import expired, lapsed, worker_lost
from orchestrator.store.tasks import (
    FINAL,
    Attempt,
    Ending,
    Enqueued,
    Failure,
    Hold,
    Leased,
    Outcome,
    QueueStats,
    State,
    TaskHistory,
    TaskInfo,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.store.tasks import NewTask

Word = bytes | str | int | float
Info = tuple[bytes, ...]

_STATES: Final = {state.value.encode(): state for state in State} | {b"later": State.READY}
_FINAL: Final = {state.value.encode(): state for state in FINAL}


class _Head(msgspec.Struct, frozen=True, array_like=True):
    """What scripts do not look into."""

    type: str
    requires: list[str]
    key: str | None
    origin: str
    traceparent: str | None
    timeout: float | None


_encoder: Final = msgspec.msgpack.Encoder()
_head: Final = msgspec.msgpack.Decoder(_Head)
_attempt: Final = msgspec.msgpack.Decoder(tuple[int, str, str, str, str, str, str])
_failure: Final = msgspec.json.Decoder(tuple[str, str, tuple[str, ...]])


# -- questions


def needs_of(requires: Iterable[str]) -> bytes:
    """Return what a task requires as one text, the same for the same capabilities."""
    return b"".join(_measured(word) for word in sorted(word.encode() for word in requires))


def _measured(word: bytes) -> bytes:
    return b"%d:%b" % (len(word), word)


def words_of(tasks: Iterable[NewTask]) -> Iterable[Word]:
    return chain.from_iterable(map(_words, tasks))


def _words(task: NewTask) -> tuple[Word, ...]:
    keyed = b""
    if task.key is not None:
        keyed = b"".join(_measured(word.encode()) for word in (task.caller, task.queue, task.type, task.key))
    requires = sorted(task.requires)
    head = _Head(task.type, requires, task.key, task.origin, task.traceparent, task.timeout)
    return (
        task.id,
        task.queue,
        task.caller,
        needs_of(requires) if requires else b"",
        keyed,
        task.priority,
        task.delay,
        "" if task.expires is None else task.expires,
        task.max_attempts,
        task.backoff.delay,
        task.backoff.max_delay,
        _encoder.encode(head),
        task.payload,
    )


def confined_to(name: str | None) -> str:
    """Return a caller or a queue to which something is confined; `None` = to none."""
    return "" if name is None else f"={name}"


def told(failure: Failure) -> bytes:
    return msgspec.json.encode((failure.type, failure.message, failure.frames))


# -- answers


def state_of(word: bytes) -> State:
    return _STATES[word]


def outcome_of(row: list[Any]) -> Outcome | None:
    """Return how a task ended; `None` = it has not."""
    state = _FINAL.get(row[1])
    if state is None:
        return None
    task_id, _, result, failure, attempt, worker = row
    by = None if worker is None else worker.decode()
    dead = _failed(failure, by, attempt) if state is State.DEAD else None
    return Outcome(task_id.decode(), state, result if state is State.DONE else None, dead, attempt, by)


def _failed(told: bytes | None, worker: str | None, attempt: int) -> Failure | None:
    if not told:
        return None
    if told == b"lapsed":
        return lapsed(worker or "", attempt)
    if told == b"lost":
        return worker_lost(worker or "", attempt)
    if told == b"expired":
        return expired()
    return Failure(*_failure.decode(told))


def enqueued(task: NewTask, row: Any) -> Enqueued:
    if row == 1:
        return Enqueued(task.id, True, State.READY)
    return Enqueued(row[0].decode(), False, state_of(row[1]), outcome_of(row))


def leased(row: list[Any], worker: str) -> Leased:
    task_id, fence, attempt, most, caller, head, payload = row
    more = _head.decode(head)
    return Leased(
        Hold(task_id.decode(), int(fence), worker),
        attempt,
        most,
        more.type,
        payload,
        caller.decode(),
        more.traceparent,
        more.key,
        more.timeout,
        more.origin,
    )


def info_of(row: list[Any]) -> TaskInfo:
    queue, caller, state, attempt, most, priority, worker, stored, since, failure, head, task_id = row
    more, by = _head.decode(head), None if worker is None else worker.decode()
    return TaskInfo(
        task_id.decode(),
        queue.decode(),
        more.type,
        caller.decode(),
        state_of(state),
        int(attempt),
        int(most),
        int(priority),
        frozenset(more.requires),
        more.key,
        by,
        float(stored),
        float(since),
        _failed(failure, by, int(attempt)),
        more.origin,
    )


_INFO: Final = (
    b"queue",
    b"caller",
    b"state",
    b"attempt",
    b"max",
    b"priority",
    b"worker",
    b"stored",
    b"since",
    b"failure",
    b"head",
)


def history_of(task_id: str, pairs: list[bytes]) -> TaskHistory:
    kept = dict(zip(pairs[::2], pairs[1::2], strict=True))
    info = info_of([*(kept.get(name) for name in _INFO), task_id.encode()])
    attempts = [_attempt_of(kept[b"attempt%d" % number]) for number in range(1, int(kept[b"closed"]) + 1)]
    if info.state is State.LEASED and info.worker is not None:
        fence, began = int(kept[b"fence"]), float(kept[b"began"])
        attempts.append(Attempt(info.attempt, fence, info.worker, began, None, None, None))
    result = kept.get(b"result") if info.state is State.DONE else None
    return TaskHistory(info, kept[b"payload"], result, tuple(attempts))


def _attempt_of(packed: bytes) -> Attempt:
    number, fence, worker, began, ended, ending, failure = _attempt.decode(packed)
    return Attempt(
        number,
        int(fence),
        worker,
        float(began),
        float(ended),
        Ending(ending),
        _failed(failure.encode(), worker, number),
    )


def counted(rows: list[list[Any]]) -> tuple[QueueStats, ...]:
    """Return those queues that have any task, by name."""
    stats = sorted((QueueStats(row[0].decode(), *row[1:]) for row in rows), key=lambda each: each.queue)
    return tuple(each for each in stats if each.open or each.done or each.dead or each.cancelled)
