"""`Workers` over a store: tasks are put into it in batches, workers are woken by messages, and outcomes come back by
messages or by a look into the store, whichever is first."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw

from orchestrator.agents.relations import Progress
from orchestrator.errors import (
    DispatchError,
    OrchestratorError,
    StoreUnavailable,
    StreamBroken,
    TaskCancelled,
    TaskFailed,
)
from orchestrator.patterns.effects import Note
from orchestrator.patterns.jobs import Chunked, Finished, Progressed
from orchestrator.patterns.kept import Effect, Found, Kept, KeptTasks, Look
from orchestrator.runtime.courier import Courier, Owned
from orchestrator.store.errors import StoreDamaged, UnknownTask
from orchestrator.store.tasks import State

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Sequence

    from orchestrator.patterns.workforce import Pool
    from orchestrator.protocol.payloads import AnyPayload
    from orchestrator.store.tasks import Enqueued, NewTask, Outcome, Tasks

BATCH: Final = 256
"""Tasks that are put into the store with one request at most."""
BATCH_BYTES: Final = 4 * 1_048_576
"""Bytes of payload after which such a request takes no further task."""
CANCEL_TRIES: Final = 5
"""How often the store is asked to cancel a task, each time for as long as it may take to answer."""
LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


@dataclass(eq=False, slots=True)
class Waiter:
    """One who waits for one stored task. Several may wait for the same."""

    id: str
    task: str
    streams: bool
    patience: float | None
    stored: asyncio.Future[None]
    reply: asyncio.Future[Raw | None]
    """The JSON of the reply, or the error that the task ended with."""
    chunks: asyncio.Queue[Raw | None] | None = None
    """Those of a stream, `None` after the last: then `reply` says how it ended. Bounded by the writer's credit."""
    progressed: Callable[[Progress], None] = lambda _: None
    cancelled: bool = False
    """It is to be cancelled as soon as it is stored."""
    left: bool = False
    """Nobody waits any more."""
    late: bool = False
    """Others read the stream as it comes, or have: this one gets all of it from the store, at the end."""
    timer: asyncio.TimerHandle | None = None

    def end(self, result: Raw | None, error: OrchestratorError | None) -> None:
        if self.timer is not None:
            self.timer.cancel()
        if error is not None and not self.stored.done():
            self.stored.set_exception(error)
        if not self.reply.done():
            if error is None:
                self.reply.set_result(result)
            else:
                self.reply.set_exception(error)
        if self.chunks is not None:
            self.chunks.put_nowait(None)


@dataclass(slots=True)
class _Put:
    new: NewTask
    waiter: Waiter
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = len(self.new.payload)


