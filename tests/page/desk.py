"""A hub as it is, with a run and agents behind it that do what a test has them do, all of them ordinary peers."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from orchestrator import User, connect
from orchestrator.errors import AckTimeout, ConnectionLost, NotConnected, PeerNotFound
from orchestrator.hub.keys import KeyRing
from orchestrator.hub.listening import listen, parse_address
from orchestrator.hub.server import Server
from orchestrator.hub.settings import Settings
from orchestrator.patterns.parts import cut
from orchestrator.patterns.stream import Writer
from orchestrator.protocol.dashboard import (
    AgentLoad,
    AgentOutline,
    LobbyOutline,
    LogUpdate,
    ReplicaUpdate,
    RunOutline,
    RunUpdate,
    TaskUpdate,
    TeamOutline,
    UserOutline,
)
from orchestrator.protocol.payloads import Failure
from orchestrator.protocol.tokens import Claims, Grants, SecretKey, mint
from orchestrator.testing import ChaosProxy

if TYPE_CHECKING:
    from playwright.async_api import Page

    from orchestrator.runtime.subscription import Message
    from tests.page.browsers import Pages

KEY = SecretKey("sk_id_page", "sk_secret_" + "p" * 40, rate="unlimited")
LOBBY = "lobbies/desk"
RUN = "(run)/one"
OPEN = Grants(
    observe=("(runs)", "lobbies/*", "teams/**", "pools/*"), send=("(run)/*", "lead", "helper.*"), presence=("**",)
)
"""What the token of the run's own user grants a dashboard."""
encode = msgspec.json.Encoder().encode
Answer = Callable[[dict[str, Any]], Any]


def token(sub: str, *, life: float = 600, **claims: Any) -> str:
    return mint(KEY, Claims(sub=sub, exp=int(time.time() + life), **claims))


def dashboard_token(*, life: float = 600, grants: Grants = OPEN, instance: str = "tab", **claims: Any) -> str:
    return token("cli/dashboard-1", life=life, grants=grants, instance=instance, **claims)


def outline(**changes: Any) -> RunOutline:
    parts: dict[str, Any] = {
        "name": "newsroom",
        "source": "newsroom.yaml",
        "node": "workshop",
        "began": time.time() - 4_000,
        "agents": (
            AgentOutline("lead", "Lead editor", "coordinator", ("lead",), ("plan", "edit"), workers=("helper",)),
            AgentOutline(
                "helper",
                "helper",
                "worker",
                ("helper.1", "helper.2", "helper.3"),
                ("web", "pdf"),
                tasks=("Research",),
                kept=True,
            ),
        ),
        "teams": (TeamOutline("desk", "teams/desk/state", ("lead", "helper")),),
        "lobbies": (LobbyOutline("desk", LOBBY, ("lead", "helper")),),
        "users": (UserOutline("reader", ("lead",)),),
        "keeps_tasks": True,
        "admin": True,
    }
    return RunOutline(**{**parts, **changes})


class Run:
    """The peer that tells dashboards of a run."""

    def __init__(self, user: User, told: RunOutline) -> None:
        self.user, self.outline = user, told
        self.watchers: list[str] = []
        self.watched = asyncio.Event()
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.asked = asyncio.Event()
        self.answers: dict[str, Answer] = {}
        self.replicas = {
            peer: ReplicaUpdate(
                peer, agent.name, "ready", pid=4_000 + at, since=time.time() - 60 * at, capacity=4, memory=48_000_000
            )
            for agent in told.agents
            for at, peer in enumerate(agent.replicas, 1)
        }
        self.log: list[LogUpdate] = []
        self._parts = itertools.count()

    async def serve(self) -> None:
        async for message in self.user.directs():
            data = message.data
            if data["type"] == "watch":
                await self._watch(message.sender)
            elif data["type"] == "run-request":
                await self._answer(message.sender, data)

    async def _watch(self, who: str) -> None:
        await self.tell(self.outline, who)
        whole = RunUpdate(time.time(), whole=True, replicas=tuple(self.replicas.values()), log=tuple(self.log))
        await self.tell(whole, who)
        self.watchers.append(who)
        self.watched.set()

    async def _answer(self, who: str, request: dict[str, Any]) -> None:
        arguments = request.get("arguments", {})
        self.requests.append((request["do"], arguments))
        self.asked.set()
        answer: dict[str, Any] = {"type": "run-answer", "id": request["id"]}
        try:
            answer["result"] = self.answers[request["do"]](arguments)
        except KeyError as error:
            answer["error"] = f"there is no {error} here"
        await self.tell(answer, who)

    async def tell(self, what: object, *who: str) -> None:
        """Send to these, or to all who watch; in parts where it is large."""
        data = encode(what)
        pieces: list[Any] = [Raw(data)]
        if len(data) > 60_000:
            pieces = cut(data, 60_000, f"p{next(self._parts)}")
        for peer in who or tuple(dict.fromkeys(self.watchers)):
            for piece in pieces:
                await self.user.send(peer, json.loads(bytes(piece)))

    async def update(self, **fields: Any) -> None:
        await self.tell(RunUpdate(time.time(), **fields))

    async def requested(self, do: str) -> dict[str, Any]:
        """Return the arguments of the first request of this kind that was not returned yet."""
        async with asyncio.timeout(5):
            while True:
                for at, (name, arguments) in enumerate(self.requests):
                    if name == do:
                        del self.requests[at]
                        return arguments
                self.asked.clear()
                await self.asked.wait()


