"""What the writer of a store's file knows by heart, and what every statement of one transaction has in common."""

from __future__ import annotations

import json
import zlib
from collections import defaultdict
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from orchestrator.store.tasks import Failure

if TYPE_CHECKING:
    import random
    import sqlite3
    from collections.abc import Collection, Iterator, Sequence

_AT_ONCE: Final = (64, 8, 1)
"""How many rows one statement is given, as long as there are as many."""
_MOST_GIVEN: Final = 16_384


class Rows(NamedTuple):
    """A statement about many rows: one for each costs about twice as much as one for 64 of them."""

    statement: str
    """With `{rows}` where they belong."""
    row: str
    """The placeholders of one."""


class Given(NamedTuple):
    """What a task became when it was given to a worker."""

    seq: int
    attempt: int
    began: float


class Ledger:
    """Read from the file anew whenever a transaction did not come to its end."""

    def __init__(self, connection: sqlite3.Connection, rng: random.Random) -> None:
        self.connection, self.rng = connection, rng
        self.execute, self.executemany = connection.execute, connection.executemany
        self.commits: int
        self.fence: int
        self.at: float
        self.seq: int
        self.commits, self.fence, self.at = self.execute("SELECT commits, fence, at FROM meta").fetchone()
        (self.seq,) = self.execute("SELECT coalesce(max(seq), 0) FROM tasks").fetchone()
        self.now = 0.0
        """The store's time in this transaction, in seconds."""
        self.given: dict[int, Given] = {}
        """By fence, of what was given to workers last: where to look for it, and not whether it is still so."""
        self._lanes: dict[tuple[str, frozenset[str]], int] = {}
        self._queues: defaultdict[str, list[tuple[frozenset[str], int]]] = defaultdict(list)
        for lane, queue, requires in self.execute("SELECT lane, queue, requires FROM lanes"):
            self._know(lane, queue, frozenset(json.loads(requires)))

    # -- one transaction

    def begin(self, now: float) -> None:
        self.now = float(max(now, self.at))
        self.execute("BEGIN IMMEDIATE")
        self._changes = self.connection.total_changes

    def commit(self) -> bool:
        """Return whether anything had changed; if not, nothing is written and the disk is not waited for."""
        if self.connection.total_changes == self._changes:
            self.execute("ROLLBACK")
            return False
        self.execute("UPDATE meta SET commits = ?, fence = ?, at = ?", (self.commits + 1, self.fence, self.now))
        self.execute("COMMIT")
        self.commits += 1
        self.at = self.now
        return True

    # -- many rows

    def in_rows(self, rows: Rows, values: Sequence[Sequence[Any]], *after: Any) -> Iterator[sqlite3.Cursor]:
        """Run a statement with the values of each row, and with those `after` them, and yield each of its results."""
        start = 0
        for size in _AT_ONCE:
            while len(values) - start >= size:
                end = start + size
                yield self.execute(_for_rows(rows, size), (*chain.from_iterable(values[start:end]), *after))
                start = end

    def run_in_rows(self, rows: Rows, values: Sequence[Sequence[Any]], *after: Any) -> None:
        for _ in self.in_rows(rows, values, *after):
            pass

    # -- what it hands out

    def give(self, fence: int, given: Given) -> None:
        if len(self.given) >= _MOST_GIVEN:
            self.given.clear()
        self.given[fence] = given

    def next_seq(self) -> int:
        self.seq += 1
        return self.seq

    def next_fence(self) -> int:
        self.fence += 1
        return self.fence

    def lane(self, queue: str, requires: frozenset[str]) -> int:
        known = self._lanes.get((queue, requires))
        if known is not None:
            return known
        cursor = self.execute(
            "INSERT INTO lanes (queue, requires) VALUES (?, ?)",
            (queue, json.dumps(sorted(requires), ensure_ascii=False)),
        )
        assert cursor.lastrowid is not None
        self._know(cursor.lastrowid, queue, requires)
        return cursor.lastrowid

    def lanes_for(self, queue: str, capabilities: Collection[str]) -> tuple[int, ...]:
        """Return the lanes whose tasks somebody with these capabilities may do."""
        able = frozenset(capabilities)
        return tuple(lane for requires, lane in self._queues.get(queue, ()) if requires <= able)

    def lanes_of(self, queue: str) -> tuple[int, ...]:
        return tuple(lane for _, lane in self._queues.get(queue, ()))

    def all_lanes(self) -> tuple[int, ...]:
        return tuple(self._lanes.values())

    def _know(self, lane: int, queue: str, requires: frozenset[str]) -> None:
        self._lanes[(queue, requires)] = lane
        self._queues[queue].append((requires, lane))


@cache
def _for_rows(rows: Rows, count: int) -> str:
    return rows.statement.format(rows=", ".join([rows.row] * count))


def body_crc(task_id: str, kind: str, caller: str, origin: str, key: str | None, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32("\0".join((task_id, kind, caller, origin, key or "")).encode()))


def outcome_crc(
    result: bytes | None, failure: str | None, attempt: int, worker: str | None, began: float | None
) -> int:
    """Of an outcome, with whose attempt it came from; `began` as the file gives it back."""
    return zlib.crc32(result or b"", zlib.crc32(f"{failure}\0{attempt}\0{worker}\0{began}".encode()))


def written(failure: Failure) -> str:
    return json.dumps([failure.type, failure.message, *failure.frames], ensure_ascii=False)


def read_failure(text: str | None) -> Failure | None:
    if text is None:
        return None
    kind, message, *frames = json.loads(text)
    return Failure(kind, message, tuple(frames))
