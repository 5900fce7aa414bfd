"""Giving out tasks: whatever is due in the lanes that a worker may take from, the greatest priority first."""

from __future__ import annotations

from collections import defaultdict
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from orchestrator.store.attempting import expired, lost_body
from orchestrator.store.sqlite_ledger import Given, Rows, body_crc
from orchestrator.store.sqlite_upkeep import NEXT_DUE, die, settle_lanes
from orchestrator.store.tasks import CLAIM_BYTES, Claimed, Hold, Leased

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.store.sqlite_ledger import Ledger

PICK: Final = """SELECT t.seq, t.id, t.priority, t.expires, t.attempt, t.worker, t.began,
        b.type, b.payload, b.caller, b.origin, b.key, b.traceparent, b.timeout, b.max_attempts, b.crc
    FROM tasks t JOIN bodies b ON b.seq = t.seq
    WHERE t.lane = ? AND t.state = 0 ORDER BY t.priority DESC, t.seq LIMIT ?"""
ANY_READY: Final = "SELECT 1 FROM tasks WHERE lane = ? AND state = 0 LIMIT 1"
_LEASE: Final = Rows(
    """WITH given (seq, fence, due, worker) AS (VALUES {rows})
    UPDATE tasks SET state = 2, due = given.due, fence = given.fence, attempt = attempt + 1, worker = given.worker, began = ?
    FROM given WHERE tasks.seq = given.seq""",
    "(?, ?, ?, ?)",
)
_ROUNDS: Final = 4
"""How often one claim looks again after all that it found had expired."""
_LOOKED_AT: Final = 256
"""How many tasks it looks at then, at least."""


class ClaimAsked(NamedTuple):
    queue: str
    worker: str
    capabilities: frozenset[str]
    limit: int
    lease: float


class _Found(NamedTuple):
    seq: int
    id: str
    priority: int
    expires: float | None
    attempt: int
    worker: str | None
    began: float | None
    type: str
    payload: bytes
    caller: str
    origin: str
    key: str | None
    traceparent: str | None
    timeout: float | None
    max_attempts: int
    crc: int


def claim(ledger: Ledger, asked: list[ClaimAsked], file: str) -> list[Claimed]:
    """Answer those who ask at the same time as if the one had asked after the other."""
    together: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
    for number, each in enumerate(asked):
        together[ledger.lanes_for(each.queue, each.capabilities)].append(number)
    answers: list[Claimed] = [Claimed((), None)] * len(asked)
    for lanes, numbers in together.items():
        settle_lanes(ledger, lanes)
        found = iter(_pick(ledger, lanes, sum(asked[number].limit for number in numbers), file))
        rows: list[tuple[Any, ...]] = []
        taken = {number: tuple(_lease(ledger, asked[number], found, rows)) for number in numbers}
        ledger.run_in_rows(_LEASE, rows, ledger.now)
        next_due = _next_due(ledger, lanes)
        for number, tasks in taken.items():
            answers[number] = Claimed(tasks, next_due)
    return answers


def _pick(ledger: Ledger, lanes: tuple[int, ...], wanted: int, file: str) -> list[_Found]:
    """Return what comes first, less what must not be given to anybody, which is dead after this."""
    looked_at = wanted
    for _ in range(_ROUNDS):
        found = [row for lane in lanes for row in _first(ledger, lane, looked_at)]
        if len(lanes) > 1:
            found = sorted(found, key=lambda row: (-row.priority, row.seq))[:looked_at]
        good = []
        for row in found:
            if row.expires is not None and row.expires <= ledger.now:
                die(ledger, row.seq, (row.attempt, row.worker, row.began), expired())
            elif row.crc != body_crc(row.id, row.type, row.caller, row.origin, row.key, row.payload):
                die(ledger, row.seq, (row.attempt, row.worker, row.began), lost_body(file))
            else:
                good.append(row)
        if good or not found:
            return good
        looked_at = max(wanted, _LOOKED_AT)
    return []


def _first(ledger: Ledger, lane: int, wanted: int) -> Iterator[_Found]:
    size = 0
    for row in map(_Found._make, ledger.execute(PICK, (lane, wanted))):
        yield row
        size += len(row.payload)
        if size >= CLAIM_BYTES:
            return


def _lease(ledger: Ledger, asked: ClaimAsked, found: Iterator[_Found], rows: list[tuple[Any, ...]]) -> Iterator[Leased]:
    """Give what was found to whoever asked, as far as it goes; `rows` is what is to be written of it."""
    worker, due = asked.worker, ledger.now + asked.lease
    for row in islice(found, asked.limit):
        hold = Hold(row.id, ledger.next_fence(), worker)
        attempt = row.attempt + 1
        rows.append((row.seq, hold.fence, due, worker))
        ledger.give(hold.fence, Given(row.seq, attempt, ledger.now))
        yield Leased(
            hold,
            attempt,
            row.max_attempts,
            row.type,
            row.payload,
            row.caller,
            row.traceparent,
            row.key,
            row.timeout,
            row.origin,
        )


def _next_due(ledger: Ledger, lanes: tuple[int, ...]) -> float | None:
    if any(ledger.execute(ANY_READY, (lane,)).fetchone() for lane in lanes):
        return 0.0
    times = [ledger.execute(NEXT_DUE, (lane,)).fetchone()[0] for lane in lanes]
    known = [due for due in times if due is not None]
    return max(min(known) - ledger.now, 0.0) if known else None