class KeptDesk:
    """The shell of one engine for stored tasks: callers wait here, and all that the connection says goes in here."""

    def __init__(
        self, engine: KeptTasks, tasks: Tasks, courier: Courier, log: Any, changed: Callable[[], None]
    ) -> None:
        """`changed` is called whenever the time of the engine's next tick may have changed."""
        self.engine = engine
        self._tasks, self._courier, self._log, self._changed = tasks, courier, log, changed
        self._waiters: dict[str, list[Waiter]] = {}
        self._outbox: deque[_Put] = deque()
        """As long as callers make it that give away more without awaiting what they gave before."""
        self._flushed = asyncio.Event()
        self._flushed.set()
        self._owned = Owned()

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    # -- what callers do

    def submit(self, new: NewTask, waiter: Waiter) -> None:
        """Put a task into the store soon."""
        if self._courier.recorder is not None:
            self._courier.recorder.sent("task", new.queue)
        if waiter.patience is not None:
            waiter.timer = asyncio.get_running_loop().call_later(waiter.patience, self._overdue, waiter)
        self._outbox.append(_Put(new, waiter))
        if self._flushed.is_set():
            self._flushed.clear()
            self._owned.start(self._put(), "tasks for the store")

    def attach(self, waiter: Waiter) -> None:
        """Wait for a task that is in the store already."""
        self._owned.start(self._attach(waiter), f"look at {waiter.id}")

    async def stream(self, new: NewTask, waiter: Waiter) -> AsyncGenerator[Raw, None]:
        """Put a stream task into the store and yield its chunks; leaving lets it go on."""
        queue: asyncio.Queue[Raw | None] = asyncio.Queue()
        waiter.chunks = queue
        self.submit(new, waiter)
        try:
            while (chunk := await queue.get()) is not None:
                yield chunk
                self.apply(self.engine.consumed(waiter.id))
            await waiter.reply
        finally:
            self.leave(waiter)

    def leave(self, waiter: Waiter) -> None:
        """Wait no longer; the task goes on."""
        waiter.left = True
        if waiter.timer is not None:
            waiter.timer.cancel()
        others = self._waiters.get(waiter.id, [])
        if waiter not in others:
            return
        others.remove(waiter)
        if not others:
            del self._waiters[waiter.id]
            self.apply(self.engine.left(waiter.id))
        elif waiter.chunks is not None and not waiter.late:
            self.apply(self.engine.unread(waiter.id))

    def cancel(self, waiter: Waiter) -> None:
        """End a task, in the store as well."""
        if waiter.reply.done():
            return
        waiter.cancelled = True
        if waiter.stored.done() and waiter.stored.exception() is None:
            self._owned.start(self._cancel(waiter.id), f"cancel {waiter.id}")
            self.apply(self.engine.cancelled(waiter.id))
        waiter.end(None, TaskCancelled(waiter.task, None))

    def _overdue(self, waiter: Waiter) -> None:
        """End one caller's wait; others may be more patient."""
        error = self.engine.too_late(waiter.task, waiter.id, waiter.patience or 0.0)
        self.leave(waiter)
        waiter.end(None, error)

    async def flushed(self) -> None:
        """Wait until all that was given to it is in the store, or refused."""
        await self._flushed.wait()

    def fail(self, error: OrchestratorError) -> None:
        """End every wait: the connection is gone for good. The tasks go on."""
        self.apply(self.engine.abandoned(error))

    async def close(self, seconds: float) -> None:
        """Have the store take what was given to it, for at most `seconds`, and let go of everything."""
        await self._owned.settled(seconds)
        await self._owned.close()
        self.fail(StoreUnavailable("the agent has ended, and waits for no task any more; what is stored goes on"))
        self._lose([*self._outbox], StoreUnavailable("the agent ended before the store had taken the task"))
        self._outbox.clear()

    def _lose(self, puts: Sequence[_Put], error: OrchestratorError) -> None:
        """Tell callers, and the log, that what they gave is not known to be in the store."""
        for put in puts:
            put.waiter.end(None, error)
        if len(puts) == 1:
            self._log.error("a task is not in the store", task_id=puts[0].waiter.id, error=str(error))
        elif puts:
            self._log.error("tasks are not in the store", count=len(puts), error=str(error))

    def revise(self, pools: Sequence[Pool]) -> None:
        """Have the same pools with other peers: see `Workforce.revise`."""
        self.engine.revise(pools, self.now)
        self._changed()

    # -- what the connection says

    def connected(self) -> None:
        self.apply(self.engine.connected(self.now))

    def disconnected(self) -> None:
        self.engine.disconnected()

    def present(self, channel: str, joined: Sequence[Any], left: Sequence[Any], *, whole: bool) -> None:
        changes = self.engine.workforce.present(channel, joined, left, whole=whole)
        self.apply(self.engine.presence(changes, self.now))

    def receive(self, sender: str, payload: AnyPayload) -> bool:
        """Take what a worker says; false when it is of no task here."""
        effects = self.engine.receive(sender, payload, self.now)
        if effects is None:
            return False
        self.apply(effects)
        return True

    def tick(self, now: float) -> None:
        self.apply(self.engine.tick(now))

    # -- what the engine says

    def apply(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Finished):
                for waiter in self._waiters.pop(effect.id, []):
                    self._finished(waiter, effect)
            elif isinstance(effect, Chunked):
                for waiter in self._waiters.get(effect.id, []):
                    if waiter.chunks is not None and not waiter.late:
                        waiter.chunks.put_nowait(effect.content)
            elif isinstance(effect, Progressed):
                for waiter in self._waiters.get(effect.id, []):
                    waiter.progressed(Progress(effect.progress, effect.message))
            elif isinstance(effect, Look):
                self._owned.start(self._look(effect.ids), "look into the store")
            elif isinstance(effect, Note):
                self._log.log(LEVELS[effect.level], effect.event, **effect.fields)
            else:
                self._courier.deliver(effect)
        self._changed()

    def _finished(self, waiter: Waiter, finished: Finished) -> None:
        live = waiter.chunks is not None and not waiter.late
        if live or (finished.result is not None and waiter.chunks is None):
            waiter.end(finished.result, finished.error)
        elif isinstance(finished.error, StreamBroken):  # for whoever reads it live; the task itself goes on
            self._owned.start(self._attach(waiter), f"look at {waiter.id}")
        elif finished.error is not None:
            waiter.end(None, finished.error)
        else:
            self._owned.start(self._fetch(waiter), f"result of {waiter.id}")

    # -- what the store is asked

    async def _put(self) -> None:
        try:
            while self._outbox:
                batch: list[_Put] = []
                size = 0
                while self._outbox and len(batch) < BATCH and size < BATCH_BYTES:
                    batch.append(self._outbox.popleft())
                    size += batch[-1].size
                await self._put_batch(batch)
        finally:
            self._flushed.set()

    async def _put_batch(self, batch: list[_Put]) -> None:
        try:
            stored = await self._tasks.enqueue([put.new for put in batch])
        except (OrchestratorError, ValueError) as error:
            if len(batch) > 1 and not isinstance(error, StoreUnavailable):  # it is one of them: the others are fine
                for put in batch:
                    await self._put_batch([put])
                return
            self._lose(batch, _problem(error))
        except asyncio.CancelledError:
            self._lose(batch, StoreUnavailable("the agent ended before the store had answered"))
            raise
        else:
            self._are_stored(batch, stored)

    def _are_stored(self, batch: Sequence[_Put], stored: Sequence[Enqueued]) -> None:
        fresh: list[Kept] = []
        effects: list[Effect] = []
        for put, there in zip(batch, stored, strict=True):
            waiter = put.waiter
            waiter.id = there.id
            kept = Kept(there.id, waiter.task, put.new.queue, put.new.requires, waiter.streams)
            waiter.late = self.engine.has_begun(there.id)
            if there.outcome is None and not waiter.left and not waiter.cancelled:
                self._waiters.setdefault(there.id, []).append(waiter)
            if there.fresh:
                fresh.append(kept)
            elif there.outcome is None:
                effects += self.engine.follow(kept, self.now)
        self.apply([*self.engine.stored(fresh, self.now), *effects])
        for put, there in zip(batch, stored, strict=True):
            waiter = put.waiter
            if not waiter.stored.done():
                waiter.stored.set_result(None)
            if there.outcome is not None:
                self._ended(waiter, there.outcome)
            elif waiter.cancelled:
                self._owned.start(self._cancel(there.id), f"cancel {there.id}")
                self.apply(self.engine.cancelled(there.id))
            elif there.id not in self._waiters:
                self.apply(self.engine.left(there.id))

    def _ended(self, waiter: Waiter, outcome: Outcome) -> None:
        """Give a caller the outcome of a task that has ended, all chunks of a stream at once."""
        found = _found(waiter.task, outcome)
        if waiter.chunks is None or found.result is None:
            waiter.end(found.result, found.error)
            return
        try:
            for chunk in _chunks.decode(found.result):
                waiter.chunks.put_nowait(chunk)
        except msgspec.DecodeError:
            waiter.end(None, StreamBroken(waiter.task, "its chunks were too large to be kept", ()))
        else:
            waiter.end(None, None)

    async def _look(self, ids: tuple[str, ...]) -> None:
        try:
            outcomes = await self._tasks.outcomes(ids)
        except (StoreDamaged, ValueError) as error:  # one of them is, or all are too much at once
            if len(ids) == 1:
                self.apply(self.engine.looked(ids, {}, _problem(error), self.now))
                return
            half = len(ids) // 2
            await self._look(ids[:half])
            await self._look(ids[half:])
            return
        except OrchestratorError as error:  # they are looked at again, a little later
            self._log.debug("the store does not say how tasks ended", count=len(ids), error=str(error))
            return
        found: dict[str, Found] = {}
        for task_id, outcome in outcomes.items():
            waiters = self._waiters.get(task_id)
            name = waiters[0].task if waiters else ""
            found[task_id] = Found() if outcome is None else _found(name, outcome)
        missing = next((task_id for task_id in ids if task_id not in found), "")
        self.apply(self.engine.looked(ids, found, UnknownTask(missing), self.now))

    async def _fetch(self, waiter: Waiter) -> None:
        try:
            outcome = await self._tasks.result(waiter.id)
        except (OrchestratorError, ValueError) as error:
            waiter.end(None, _problem(error))
            return
        if outcome is None:  # it was dead, and somebody has it tried again
            await self._attach(waiter)
        else:
            self._ended(waiter, outcome)

    async def _attach(self, waiter: Waiter) -> None:
        try:
            history = await self._tasks.get(waiter.id)
        except (OrchestratorError, ValueError) as error:
            waiter.end(None, _problem(error))
            return
        if not waiter.stored.done():
            waiter.stored.set_result(None)
        waiter.task = history.info.type
        if waiter.left or waiter.cancelled:
            if waiter.cancelled:
                await self._cancel(waiter.id)
            return
        waiter.late = True
        self._waiters.setdefault(waiter.id, []).append(waiter)
        self.apply(self.engine.follow(Kept(waiter.id, history.info.type, history.info.queue), self.now))

    async def _cancel(self, task_id: str) -> None:
        for left in reversed(range(CANCEL_TRIES)):
            try:
                with suppress(UnknownTask):
                    await self._tasks.cancel(task_id)
                return
            except StoreUnavailable as error:
                if not left:
                    self._log.error("a task could not be cancelled in the store", task_id=task_id, error=str(error))
            await asyncio.sleep(1.0)


def _problem(error: OrchestratorError | ValueError) -> OrchestratorError:
    return error if isinstance(error, OrchestratorError) else StoreUnavailable(str(error))


_chunks: Final = msgspec.json.Decoder(list[Raw])


def _found(task: str, outcome: Outcome) -> Found:
    """Return what a caller is told of how a task ended."""
    error: DispatchError | None = None
    if outcome.state is State.DONE:
        return Found(Raw(outcome.result or b"null"), None, outcome.attempt)
    worker = outcome.worker or "nobody"
    if outcome.state is State.CANCELLED:
        error = TaskCancelled(task, outcome.worker)
    else:
        failure = outcome.failure
        kind, message = ("TaskFailed", "it is dead") if failure is None else (failure.type, failure.message)
        error = TaskFailed(task, kind, message, worker, outcome.attempt)
    return Found(None, error, outcome.attempt)
