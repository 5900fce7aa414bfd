"""A topology run within one process over a hub of ours, with tokens from which a pattern may be missing."""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from agents.shout import answer
from orchestrator import User, connect
from orchestrator.agents.describe import describe, read_agent
from orchestrator.agents.loading import load_handler
from orchestrator.client.connection import Client
from orchestrator.errors import OrchestratorError
from orchestrator.hub import wire
from orchestrator.hub.keys import KeyRing
from orchestrator.hub.settings import Settings
from orchestrator.protocol.codes import ErrorCode
from orchestrator.protocol.tokens import Claims, Grants, SecretKey, mint
from orchestrator.runtime.replica import Replica
from orchestrator.topology.load import load_topology
from orchestrator.topology.plan import make_plan
from tests.joined_servers import new_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    import pytest

    from orchestrator.client.events import ClientEvent
    from orchestrator.runtime.feed import Feed
    from orchestrator.runtime.subscription import Message
    from orchestrator.topology.plan import Plan

HELD = "held"
"""A word that keeps whoever gets it from answering."""
KEY = SecretKey("sk_id_scoped", "sk_secret_" + "s" * 40, rate="unlimited")
REFUSALS = {ErrorCode.ACTION_NOT_PERMITTED, ErrorCode.CHANNEL_NOT_AUTHORIZED}


@dataclass(frozen=True)
class Grant:
    """One pattern of one token: of an agent's replicas, or of a kind of user."""

    owner: str
    kind: str
    pattern: str

    def __str__(self) -> str:
        return f"{self.owner} {self.kind} {self.pattern}"


def plan_of(file: Path) -> Plan:
    topology = load_topology(file, {})
    directory = file.resolve().parent
    reports = {
        agent.handler: describe(agent.handler, load_handler(agent.handler, directory))
        for _, _, agent in topology.each_agent()
        if agent.handler is not None
    }
    return make_plan(topology, reports)


def grants_of(plan: Plan, by_hand: Iterable[str] = ()) -> list[Grant]:
    """Return every derived pattern of every token; of replicas, those of the first."""
    owners: dict[str, Grants] = {user.user: user.grants for user in plan.users}
    for agent in reversed(plan.replicas):
        owners[agent.agent] = agent.grants
    return [
        Grant(owner, entry.name, pattern)
        for owner, grants in owners.items()
        for entry in fields(grants)
        for pattern in getattr(grants, entry.name)
        if pattern not in by_hand
    ]


def without(claims: Claims, owner: str, missing: Grant | None) -> Claims:
    if missing is None or missing.owner != owner or claims.grants is None:
        return claims
    kept = tuple(pattern for pattern in getattr(claims.grants, missing.kind) if pattern != missing.pattern)
    return replace(claims, grants=replace(claims.grants, **{missing.kind: kept}))


@dataclass
class Scene:
    """What runs, and what the hub has refused so far."""

    plan: Plan
    url: str
    missing: Grant | None
    refused: list[str] = field(default_factory=list)
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    replicas: dict[str, Replica] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    """What a program was asked and holds."""
    failures: list[str] = field(default_factory=list)

    def note_refusal(self, message: str) -> None:
        self.refused.append(message)
        self.news.set()

    @asynccontextmanager
    async def user(self, name: str = "cli") -> AsyncIterator[User]:
        planned = self.plan.user(name)
        claims = without(planned.claims("one", int(time.time()) + 600), name, self.missing)
        async with connect(self.url, token=mint(KEY, claims)) as user:
            yield user

    async def ask(self, agent: str, prompt: str, user: str = "cli") -> str:
        async with self.user(user) as asking:
            return await asking.ask(agent, prompt)

    async def until(self, fact: Callable[[], bool]) -> None:
        """Wait for something that a replica learns from its connection."""
        while not fact():
            self.heard.clear()
            await self.heard.wait()

    async def quiet(self, *peers: str) -> None:
        """Wait until none of these replicas works on anything; no names = of all."""
        for workload in (self.replicas[peer].workload for peer in peers or self.replicas):
            while not workload.intake.idle:
                workload._idle.clear()
                await workload._idle.wait()


