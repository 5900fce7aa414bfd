"""A topology within one event loop: relations that hand messages straight to the agents beside them.

Every message is written as JSON and read again on its way, as it is between processes.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar, Unpack, cast

import structlog
from pydantic import BaseModel, TypeAdapter
from structlog.testing import CapturingLogger
from structlog.typing import EventDict

from orchestrator import Claim, Context, Event, Handle, Peer, Presence, Progress, StreamTask, Task, Team, Workers
from orchestrator.agents.describe import Handler, read_agent
from orchestrator.agents.relations import MapOptions, TaskOptions
from orchestrator.errors import DispatchError, TaskFailed

R = TypeVar("R")
C = TypeVar("C")
M = TypeVar("M", bound=BaseModel)


def travelled(message: M) -> M:
    return type(message).model_validate_json(message.model_dump_json())


class Told(Context):
    """The context of one message. What is logged lands in `lines`."""

    def __init__(self, sender: str, *, task_id: str = "", lines: list[EventDict] | None = None) -> None:
        self.task_id, self.sender = task_id, sender
        self.attempt, self.deadline, self.traceparent = 1, None, None
        self.lines: list[EventDict] = [] if lines is None else lines
        self.steps: list[tuple[float | None, str | None]] = []

        def keep(_logger: object, level: str, event: EventDict) -> EventDict:
            self.lines.append({"level": level, **event})
            raise structlog.DropEvent

        self.log = structlog.wrap_logger(CapturingLogger(), processors=[keep])

    def progress(self, fraction: float | None = None, message: str | None = None) -> None:
        self.steps.append((fraction, message))

    @property
    def workers(self) -> Workers:
        raise NotImplementedError

    def team(self, name: str) -> Team:
        raise NotImplementedError

    def presence(self, name: str) -> Presence:
        raise NotImplementedError


def handler_of(agent: object, message: BaseModel) -> Handler | None:
    code = read_agent("", type(agent))
    name = type(message).__name__
    return code.tasks.get(name) or next(iter(code.events.get(name, ())), None)


def call(agent: object, handler: Handler, message: object, context: Context) -> Any:
    return getattr(agent, handler.name)(*([message, context] if handler.takes_context else [message]))


def ask(agent: object, question: StreamTask[C], context: Context) -> AsyncIterator[C]:
    handler = handler_of(agent, question)
    assert handler is not None
    return cast("AsyncIterator[C]", call(agent, handler, travelled(question), context))


class Reply(Handle[R]):
    def __init__(self, task: asyncio.Task[R], number: int) -> None:
        self.id, self._task = str(number), task

    @property
    def progress(self) -> Progress | None:
        return None

    async def result(self) -> R:
        return await self._task

    def cancel(self) -> None:
        self._task.cancel()


class HandWork(Workers):
    """Hands each task to the agent that takes its type. `losses` are raised instead of the tasks' replies, by task."""

    def __init__(self, *agents: object) -> None:
        self.agents = agents
        self.done: list[BaseModel] = []
        self.losses: dict[BaseModel, DispatchError] = {}
        self.lines: list[EventDict] = []
        self.most_at_once = self._now = 0

    def submit(self, task: Task[R], **options: Unpack[TaskOptions]) -> Handle[R]:
        return Reply(asyncio.ensure_future(self._do(task)), len(self.done))

    async def _do(self, task: Task[R]) -> R:
        self.done.append(task)
        self._now += 1
        self.most_at_once = max(self._now, self.most_at_once)
        try:
            await asyncio.sleep(0)
            if task in self.losses:
                raise self.losses[task]
            agent, handler = self._find(task)
            reply = call(agent, handler, travelled(task), Told("lead", lines=self.lines))
            adapter = TypeAdapter(handler.answer)
            return cast(
                R, adapter.validate_json(adapter.dump_json(await reply if inspect.isawaitable(reply) else reply))
            )
        finally:
            self._now -= 1

    async def map(
        self,
        tasks: Iterable[Task[R]],
        *,
        limit: int | None = None,
        ordered: bool = False,
        **options: Unpack[MapOptions],
    ) -> AsyncIterator[R]:
        for task in tasks:
            yield await self.run(task)

    async def stream(self, task: StreamTask[C], **options: Unpack[TaskOptions]) -> AsyncIterator[C]:
        self.done.append(task)
        agent, handler = self._find(task)
        async for chunk in cast("AsyncIterator[C]", call(agent, handler, travelled(task), Told("lead"))):
            yield chunk

    def _find(self, task: BaseModel) -> tuple[object, Handler]:
        for agent in self.agents:
            handler = handler_of(agent, task)
            if handler is not None:
                return agent, handler
        raise TaskFailed(type(task).__name__, "LookupError", "nobody takes it", "", 1)


@dataclass
class Room:
    """One team: whoever sits in it hears what the others publish, and each item has one holder at a time."""

    group: asyncio.TaskGroup
    agents: dict[str, object] = field(default_factory=dict)
    said: list[tuple[str, Event]] = field(default_factory=list)
    won: list[tuple[str, str]] = field(default_factory=list)
    """Item and holder of each claim, in their order."""
    holders: dict[str, str] = field(default_factory=dict)
    lines: list[EventDict] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, enough: Callable[[list[tuple[str, Event]]], bool]) -> None:
        """Wait until what was said is enough."""
        while not enough(self.said):
            self.news.clear()
            await self.news.wait()

    def seat(self, peer: str) -> Seat:
        return Seat(self, peer)


class Seat(Team):
    def __init__(self, room: Room, peer: str) -> None:
        self.name, self.room, self.peer = "desk", room, peer

    async def publish(self, event: Event) -> None:
        self.room.said.append((self.peer, event))
        self.room.news.set()
        for peer, agent in self.room.agents.items():
            handler = handler_of(agent, event)
            if peer != self.peer and handler is not None:
                context = Told(self.peer, lines=self.room.lines)
                self.room.group.create_task(call(agent, handler, travelled(event), context))

    @asynccontextmanager
    async def claim(self, item: str) -> AsyncIterator[Claim | None]:
        await asyncio.sleep(0)
        if item in self.room.holders:
            yield None
            return
        self.room.holders[item] = self.peer
        self.room.won.append((item, self.peer))
        try:
            await asyncio.sleep(0)
            yield Claim(item, len(self.room.won))
        finally:
            del self.room.holders[item]

    @property
    def members(self) -> Mapping[str, Peer]:
        return {peer: Peer(peer) for peer in self.room.agents if peer != self.peer}
