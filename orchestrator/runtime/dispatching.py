"""`Workers` over a hub: futures and queues around the dispatch engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from types import GenericAlias
from typing import Any, Final, NamedTuple, TypeVar, Unpack, cast

from msgspec import Raw
from pydantic import BaseModel, TypeAdapter

from orchestrator.agents.messages import StreamTask, Task, answer_type, message_name
from orchestrator.agents.relations import Handle, MapOptions, Progress, TaskOptions, Workers
from orchestrator.errors import HandlerError, OrchestratorError, StreamBroken
from orchestrator.patterns.dispatch import Dispatcher
from orchestrator.patterns.effects import Answer, Note
from orchestrator.patterns.jobs import Chunked, Effect, Finished, Order, Progressed
from orchestrator.patterns.workforce import Pool
from orchestrator.protocol.payloads import AnyPayload
from orchestrator.runtime.courier import Courier
from orchestrator.runtime.kept_tray import KeptHandle, KeptTray
from orchestrator.runtime.reading import Adapters, read_answer
from orchestrator.runtime.tracing import Trace, current_trace
from orchestrator.runtime.wishes import ANYBODY, Wish, check_text, wish_of, wishes_of

R = TypeVar("R")
C = TypeVar("C")


NO_PROGRESS: Final = Progress(None, None)


class Desk:
    """The shell of one dispatch engine: callers wait here, and everything that the connection says goes in here."""

    def __init__(self, dispatcher: Dispatcher, courier: Courier, log: Any, changed: Callable[[], None]) -> None:
        """`changed` is called whenever the time of the engine's next tick may have changed."""
        self.dispatcher = dispatcher
        self._courier, self._log, self._changed = courier, log, changed
        self._replies: dict[str, asyncio.Future[Raw | None]] = {}
        self._chunks: dict[str, asyncio.Queue[Raw | _Over]] = {}
        self._progress: dict[str, Callable[[Progress], None]] = {}

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def submit(
        self, order: Order, progressed: Callable[[Progress], None] = lambda _: None
    ) -> asyncio.Future[Raw | None]:
        """Start a task; the future holds the JSON of its reply, or the error that it ended with."""
        future: asyncio.Future[Raw | None] = asyncio.get_running_loop().create_future()
        future.add_done_callback(_retrieved)
        self._replies[order.id] = future
        self._progress[order.id] = progressed
        self.apply(self.dispatcher.submit(order, self.now))
        return future

    async def stream(self, order: Order) -> AsyncGenerator[Raw, None]:
        """Start a stream task and yield its chunks; leaving cancels it."""
        queue: asyncio.Queue[Raw | _Over] = asyncio.Queue()  # bounded by the writer's credit
        self._chunks[order.id] = queue
        try:
            self.apply(self.dispatcher.submit(order, self.now))
            while not isinstance(chunk := await queue.get(), _Over):
                yield chunk
                self.apply(self.dispatcher.consumed(order.id))
            if chunk.result is not None:  # a plain task was asked for as a stream: its reply is the only chunk
                yield chunk.result
            if chunk.error is not None:
                await asyncio.sleep(0)  # whoever tries again and again lets the others have their turns
                raise chunk.error
        finally:
            self._chunks.pop(order.id, None)
            self.apply(self.dispatcher.cancel(order.id, self.now))

    def cancel(self, task_id: str) -> None:
        self.apply(self.dispatcher.cancel(task_id, self.now))

    def forget(self, task_id: str) -> None:
        """Follow a task no longer, without a word to its worker."""
        self.dispatcher.forget(task_id, self.now)
        self._replies.pop(task_id, None)
        self._progress.pop(task_id, None)

    def cancel_all(self) -> None:
        self.apply(self.dispatcher.cancel_all(self.now))

    def fail(self, error: OrchestratorError) -> None:
        """End everything under way: the connection is gone for good."""
        self.apply(self.dispatcher.abandoned(error))

    def revise(self, pools: Sequence[Pool]) -> None:
        """Have the same pools with other peers: see `Workforce.revise`."""
        self.apply(self.dispatcher.revise(pools, self.now))

    # -- what the connection says

    def connected(self) -> None:
        self.apply(self.dispatcher.connected(self.now))

    def disconnected(self) -> None:
        self.dispatcher.disconnected()

    def present(self, channel: str, joined: Sequence[Any], left: Sequence[Any], *, whole: bool) -> None:
        changes = self.dispatcher.workforce.present(channel, joined, left, whole=whole)
        self.apply(self.dispatcher.presence(changes, self.now, whole=whole))

    def receive(self, sender: str, payload: AnyPayload) -> None:
        self.apply(self.dispatcher.receive(sender, payload, self.now))

    def tick(self, now: float) -> None:
        self.apply(self.dispatcher.tick(now))

    # -- what the engine says

    def apply(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Finished):
                self._finished(effect)
            elif isinstance(effect, Chunked):
                if effect.id in self._chunks:
                    self._chunks[effect.id].put_nowait(effect.content)
            elif isinstance(effect, Progressed):
                self._progress.get(effect.id, _nobody)(Progress(effect.progress, effect.message))
                self._log.debug(
                    "progress", task_id=effect.id, peer=effect.worker, fraction=effect.progress, said=effect.message
                )
            elif isinstance(effect, Note):
                self._log.log(LEVELS[effect.level], effect.event, **effect.fields)
            else:
                self._courier.deliver(effect, self._answered)
        self._changed()

    def _answered(self, ref: tuple[Any, Any], answer: Answer) -> None:
        if ref[0] == "probe":
            self.apply(self.dispatcher.probed(ref[1], answer, self.now))
        else:
            self.apply(self.dispatcher.answered(ref, answer, self.now))

    def _finished(self, finished: Finished) -> None:
        if finished.id in self._chunks:
            self._chunks[finished.id].put_nowait(_Over(finished.result, finished.error))
        self._progress.pop(finished.id, None)
        future = self._replies.pop(finished.id, None)
        if future is not None and not future.done():
            if finished.error is None:
                future.set_result(finished.result)
            else:
                future.set_exception(finished.error)


