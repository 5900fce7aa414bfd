"""From the address of a store in a topology to the store: ``memory:``, or ``sqlite:///`` and a path."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from orchestrator.store.clock import steady_time
from orchestrator.store.memory import MemoryLeases
from orchestrator.store.memory_tasks import MemoryTasks

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.store.port import Leases
    from orchestrator.store.tasks import Tasks

MEMORY: Final = "memory:"
SQLITE: Final = "sqlite:///"


class Store(Protocol):
    """Tasks and leases that live in one place."""

    @property
    def tasks(self) -> Tasks: ...

    @property
    def leases(self) -> Leases: ...

    async def open(self) -> None:
        """See whether the store can be used now. Raises `StoreUnavailable`; each request tries again, if it cannot."""
        ...

    async def close(self) -> None:
        """Finish what was asked for, and let go of everything."""
        ...


class MemoryStore:
    """Tasks and leases that live and end with their process."""

    def __init__(self, clock: Callable[[], float], rng: random.Random) -> None:
        self.tasks, self.leases = MemoryTasks(clock, rng), MemoryLeases(clock)

    async def open(self) -> None:
        """Nothing can be wrong with it."""

    async def close(self) -> None:
        """Everything in it ends with it."""


def is_local(address: str) -> bool:
    """Tell whether a store is one that `store_at` makes; others are served by engines of their own."""
    return address == MEMORY or address.startswith("sqlite:")


def store_at(
    address: str, folder: Path, *, clock: Callable[[], float] | None = None, rng: random.Random | None = None
) -> Store:
    """Make the store of an address. Raises `ValueError` for one that is not local, or that names no file.

    `folder` is what a relative path starts from: ``sqlite:///tasks.db`` lies in it, ``sqlite:////var/tasks.db`` does not.
    """
    rng = rng or random.SystemRandom()
    if address == MEMORY:
        return MemoryStore(clock or steady_time(), rng)
    path = address.removeprefix(SQLITE)
    if not address.startswith(SQLITE) or not path.strip("/"):
        raise ValueError(f"{address!r} names no file: write 'sqlite:///tasks.db', or 'sqlite:////var/lib/tasks.db'")
    from orchestrator.store.sqlite import SqliteStore  # only where there is a file: SQLite takes time to load

    return SqliteStore(folder / Path(path).expanduser(), clock=clock, rng=rng)
