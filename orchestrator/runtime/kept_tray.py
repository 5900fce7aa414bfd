"""Tasks on their way into the store, and the handles on them."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

from msgspec import Raw

from orchestrator.agents.messages import message_name
from orchestrator.agents.relations import Handle, Progress
from orchestrator.errors import DispatchError, NoWorkerAvailable, PayloadTooLarge, StreamBroken, TaskCancelled
from orchestrator.runtime.kept_desk import KeptDesk, Waiter
from orchestrator.runtime.reading import read_answer
from orchestrator.runtime.tracing import begin, current_trace
from orchestrator.store.tasks import Backoff, NewTask

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Sequence
    from typing import Self

    from pydantic import BaseModel, TypeAdapter

    from orchestrator.runtime.tracing import Span
    from orchestrator.runtime.wishes import Wish
    from orchestrator.topology.replica import Pool

R = TypeVar("R")
C = TypeVar("C")

MAX_PAYLOAD: Final = 8 * 1_048_576
"""Bytes of a task that is put into a store."""
NO_PROGRESS: Final = Progress(None, None)


class KeptHandle(Handle[R], Generic[R]):
    """A task that is in the store, or on its way there."""

    def __init__(self, desk: KeptDesk, waiter: Waiter, adapter: TypeAdapter[R]) -> None:
        self._desk, self._waiter, self._adapter = desk, waiter, adapter
        self._progress: Progress | None = None
        self.id = waiter.id
        waiter.progressed = self._progressed
        waiter.stored.add_done_callback(self._stored)

    def __repr__(self) -> str:
        return f"<Handle of {self._waiter.task} {self.id}{' done' if self._waiter.reply.done() else ''}>"

    def __await__(self) -> Generator[Any, None, Self]:
        yield from asyncio.shield(self._waiter.stored).__await__()
        return self

    @property
    def progress(self) -> Progress | None:
        return self._progress

    def when_done(self, heard: Callable[[KeptHandle[R]], None]) -> None:
        """Have `heard` called soon after the end, with this."""
        self._waiter.reply.add_done_callback(lambda _: heard(self))

    async def result(self) -> R:
        if self._waiter.reply.done() and self._waiter.reply.exception() is not None:
            await asyncio.sleep(0)  # whoever tries again and again lets the others have their turns
        raw = await asyncio.shield(self._waiter.reply)
        return read_answer(self._adapter, raw if raw is not None else Raw(b"null"), self._waiter.task)

    def cancel(self) -> None:
        self._desk.cancel(self._waiter)

    def leave(self) -> None:
        """Nobody waits for it any more; it goes on."""
        self._desk.leave(self._waiter)

    def _stored(self, _stored: asyncio.Future[None]) -> None:
        self.id = self._waiter.id  # under an idempotency key, it is that of the first

    def _progressed(self, progress: Progress) -> None:
        if progress != NO_PROGRESS:  # a mere sign of life
            self._progress = progress


class KeptTray:
    """Makes stored tasks of messages."""

    def __init__(
        self,
        desk: KeptDesk,
        pools: Sequence[Pool],
        me: str,
        agent: str,
        new_id: Callable[[], str],
        wall_offset: float,
    ) -> None:
        """`pools`: those whose tasks are kept. `wall_offset` turns the loop's clock into Unix seconds."""
        self._desk, self._me, self._agent = desk, me, agent
        self._new_id, self._wall_offset = new_id, wall_offset
        self._pools = {pool.agent: pool for pool in pools}

    def keeps(self, task: str) -> bool:
        return bool(self._desk.engine.workforce.agents_for(task))

    def appetite(self) -> int:
        return self._desk.engine.workforce.appetite()

    def submit(self, task: BaseModel, wish: Wish, adapter: TypeAdapter[R]) -> KeptHandle[R]:
        new, waiter = self._made(task, wish)
        self._put(new, waiter)
        return KeptHandle(self._desk, waiter, adapter)

    async def stream(self, task: BaseModel, wish: Wish, adapter: TypeAdapter[C]) -> AsyncGenerator[C, None]:
        """Yield the chunks of a stream task as what they are; leaving lets it go on."""
        new, waiter = self._made(task, wish, streams=True)
        try:
            self._check_able(new)
        except DispatchError as error:
            waiter.end(None, error)
            raise
        try:
            async with aclosing(self._desk.stream(new, waiter)) as chunks:
                async for chunk in chunks:
                    yield read_answer(adapter, chunk, waiter.task)
        except StreamBroken as broken:
            received = [read_answer(adapter, cast("Raw", chunk), waiter.task) for chunk in broken.received]
            raise StreamBroken(broken.task, broken.reason, received, broken.count) from None

    def _put(self, new: NewTask, waiter: Waiter) -> None:
        try:
            self._check_able(new)
        except DispatchError as error:
            waiter.end(None, error)
        else:
            self._desk.submit(new, waiter)

    def _check_able(self, new: NewTask) -> None:
        """Raise `NoWorkerAvailable` for what nobody in the topology is able to do: it would wait for ever."""
        if not new.requires <= frozenset(self._pools[new.queue].capabilities):
            raise NoWorkerAvailable(new.type, [new.queue], sorted(new.requires))

    def attach(self, task_id: str, adapter: TypeAdapter[R]) -> KeptHandle[R]:
        waiter = _waiter(task_id, "the task")
        handle = KeptHandle(self._desk, waiter, adapter)
        self._desk.attach(waiter)
        return handle

    def _made(self, task: BaseModel, wish: Wish, *, streams: bool = False) -> tuple[NewTask, Waiter]:
        name, trace = message_name(type(task)), current_trace.get()
        wish.check(wish.timeout)
        wish.check_kept(name)
        queue = self._desk.engine.queue_for(name)
        assert queue is not None, "only what is kept comes here"
        pool = self._pools[queue]
        assert pool.delivery is not None, "only pools whose tasks are kept come here"
        delivery = pool.delivery
        payload = task.model_dump_json(by_alias=True).encode()
        if len(payload) > MAX_PAYLOAD:
            raise PayloadTooLarge(len(payload), MAX_PAYLOAD)
        task_id, span = self._task_id(), begin(f"dispatch {name}", "producer", trace.traceparent)
        new = NewTask(
            id=task_id,
            queue=queue,
            type=name,
            payload=payload,
            caller=self._agent,
            origin=self._me,
            traceparent=span.traceparent,
            key=wish.idempotency_key,
            requires=frozenset(wish.requires),
            priority=wish.priority,
            delay=wish.delay,
            expires=wish.timeout,
            timeout=pool.timeout if wish.timeout is None else wish.timeout,
            max_attempts=delivery.max_attempts,
            backoff=Backoff(delivery.delay, delivery.max_delay),
        )
        waiter = _waiter(new.id, name, streams=streams, patience=wish.timeout)
        if span.recorded:
            span.describe(agent=queue, task=name, delivery="at-least-once")
            waiter.stored.add_done_callback(lambda stored: _tell_stored(span, waiter, stored))
        return new, waiter

    def _task_id(self) -> str:
        """Return an id that ascends with time: a store takes those for less."""
        milliseconds = int((asyncio.get_running_loop().time() + self._wall_offset) * 1_000)
        return f"{milliseconds:012x}{self._new_id()}"


def _waiter(task_id: str, task: str, *, streams: bool = False, patience: float | None = None) -> Waiter:
    loop = asyncio.get_running_loop()
    stored: asyncio.Future[None] = loop.create_future()
    reply: asyncio.Future[Raw | None] = loop.create_future()
    for future in (stored, reply):  # what nobody asks for is in the log, and no bug of whoever started the task
        future.add_done_callback(_retrieved)
    return Waiter(task_id, task, streams, patience, stored, reply)


def _tell_stored(span: Span, waiter: Waiter, stored: asyncio.Future[None]) -> None:
    """End the span of a task that others do from now on, perhaps when this process is long gone."""
    span.describe(task_id=waiter.id)
    error = None if stored.cancelled() else stored.exception()
    if isinstance(error, TaskCancelled):
        span.describe(outcome="cancelled")
        span.end()
    else:
        span.end(None if error is None else type(error).__name__)


def _retrieved(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()