class _Over(NamedTuple):
    """The end of a stream, behind its last chunk."""

    result: Raw | None
    error: OrchestratorError | None


LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def _retrieved(future: asyncio.Future[Any]) -> None:
    """A failure that nobody waits for any more is not a bug of whoever started the task."""
    if not future.cancelled():
        future.exception()


def _nobody(_progress: Progress) -> None:
    """A stream task's progress is what it yields."""


class HubHandle(Handle[R]):
    """A task that a desk has under way."""

    def __init__(self, desk: Desk, order: Order, adapter: TypeAdapter[R]) -> None:
        self.id = order.id
        self._desk, self._adapter, self._name = desk, adapter, order.task
        self._progress: Progress | None = None
        self._future = desk.submit(order, self._progressed)

    def __repr__(self) -> str:
        return f"<Handle of {self._name} {self.id}{' done' if self._future.done() else ''}>"

    @property
    def progress(self) -> Progress | None:
        return self._progress

    def when_done(self, heard: Callable[[HubHandle[R]], None]) -> None:
        """Have `heard` called soon after the end, with this."""
        self._future.add_done_callback(lambda _: heard(self))

    def _progressed(self, progress: Progress) -> None:
        if progress != NO_PROGRESS:  # a mere sign of life
            self._progress = progress

    async def result(self) -> R:
        if self._future.done() and self._future.exception() is not None:
            await asyncio.sleep(0)  # whoever tries again and again lets the others have their turns
        raw = await asyncio.shield(self._future)
        return read_answer(self._adapter, raw if raw is not None else Raw(b"null"), self._name)

    def cancel(self) -> None:
        if not self._future.done():
            self._desk.cancel(self.id)

    async def only_result(self) -> R:
        """Return what `result` does, to the only one who ever asks: the task ends with the wait for it."""
        if self._future.done() and self._future.exception() is not None:
            await asyncio.sleep(0)
        try:
            raw = await self._future
        finally:
            self._desk.cancel(self.id)  # without effect on one that has ended
        return read_answer(self._adapter, raw if raw is not None else Raw(b"null"), self._name)

    def leave(self) -> None:
        """Nobody waits for it any more."""
        self.cancel()


class _End:
    """Comes after the last task."""


_END: Final = _End()


