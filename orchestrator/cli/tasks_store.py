"""Which store a command is about, and the way to it: the engine that machines share, else a run's store process where a run
is alive, and else the file."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orchestrator.cli.peer_names import Usage, unknown
from orchestrator.cli.reading import environment, read_topology, shown
from orchestrator.errors import OrchestratorError, StoreUnavailable

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Collection, Iterable, Mapping

    from orchestrator.runtime.control import Engine
    from orchestrator.runtime.store_seat import StoreSeat
    from orchestrator.store.errors import StoreLocked
    from orchestrator.store.opening import Store
    from orchestrator.store.sqlite import SqliteStore
    from orchestrator.store.tasks import QueueStats

_LOCKED: Final = 3.0
"""Seconds that another process may take to let go of the file: another command, or a run that begins or ends."""
_AGAIN: Final = 0.05


class OnlyInRun(OrchestratorError):
    """The store lives in a run, and none is alive."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(name)

    def __str__(self) -> str:
        return (
            f"{self.name}: its store is 'memory:', which lives only while `orchestrator run` does, and no run of it is "
            "alive. Tasks that outlive a run want a file: 'store: sqlite:///tasks.db'"
        )


@dataclass(frozen=True, slots=True)
class Source:
    """A store, found anew for each use: runs come and go meanwhile."""

    name: str
    """How messages name it: by its topology, or by its address."""
    address: str
    folder: Path
    topology: Path | None
    """`None` = the store was named by itself."""
    environ: Mapping[str, str]
    agents: frozenset[str]
    """Those of the topology."""
    engine: Engine | None = None
    """What keeps the tasks of several machines, where that is the store."""

    @classmethod
    def of(cls, args: argparse.Namespace) -> Source:
        """Read the topology alone, not its handlers. Raises `TopologyError`, and `Usage` where there is no store to look at."""
        if args.store is not None:
            return cls._by_itself(args.store)
        from orchestrator.runtime.shared_engine import for_operators
        from orchestrator.topology.plan import make_plan

        environ = environment(args)
        topology = read_topology(args, environ)
        plan = make_plan(topology, None)
        address = plan.store or topology.store
        if address is None:
            raise Usage(
                f"{shown(args)}: nothing in it keeps tasks; those of a worker with 'tasks: {{delivery: at-least-once}}' "
                "are kept until they are done"
            )
        agents = frozenset(replica.agent for replica in plan.replicas)
        engine = for_operators(address, plan.name)
        return cls(shown(args), address, plan.directory, plan.source, environ, agents, engine)

    @classmethod
    def _by_itself(cls, address: str) -> Source:
        from orchestrator.store.opening import MEMORY, store_at
        from orchestrator.store.shared import is_shared

        if address == MEMORY:
            raise OnlyInRun("--store memory:")
        if is_shared(address):
            raise Usage(
                "--store: what an engine keeps for several machines is told apart by topologies; name the file of one, with "
                "'store:' in it"
            )
        try:
            store_at(address, Path.cwd())
        except ValueError as error:
            raise Usage(f"--store: {error}") from None
        return cls(address, address, Path.cwd(), None, {}, frozenset())

    def seat(self) -> StoreSeat | None:
        """Return where the store of a run that is alive can be asked; `None` = there is no run, or its store is no part of
        it. Raises `Usage` for several."""
        if self.topology is None or self.engine is not None:
            return None
        from orchestrator.runtime.store_seat import running
        from orchestrator.store.opening import MEMORY

        seats = running(self.topology, self.environ)
        if len(seats) > 1:
            pids = " and ".join(sorted(str(seat.pid) for seat in seats))
            why = (
                "each has a 'memory:' store of its own; stop all but one"
                if self.address == MEMORY
                else "only one of them can have the store's file, so the others are about to end; try again in a moment"
            )
            raise Usage(f"{self.name}: {len(seats)} runs of it are alive, processes {pids}; {why}")
        return seats[0] if seats else None

    def file(self) -> SqliteStore | None:
        """Return the store of the file, not opened yet; `None` = there is no such file, and none is made, or the store is in
        none.

        Raises `OnlyInRun` for a store in memory.
        """
        from orchestrator.store.opening import MEMORY

        if self.engine is not None:
            return None
        if self.address == MEMORY:
            raise OnlyInRun(self.name)
        store = self._sqlite()
        there = store.path.exists() or store.path.with_name(f"{store.path.name}-wal").exists()
        return store if there else None

    def none_yet(self) -> str:
        """Say that there is no file."""
        return f"there are no tasks yet: {self._sqlite().path} does not exist"

    def _sqlite(self) -> SqliteStore:
        from orchestrator.store.opening import store_at
        from orchestrator.store.sqlite import SqliteStore

        store = store_at(self.address, self.folder)
        assert isinstance(store, SqliteStore)
        return store

    def check_queue(self, queue: str | None, stats: Iterable[QueueStats]) -> None:
        """Raises `Usage` for the name of a queue that nobody has."""
        known: Collection[str] = self.agents | {each.queue for each in stats}
        if queue is not None and queue not in known:
            raise unknown(self.name, queue, sorted(known), "agent")


@asynccontextmanager
async def opened(source: Source) -> AsyncIterator[Store | None]:
    """Open a store for one use; `None` = its file is not there.

    Raises `StoreUnavailable`, `EngineAway`, `OnlyInRun`, or `Usage` where several runs are alive.
    """
    store = await reach(source)
    try:
        yield store
    finally:
        if store is not None:
            await store.close()


async def reach(source: Source) -> Store | None:
    """Open a store, which is then the caller's to close."""
    import asyncio

    if source.engine is not None:
        return await _engine(source.engine)
    from orchestrator.store.errors import StoreLocked

    end = time.monotonic() + _LOCKED
    while True:
        seat = source.seat()
        store = source.file() if seat is None else remote(seat)
        if store is None:
            return None
        try:
            await store.open()
        except StoreLocked as error:
            await store.close()
            if time.monotonic() > end:
                raise _taken(source, error) from error
        except BaseException:
            await store.close()
            raise
        else:
            return store
        await asyncio.sleep(_AGAIN)  # a lock of the file tells nobody that it is given back


async def _engine(engine: Engine) -> Store:
    from orchestrator.runtime.shared_engine import open_now

    return await open_now(engine)


def remote(seat: StoreSeat) -> Store:
    from orchestrator.store.remote import RemoteStore

    async def operator() -> str:
        return seat.operator

    return RemoteStore(seat.path, operator)


def _taken(source: Source, error: StoreLocked) -> StoreUnavailable:
    how = (
        "if that is a run, name its topology in place of --store, and the run is asked"
        if source.topology is None
        else f"that is no run of {source.name}: name the topology that it runs, or wait until it has ended"
    )
    return StoreUnavailable(f"the store {error.file} {error.found}; {how}")
