"""`orchestrator.connect`: people and programs outside a topology, who ask its agents."""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final, TypeVar, overload

import structlog
from msgspec import Raw
from pydantic import TypeAdapter

from orchestrator.agents.messages import StreamTask, Task, answer_type, message_name
from orchestrator.client import events
from orchestrator.client.connection import Client
from orchestrator.errors import ConnectionProblem, NotConnected
from orchestrator.patterns.dispatch import Dispatcher
from orchestrator.patterns.jobs import ASKED, Order
from orchestrator.patterns.workforce import Pool, Workforce
from orchestrator.protocol.payloads import AnyPayload, CompletionChunk, decode_payload, plain
from orchestrator.runtime.courier import Courier, Ticker
from orchestrator.runtime.dispatching import LEVELS, Desk, read_answer, task_order

R = TypeVar("R")
C = TypeVar("C")

WARNING: Final = LEVELS["warning"]
GOODBYE_SECONDS: Final = 1.0
"""How long leaving waits for the hub to take the cancellations of what is still under way."""
ASK_TIMEOUT: Final = 3_600.0
"""Seconds that an answer may take where the caller says nothing else."""


class User:
    """A connection on which agents are asked. Every question ends: in its answer, or in an error that says why not."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._courier, self._ticker = Courier(client), Ticker()
        self._desks: dict[str, Desk] = {}
        self._asks: Mapping[str, Any] = {}
        self._welcomed = asyncio.Event()
        self._failure: ConnectionProblem | None = None
        """Why nothing can be asked any more."""

    @property
    def peer_id(self) -> str:
        """Who this connection is. Raises `NotConnected` before the first welcome."""
        if self._client.peer_id is None:
            raise NotConnected("there was no welcome from the hub yet")
        return self._client.peer_id

    @overload
    def stream(self, agent: str, asked: str, *, timeout: float = ASK_TIMEOUT) -> AsyncIterator[Any]: ...
    @overload
    def stream(self, agent: str, asked: StreamTask[C], *, timeout: float = ASK_TIMEOUT) -> AsyncIterator[C]: ...
    async def stream(
        self, agent: str, asked: str | StreamTask[Any], *, timeout: float = ASK_TIMEOUT
    ) -> AsyncIterator[Any]:
        """Ask an agent, in words or with a stream task, and yield its answer as it comes; leaving cancels it.

        An agent with replicas is asked at one of them. A question in words yields text, or JSON values where the
        agent's chunks are no text. Raises the `DispatchError` that the answer ends with if it does not reach its end.
        """
        if isinstance(asked, str):
            words = self._chunks(agent, Order(_new_id(), ASKED, Raw(b""), timeout, True, asked))
            async with aclosing(words):
                async for chunk in words:
                    yield plain(chunk)
            return
        adapter: TypeAdapter[Any] = TypeAdapter(answer_type(type(asked)))
        chunks = self._chunks(agent, task_order(_new_id(), asked, timeout, streams=True))
        async with aclosing(chunks):
            async for chunk in chunks:
                yield read_answer(adapter, chunk, message_name(type(asked)))

    async def ask(self, agent: str, prompt: str, *, timeout: float = ASK_TIMEOUT) -> str:
        """Ask an agent in words and return the whole answer as text."""
        parts = [chunk async for chunk in self.stream(agent, prompt, timeout=timeout)]
        return "".join(part if isinstance(part, str) else str(part) for part in parts)

    async def run(self, agent: str, task: Task[R], *, timeout: float = ASK_TIMEOUT) -> R:
        """Hand an agent a task and return its reply; cancelling the caller cancels the task."""
        order = task_order(_new_id(), task, timeout)
        desk = self._desk(agent)
        try:
            raw = await asyncio.shield(desk.submit(order))
        finally:
            desk.cancel(order.id)
        adapter: TypeAdapter[R] = TypeAdapter(answer_type(type(task)))
        return read_answer(adapter, raw if raw is not None else Raw(b"null"), message_name(type(task)))

    async def _chunks(self, agent: str, order: Order) -> AsyncGenerator[Raw, None]:
        chunks: Any = self._desk(agent).stream(order)
        try:
            async for chunk in chunks:
                yield chunk
        finally:
            await chunks.aclose()

    def _desk(self, agent: str) -> Desk:
        """Return the engine for one agent: its peers are those that the token names, else the agent's own name."""
        if agent not in self._desks:
            peers = self._asks.get(agent) or (agent,)
            pool = Pool(agent, None, peers=tuple(map(str, peers)), concurrency=ASKS_AT_ONCE, direct=True)
            loop = asyncio.get_running_loop()
            dispatcher = Dispatcher(self.peer_id, Workforce([pool]), wall_offset=time.time() - loop.time())
            log = structlog.get_logger("orchestrator.user")
            desk = self._desks[agent] = Desk(dispatcher, self._courier, log, self._ticker.rearm)
            self._ticker.add(dispatcher.next_tick, desk.tick)
            if self._failure is not None:
                desk.fail(self._failure)
        return self._desks[agent]

    async def _follow(self) -> None:
        """Hand what the connection says to every engine, until it ends for good."""
        async for event in self._client.events():
            match event:
                case events.DirectReceived(sender=sender, data=data):
                    payload = decode_payload(data)
                    if payload is not None:
                        self._receive(sender, payload)
                case events.Connected(metadata=metadata):
                    asks = (metadata or {}).get("asks")
                    self._asks = asks if isinstance(asks, dict) else {}
                    self._welcomed.set()
                    for desk in self._desks.values():
                        desk.connected()
                case events.Disconnected():
                    for desk in self._desks.values():
                        desk.disconnected()
                case _:
                    pass
        self._failure = self._client.failure or NotConnected("the connection was closed")
        for desk in self._desks.values():
            desk.fail(self._failure)

    def _receive(self, sender: str, payload: AnyPayload) -> None:
        """Hand an answer to the engine that asked; to the others it would be an answer to nothing."""
        task_id = payload.stream_id if isinstance(payload, CompletionChunk) else getattr(payload, "task_id", None)
        asked = [desk for desk in self._desks.values() if task_id in desk.dispatcher]
        for desk in asked or [desk for desk in self._desks.values() if sender in desk.dispatcher.workforce.seats][:1]:
            desk.receive(sender, payload)

    async def _close(self) -> None:
        """Tell the agents that nobody waits any more, then go."""
        for desk in self._desks.values():
            desk.cancel_all()
        await self._courier.settled(GOODBYE_SECONDS)
        self._ticker.close()
        await self._client.close()
        await self._courier.close()