class HubWorkers(Workers):
    """The workers of an agent, reached over its connection, and over the store where their tasks are kept."""

    def __init__(
        self, desk: Desk, timeouts: Mapping[str, float], new_id: Callable[[], str], kept: KeptTray | None = None
    ) -> None:
        """`timeouts` gives the topology's seconds for each task type."""
        self._desk, self._timeouts, self._new_id, self._kept = desk, timeouts, new_id, kept
        self._adapter = Adapters()

    def submit(self, task: Task[R], **options: Unpack[TaskOptions]) -> Handle[R]:
        return self._submit(task, wish_of(options))

    async def run(self, task: Task[R], **options: Unpack[TaskOptions]) -> R:
        handle = self._submit(task, wish_of(options))
        if isinstance(handle, HubHandle):
            return await handle.only_result()
        try:
            return await handle.result()
        finally:
            handle.leave()

    async def map(
        self,
        tasks: Iterable[Task[R]],
        *,
        limit: int | None = None,
        ordered: bool = False,
        **options: Unpack[MapOptions],
    ) -> AsyncIterator[R]:
        if limit is not None and limit < 1:
            raise ValueError(f"limit is a number of tasks of at least 1, not {limit}")
        wishes = wishes_of(options)
        waiting: dict[HubHandle[R] | KeptHandle[R], None] = {}
        ended: asyncio.Queue[HubHandle[R] | KeptHandle[R]] = asyncio.Queue()
        source = iter(tasks)
        more = True
        try:
            while more or waiting:
                while more and len(waiting) < (limit or self._appetite()):
                    task = next(source, _END)
                    if isinstance(task, _End):
                        more = False
                        break
                    handle = self._submit(task, wishes(task))
                    if not ordered:
                        handle.when_done(ended.put_nowait)
                    waiting[handle] = None
                if waiting:
                    first = next(iter(waiting)) if ordered else await ended.get()
                    reply = await first.result()
                    del waiting[first]
                    yield reply
        finally:
            for left in waiting:
                left.leave()

    async def stream(self, task: StreamTask[C], **options: Unpack[TaskOptions]) -> AsyncIterator[C]:
        wish, adapter = wish_of(options), self._adapter(type(task))
        if self._kept is not None and self._kept.keeps(message_name(type(task))):
            chunks = self._kept.stream(task, wish, adapter)
        else:
            chunks = read_chunks(self._desk, self._order(task, wish, streams=True), adapter)
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk

    def attach(self, task_id: str, task: type[Task[R]] | type[StreamTask[Any]] | None = None) -> Handle[R]:
        if not isinstance(task_id, str):
            raise TypeError(f"the id of a task is a text, not {task_id!r}")
        check_text(task_id)
        if self._kept is None:
            raise HandlerError("no worker of this agent has its tasks in a store, so there are none to attach to")
        adapter = TypeAdapter(Any) if task is None else self._adapter(task)
        if task is not None and issubclass(task, StreamTask):
            adapter = TypeAdapter(cast("type", GenericAlias(list, (answer_type(task),))))
        return self._kept.attach(task_id, adapter)

    def _submit(self, task: Task[R], wish: Wish) -> HubHandle[R] | KeptHandle[R]:
        if isinstance(task, StreamTask):
            raise TypeError(
                f"{type(task).__name__} is a stream task: its chunks come from stream({type(task).__name__}(…))"
            )
        adapter = self._adapter(type(task))
        if self._kept is not None and self._kept.keeps(message_name(type(task))):
            return self._kept.submit(task, wish, adapter)
        return HubHandle(self._desk, self._order(task, wish), adapter)

    def _appetite(self) -> int:
        return self._desk.dispatcher.workforce.appetite() + (0 if self._kept is None else self._kept.appetite())

    def _order(self, task: BaseModel, wish: Wish, *, streams: bool = False) -> Order:
        name, trace = message_name(type(task)), current_trace.get()
        wish.check_sent(name)
        seconds = wish.timeout if wish.timeout is not None else self._timeouts.get(name, DEFAULT_TIMEOUT)
        if trace.deadline is not None:
            seconds = max(min(seconds, trace.deadline - self._desk.now), 0.0)
        return task_order(self._new_id(), task, seconds, wish, streams=streams, trace=trace)


DEFAULT_TIMEOUT: Final = 120.0
"""Seconds for a task whose type the topology says nothing of."""


def task_order(
    task_id: str,
    task: BaseModel,
    seconds: float,
    wish: Wish = ANYBODY,
    *,
    streams: bool = False,
    trace: Trace | None = None,
) -> Order:
    """Return the order for a task as its message states it."""
    wish.check(seconds)
    prompt = getattr(task, "prompt", None)
    return Order(
        id=task_id,
        task=message_name(type(task)),
        payload=Raw(task.model_dump_json(by_alias=True).encode()),
        timeout=seconds,
        streams=streams,
        prompt=prompt if isinstance(prompt, str) else None,
        requires=frozenset(wish.requires),
        key=wish.key,
        wait=wish.wait,
        traceparent=trace.traceparent if trace else None,
    )


async def read_chunks(desk: Desk, order: Order, adapter: TypeAdapter[C]) -> AsyncGenerator[C, None]:
    """Start a stream task and yield its chunks as what they are; leaving cancels it."""
    try:
        async with aclosing(desk.stream(order)) as chunks:
            async for chunk in chunks:
                yield read_answer(adapter, chunk, order.task)
    except StreamBroken as broken:
        received = [read_answer(adapter, cast("Raw", chunk), order.task) for chunk in broken.received]
        raise StreamBroken(broken.task, broken.reason, received, broken.count) from None
