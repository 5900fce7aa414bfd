"""Leases on names, in the same file as the tasks and under the same count of fences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.store.port import Lease
from orchestrator.store.sqlite_upkeep import AT_ONCE

if TYPE_CHECKING:
    import sqlite3

    from orchestrator.store.sqlite_ledger import Ledger

_LIVE: Final = "SELECT holder, fence, ends FROM leases WHERE name = ? AND ends > ?"
_GRANT: Final = "INSERT OR REPLACE INTO leases (name, holder, fence, ends) VALUES (?, ?, ?, ?)"
_FORGET: Final = f"DELETE FROM leases WHERE name IN (SELECT name FROM leases WHERE ends <= ? LIMIT {AT_ONCE})"  # noqa: S608


class LeaseAsked(NamedTuple):
    name: str
    holder: str
    ttl: float


def acquire(ledger: Ledger, asked: list[LeaseAsked]) -> list[Lease | None]:
    ledger.execute(_FORGET, (ledger.now,))
    return [_acquire(ledger, *each) for each in asked]


def _acquire(ledger: Ledger, name: str, holder: str, ttl: float) -> Lease | None:
    held = ledger.execute(_LIVE, (name, ledger.now)).fetchone()
    if held is not None and held[0] != holder:
        return None
    fence = ledger.next_fence() if held is None else held[1]
    ledger.execute(_GRANT, (name, holder, fence, ledger.now + ttl))
    return Lease(name, holder, fence, ttl)


def renew(ledger: Ledger, asked: list[LeaseAsked]) -> list[Lease | None]:
    return [_renew(ledger, *each) for each in asked]


def _renew(ledger: Ledger, name: str, holder: str, ttl: float) -> Lease | None:
    held = ledger.execute(_LIVE, (name, ledger.now)).fetchone()
    if held is None or held[0] != holder:
        return None
    ledger.execute("UPDATE leases SET ends = ? WHERE name = ?", (ledger.now + ttl, name))
    return Lease(name, holder, held[1], ttl)


def release(ledger: Ledger, asked: list[tuple[str, str]]) -> list[None]:
    ledger.executemany("DELETE FROM leases WHERE name = ? AND holder = ?", asked)
    return [None] * len(asked)


def lease_on(connection: sqlite3.Connection, name: str, now: float) -> Lease | None:
    held = connection.execute(_LIVE, (name, now)).fetchone()
    return None if held is None else Lease(name, held[0], held[1], held[2] - now)