class Agent:
    """A replica that answers questions in as many chunks as a test lets go."""

    def __init__(self, user: User) -> None:
        self.user = user
        self.writers: dict[str, tuple[Writer, str]] = {}
        self.asked: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        """Ids and prompts of questions."""
        self.cancelled: asyncio.Queue[str] = asyncio.Queue()
        self.resumed: list[int] = []
        self.acknowledged = asyncio.Event()

    async def serve(self) -> None:
        async for message in self.user.directs():
            await self._take(message)

    async def _take(self, message: Message) -> None:
        data = message.data
        match data["type"]:
            case "ask":
                if data["taskId"] not in self.writers:
                    self.writers[data["taskId"]] = (Writer(data["taskId"]), message.sender)
                    await self.user.send(
                        message.sender, {"type": "task-accepted", "taskId": data["taskId"], "attempt": 1}
                    )
                    await self.asked.put((data["taskId"], data["prompt"]))
            case "stream-ack":
                self.writers[data["streamId"]][0].acked(data["seq"], many=data.get("many", False))
                self.acknowledged.set()
            case "stream-resume":
                self.resumed.append(data["from"])
                self.writers[data["streamId"]][0].rewind(data["from"])
                await self.flush(data["streamId"])
            case "task-cancel":
                await self.cancelled.put(data["taskId"])
            case _:
                pass

    async def say(self, task: str, *texts: str, done: bool = False, failure: Failure | None = None) -> None:
        writer, _ = self.writers[task]
        for text in texts:
            writer.push(Raw(encode(text)))
        if done or failure is not None:
            writer.end(time.time(), failure)
        await self.flush(task)

    async def flush(self, task: str) -> None:
        """Send what waits; what is lost on the way is asked for again."""
        writer, who = self.writers[task]
        while (chunk := writer.pending()) is not None:
            try:
                await self.user.send(who, json.loads(encode(chunk)))
            except (NotConnected, ConnectionLost, AckTimeout, PeerNotFound) as error:  # the reader will come back
                self.lost = error


class Desk:
    def __init__(self, server: Server, proxy: ChaosProxy, stack: AsyncExitStack) -> None:
        self.server, self.proxy, self._stack = server, proxy, stack
        self.agents: dict[str, Agent] = {}
        self._leaving: dict[str, AsyncExitStack] = {}
        self.run: Run

    @property
    def url(self) -> str:
        """Where the page is, by way of the proxy."""
        return self.proxy.url.replace("ws://", "http://") + "/"

    async def arrive(self, peer: str, agent: str, role: str = "worker", capabilities: tuple[str, ...] = ()) -> Agent:
        metadata = {"kind": "agent", "agent": agent, "name": agent, "role": role, "capabilities": list(capabilities)}
        stack = self._leaving[peer] = AsyncExitStack()
        self._stack.push_async_callback(stack.aclose)
        user = await stack.enter_async_context(
            connect(self.server.url, token=token(peer, peer_metadata=metadata, rate="unlimited"))
        )
        await stack.enter_async_context(user.subscribe(LOBBY))
        self.agents[peer] = made = Agent(user)
        await stack.enter_async_context(running(made.serve))
        return made

    async def leave(self, peer: str) -> None:
        await self._leaving[peer].aclose()

    async def start_run(self, told: RunOutline, peer: str = RUN) -> Run:
        metadata = {"kind": "run", "name": told.name, "node": told.node}
        user = await self._stack.enter_async_context(
            connect(self.server.url, token=token(peer, peer_metadata=metadata, rate="unlimited"))
        )
        run = Run(user, told)
        await self._stack.enter_async_context(running(run.serve))
        await self._stack.enter_async_context(user.subscribe("(runs)"))
        return run

    async def sign_in(self, pages: Pages, given: str = "", **options: Any) -> Page:
        """Open the page and paste a token."""
        page = await pages.open(self.url, **options)
        await page.fill("#token", given or dashboard_token(instance=uuid.uuid4().hex))
        await page.click("text=Sign in >> nth=-1")
        await page.wait_for_selector('#connection[data-state="connected"]')
        return page


@asynccontextmanager
async def running(serve: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    task = asyncio.ensure_future(serve())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def desk_without_run() -> AsyncIterator[Desk]:
    server = Server(KeyRing([KEY]), Settings(drain_grace=0.5, drain_window=0.05))
    await server.start(listen(parse_address("127.0.0.1:0")))
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.drain)
        proxy = await stack.enter_async_context(ChaosProxy(server.url))
        yield Desk(server, proxy, stack)


@asynccontextmanager
async def desk_of_four(**changes: Any) -> AsyncIterator[Desk]:
    """A coordinator, three workers and the run that they belong to."""
    async with desk_without_run() as desk:
        desk.run = await desk.start_run(outline(**changes))
        await desk.arrive("lead", "lead", "coordinator", ("plan", "edit"))
        for number in (1, 2, 3):
            await desk.arrive(f"helper.{number}", "helper", capabilities=("web", "pdf"))
        yield desk


def some_tasks() -> tuple[TaskUpdate, ...]:
    now = time.time()
    return (
        TaskUpdate("t-1", "Research", "helper.1", "running", now, "lead"),
        TaskUpdate(
            "t-2", "Research", "helper.2", "failed", now - 3, "lead", seconds=1.25, error="ValueError: no such topic"
        ),
    )


def some_load() -> tuple[AgentLoad, ...]:
    return (AgentLoad("helper", 3, 12, 5, 1, 0.2, 0.9), AgentLoad("lead", 1, 4))
