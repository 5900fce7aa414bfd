"""Tasks and leases in one file of SQLite's, for one process: nothing is acknowledged before the disk has it."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from orchestrator.store import sqlite_attempts, sqlite_leases, sqlite_reading, sqlite_upkeep
from orchestrator.store.clock import steady_time
from orchestrator.store.port import Capabilities, Lease
from orchestrator.store.sqlite_claim import ClaimAsked, claim
from orchestrator.store.sqlite_enqueue import enqueue
from orchestrator.store.sqlite_file import LOG_PAGES, StoreFile
from orchestrator.store.sqlite_leases import LeaseAsked
from orchestrator.store.sqlite_problems import said_by_sqlite
from orchestrator.store.sqlite_upkeep import AT_ONCE
from orchestrator.store.sqlite_writer import Writer
from orchestrator.store.tasks import (
    FINAL,
    Claimed,
    Effect,
    Enqueued,
    Failure,
    Hold,
    NewTask,
    Outcome,
    QueueStats,
    State,
    TaskHistory,
    TaskInfo,
    Verdict,
    check_claim,
    check_lease,
    check_outcomes,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self

T = TypeVar("T")
CAPABILITIES: Final = Capabilities(durable=True, fenced=True, shared=False)


class SqliteStore:
    """One file, opened when it is first needed or by `open`, and again whenever what was wrong with it has passed.

    It belongs to the event loop that uses it first. Its clock never goes back, not even from one run to the next.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], float] | None = None,
        rng: random.Random | None = None,
        log_pages: int = LOG_PAGES,
    ) -> None:
        """`clock` gives Unix seconds; `None` = the system's time of now, steadily on from there.

        `log_pages` = how many pages of 4 KiB the log takes before they are moved into the file.
        """
        self._clock = clock or steady_time()
        self._file = StoreFile(path, log_pages=log_pages)
        self.path = self._file.path
        self._claim = partial(claim, file=str(self.path))
        kinds = (
            enqueue,
            sqlite_attempts.extend,
            sqlite_attempts.once,
            sqlite_attempts.complete,
            sqlite_attempts.fail,
            sqlite_attempts.release,
            sqlite_attempts.cancel,
            sqlite_upkeep.settle_tasks,
            sqlite_upkeep.sweep,
            sqlite_upkeep.retry_dead,
            sqlite_upkeep.purge,
            sqlite_leases.release,
            sqlite_leases.renew,
            sqlite_leases.acquire,
            self._claim,
            sqlite_upkeep.reclaim,  # after what the same worker claimed, and has given up waiting for
        )
        self._writer = Writer(self._file, kinds, self._clock, rng or random.SystemRandom())
        self._reader: sqlite3.Connection | None = None
        self._generation = 0
        self._reading = ThreadPoolExecutor(1, "reader")
        self.tasks = SqliteTasks(self)
        self.leases = SqliteLeases(self)

    async def open(self) -> None:
        """See whether the file can be used now. Raises `StoreFileProblem`; the next request tries again."""
        await self.ask(sqlite_upkeep.sweep, None)

    async def close(self) -> None:
        """Finish what was asked for, and let go of the file. Nothing may be asked for after that."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._reading, self._close_reader)
        self._reading.shutdown(wait=False)
        await self._writer.close()

    async def __aenter__(self) -> Self:
        try:
            await self.open()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    # -- for the two halves

    def now(self) -> float:
        return max(self._clock() + self._writer.ahead, self._writer.at)

    async def ask(self, handler: Callable[[Any, list[Any]], Sequence[Any]], asked: Any) -> Any:
        return await self._writer.ask(handler, asked)

    async def claim(self, asked: ClaimAsked) -> Claimed:
        answer: Claimed = await self._writer.ask(self._claim, asked)
        return answer

    async def read(self, look: Callable[[sqlite3.Connection], T]) -> T:
        """Look at what has been acknowledged until now, in a thread that only does that."""
        if not self._file.is_open or self._writer.closed:
            await self.open()
        return await asyncio.get_running_loop().run_in_executor(self._reading, self._look, look)

    def _look(self, look: Callable[[sqlite3.Connection], T]) -> T:
        try:
            if self._reader is None or self._generation != self._file.generation:
                self._close_reader()
                self._generation = self._file.generation
                self._reader = self._file.reader()
            self._reader.execute("BEGIN")
            try:
                return look(self._reader)
            finally:
                self._reader.execute("ROLLBACK")
        except sqlite3.Error as error:
            self._close_reader()
            raise said_by_sqlite(error, self.path) from error

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None


class SqliteTasks:
    """The tasks of a `SqliteStore`."""

    capabilities = CAPABILITIES

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    async def enqueue(self, tasks: Sequence[NewTask]) -> tuple[Enqueued, ...]:
        stored: tuple[Enqueued, ...] = await self._store.ask(enqueue, tuple(tasks))
        return stored

    async def claim(
        self, queue: str, worker: str, capabilities: Collection[str] = (), *, limit: int = 1, lease: float = 30.0
    ) -> Claimed:
        limit = check_claim(limit, lease)
        return await self._store.claim(ClaimAsked(queue, worker, frozenset(capabilities), limit, lease))

    async def extend(self, hold: Hold, lease: float) -> None:
        check_lease(lease)
        await self._store.ask(sqlite_attempts.extend, (hold, lease))

    async def complete(self, hold: Hold, result: bytes) -> None:
        await self._store.ask(sqlite_attempts.complete, (hold, result))

    async def fail(self, hold: Hold, failure: Failure, *, retry: bool = True, counts: bool = True) -> Verdict:
        verdict: Verdict = await self._store.ask(sqlite_attempts.fail, (hold, failure, retry, counts))
        return verdict

    async def release(self, hold: Hold) -> None:
        await self._store.ask(sqlite_attempts.release, hold)

    async def reclaim(self, queue: str, worker: str, *, held: Collection[str] = (), begun: bool = True) -> int:
        count: int = await self._store.ask(sqlite_upkeep.reclaim, (queue, worker, frozenset(held), begun))
        return count

    async def once(self, hold: Hold, key: str) -> Effect:
        effect: Effect = await self._store.ask(sqlite_attempts.once, (hold, key))
        return effect

    async def cancel(self, task_id: str, *, caller: str | None = None) -> State:
        state: State = await self._store.ask(sqlite_attempts.cancel, (task_id, caller))
        return state

    async def result(self, task_id: str, *, caller: str | None = None) -> Outcome | None:
        _, outcome = await self._settled(
            task_id, lambda connection: sqlite_reading.outcome_of(connection, task_id, caller)
        )
        return outcome

    async def outcomes(self, task_ids: Collection[str], *, caller: str | None = None) -> dict[str, Outcome | None]:
        asked, now = check_outcomes(task_ids), self._store.now()
        over = await self._store.read(lambda connection: sqlite_reading.overdue_among(connection, asked, now))
        await asyncio.gather(*(self._store.ask(sqlite_upkeep.settle_tasks, task_id) for task_id in over))
        return await self._store.read(lambda connection: sqlite_reading.outcomes_of(connection, asked, caller))

    async def get(self, task_id: str, *, caller: str | None = None) -> TaskHistory:
        return await self._settled(task_id, lambda connection: sqlite_reading.history_of(connection, task_id, caller))

    async def list(
        self,
        *,
        states: Collection[State] = (),
        queue: str | None = None,
        caller: str | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> tuple[TaskInfo, ...]:
        await self._swept()
        look = partial(sqlite_reading.listed, states=states, queue=queue, caller=caller, limit=limit, before=before)
        return await self._store.read(look)

    async def dead(self, *, queue: str | None = None, limit: int = 100) -> tuple[TaskInfo, ...]:
        return await self.list(states={State.DEAD}, queue=queue, limit=limit)

    async def stats(self) -> tuple[QueueStats, ...]:
        await self._swept()
        return await self._store.read(sqlite_reading.counted)

    async def retry_dead(self, task_ids: Collection[str] | None = None, *, queue: str | None = None) -> int:
        asked = (self._store.now(), None if task_ids is None else tuple(dict.fromkeys(task_ids)), queue)
        return await self._repeated(sqlite_upkeep.retry_dead, asked, many=task_ids is None)

    async def purge(self, older: float, *, states: Collection[State] = FINAL) -> int:
        return await self._repeated(sqlite_upkeep.purge, (self._store.now() - older, frozenset(states)), many=True)

    async def sweep(self) -> float | None:
        left: float | None = await self._store.ask(sqlite_upkeep.sweep, None)
        return left

    async def _swept(self) -> None:
        while await self.sweep() == 0:
            pass

    async def _settled(self, task_id: str, look: Callable[[sqlite3.Connection], T]) -> T:
        """Look at a task, after it has ended if it has run out."""
        now = self._store.now()
        if await self._store.read(lambda connection: sqlite_reading.is_overdue(connection, task_id, now)):
            await self._store.ask(sqlite_upkeep.settle_tasks, task_id)
        return await self._store.read(look)

    async def _repeated(self, handler: Callable[..., Sequence[int]], asked: object, *, many: bool) -> int:
        """Ask again for as long as there is more than is done at once."""
        count: int = await self._store.ask(handler, asked)
        done = count
        while many and count == AT_ONCE:
            count = await self._store.ask(handler, asked)
            done += count
        return done


class SqliteLeases:
    """The leases of a `SqliteStore`."""

    capabilities = CAPABILITIES

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    async def acquire(self, name: str, holder: str, ttl: float) -> Lease | None:
        check_lease(ttl)
        lease: Lease | None = await self._store.ask(sqlite_leases.acquire, LeaseAsked(name, holder, ttl))
        return lease

    async def renew(self, name: str, holder: str, ttl: float) -> Lease | None:
        check_lease(ttl)
        lease: Lease | None = await self._store.ask(sqlite_leases.renew, LeaseAsked(name, holder, ttl))
        return lease

    async def release(self, name: str, holder: str) -> None:
        await self._store.ask(sqlite_leases.release, (name, holder))

    async def get(self, name: str) -> Lease | None:
        now = self._store.now()
        return await self._store.read(lambda connection: sqlite_leases.lease_on(connection, name, now))
