"""What a user asks of agents: questions in words, tasks and stream tasks, each with an engine that sees to its end."""

from __future__ import annotations

import asyncio
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final, TypeVar, overload

import structlog
from msgspec import Raw
from pydantic import TypeAdapter

from orchestrator.agents.messages import StreamTask, Task
from orchestrator.agents.relations import Handle
from orchestrator.errors import ConnectionProblem
from orchestrator.patterns.dispatch import Dispatcher
from orchestrator.patterns.jobs import ASKED, Order
from orchestrator.patterns.workforce import Pool, Workforce
from orchestrator.protocol.payloads import AnyPayload, CompletionChunk, TaskRefused
from orchestrator.runtime.courier import Courier, Link, Ticker
from orchestrator.runtime.dispatching import Desk, HubHandle, read_chunks, task_order
from orchestrator.runtime.handed import Handed
from orchestrator.runtime.reading import Adapters
from orchestrator.runtime.wishes import Wish, check_text

R = TypeVar("R")
C = TypeVar("C")

ASK_TIMEOUT: Final = 3_600.0
"""Seconds that an answer may take where the caller says nothing else."""
_WORDS: Final = TypeAdapter[Any](Any)
ASKS_AT_ONCE: Final = 1_000
"""Questions of one user that one agent is handed at once; the agent's own concurrency decides how many it works on."""


