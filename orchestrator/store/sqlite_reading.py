"""What is told of tasks, as the file has it."""

from __future__ import annotations

import contextlib
import json
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Final

from orchestrator.store.errors import StoreDamaged, UnknownTask
from orchestrator.store.sqlite_ledger import body_crc, outcome_crc, read_failure
from orchestrator.store.sqlite_schema import CANCELLED, DEAD, DONE, LATER, LEASED, READY
from orchestrator.store.tasks import (
    FINAL,
    Attempt,
    Ending,
    Outcome,
    QueueStats,
    State,
    TaskHistory,
    TaskInfo,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Sequence

STATES: Final = {
    READY: State.READY,
    LATER: State.READY,
    LEASED: State.LEASED,
    DONE: State.DONE,
    DEAD: State.DEAD,
    CANCELLED: State.CANCELLED,
}
_CODES: Final = {state: tuple(code for code, each in STATES.items() if each is state) for state in State}
_OUTCOME: Final = """SELECT t.state, t.attempt, t.worker, t.began, b.caller, o.result, o.failure, o.crc
    FROM tasks t JOIN bodies b ON b.seq = t.seq LEFT JOIN outcomes o ON o.seq = t.seq WHERE t.id = ?"""
_INFO: Final = """SELECT t.id, l.queue, b.type, b.caller, t.state, t.attempt, b.max_attempts, t.priority, l.requires, b.key,
        t.worker, b.stored, t.due, o.failure, b.origin, t.seq
    FROM tasks t JOIN bodies b ON b.seq = t.seq JOIN lanes l ON l.lane = t.lane LEFT JOIN outcomes o ON o.seq = t.seq """
_MORE: Final = """SELECT t.fence, t.began, b.payload, b.crc, o.result, o.crc
    FROM tasks t JOIN bodies b ON b.seq = t.seq LEFT JOIN outcomes o ON o.seq = t.seq WHERE t.seq = ?"""
_ATTEMPTS: Final = (
    """SELECT number, fence, worker, began, ended, ending, failure FROM attempts WHERE seq = ? ORDER BY fence"""
)
OVERDUE: Final = """SELECT 1 FROM tasks WHERE id = ?
    AND ((state = 2 AND due <= ?) OR (state IN (0, 1) AND expires IS NOT NULL AND expires <= ?))"""
COUNTS: Final = (
    "SELECT lane, 0, count(*) FROM tasks WHERE state = 0 GROUP BY lane",
    "SELECT lane, state, count(*) FROM tasks WHERE state IN (1, 2) GROUP BY lane, state",
    "SELECT lane, state, count(*) FROM tasks WHERE state IN (3, 4, 5) GROUP BY lane, state",
)


def is_overdue(connection: sqlite3.Connection, task_id: str, now: float) -> bool:
    return connection.execute(OVERDUE, (task_id, now, now)).fetchone() is not None


def outcomes_of(
    connection: sqlite3.Connection, task_ids: Sequence[str], caller: str | None
) -> dict[str, Outcome | None]:
    found: dict[str, Outcome | None] = {}
    for task_id in task_ids:
        with contextlib.suppress(UnknownTask):
            found[task_id] = outcome_of(connection, task_id, caller)[1]
    return found


def outcome_of(connection: sqlite3.Connection, task_id: str, caller: str | None) -> tuple[State, Outcome | None]:
    row = connection.execute(_OUTCOME, (task_id,)).fetchone()
    if row is None or caller not in (None, row[4]):
        raise UnknownTask(task_id)
    code, attempt, worker, began, _, result, failure, crc = row
    state = STATES[code]
    if state not in FINAL:
        return state, None
    if state is State.CANCELLED:
        return state, Outcome(task_id, state, None, None, attempt, worker)
    if crc != outcome_crc(result, failure, attempt, worker, began):
        raise _damaged(connection, task_id)
    return state, Outcome(task_id, state, result, read_failure(failure), attempt, worker)


def overdue_among(connection: sqlite3.Connection, task_ids: Sequence[str], now: float) -> list[str]:
    return [task_id for task_id in task_ids if is_overdue(connection, task_id, now)]


def history_of(connection: sqlite3.Connection, task_id: str, caller: str | None) -> TaskHistory:
    row = connection.execute(_INFO + "WHERE t.id = ?", (task_id,)).fetchone()
    if row is None or caller not in (None, row[3]):
        raise UnknownTask(task_id)
    info, seq = _info(row), row[15]
    fence, began, payload, crc, result, outcome = connection.execute(_MORE, (seq,)).fetchone()
    if crc != body_crc(info.id, info.type, info.caller, info.origin, info.key, payload):
        raise _damaged(connection, task_id)
    if outcome is not None and outcome != outcome_crc(result, row[13], info.attempt, info.worker, began):
        raise _damaged(connection, task_id)
    attempts = [
        Attempt(number, mark, worker, since, ended, Ending(ending), read_failure(failure))
        for number, mark, worker, since, ended, ending, failure in connection.execute(_ATTEMPTS, (seq,))
    ]
    if info.worker is not None and info.state is State.LEASED:
        attempts.append(Attempt(info.attempt, fence, info.worker, began, None, None, None))
    elif info.worker is not None and info.state is State.DONE:
        attempts.append(Attempt(info.attempt, fence, info.worker, began, info.since, Ending.DONE, None))
    return TaskHistory(info, payload, result, tuple(attempts))


def listed(
    connection: sqlite3.Connection,
    states: Collection[State],
    queue: str | None,
    caller: str | None,
    limit: int,
    before: str | None,
) -> tuple[TaskInfo, ...]:
    terms: list[str] = []
    values: list[object] = []
    if states:
        codes = [code for state in states for code in _CODES[state]]
        terms.append(f"t.state IN ({', '.join('?' * len(codes))})")
        values += codes
    if queue is not None:
        terms.append("l.queue = ?")
        values.append(queue)
    if caller is not None:
        terms.append("b.caller = ?")
        values.append(caller)
    if before is not None:
        outcome_of(connection, before, caller)
        terms.append("t.seq < (SELECT seq FROM tasks WHERE id = ?)")
        values.append(before)
    where = f"WHERE {' AND '.join(terms)} " if terms else ""
    rows = connection.execute(f"{_INFO}{where}ORDER BY t.seq DESC LIMIT ?", (*values, limit))
    return tuple(map(_info, rows))


def counted(connection: sqlite3.Connection) -> tuple[QueueStats, ...]:
    queues: dict[int, str] = dict(connection.execute("SELECT lane, queue FROM lanes"))
    counts: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for statement in COUNTS:
        for lane, state, count in connection.execute(statement):
            counts[queues[lane]][state] += count
    order = (READY, LATER, LEASED, DONE, DEAD, CANCELLED)
    return tuple(QueueStats(queue, *(counts[queue][state] for state in order)) for queue in sorted(counts))


def _info(row: tuple[Any, ...]) -> TaskInfo:
    task_id, queue, kind, caller, code, attempt, most, priority, requires, key, worker, stored, due, failure, *rest = (
        row
    )
    return TaskInfo(
        task_id,
        queue,
        kind,
        caller,
        STATES[code],
        attempt,
        most,
        priority,
        frozenset(json.loads(requires)),
        key,
        worker,
        stored,
        due,
        read_failure(failure),
        rest[0],
    )


def _damaged(connection: sqlite3.Connection, task_id: str) -> StoreDamaged:
    file = connection.execute("SELECT file FROM pragma_database_list WHERE name = 'main'").fetchone()[0]
    return StoreDamaged(file, f"does not hold what was stored of task {task_id}")
