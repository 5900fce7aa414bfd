"""What time does to tasks: they become due, their leases lapse, they expire; and in the end they are forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from orchestrator.store.attempting import expired, lapsed, worker_lost
from orchestrator.store.sqlite_ledger import outcome_crc, written
from orchestrator.store.sqlite_schema import CANCELLED, DEAD, DONE, LATER, LEASED, READY
from orchestrator.store.tasks import Ending, Failure, State

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from orchestrator.store.sqlite_ledger import Ledger

AT_ONCE: Final = 1_024
"""Tasks that one request moves on or forgets, so that others are not kept waiting."""
CODES: Final = {State.DONE: DONE, State.DEAD: DEAD, State.CANCELLED: CANCELLED}

_OVERDUE: Final = """SELECT t.seq, t.state, t.due, t.expires, t.fence, t.attempt, t.worker, t.began, b.max_attempts
    FROM tasks t JOIN bodies b ON b.seq = t.seq """
OVERDUE_IN_LANE: Final = _OVERDUE + "WHERE t.lane = ? AND t.state IN (1, 2) AND t.due <= ? ORDER BY t.due LIMIT ?"
_EXPIRED: Final = (
    _OVERDUE + "WHERE t.expires IS NOT NULL AND t.state IN (0, 1) AND t.expires <= ? ORDER BY t.expires LIMIT ?"
)
_THIS: Final = _OVERDUE + "WHERE t.id = ?"
_LEASED_TO: Final = """SELECT t.id, t.seq, t.expires, t.fence, t.attempt, t.began, b.max_attempts
    FROM tasks t JOIN bodies b ON b.seq = t.seq
    WHERE t.lane = ? AND t.state IN (1, 2) AND t.state = 2 AND t.worker = ? AND t.due > ?"""
_READY: Final = "UPDATE tasks SET state = 0, due = ? WHERE seq = ?"
_DEAD: Final = "UPDATE tasks SET state = 4, due = ? WHERE seq = ?"
_OUTCOME: Final = "INSERT OR REPLACE INTO outcomes (seq, result, failure, crc) VALUES (?, NULL, ?, ?)"
_ATTEMPT: Final = (
    "INSERT INTO attempts (seq, fence, number, worker, began, ended, ending, failure) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
NEXT_DUE: Final = "SELECT min(due) FROM tasks WHERE lane = ? AND state IN (1, 2)"
_NEXT_EXPIRY: Final = "SELECT min(expires) FROM tasks WHERE expires IS NOT NULL AND state IN (0, 1)"


# -- how a task moves on


def die(
    ledger: Ledger,
    seq: int,
    last: tuple[int, str | None, float | None],
    failure: Failure,
    at: float | None = None,
) -> None:
    """End a task for good; `last` is the number of its last attempt, whose that was and when it began.

    `at` = when that was; `None` = now.
    """
    text = written(failure)
    ledger.execute(_DEAD, (ledger.now if at is None else at, seq))
    ledger.execute(_OUTCOME, (seq, text, outcome_crc(None, text, *last)))


def close_attempt(
    ledger: Ledger, row: tuple[Any, ...], ending: Ending, failure: Failure | None, at: float | None = None
) -> None:
    """Write an attempt down; `row` is its seq, fence, attempt, worker and when it began.

    `at` = when it ended; `None` = now.
    """
    ended = ledger.now if at is None else at
    ledger.execute(_ATTEMPT, (*row, ended, ending.value, None if failure is None else written(failure)))


# -- what is overdue


def settle_lanes(ledger: Ledger, lanes: Iterable[int]) -> None:
    for lane in lanes:
        _settle(ledger, ledger.execute(OVERDUE_IN_LANE, (lane, ledger.now, AT_ONCE)).fetchall())


def settle_task(ledger: Ledger, task_id: str) -> None:
    _settle(ledger, ledger.execute(_THIS, (task_id,)).fetchall())


def settle_tasks(ledger: Ledger, asked: list[str]) -> list[None]:
    for task_id in asked:
        settle_task(ledger, task_id)
    return [None] * len(asked)


def sweep(ledger: Ledger, asked: list[None]) -> list[float | None]:
    lanes = ledger.all_lanes()
    settle_lanes(ledger, lanes)
    _settle(ledger, ledger.execute(_EXPIRED, (ledger.now, AT_ONCE)).fetchall())
    times = [ledger.execute(NEXT_DUE, (lane,)).fetchone()[0] for lane in lanes]
    times.append(ledger.execute(_NEXT_EXPIRY).fetchone()[0])
    known = [due for due in times if due is not None]
    return [max(min(known) - ledger.now, 0.0) if known else None] * len(asked)


def _settle(ledger: Ledger, rows: list[tuple[Any, ...]]) -> None:
    now, due = ledger.now, []
    for seq, state, since, expires, fence, attempt, worker, began, max_attempts in rows:
        over = expires is not None and expires <= now
        if state == LEASED and since <= now:
            failure = lapsed(worker, attempt)
            close_attempt(ledger, (seq, fence, attempt, worker, began), Ending.LAPSED, failure, since)
            if attempt >= max_attempts:
                die(ledger, seq, (attempt, worker, began), failure, since)  # whenever that is found out
                continue
        elif state not in (READY, LATER):
            continue
        if over:
            die(ledger, seq, (attempt, worker, began), expired(), max(since, expires) if state == LEASED else now)
        elif state == LEASED or (state == LATER and since <= now):
            due.append((since, seq))
    ledger.executemany(_READY, due)


def reclaim(ledger: Ledger, asked: list[tuple[str, str, frozenset[str], bool]]) -> list[int]:
    """Each asks for a queue and a worker, with the ids that it holds, and whether it may have begun with the others."""
    return [_reclaim(ledger, *each) for each in asked]


def _reclaim(ledger: Ledger, queue: str, worker: str, held: frozenset[str], begun: bool) -> int:
    found = [
        row
        for lane in ledger.lanes_of(queue)
        for row in ledger.execute(_LEASED_TO, (lane, worker, ledger.now)).fetchall()
        if row[0] not in held
    ]
    if not begun:
        given_back = "UPDATE tasks SET state = 0, due = ?, attempt = attempt - 1 WHERE seq = ?"
        ledger.executemany(given_back, [(ledger.now, row[1]) for row in found])
        return len(found)
    for _, seq, expires, fence, attempt, began, max_attempts in found:
        failure = worker_lost(worker, attempt)
        close_attempt(ledger, (seq, fence, attempt, worker, began), Ending.LAPSED, failure)
        if attempt >= max_attempts:
            die(ledger, seq, (attempt, worker, began), failure)
        elif expires is not None and expires <= ledger.now:
            die(ledger, seq, (attempt, worker, began), expired())
        else:
            ledger.execute(_READY, (ledger.now, seq))
    return len(found)


# -- the dead and the forgotten


def retry_dead(ledger: Ledger, asked: list[tuple[float, Collection[str] | None, str | None]]) -> list[int]:
    """Each asks for those that died up to some time, by their ids or by their queue; `AT_ONCE` of them at most."""
    return [_retry_dead(ledger, *each) for each in asked]


def _retry_dead(ledger: Ledger, died: float, task_ids: Collection[str] | None, queue: str | None) -> int:
    where = "state = 4 AND due <= ?"
    values: list[object] = [died]
    if queue is not None:
        where += " AND lane IN (SELECT lane FROM lanes WHERE queue = ?)"
        values.append(queue)
    if task_ids is None:
        rows = ledger.execute(f"SELECT seq FROM tasks WHERE {where} LIMIT {AT_ONCE}", values).fetchall()  # noqa: S608
    else:
        sought = f"SELECT seq FROM tasks WHERE id = ? AND {where}"  # noqa: S608
        rows = [row for task_id in task_ids for row in ledger.execute(sought, (task_id, *values))]
    ledger.executemany("DELETE FROM outcomes WHERE seq = ?", rows)
    ledger.executemany(
        "UPDATE tasks SET state = 0, due = ?, expires = NULL, attempt = 0 WHERE seq = ?",
        [(ledger.now, seq) for (seq,) in rows],
    )
    return len(rows)


def purge(ledger: Ledger, asked: list[tuple[float, Collection[State]]]) -> list[int]:
    """Each asks for those that ended up to some time, in one of the states; `AT_ONCE` of them at most."""
    return [_purge(ledger, *each) for each in asked]


def _purge(ledger: Ledger, ended: float, states: Collection[State]) -> int:
    rows: list[tuple[int]] = []
    for state in states:
        if state in CODES:
            sought = "SELECT seq FROM tasks WHERE state = ? AND due <= ? AND state IN (3, 4, 5) ORDER BY due LIMIT ?"
            rows += ledger.execute(sought, (CODES[state], ended, AT_ONCE - len(rows)))
    for table in ("tasks", "bodies", "outcomes", "attempts", "effects"):
        ledger.executemany(f"DELETE FROM {table} WHERE seq = ?", rows)  # noqa: S608
    return len(rows)
