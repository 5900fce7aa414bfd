"""What a store's file holds, by version, and how a file of an earlier version becomes one of the next.

What changes often is narrow and apart from what is written once. The tasks of a queue that require the same are one lane,
so that a claim finds what it may have without looking at what it may not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3

APPLICATION_ID: Final = 0x6F726373
"""Tells a store from every other file of SQLite's."""

READY, LATER, LEASED, DONE, DEAD, CANCELLED = range(6)
"""`LATER` is a ready task that is not due yet."""

_FIRST: Final = (
    """CREATE TABLE meta (
        only INTEGER PRIMARY KEY CHECK (only = 1),
        commits INTEGER NOT NULL,  -- transactions that were ever acknowledged
        fence INTEGER NOT NULL,    -- the greatest that was ever given, to a task or to a lease
        at REAL NOT NULL           -- the store's clock in the last of those transactions
    )""",
    "INSERT INTO meta VALUES (1, 0, 0, 0)",
    """CREATE TABLE lanes (
        lane INTEGER PRIMARY KEY,
        queue TEXT NOT NULL,
        requires TEXT NOT NULL,    -- capabilities as a sorted JSON list
        UNIQUE (queue, requires)
    )""",
    """CREATE TABLE tasks (
        seq INTEGER PRIMARY KEY,   -- the order in which they were stored
        id TEXT NOT NULL UNIQUE,
        lane INTEGER NOT NULL,
        state INTEGER NOT NULL CHECK (state BETWEEN 0 AND 5),
        priority INTEGER NOT NULL,
        due REAL NOT NULL,         -- since when ready; later: when it is due; leased: when the lease ends; else when it ended
        expires REAL,
        fence INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        worker TEXT,
        began REAL
    )""",
    "CREATE INDEX ready ON tasks (lane, priority DESC, seq, state) WHERE state = 0",
    "CREATE INDEX due ON tasks (lane, due, state) WHERE state IN (1, 2)",
    "CREATE INDEX expiring ON tasks (expires) WHERE expires IS NOT NULL AND state IN (0, 1)",
    "CREATE INDEX ended ON tasks (state, due, lane) WHERE state IN (3, 4, 5)",
    """CREATE TABLE bodies (
        seq INTEGER PRIMARY KEY,
        lane INTEGER NOT NULL,
        type TEXT NOT NULL,
        caller TEXT NOT NULL,
        key TEXT,
        origin TEXT NOT NULL,
        traceparent TEXT,
        payload BLOB NOT NULL,
        stored REAL NOT NULL,
        timeout REAL,
        max_attempts INTEGER NOT NULL,
        delay REAL NOT NULL,
        max_delay REAL NOT NULL,
        crc INTEGER NOT NULL
    )""",
    "CREATE UNIQUE INDEX keys ON bodies (caller, lane, type, key) WHERE key IS NOT NULL",
    "CREATE TABLE outcomes (seq INTEGER PRIMARY KEY, result BLOB, failure TEXT, crc INTEGER NOT NULL)",
    """CREATE TABLE attempts (
        seq INTEGER NOT NULL,
        fence INTEGER NOT NULL,
        number INTEGER NOT NULL,
        worker TEXT NOT NULL,
        began REAL NOT NULL,
        ended REAL NOT NULL,
        ending TEXT NOT NULL,
        failure TEXT,
        PRIMARY KEY (seq, fence)
    ) WITHOUT ROWID""",
    """CREATE TABLE effects (
        queue TEXT NOT NULL,
        key TEXT NOT NULL,
        seq INTEGER NOT NULL,
        fence INTEGER NOT NULL,
        PRIMARY KEY (queue, key)
    ) WITHOUT ROWID""",
    "CREATE INDEX effects_of ON effects (seq)",
    "CREATE TABLE leases (name TEXT PRIMARY KEY, holder TEXT NOT NULL, fence INTEGER NOT NULL, ends REAL NOT NULL) WITHOUT ROWID",
    "CREATE INDEX leases_ending ON leases (ends)",
)

STEPS: Final[tuple[tuple[str, ...], ...]] = (_FIRST,)
"""What makes a file of version 0 one of version 1, and so on; never changed once it is released."""
VERSION: Final = len(STEPS)


def migrate(connection: sqlite3.Connection, found: int, steps: tuple[tuple[str, ...], ...] = STEPS) -> None:
    """Bring a file of version `found` up to date, all of it or nothing."""
    if found == len(steps):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for step in steps[found:]:
            for statement in step:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(steps)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