class Questions(ABC):
    """Asks agents. Every question ends: in its answer, or in an error that says why not."""

    def __init__(self, link: Link) -> None:
        self._courier, self._ticker = Courier(link), Ticker()
        self._desks: dict[str, Desk] = {}
        self._adapter = Adapters()
        self._known: Mapping[str, Sequence[str]] = {}
        """The peers of agents that were told otherwise."""
        self._handed: dict[str, Handed] = {}
        self._asks: Mapping[str, Any] = {}
        """The peers of each agent that the token names."""
        self._programs: frozenset[str] = frozenset()
        """Those agents that are no handlers of this package."""
        self._mark = secrets.token_hex(4)
        """What the ids of this user's questions begin with, so that an answer is known as one however late it comes."""
        self._failure: ConnectionProblem | None = None
        """Why nothing can be asked any more."""

    @property
    @abstractmethod
    def peer_id(self) -> str: ...

    @abstractmethod
    def _check_open(self) -> None:
        """Raise where this user was closed. One whose connection has ended gives each question that end for an answer."""

    @overload
    def stream(
        self, agent: str, asked: str, *, key: str | None = None, wait: float = 0.0, timeout: float = ASK_TIMEOUT
    ) -> AsyncIterator[Any]: ...
    @overload
    def stream(
        self,
        agent: str,
        asked: StreamTask[C],
        *,
        key: str | None = None,
        wait: float = 0.0,
        timeout: float = ASK_TIMEOUT,
    ) -> AsyncIterator[C]: ...
    async def stream(
        self,
        agent: str,
        asked: str | StreamTask[Any],
        *,
        key: str | None = None,
        wait: float = 0.0,
        timeout: float = ASK_TIMEOUT,
    ) -> AsyncIterator[Any]:
        """Ask an agent, in words or with a stream task, and yield its answer as it comes; leaving cancels it.

        An agent with replicas is asked at one of them: with a `key`, always at the same one, as long as it is online.
        A question in words yields text, or JSON values where the agent's chunks are no text. `wait` is for how many
        seconds nobody need be online to take it, `timeout` is in seconds for the whole answer. Raises the
        `DispatchError` that the answer ends with if it does not reach its end (`TaskCancelled` when the user is closed
        meanwhile), `NotAuthorized`, or the `ConnectionProblem` that ended the connection for good.
        """
        self._check_open()
        wish = Wish(key=key, wait=wait)
        if isinstance(asked, str):
            check_text(asked)
            order = Order(self._new_id(), ASKED, Raw(b""), timeout, True, asked, key=key, wait=wait)
        else:
            order = task_order(self._new_id(), asked, timeout, wish, streams=True)
        adapter = _WORDS if isinstance(asked, str) else self._adapter(type(asked))
        async with aclosing(read_chunks(self._desk(agent), order, adapter)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def ask(
        self, agent: str, prompt: str, *, key: str | None = None, wait: float = 0.0, timeout: float = ASK_TIMEOUT
    ) -> str:
        """Ask an agent in words and return the whole answer as text. Takes, and raises, what `stream` does."""
        chunks = self.stream(agent, prompt, key=key, wait=wait, timeout=timeout)
        parts = [chunk async for chunk in chunks]
        return "".join(part if isinstance(part, str) else str(part) for part in parts)

    def submit(
        self,
        agent: str,
        task: Task[R],
        *,
        key: str | None = None,
        wait: float = 0.0,
        timeout: float = ASK_TIMEOUT,
    ) -> Handle[R]:
        """Hand an agent a task and return at once; its handle raises like `stream`."""
        return self._submit(agent, task, timeout, Wish(key=key, wait=wait))

    async def run(
        self, agent: str, task: Task[R], *, key: str | None = None, wait: float = 0.0, timeout: float = ASK_TIMEOUT
    ) -> R:
        """Hand an agent a task and return its reply; cancelling the caller cancels the task. Raises like `stream`."""
        return await self._submit(agent, task, timeout, Wish(key=key, wait=wait)).only_result()

    def _submit(self, agent: str, task: Task[R], timeout: float, wish: Wish) -> HubHandle[R]:
        self._check_open()
        order = task_order(self._new_id(), task, timeout, wish)
        return HubHandle(self._desk(agent), order, self._adapter(type(task)))

    def hand(self, agent: str, task: str, payload: Raw, *, streams: bool, timeout: float = ASK_TIMEOUT) -> Handed:
        """Hand an agent a task by its name, for those who have no class of it; `payload` is JSON.

        `streams`: it may be answered in chunks.
        """
        self._check_open()
        order = Order(self._new_id(), task, payload, timeout, streams)
        handed = self._handed[order.id] = Handed(self._desk(agent), order, self._handed)
        return handed

    @property
    def agents(self) -> Mapping[str, Sequence[str]]:
        """The peer ids of each agent that this user is known to be allowed to ask."""
        return self._asks

    def knows(self, agents: Mapping[str, Sequence[str]]) -> None:
        """Have agents asked at these peers whom the token does not name: a token has no room for many."""
        self._known = agents
        self._asks = {**agents, **self._asks}

    def _desk(self, agent: str) -> Desk:
        """Return the engine for one agent: its peers are those that the token names, else the agent's own name."""
        if agent not in self._desks:
            peers = self._asks.get(agent)
            pool = Pool(
                agent,
                None,
                peers=tuple(map(str, peers or (agent,))),
                concurrency=ASKS_AT_ONCE,
                direct=True,
                in_parts=peers is not None and agent not in self._programs,
            )
            dispatcher = Dispatcher(self.peer_id, Workforce([pool]), wall_offset=self._wall_offset(), sole=False)
            log = structlog.get_logger("orchestrator.user")
            desk = self._desks[agent] = Desk(dispatcher, self._courier, log, self._ticker.rearm)
            self._ticker.add(dispatcher.next_tick, desk.tick)
            if self._failure is not None:
                desk.fail(self._failure)
        return self._desks[agent]

    def _wall_offset(self) -> float:
        """Return what turns the loop's clock into Unix seconds."""
        return time.time() - asyncio.get_running_loop().time()

    def _new_id(self) -> str:
        return self._mark + secrets.token_hex(6)

    # -- what the connection says

    def _answer(self, sender: str, payload: AnyPayload) -> bool:
        """Hand an answer to the engine that asked; tell whether it was one to a question of this user."""
        task_id = payload.stream_id if isinstance(payload, CompletionChunk) else getattr(payload, "task_id", None)
        if isinstance(payload, CompletionChunk) and not task_id:  # of a program that has one stream at a time
            nameless = [desk for desk in self._desks.values() if desk.dispatcher.streams_of(sender)]
            for desk in nameless:
                desk.receive(sender, payload)
            return bool(nameless)
        if not isinstance(task_id, str) or not task_id.startswith(self._mark):
            return False
        if task_id in self._handed and not isinstance(payload, TaskRefused):
            self._handed[task_id].taken_by(sender)
        asked = [desk for desk in self._desks.values() if task_id in desk.dispatcher]
        for desk in asked or [desk for desk in self._desks.values() if sender in desk.dispatcher.workforce.seats][:1]:
            desk.receive(sender, payload)
        return True

    def _answers_come(self, metadata: Mapping[str, Any]) -> None:
        """Take up what is under way on a new connection; `metadata` is what the token says to its bearer."""
        asks, programs = metadata.get("asks"), metadata.get("programs")
        self._asks = {**self._known, **(asks if isinstance(asks, dict) else {})}
        self._programs = frozenset(map(str, programs)) if isinstance(programs, list) else frozenset()
        for desk in self._desks.values():
            desk.connected()

    def _answers_stop(self) -> None:
        for desk in self._desks.values():
            desk.disconnected()

    def _answers_end(self, failure: ConnectionProblem) -> None:
        self._failure = failure
        for desk in self._desks.values():
            desk.fail(failure)

    async def _cancel_all(self, seconds: float) -> None:
        """Tell the agents that nobody waits any more; the hub has `seconds` to take it."""
        for desk in self._desks.values():
            desk.cancel_all()
        try:
            await self._courier.settled(seconds)
        finally:
            self._ticker.close()
