"""A worker's hold on tasks that are kept in a store: takes them as it has room, keeps its leases, and says how they end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from orchestrator.errors import StoreUnavailable
from orchestrator.patterns.lease import Tenure
from orchestrator.patterns.polling import Polling
from orchestrator.runtime.courier import Owned
from orchestrator.store.errors import LeaseLost, StoreRefused
from orchestrator.store.tasks import Failure, State

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from orchestrator.store.tasks import Effect, Leased, Tasks

T = TypeVar("T")

LEASE_SECONDS: Final = 30.0
"""How long a task stays with a worker that says nothing; it is extended after a third of that."""
RETRY_SECONDS: Final = 0.5
"""Between two attempts to tell the store how a task ended."""
GOODBYE_SECONDS: Final = 2.0
"""How long the end of a worker waits for the store to take what it gives back."""


@dataclass(eq=False, slots=True)
class Held:
    """A task that this worker has in the store."""

    leased: Leased
    tenure: Tenure
    ending: bool = False
    """Its handler has ended, and the store is being told."""
    lost: str = ""
    """Why it is not this worker's any more."""
    stopped: str = ""
    """Why its handler was stopped, by whomever."""

    @property
    def id(self) -> str:
        return self.leased.hold.id


class Leasing:
    """The tasks that one worker has in the store."""

    def __init__(
        self,
        tasks: Tasks,
        queue: str,
        worker: str,
        capabilities: Collection[str],
        *,
        room: Callable[[], int],
        begin: Callable[[Held], None],
        lost: Callable[[Held], None],
        uniform: Callable[[float, float], float],
        log: Any,
    ) -> None:
        """`room` tells how many tasks could be begun now, `begin` is given each that was taken, and `lost` each that is
        not this worker's any more while its handler runs."""
        self._tasks, self._queue, self._worker, self._capabilities = tasks, queue, worker, capabilities
        self._room, self._begin, self._lost, self._log = room, begin, lost, log
        self._polling = Polling(uniform)
        self._held: dict[str, Held] = {}
        self._left: dict[str, float] = {}
        """Tasks that were lost by this worker's own reckoning, and until when they may be leased to it all the same."""
        self._news, self._kept = asyncio.Event(), asyncio.Event()
        self._owned = Owned()
        self._unheard: bool | None = True
        """Tasks may be leased to this worker that it does not know of: of a process before this one if true, else of a
        claim that had no answer; `None` = there are none."""
        self._stopping = False
        self._patience: float | None = None
        """Seconds for which the store is told how a task ended; `None` = until it answers."""
        self._silent = False
        """The store gives no answer, and the log says so."""
        self._claiming: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to take tasks."""
        self._claiming = self._owned.start(self._claim(), "claims")
        self._owned.start(self._keep(), "leases")

    def told(self) -> None:
        """Somebody says that there is work in the store."""
        self._polling.told(_now())
        self._news.set()

    def changed(self) -> None:
        """There may be more room than before."""
        self._news.set()

    def look_up(self, task_id: str) -> None:
        """See at once whether a task is still this worker's."""
        held = self._held.get(task_id)
        if held is not None:
            held.tenure.renews = _now()
            self._kept.set()

    # -- how it ends

    async def complete(self, held: Held, result: bytes) -> bool:
        """Have the store keep the result; false = the task was lost, and is somebody else's to do."""
        held.ending = True
        return await self._told_store(held, lambda: self._tasks.complete(held.leased.hold, result)) is not None

    async def fail(self, held: Held, failure: Failure, *, retry: bool, counts: bool = True) -> State | None:
        """Have the store keep the failure, and return what became of the task; `None` = it was lost."""
        held.ending = True
        told = await self._told_store(
            held, lambda: self._tasks.fail(held.leased.hold, failure, retry=retry, counts=counts)
        )
        if told is None:
            return None
        verdict = told[0]
        if verdict.retry_in is not None:
            self._log.info("will be tried again", task_id=held.id, seconds=round(verdict.retry_in, 2))
            self._polling.due = min(self._polling.due, _now() + verdict.retry_in)
        else:
            said = f"{failure.type}: {failure.message}"
            self._log.error(
                "is dead: it will not be tried again", task_id=held.id, attempt=held.leased.attempt, error=said
            )
        return verdict.state

    def hand_back(self, task_id: str) -> None:
        """Give back a task that was not begun."""
        held = self._held.get(task_id)
        if held is not None and not held.ending:
            held.ending = True
            self._owned.start(self._release(held), f"release of {task_id}")

    async def once(self, held: Held, key: str) -> Effect:
        return await self._tasks.once(held.leased.hold, key)

    async def stop(self) -> None:
        """Take nothing more; a claim that is under way is heard, and what it brings given back."""
        self._stopping = True
        self._news.set()
        if self._claiming is not None:
            await asyncio.wait([self._claiming], timeout=GOODBYE_SECONDS)

    def hurry(self, seconds: float = GOODBYE_SECONDS) -> None:
        """From now on spend no more than this on telling the store how a task ended."""
        self._patience = seconds

    async def close(self) -> None:
        """Wait for what is given back, for a moment, and let go of everything."""
        self._stopping = True
        self._news.set()
        self._kept.set()
        await self._owned.settled(GOODBYE_SECONDS)
        await self._owned.close()

    # -- taking

    async def _claim(self) -> None:
        while await self._turn():
            self._polling.asked()
            try:
                await self._forget_unheard()
                asked = _now()
                claimed = await self._tasks.claim(
                    self._queue, self._worker, self._capabilities, limit=max(self._room(), 1), lease=LEASE_SECONDS
                )
            except (StoreUnavailable, StoreRefused) as error:
                if self._unheard is None:
                    self._unheard = False
                self._polling.failed(_now())
                self._say_silent(error)
                continue
            self._say_back()
            self._polling.answered(claimed.next_due, _now())
            for leased in claimed.tasks:
                await self._take(Held(leased, Tenure(asked, LEASE_SECONDS)))

    async def _turn(self) -> bool:
        """Wait until there is room, and time to ask; false = nothing is to be taken any more."""
        while not self._stopping:
            self._news.clear()
            due = self._polling.due if self._room() else None
            if due is not None and due <= _now():
                return True
            try:
                async with asyncio.timeout_at(due):
                    await self._news.wait()
            except TimeoutError:
                continue
        return False

    async def _forget_unheard(self) -> None:
        if self._unheard is not None:
            self._left = {task_id: until for task_id, until in self._left.items() if until > _now()}
            known = (*self._held, *self._left)  # what was begun is not given back as if it had not been
            count = await self._tasks.reclaim(self._queue, self._worker, held=known, begun=self._unheard)
            if count and self._unheard:
                self._log.warning("tasks were left by a process before this one", count=count)
            self._unheard = None

    async def _take(self, held: Held) -> None:
        if self._stopping:
            await self._release(held)
            return
        self._held[held.id] = held
        self._kept.set()
        self._begin(held)

    # -- keeping

    async def _keep(self) -> None:
        """Renew each lease when it is time, and let go of those that are over."""
        while not self._stopping or self._held:
            self._kept.clear()
            due = min((held.tenure.next() for held in self._held.values() if not held.lost), default=None)
            if due is None or due > _now():
                try:
                    async with asyncio.timeout_at(due):
                        await self._kept.wait()
                except TimeoutError:
                    pass
                continue
            held_now = [held for held in self._held.values() if not held.lost and held.tenure.next() <= _now()]
            await asyncio.gather(*(self._renew(held) for held in held_now))

    async def _renew(self, held: Held) -> None:
        asked = _now()
        if held.tenure.is_over(asked):
            self._lose(held, "the store has not been reached within the lease")
            return
        try:
            async with asyncio.timeout_at(held.tenure.over):
                await self._tasks.extend(held.leased.hold, LEASE_SECONDS)
        except LeaseLost as error:
            self._lose(held, error.reason)
        except (StoreUnavailable, StoreRefused, TimeoutError):
            held.tenure.failed(_now())
        else:
            held.tenure.renewed(asked)

    def _lose(self, held: Held, reason: str) -> None:
        held.lost = reason
        self._left[held.id] = held.tenure.over + LEASE_SECONDS
        if not held.ending:  # else the store is being told, and knows best
            self._log.warning("a task is lost", task_id=held.id, reason=reason)
            self._lost(held)

    # -- telling

    async def _told_store(self, held: Held, tell: Callable[[], Awaitable[T]]) -> tuple[T] | None:
        """Tell the store until it answers; `None` = the task is not this worker's any more."""
        try:
            async with asyncio.timeout(self._patience):
                return await self._answered(held, tell)
        except TimeoutError:
            self._log.error("the store does not know how a task ended: it will be done again", task_id=held.id)
            return None
        except asyncio.CancelledError:
            self._log.error("the store does not know how a task ended: it may be done again", task_id=held.id)
            raise
        finally:
            self.forget(held)

    async def _answered(self, held: Held, tell: Callable[[], Awaitable[T]]) -> tuple[T] | None:
        while True:
            try:
                said = await tell()
            except LeaseLost as error:
                self._log.warning("a task was lost before its end", task_id=held.id, reason=error.reason)
                return None
            except StoreRefused as error:
                self._log.error("the store does not take how a task ended", task_id=held.id, error=str(error))
                return None
            except StoreUnavailable as error:
                self._say_silent(error)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._say_back()
                return (said,)

    async def _release(self, held: Held) -> None:
        try:
            async with asyncio.timeout(GOODBYE_SECONDS):
                await self._tasks.release(held.leased.hold)
        except LeaseLost:
            pass  # it is back already
        except (StoreUnavailable, StoreRefused, TimeoutError):
            self._log.warning(
                "a task could not be given back, and is free again when its lease ends",
                task_id=held.id,
                seconds=LEASE_SECONDS,
            )
        finally:
            self.forget(held)

    def forget(self, held: Held) -> None:
        """Let go of a task that is no longer this worker's to end."""
        if self._held.get(held.id) is held:
            del self._held[held.id]
        self._kept.set()
        self._news.set()

    def _say_silent(self, error: Exception) -> None:
        if not self._silent:
            self._silent = True
            self._log.error("the store gives no answer; it is asked again until it does", error=str(error))

    def _say_back(self) -> None:
        if self._silent:
            self._silent = False
            self._log.info("the store answers again")


def _now() -> float:
    return asyncio.get_running_loop().time()
