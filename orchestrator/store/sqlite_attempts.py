"""What a worker says of a task that it holds, and what a caller says of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.store.attempting import lost_because, pause_after
from orchestrator.store.errors import LeaseLost, UnknownTask
from orchestrator.store.sqlite_ledger import Rows, outcome_crc
from orchestrator.store.sqlite_reading import STATES
from orchestrator.store.sqlite_schema import CANCELLED, DEAD, DONE, LATER, LEASED, READY
from orchestrator.store.sqlite_upkeep import close_attempt, die, settle_task
from orchestrator.store.tasks import Backoff, Effect, Ending, Failure, Hold, State, Verdict

if TYPE_CHECKING:
    from orchestrator.store.sqlite_ledger import Ledger

_ROW: Final = "SELECT seq, state, due, fence, attempt, worker, began FROM tasks WHERE id = ?"
_DONE: Final = "UPDATE tasks SET state = 3, due = ? WHERE seq = ?"
_DONE_IF_HELD: Final = Rows(
    """WITH held (seq, id, fence, worker) AS (VALUES {rows})
    UPDATE tasks SET state = 3, due = ? FROM held
    WHERE tasks.seq = held.seq AND tasks.id = held.id AND tasks.fence = held.fence AND tasks.worker = held.worker
        AND tasks.state = 2 AND tasks.due > ?
    RETURNING tasks.fence""",
    "(?, ?, ?, ?)",
)
_RESULTS: Final = Rows("INSERT OR REPLACE INTO outcomes (seq, result, failure, crc) VALUES {rows}", "(?, ?, NULL, ?)")
_LIMITS: Final = "SELECT max_attempts, delay, max_delay FROM bodies WHERE seq = ?"
_LANE_QUEUE: Final = "SELECT l.queue FROM tasks t JOIN lanes l ON l.lane = t.lane WHERE t.seq = ?"
_EFFECT: Final = "SELECT t.id, e.fence FROM effects e JOIN tasks t ON t.seq = e.seq WHERE e.queue = ? AND e.key = ?"


class _Row(NamedTuple):
    seq: int
    state: int
    due: float
    fence: int
    attempt: int
    worker: str | None
    began: float | None

    def attempted(self) -> tuple[object, ...]:
        return self.seq, self.fence, self.attempt, self.worker, self.began

    def last(self) -> tuple[int, str | None, float | None]:
        return self.attempt, self.worker, self.began


def _found(ledger: Ledger, task_id: str) -> _Row | None:
    row = ledger.execute(_ROW, (task_id,)).fetchone()
    return None if row is None else _Row._make(row)


def _is_held(ledger: Ledger, row: _Row | None, hold: Hold) -> bool:
    return row is not None and row.state == LEASED and row.due > ledger.now and _is_latest(row, hold)


def _is_latest(row: _Row | None, hold: Hold) -> bool:
    return row is not None and row.fence == hold.fence and row.worker == hold.worker


def _lost(row: _Row | None, hold: Hold) -> LeaseLost:
    return LeaseLost(hold.id, hold.fence, lost_because(None if row is None else STATES[row.state]))


# -- what a worker says


def extend(ledger: Ledger, asked: list[tuple[Hold, float]]) -> list[LeaseLost | None]:
    answers: list[LeaseLost | None] = []
    rows: list[tuple[float, int]] = []
    for hold, lease in asked:
        row = _found(ledger, hold.id)
        if row is not None and _is_held(ledger, row, hold):
            rows.append((ledger.now + lease, row.seq))
            answers.append(None)
        else:
            answers.append(_lost(row, hold))
    ledger.executemany("UPDATE tasks SET due = ? WHERE seq = ?", rows)
    return answers


def complete(ledger: Ledger, asked: list[tuple[Hold, bytes]]) -> list[LeaseLost | None]:
    """Whatever was given out lately is found without being looked for; the others are looked at one by one."""
    given = {
        hold.fence: (known, hold, result) for hold, result in asked if (known := ledger.given.pop(hold.fence, None))
    }
    rows = [(known.seq, hold.id, hold.fence, hold.worker) for known, hold, _ in given.values()]
    done = {fence for cursor in ledger.in_rows(_DONE_IF_HELD, rows, ledger.now, ledger.now) for (fence,) in cursor}
    outcomes = []
    for fence in done:
        known, hold, result = given[fence]
        crc = outcome_crc(result, None, known.attempt, hold.worker, known.began)
        outcomes.append((known.seq, result, crc))
    ledger.run_in_rows(_RESULTS, outcomes)
    return [
        None if hold.fence in done and given[hold.fence][1] is hold else _complete(ledger, hold, result)
        for hold, result in asked
    ]


def _complete(ledger: Ledger, hold: Hold, result: bytes) -> LeaseLost | None:
    row = _found(ledger, hold.id)
    if row is not None and _is_held(ledger, row, hold):
        ledger.execute(_DONE, (ledger.now, row.seq))
        ledger.run_in_rows(_RESULTS, [(row.seq, result, outcome_crc(result, None, *row.last()))])
        return None
    return None if row is not None and row.state == DONE and _is_latest(row, hold) else _lost(row, hold)


def fail(ledger: Ledger, asked: list[tuple[Hold, Failure, bool, bool]]) -> list[Verdict | LeaseLost]:
    return [_fail(ledger, *each) for each in asked]


def _fail(ledger: Ledger, hold: Hold, failure: Failure, retry: bool, counts: bool) -> Verdict | LeaseLost:
    row = _found(ledger, hold.id)
    if row is None or not _is_held(ledger, row, hold):
        if row is None or not _is_latest(row, hold) or _ending(ledger, row) != Ending.FAILED:
            return _lost(row, hold)
        again = max(row.due - ledger.now, 0.0) if row.state in (READY, LATER) else None
        return Verdict(STATES[row.state], again)
    close_attempt(ledger, row.attempted(), Ending.FAILED, failure)
    if not counts:
        ledger.execute("UPDATE bodies SET max_attempts = max_attempts + 1 WHERE seq = ?", (row.seq,))
        ledger.execute("UPDATE tasks SET state = ?, due = ? WHERE seq = ?", (READY, ledger.now, row.seq))
        return Verdict(State.READY, 0.0)
    max_attempts, delay, max_delay = ledger.execute(_LIMITS, (row.seq,)).fetchone()
    if not retry or row.attempt >= max_attempts:
        die(ledger, row.seq, row.last(), failure)
        return Verdict(State.DEAD, None)
    pause = pause_after(row.attempt, Backoff(delay, max_delay), ledger.rng.uniform)
    state = LATER if pause > 0 else READY
    ledger.execute("UPDATE tasks SET state = ?, due = ? WHERE seq = ?", (state, ledger.now + pause, row.seq))
    return Verdict(State.READY, pause)


def release(ledger: Ledger, asked: list[Hold]) -> list[LeaseLost | None]:
    return [_release(ledger, hold) for hold in asked]


def _release(ledger: Ledger, hold: Hold) -> LeaseLost | None:
    row = _found(ledger, hold.id)
    if row is not None and _is_held(ledger, row, hold):
        again = "UPDATE tasks SET state = 0, due = ?, attempt = attempt - 1 WHERE seq = ?"
        ledger.execute(again, (ledger.now, row.seq))
        return None
    released = row is not None and row.state == READY and _is_latest(row, hold) and _ending(ledger, row) is None
    return None if released else _lost(row, hold)


def _ending(ledger: Ledger, row: _Row) -> Ending | None:
    """How the latest attempt ended, other than well."""
    found = ledger.execute("SELECT ending FROM attempts WHERE seq = ? AND fence = ?", (row.seq, row.fence)).fetchone()
    return None if found is None else Ending(found[0])


def once(ledger: Ledger, asked: list[tuple[Hold, str]]) -> list[Effect | LeaseLost]:
    return [_once(ledger, *each) for each in asked]


def _once(ledger: Ledger, hold: Hold, key: str) -> Effect | LeaseLost:
    row = _found(ledger, hold.id)
    if row is None or not _is_held(ledger, row, hold):
        return _lost(row, hold)
    (queue,) = ledger.execute(_LANE_QUEUE, (row.seq,)).fetchone()
    known = ledger.execute(_EFFECT, (queue, key)).fetchone()
    if known is not None:
        return Effect(False, *known)
    ledger.execute(
        "INSERT INTO effects (queue, key, seq, fence) VALUES (?, ?, ?, ?)", (queue, key, row.seq, hold.fence)
    )
    return Effect(True, hold.id, hold.fence)


# -- what a caller says


def cancel(ledger: Ledger, asked: list[tuple[str, str | None]]) -> list[State | UnknownTask]:
    return [_cancel(ledger, *each) for each in asked]


def _cancel(ledger: Ledger, task_id: str, caller: str | None) -> State | UnknownTask:
    settle_task(ledger, task_id)
    row = _found(ledger, task_id)
    if row is None:
        return UnknownTask(task_id)
    (owner,) = ledger.execute("SELECT caller FROM bodies WHERE seq = ?", (row.seq,)).fetchone()
    if caller not in (None, owner):
        return UnknownTask(task_id)
    if row.state in (DONE, DEAD, CANCELLED):
        return STATES[row.state]
    if row.state == LEASED:
        close_attempt(ledger, row.attempted(), Ending.CANCELLED, None)
    ledger.execute("UPDATE tasks SET state = 5, due = ? WHERE seq = ?", (ledger.now, row.seq))
    return State.CANCELLED
