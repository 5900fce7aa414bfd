"""The one writer of a store's file: a thread that gathers what was asked for, and answers when the disk has it."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections import defaultdict, deque
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from orchestrator.errors import StoreUnavailable
from orchestrator.store.errors import StoreFileProblem, StoreFull, StoreLocked
from orchestrator.store.sqlite_ledger import Ledger
from orchestrator.store.sqlite_problems import is_of_request, said_by_sqlite

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from orchestrator.store.sqlite_file import StoreFile

    Handler: TypeAlias = Callable[[Ledger, list[Any]], Sequence[Any]]
    """Does all requests of one kind that came together, and answers each with a result or with a refusal."""

GATHER_SECONDS: Final = 0.002
GATHER_REQUESTS: Final = 256
"""How long more requests are waited for at most before a transaction, and until there are how many."""
QUIET_SECONDS: Final = 0.0003
"""After how long without another one nobody is waited for any more."""
TOGETHER: Final = 2_048
"""Requests in one transaction at most: those that were there anyway."""
WAITING: Final = 8_192
"""Requests that wait for the writer at once; whoever comes after them waits for room."""


class _NotNow(Exception):
    """What keeps every request from being done, for as long as it lasts."""

    def __init__(self, problem: StoreFileProblem) -> None:
        super().__init__(problem)
        self.problem = problem


class _Request(NamedTuple):
    kind: int
    asked: Any
    answer: asyncio.Future[Any]


class Writer:
    """Requests of one event loop. Those that are gathered are done by kind, in the order of `kinds`; the first of them
    is the one that needs the most room.

    A transaction that does not succeed is done again request by request, so that each has its own fate, unless what is
    wrong is wrong for all of them.
    """

    def __init__(
        self, file: StoreFile, kinds: Sequence[Handler], clock: Callable[[], float], rng: random.Random
    ) -> None:
        self._file, self._clock, self._rng = file, clock, rng
        self._kinds = tuple(kinds)
        self._numbers = {handler: number for number, handler in enumerate(kinds)}
        self._asked: list[_Request] = []
        """What was asked for in this turn of the event loop; the thread is given all of it at once."""
        self._queue: SimpleQueue[list[_Request] | None] = SimpleQueue()
        self._left: list[_Request] = []
        """What the thread was given, and has no room for in its transaction."""
        self._ledger: Ledger | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting = 0
        self._for_room: deque[asyncio.Future[None]] = deque()
        self._expected = 1
        self.closed = False
        self.ahead = 0.0
        """Seconds by which the store's time is before the clock's: the clock was once that far ahead, and was put right."""
        self.at = 0.0
        """The store's time in the last transaction: no later one is before it."""

    async def ask(self, handler: Handler, asked: Any) -> Any:
        """Return the answer, or raise it, once it is on disk."""
        loop = asyncio.get_running_loop()
        if self.closed:
            raise StoreUnavailable(f"the store {self._file.path} is closed")
        if self._thread is None:
            self._loop = loop
            self._thread = threading.Thread(target=self._run, name=f"writer of {self._file.path.name}", daemon=True)
            self._thread.start()
        while self._waiting >= WAITING:
            room: asyncio.Future[None] = loop.create_future()
            self._for_room.append(room)
            await room
            if self.closed:
                raise StoreUnavailable(f"the store {self._file.path} is closed")
        request = _Request(self._numbers[handler], asked, loop.create_future())
        self._waiting += 1
        if not self._asked:
            loop.call_soon(self._hand_over)
        self._asked.append(request)
        return await request.answer

    def _hand_over(self) -> None:
        if self._asked:
            self._queue.put(self._asked)
            self._asked = []

    async def close(self) -> None:
        """Do what was asked for, then close the file."""
        self.closed = True
        if self._thread is not None:
            self._hand_over()
            self._queue.put(None)
            await asyncio.get_running_loop().run_in_executor(None, self._thread.join)
            self._thread = None

    # -- on the event loop

    def _deliver(self, answers: list[tuple[_Request, Any]]) -> None:
        self._waiting -= len(answers)
        for request, answer in answers:
            if not request.answer.done():
                if isinstance(answer, BaseException):
                    request.answer.set_exception(answer)
                else:
                    request.answer.set_result(answer)
        while self._for_room and self._waiting < WAITING:
            room = self._for_room.popleft()
            if not room.done():
                room.set_result(None)

    # -- in the thread

    def _run(self) -> None:
        assert self._loop is not None
        more = True
        while more:
            batch, more = self._gather()
            answers = [(request, None) for request in batch if request.answer.cancelled()]
            answers += self._fates([request for request in batch if not request.answer.cancelled()])
            if answers:
                try:
                    self._loop.call_soon_threadsafe(self._deliver, answers)
                except RuntimeError:  # the loop is closed, and nobody waits any more
                    break
        self._file.close()

    def _gather(self) -> tuple[list[_Request], bool]:
        """Wait for a request and for those that come with it, and tell whether there may be more after them.

        Only as many are waited for as came the last time: whoever was answered then is likely to ask again.
        """
        batch: list[_Request] = []
        until = 0.0
        while (room := TOGETHER - len(batch)) > 0:
            if not self._left:
                try:
                    given = self._next(len(batch), until)
                except Empty:
                    break
                if given is None:
                    return batch, False
                self._left = given
            if not batch:
                until = time.monotonic() + GATHER_SECONDS
            batch += self._left[:room]
            self._left = self._left[room:]
        self._expected = len(batch)
        return batch, True

    def _next(self, gathered: int, until: float) -> list[_Request] | None:
        """Return what was asked for together, `None` = that was all. Raises `Empty` when it is not to be waited for."""
        if not gathered:
            return self._queue.get()
        if gathered < min(self._expected, GATHER_REQUESTS):
            return self._queue.get(timeout=min(max(until - time.monotonic(), 0.0), QUIET_SECONDS))
        return self._queue.get_nowait()

    def _fates(self, batch: list[_Request]) -> list[tuple[_Request, Any]]:
        """Do requests and return an answer to each, errors among them."""
        if not batch:
            return []
        try:
            return self._transaction(batch)
        except StoreFull:
            self._file.make_room()
        except _NotNow as error:
            return [(request, error.problem) for request in batch]
        except Exception as error:  # noqa: BLE001  # whoever asked is told, and the others are done
            if len(batch) == 1:
                return [(batch[0], error)]
        return self._one_by_one(batch)

    def _one_by_one(self, batch: list[_Request]) -> list[tuple[_Request, Any]]:
        """Do requests in as many transactions, those that need the most room last."""
        answers: list[tuple[_Request, Any]] = []
        full: dict[int, StoreFull] = {}
        for request in sorted(batch, key=lambda each: each.kind == 0):
            if request.kind in full:
                answers.append((request, full[request.kind]))
                continue
            try:
                answers += self._transaction([request])
            except StoreFull as error:
                full[request.kind] = error
                answers.append((request, error))
            except _NotNow as error:
                answers.append((request, error.problem))
            except Exception as error:  # noqa: BLE001  # whoever asked is told, and the others are done
                answers.append((request, error))
        return answers

    def _transaction(self, batch: list[_Request]) -> list[tuple[_Request, Any]]:
        """Raises `StoreFull`, `_NotNow`, or whatever is wrong with a request; nothing was done then."""
        try:
            ledger = self._opened()
        except StoreFileProblem as error:
            self._let_go()
            raise _NotNow(error) from error
        try:
            ledger.begin(self._clock() + self.ahead)
            answers: list[tuple[_Request, Any]] = []
            by_kind: defaultdict[int, list[_Request]] = defaultdict(list)
            for request in batch:
                by_kind[request.kind].append(request)
            for kind, together in sorted(by_kind.items()):
                found = self._kinds[kind](ledger, [each.asked for each in together])
                answers += zip(together, found, strict=True)
            if ledger.commit():
                self._file.acknowledged(ledger.commits)
        except sqlite3.Error as error:
            self._undo(ledger)
            problem = said_by_sqlite(error, self._file.path)
            if isinstance(problem, StoreFull) or is_of_request(error):
                raise problem from error
            if not isinstance(problem, StoreLocked):
                self._let_go()
            raise _NotNow(problem) from error
        except BaseException:
            self._undo(ledger)
            raise
        self.at = ledger.at
        return answers

    def _opened(self) -> Ledger:
        connection = self._file.connection()
        if self._ledger is None or self._ledger.connection is not connection:
            try:
                self._ledger = Ledger(connection, self._rng)
                self.ahead = max(self._ledger.at - self._clock(), 0.0)
            except sqlite3.Error as error:
                raise said_by_sqlite(error, self._file.path) from error
        return self._ledger

    def _undo(self, ledger: Ledger) -> None:
        self._ledger = None
        if ledger.connection.in_transaction:
            try:
                ledger.execute("ROLLBACK")
            except sqlite3.Error:
                self._let_go()

    def _let_go(self) -> None:
        """Open the file anew for the next request."""
        self._ledger = None
        self._file.drop(distrusted=True)