@asynccontextmanager
async def scene(plan: Plan, missing: Grant | None, patch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    """Run every replica of a plan, with one pattern missing from the tokens of its owner."""
    server = new_server(KeyRing([KEY]), Settings())
    await server.start(socket.create_server(("127.0.0.1", 0)))
    run = Scene(plan, server.url, missing)
    original = wire.error

    def noting(code: ErrorCode, message: str, request_id: str | None) -> bytes:
        if code in REFUSALS:
            run.note_refusal(message)
        return original(code, message, request_id)

    patch.setattr(wire, "error", noting)
    try:
        async with AsyncExitStack() as stack:
            starts = [await _enter(stack, run, planned) for planned in plan.replicas]
            with structlog.testing.capture_logs():
                await _unless_refused(run, asyncio.gather(*(start() for start in starts)))
                yield run
    finally:
        patch.setattr(wire, "error", original)
        await server.drain()


async def _enter(stack: AsyncExitStack, run: Scene, planned: Any) -> Callable[[], Awaitable[None]]:
    """Connect one replica, and return what starts it."""
    instance = secrets.token_hex(4)

    async def token() -> str:
        claims = planned.claims(exp=int(time.time()) + 600, instance=instance)
        return mint(KEY, without(claims, planned.agent, run.missing))

    if planned.handler is None:
        program = await stack.enter_async_context(connect(run.url, token_provider=token))
        feeds = (program.subscribe(planned.inbox), program.directs())
        serving = [asyncio.create_task(_serve(run, program, feed)) for feed in feeds]

        async def stop() -> None:
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)

        stack.push_async_callback(stop)
        return _at_once
    client = Client(run.url, token_provider=token)
    directory = run.plan.directory
    replica = Replica(
        planned,
        read_agent(planned.handler, load_handler(planned.handler, directory)),
        client,
        wall_offset=time.time() - asyncio.get_running_loop().time(),
        new_id=lambda: secrets.token_hex(8),
        log=structlog.get_logger(),
    )
    run.replicas[planned.peer_id] = replica
    await client.connect()
    loop = asyncio.get_running_loop()

    def heard(_event: ClientEvent) -> None:
        loop.call_soon(run.heard.set)  # by then it has been dealt with

    following = asyncio.create_task(replica.run(heard))

    async def end() -> None:
        await replica.close()
        await client.close()
        await asyncio.gather(following, return_exceptions=True)

    stack.push_async_callback(end)
    return replica.start


async def _serve(run: Scene, program: User, feed: Feed[Message]) -> None:
    """Answer as the program of the topology does; what is to be held is held."""
    async for message in feed:
        if message.data["type"] == "task" and HELD in message.data["payload"]["text"]:
            run.asked.add(HELD)
            run.heard.set()
        elif message.data["type"] == "task":
            with suppress(OrchestratorError):
                await program.send(message.sender, answer(message.data))


async def _at_once() -> None:
    return


async def _unless_refused(run: Scene, work: Awaitable[Any]) -> None:
    """Wait for some work, unless the hub refuses something first."""
    task = asyncio.ensure_future(work)
    refusal = asyncio.ensure_future(run.news.wait())
    try:
        await asyncio.wait([task, refusal], return_when=asyncio.FIRST_COMPLETED)
    finally:
        refusal.cancel()
        if not task.done():
            task.cancel()
        for result in await asyncio.gather(task, refusal, return_exceptions=True):
            if isinstance(result, OrchestratorError):
                run.failures.append(str(result))
            elif isinstance(result, Exception):
                raise result


async def outcome(run: Scene, journey: Callable[[Scene], Awaitable[bool]], patience: float) -> str | None:
    """Return what was refused or missing on a journey; `None` when everything was as it should be."""
    found: list[bool] = []

    async def go() -> None:
        found.append(await journey(run))

    with suppress(TimeoutError):
        async with asyncio.timeout(patience):
            await _unless_refused(run, go())
    if run.refused:
        return f"refused: {run.refused[0]}"
    if run.failures:
        return f"failed: {run.failures[0]}"
    return None if found == [True] else "something was missing"
