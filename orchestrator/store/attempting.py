"""What follows from how an attempt ended: the same in every store."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

from orchestrator.store.tasks import Backoff, Failure, State

if TYPE_CHECKING:
    from collections.abc import Callable


def new_task_id() -> str:
    """Return an id that is nobody else's, and greater than those of earlier milliseconds."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


def pause_after(attempt: int, backoff: Backoff, uniform: Callable[[float, float], float]) -> float:
    """Return seconds until another attempt: anything up to the full backoff, so that tasks do not return together."""
    doublings = min(attempt - 1, 64)
    return uniform(0.0, min(backoff.max_delay, backoff.delay * 2.0**doublings))


def lapsed(worker: str, attempt: int) -> Failure:
    sentence = f"{worker} held the task in attempt {attempt} and let the lease run out; it died, hung or was cut off"
    return Failure("LeaseLost", sentence)


def worker_lost(worker: str, attempt: int) -> Failure:
    sentence = f"{worker} was started again while it held the task in attempt {attempt}; its earlier process is gone"
    return Failure("WorkerLost", sentence)


def expired() -> Failure:
    return Failure("TaskExpired", "nobody had begun with the task when it expired")


def lost_body(file: str) -> Failure:
    return Failure("StoreDamaged", f"the task as it is in {file} is not what was stored, so it was given to nobody")


def lost_because(state: State | None) -> str:
    """`None` = there is no such task."""
    if state is None:
        return "the task is not in the store"
    if state is State.CANCELLED:
        return "the task was cancelled"
    return "it ended before this was said, and somebody else may have the task"