ASKS_AT_ONCE: Final = 1_000
"""Questions of one user that one agent is handed at once; the agent's own concurrency decides how many it works on."""


@asynccontextmanager
async def connect(
    url: str,
    *,
    token: str | None = None,
    token_provider: Callable[[], Awaitable[str]] | None = None,
    api_key: str | None = None,
) -> AsyncIterator[User]:
    """Connect to a hub as a user, for as long as the block runs.

    Exactly one of `token`, `token_provider` (asked before every attempt to connect) and `api_key` is given.
    Raises what `Client.connect` raises if the first attempt fails. Where the program has not configured structlog,
    warnings and errors of the connection go to standard error, and nothing else is logged.
    """
    if not structlog.is_configured():
        structlog.configure(
            wrapper_class=structlog.make_filtering_bound_logger(WARNING),
            logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        )
    if token is not None:
        if token_provider is not None:
            raise ValueError("give one of token, token_provider and api_key")
        fixed = token

        async def token_provider() -> str:
            return fixed

    client = Client(url, token_provider=token_provider, api_key=api_key)
    await client.connect()
    user = User(client)
    following = asyncio.create_task(user._follow(), name="user")
    try:
        await user._welcomed.wait()
        yield user
    finally:
        await user._close()
        await following


def _new_id() -> str:
    return secrets.token_hex(8)
