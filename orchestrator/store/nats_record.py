"""A task as it is kept in NATS, and what becomes of it: each step takes a record and returns the next one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from orchestrator.store.attempting import expired, lapsed, pause_after, worker_lost
from orchestrator.store.tasks import (
    FINAL,
    Attempt,
    Backoff,
    Ending,
    Failure,
    Hold,
    Leased,
    NewTask,
    Outcome,
    State,
    TaskHistory,
    TaskInfo,
    Verdict,
)

if TYPE_CHECKING:
    from collections.abc import Callable

INLINE: Final = 4_096
"""Bytes of a payload or a result that are kept within the record; larger ones are kept in parts beside it."""
_HISTORY: Final = 262_144
"""Bytes of attempts that a record keeps at least the last of: it has to fit into one message."""


class Bulk(Struct, frozen=True, array_like=True, gc=False):
    """A payload or a result: here, or in so many parts beside the record."""

    size: int
    data: bytes | None
    parts: int = 0


class Tried(Struct, frozen=True, array_like=True, gc=False):
    """An attempt that ended."""

    number: int
    fence: int
    worker: str
    began: float
    ended: float
    ending: Ending
    failure: Failure | None = None


class Record(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is kept of one task. Whoever does not know one of the fields passes over it."""

    id: str
    queue: str
    type: str
    caller: str
    payload: Bulk
    stored: float
    state: State
    since: float
    """When it came into its state; when it is due, or when its lease ends."""
    order: int = 0
    """The number of the message that it was stored with; 0 = that of the message it is in."""
    origin: str = ""
    traceparent: str | None = None
    key: str | None = None
    requires: frozenset[str] = frozenset()
    priority: int = 0
    expires: float | None = None
    timeout: float | None = None
    max_attempts: int = 5
    backoff: Backoff = Backoff()
    pack: str = ""
    """The request that it was stored with, if it counts only once that is known to be stored as a whole."""
    attempt: int = 0
    fence: int = 0
    """The number of the message that it was claimed with; 0 = that of the message it is in, if a worker has it."""
    worker: str | None = None
    began: float = 0.0
    result: Bulk | None = None
    failure: Failure | None = None
    attempts: tuple[Tried, ...] = ()
    effects: tuple[str, ...] = ()


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Record)


