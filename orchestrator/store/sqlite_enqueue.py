"""Storing new tasks: many at a time where nothing stands in the way, else one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.store.errors import TaskExists
from orchestrator.store.sqlite_ledger import Rows, body_crc
from orchestrator.store.sqlite_reading import outcome_of
from orchestrator.store.sqlite_schema import LATER, READY
from orchestrator.store.sqlite_upkeep import settle_task
from orchestrator.store.tasks import Enqueued, NewTask, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.store.sqlite_ledger import Ledger

_TASKS: Final = Rows(
    """INSERT INTO tasks (seq, id, lane, state, priority, due, expires, fence, attempt)
    VALUES {rows} ON CONFLICT (id) DO NOTHING""",
    "(?, ?, ?, ?, ?, ?, ?, 0, 0)",
)
_BODIES: Final = Rows(
    """INSERT INTO bodies
    (seq, lane, type, caller, key, origin, traceparent, payload, stored, timeout, max_attempts, delay, max_delay, crc)
    VALUES {rows}""",
    "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
)
_CALLER_OF: Final = "SELECT b.caller FROM tasks t JOIN bodies b ON b.seq = t.seq WHERE t.id = ?"
_UNDER_KEY: Final = """SELECT t.id FROM bodies b JOIN tasks t ON t.seq = b.seq
    WHERE b.caller = ? AND b.lane IN (SELECT lane FROM lanes WHERE queue = ?) AND b.type = ? AND b.key = ?"""


def enqueue(ledger: Ledger, asked: list[Sequence[NewTask]]) -> list[tuple[Enqueued, ...] | TaskExists]:
    plain = [task for tasks in asked for task in tasks if task.key is None]
    if len(plain) == sum(map(len, asked)) and _all_fresh(ledger, plain):
        return [tuple(Enqueued(task.id, True, State.READY) for task in tasks) for tasks in asked]
    return [_each(ledger, tasks) for tasks in asked]


def _all_fresh(ledger: Ledger, tasks: list[NewTask]) -> bool:
    """Store tasks if none of their ids is known, else none of them."""
    before = ledger.seq
    rows = [_rows(ledger, task) for task in tasks]
    if sum(cursor.rowcount for cursor in ledger.in_rows(_TASKS, [row for row, _ in rows])) != len(tasks):
        ledger.execute("DELETE FROM tasks WHERE seq > ?", (before,))
        ledger.seq = before
        return False
    ledger.run_in_rows(_BODIES, [body for _, body in rows])
    return True


def _each(ledger: Ledger, tasks: Sequence[NewTask]) -> tuple[Enqueued, ...] | TaskExists:
    callers: dict[str, str] = {}
    for task in tasks:
        known = ledger.execute(_CALLER_OF, (task.id,)).fetchone()
        if callers.setdefault(task.id, task.caller if known is None else known[0]) != task.caller:
            return TaskExists(task.id)
    return tuple(_one(ledger, task) for task in tasks)


def _one(ledger: Ledger, task: NewTask) -> Enqueued:
    first = ledger.execute("SELECT id FROM tasks WHERE id = ?", (task.id,)).fetchone()
    if first is None and task.key is not None:
        first = ledger.execute(_UNDER_KEY, (task.caller, task.queue, task.type, task.key)).fetchone()
    if first is not None:
        settle_task(ledger, first[0])
        state, outcome = outcome_of(ledger.connection, first[0], None)
        return Enqueued(first[0], False, state, outcome)
    row, body = _rows(ledger, task)
    ledger.run_in_rows(_TASKS, [row])
    ledger.run_in_rows(_BODIES, [body])
    return Enqueued(task.id, True, State.READY)


def _rows(ledger: Ledger, task: NewTask) -> tuple[tuple[object, ...], tuple[object, ...]]:
    seq, now, lane = ledger.next_seq(), ledger.now, ledger.lane(task.queue, task.requires)
    expires = None if task.expires is None else now + task.expires
    state = LATER if task.delay > 0 else READY
    crc = body_crc(task.id, task.type, task.caller, task.origin, task.key, task.payload)
    return (seq, task.id, lane, state, task.priority, now + task.delay, expires), (
        seq,
        lane,
        task.type,
        task.caller,
        task.key,
        task.origin,
        task.traceparent,
        task.payload,
        now,
        task.timeout,
        task.max_attempts,
        task.backoff.delay,
        task.backoff.max_delay,
        crc,
    )