def encoded(record: Record) -> bytes:
    data = _encoder.encode(record)
    while len(data) > _HISTORY + 4 * INLINE and len(record.attempts) > 1:
        record = replace(record, attempts=record.attempts[len(record.attempts) // 2 :])
        data = _encoder.encode(record)
    return data


def decoded(data: bytes, seq: int) -> Record:
    """Return the record in message number `seq`."""
    return numbered(_decoder.decode(data), seq)


def numbered(record: Record, seq: int) -> Record:
    """Return a record as it is once it is in message number `seq`."""
    claimed = record.state is State.LEASED and not record.fence
    if not claimed and record.order:
        return record
    return replace(record, order=record.order or seq, fence=seq if claimed else record.fence)


def bulk(data: bytes, part: int) -> Bulk:
    """`part` = bytes that one part takes at most."""
    if len(data) <= INLINE:
        return Bulk(len(data), data)
    return Bulk(len(data), None, -(-len(data) // part))


# -- from one state into the next


def stored(task: NewTask, now: float, payload: Bulk, pack: str = "") -> Record:
    return Record(
        id=task.id,
        queue=task.queue,
        type=task.type,
        caller=task.caller,
        payload=payload,
        stored=now,
        state=State.READY,
        since=now + task.delay,
        origin=task.origin,
        traceparent=task.traceparent,
        key=task.key,
        requires=task.requires,
        priority=task.priority,
        expires=None if task.expires is None else now + task.expires,
        timeout=task.timeout,
        max_attempts=task.max_attempts,
        backoff=task.backoff,
        pack=pack,
    )


def settled(record: Record, now: float) -> Record:
    """Return what time has made of a task; the same record, when that is nothing."""
    if record.state is State.LEASED and record.since <= now:
        assert record.worker is not None
        over = record.since  # whenever that is found out
        record = _lapsed(record, lapsed(record.worker, record.attempt), over)
        if record.state is State.READY and _is_expired(record, now):
            assert record.expires is not None
            return _dead(record, expired(), max(over, record.expires))
        return record
    if record.state is State.READY and _is_expired(record, now):
        return _dead(record, expired(), now)
    return record


def leased(record: Record, worker: str, now: float, end: float) -> Record:
    return replace(
        record, state=State.LEASED, since=end, fence=0, worker=worker, began=now, attempt=record.attempt + 1, pack=""
    )


def completed(record: Record, result: Bulk, now: float) -> Record:
    done = _closed(record, now, Ending.DONE, None)
    return replace(done, state=State.DONE, since=now, result=result, failure=None)


def failed(
    record: Record,
    failure: Failure,
    now: float,
    *,
    retry: bool,
    counts: bool,
    uniform: Callable[[float, float], float],
) -> tuple[Record, Verdict]:
    record = _closed(record, now, Ending.FAILED, failure)
    if not counts:
        more = replace(record, state=State.READY, since=now, max_attempts=record.max_attempts + 1)
        return more, Verdict(State.READY, 0.0)
    if not retry or record.attempt >= record.max_attempts:
        return _dead(record, failure, now), Verdict(State.DEAD, None)
    pause = pause_after(record.attempt, record.backoff, uniform)
    return replace(record, state=State.READY, since=now + pause), Verdict(State.READY, pause)


def extended(record: Record, end: float) -> Record:
    return replace(record, since=end)


def affected(record: Record, key: str) -> Record:
    """Return a record that knows of an effect of its task."""
    return replace(record, effects=(*record.effects, key))


def released(record: Record, now: float) -> Record:
    return replace(record, state=State.READY, since=now, attempt=record.attempt - 1)


def taken_back(record: Record, now: float) -> Record:
    """Return what becomes of a task whose worker is gone."""
    assert record.worker is not None
    record = _lapsed(record, worker_lost(record.worker, record.attempt), now)
    return settled(record, now)


def cancelled(record: Record, now: float) -> Record:
    if record.state is State.LEASED:
        record = _closed(record, now, Ending.CANCELLED, None)
    return replace(record, state=State.CANCELLED, since=now, pack="")


def retried(record: Record, now: float) -> Record:
    return replace(record, state=State.READY, since=now, attempt=0, expires=None, failure=None)


def _closed(record: Record, now: float, ending: Ending, failure: Failure | None) -> Record:
    assert record.worker is not None
    tried = Tried(record.attempt, record.fence, record.worker, record.began, now, ending, failure)
    return replace(record, attempts=(*record.attempts, tried), pack="")


def _lapsed(record: Record, failure: Failure, now: float) -> Record:
    record = _closed(record, now, Ending.LAPSED, failure)
    if record.attempt >= record.max_attempts:
        return _dead(record, failure, now)
    return replace(record, state=State.READY, since=now)


def _dead(record: Record, failure: Failure, now: float) -> Record:
    return replace(record, state=State.DEAD, since=now, failure=failure, pack="")


def _is_expired(record: Record, now: float) -> bool:
    return record.expires is not None and record.expires <= now


# -- who may speak of a task


def is_held(record: Record, hold: Hold) -> bool:
    """Whether the hold is that of the attempt under way; the record is settled."""
    return record.state is State.LEASED and _is_latest(record, hold)


def ended_by(record: Record, hold: Hold) -> Ending | None:
    """How the latest attempt was ended, if it is the hold's own."""
    if not _is_latest(record, hold) or not record.attempts or record.attempts[-1].fence != hold.fence:
        return None
    return record.attempts[-1].ending


def was_released(record: Record, hold: Hold) -> bool:
    return record.state is State.READY and _is_latest(record, hold) and ended_by(record, hold) is None


def _is_latest(record: Record, hold: Hold) -> bool:
    return (record.fence, record.worker) == (hold.fence, hold.worker)


# -- what is told of it


def told_leased(record: Record, payload: bytes) -> Leased:
    assert record.worker is not None
    return Leased(
        Hold(record.id, record.fence, record.worker),
        record.attempt,
        record.max_attempts,
        record.type,
        payload,
        record.caller,
        record.traceparent,
        record.key,
        record.timeout,
        record.origin,
    )


def told_outcome(record: Record, result: bytes | None) -> Outcome | None:
    if record.state not in FINAL:
        return None
    return Outcome(record.id, record.state, result, record.failure, record.attempt, record.worker)


def told_info(record: Record) -> TaskInfo:
    return TaskInfo(
        record.id,
        record.queue,
        record.type,
        record.caller,
        record.state,
        record.attempt,
        record.max_attempts,
        record.priority,
        record.requires,
        record.key,
        record.worker,
        record.stored,
        record.since,
        record.failure,
        record.origin,
    )


def told_history(record: Record, payload: bytes, result: bytes | None) -> TaskHistory:
    attempts = [
        Attempt(each.number, each.fence, each.worker, each.began, each.ended, each.ending, each.failure)
        for each in record.attempts
    ]
    if record.state is State.LEASED and record.worker is not None:
        attempts.append(Attempt(record.attempt, record.fence, record.worker, record.began, None, None, None))
    return TaskHistory(told_info(record), payload, result, tuple(attempts))
