"""Agents within one event loop: replicas and users over connections that a hub in memory joins.

The hub does what a connection needs of one: it routes, counts receivers, keeps rosters and hands out whole ones. Every
message is written as JSON and read again on its way. Time skips to the next timer whenever nothing else is to be done,
so that a test may wait for half a minute's grace and take no time.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import selectors
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal, cast

import msgspec
from msgspec import Raw

from orchestrator.agents.describe import describe, read_agent
from orchestrator.client import events
from orchestrator.client.connection import Client
from orchestrator.errors import ConnectionLost, ConnectionProblem, NotConnected, PeerNotFound
from orchestrator.protocol.frames import Present, encode_json
from orchestrator.runtime.figures import Recorder
from orchestrator.runtime.replica import Replica
from orchestrator.runtime.user import User
from orchestrator.topology.load import parse_topology
from orchestrator.topology.plan import Plan, make_plan

TEST_SECONDS = 600.0
"""Skipped seconds after which a test that waits for a fact has failed."""
WALL_OFFSET = 1_000.0

# -- time


class SkippingLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer instead of waiting for it. Nothing outside of it may be awaited."""

    def __init__(self) -> None:
        self._skipped = 0.0
        super().__init__(_NoWait(self._skip))

    def time(self) -> float:
        return super().time() + self._skipped

    def _skip(self, seconds: float) -> None:
        self._skipped += seconds


class _NoWait(selectors.SelectSelector):
    def __init__(self, skip: Callable[[float], None]) -> None:
        super().__init__()
        self._skip = skip

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout > 0:
            self._skip(timeout)
            timeout = 0
        return super().select(timeout)


async def quiet() -> None:
    """Wait until all that happens now has happened, in a loop whose time skips: a timer fires only when nothing is left."""
    await asyncio.sleep(0.001)


def skipping(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test in a loop whose time skips. Fails on whatever the loop's exception handler hears of."""

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        unforeseen: list[dict[str, Any]] = []

        async def watched() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _loop, context: unforeseen.append(context))
            async with asyncio.timeout(TEST_SECONDS):
                await test(*arguments, **named)

        with asyncio.Runner(loop_factory=SkippingLoop) as runner:
            runner.run(watched())
        assert not unforeseen

    return run


# -- the hub


class Message(msgspec.Struct):
    """One publish or send, as the hub took it."""

    sender: str
    target: str
    """A channel, or the peer id that it was sent to."""
    data: dict[str, Any]


Fate = Literal["carried", "lost", "unanswered"]
"""`lost`: acknowledged, and never delivered. `unanswered`: delivered, and the connection ends before the hub's answer."""


class MemoryHub:
    """Joins links by name."""

    def __init__(self) -> None:
        self.links: dict[str, MemoryLink] = {}
        self.log: list[Message] = []
        self.rule: Callable[[Message], Fate | Exception] = lambda _message: "carried"
        """What becomes of a message; an exception is the hub's answer instead."""
        self._news = asyncio.Event()

    def link(self, peer: str, metadata: dict[str, Any] | None = None, *, observes: tuple[str, ...] = ()) -> MemoryLink:
        """Connect a peer that is listed wherever it subscribes, but for the channels that it observes."""
        link = self.links[peer] = MemoryLink(self, peer, metadata or {}, frozenset(observes))
        link.restore()
        return link

    def said(self, kind: str, **fields: Any) -> list[Message]:
        """Return the messages so far of one type, and with these fields."""
        found = [message for message in self.log if message.data.get("type") == kind]
        return [message for message in found if fields.items() <= message.data.items()]

    async def heard(self, kind: str, count: int = 1, **fields: Any) -> Message:
        """Wait until the hub has taken that many such messages and return the last of them."""
        while len(found := self.said(kind, **fields)) < count:
            self._news.clear()
            await self._news.wait()
        return found[count - 1]

    def take(self, message: Message) -> Fate:
        self.log.append(message)
        self._news.set()
        fate = self.rule(message)
        if isinstance(fate, Exception):
            raise fate
        return fate

    def roster(self, channel: str, *, but: str) -> tuple[Present, ...]:
        listed = [link for link in self.links.values() if channel in link.listed and link.peer_id != but]
        return tuple(Present(link.peer_id, link.metadata) for link in listed)

    def tell(
        self, channel: str, peer: str, *, joined: tuple[Present, ...] = (), left: tuple[Present, ...] = ()
    ) -> None:
        for link in self.links.values():
            if link.online and channel in link.channels and link.peer_id != peer:
                link.hear(events.PresenceReceived(channel, joined, left, snapshot=False))


class MemoryLink:
    """One peer's connection, which its test cuts and restores."""

    max_message_size = 65_536
    short_of_messages = False
    failure: ConnectionProblem | None = None

    def __init__(self, hub: MemoryHub, peer: str, metadata: dict[str, Any], observes: frozenset[str]) -> None:
        self.hub, self.peer_id, self.metadata, self._observes = hub, peer, metadata, observes
        self.channels: dict[str, None] = {}
        self.listed: set[str] = set()
        self.online = False
        self._welcomes = 0
        self._inbox: asyncio.Queue[events.ClientEvent | None] = asyncio.Queue()
        self._under_way: set[asyncio.Future[None]] = set()
        self._back = asyncio.Event()

    # -- what the test does

    def cut(self, *, noticed: bool = True) -> None:
        """End the connection; `noticed` says that the others see the peer leave."""
        self.online = False
        self._back.clear()
        for request in self._under_way:
            if not request.done():
                request.set_exception(ConnectionLost("cut"))
        self.hear(events.Disconnected(1006, "cut", will_reconnect=True, delay=0.1))
        if noticed:
            for channel in list(self.listed):
                self._leave(channel, "lost")

    def restore(self) -> None:
        """Connect, or connect again and hold the same channels."""
        self.online = True
        self._welcomes += 1
        self.hear(events.Connected(self.peer_id, self._welcomes > 1, None, self.max_message_size, self.metadata))
        for channel in self.channels:
            self._hold(channel)
        self._back.set()

    def end(self) -> None:
        """End the connection for good."""
        self.cut()
        self._inbox.put_nowait(events.Disconnected(4003, "revoked", will_reconnect=False, delay=None))
        self._inbox.put_nowait(None)

    def hear(self, event: events.ClientEvent) -> None:
        self._inbox.put_nowait(event)

    # -- what a connection does

    async def events(self) -> AsyncIterator[events.ClientEvent]:
        while (event := await self._inbox.get()) is not None:
            yield event

    async def publish(
        self,
        channel: str,
        data: object,
        *,
        when_disconnected: Literal["fail", "wait"] = "fail",
        deadline: float | None = None,
        in_parts: bool = False,
        id: str | None = None,  # noqa: A002 - as on the wire
    ) -> int | None:
        raw = Raw(encode_json(data))
        if when_disconnected == "wait":
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._back.wait(), deadline)
        message = self._leaves(channel, raw)
        fate = self.hub.take(message)
        others = [link for link in self.hub.links.values() if link is not self and channel in link.channels]
        receivers = [link for link in others if link.online]
        if fate != "lost":
            for link in receivers:
                link.hear(events.MessageReceived(channel, self.peer_id, raw, None))
        await self._answered(fate)
        return len(receivers)

    async def send(
        self,
        to: str,
        data: object,
        *,
        when_disconnected: Literal["fail", "wait"] = "fail",
        deadline: float | None = None,
        in_parts: bool = False,
        id: str | None = None,  # noqa: A002 - as on the wire
    ) -> None:
        assert (when_disconnected, deadline) == ("fail", None)
        raw = Raw(encode_json(data))
        message = self._leaves(to, raw)
        fate = self.hub.take(message)
        link = self.hub.links.get(to)
        if link is None or not link.online:
            await self._answered(fate)
            raise PeerNotFound("peer_not_found", "", to)
        if fate != "lost":
            link.hear(events.DirectReceived(self.peer_id, raw, None))
        await self._answered(fate)

    def publish_now(self, channel: str, data: object) -> None:
        return None

    send_now = publish_now

    async def subscribe(self, channel: str) -> None:
        self._check()
        self.channels[channel] = None
        await self._answered("carried")
        self._hold(channel)

    async def unsubscribe(self, channel: str) -> None:
        self.channels.pop(channel, None)
        self._check()
        self._leave(channel, "left")
        await self._answered("carried")

    async def close(self) -> None:
        self.online = False
        self._inbox.put_nowait(None)

    def _leaves(self, target: str, raw: Raw) -> Message:
        self._check()
        return Message(self.peer_id, target, msgspec.json.decode(bytes(raw)))

    def _check(self) -> None:
        if not self.online:
            raise NotConnected("cut")

    async def _answered(self, fate: Fate) -> None:
        """Wait as long as an answer takes: a turn of the loop, or until the connection ends."""
        request: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._under_way.add(request)
        if fate != "unanswered":
            asyncio.get_running_loop().call_soon(_settle, request)
        try:
            await request
        finally:
            self._under_way.discard(request)

    def _hold(self, channel: str) -> None:
        self.hear(events.PresenceReceived(channel, self.hub.roster(channel, but=self.peer_id), (), snapshot=True))
        if channel not in self._observes and channel not in self.listed:
            self.listed.add(channel)
            self.hub.tell(channel, self.peer_id, joined=(Present(self.peer_id, self.metadata),))

    def _leave(self, channel: str, reason: str) -> None:
        if channel in self.listed:
            self.listed.discard(channel)
            self.hub.tell(channel, self.peer_id, left=(Present(self.peer_id, reason=reason),))


def _settle(request: asyncio.Future[None]) -> None:
    if not request.done():
        request.set_result(None)


# -- who is connected to it


class Log:
    """What a replica logs, as it is told."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def bind(self, **_fields: Any) -> Log:
        return self

    def log(self, _level: int, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))

    def debug(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))

    info = warning = error = debug

    def said(self, event: str) -> list[dict[str, Any]]:
        return [fields for said, fields in self.lines if said == event]


class Running:
    """One replica that runs."""

    def __init__(self, replica: Replica, link: MemoryLink, log: Log, recorder: Recorder) -> None:
        self.replica, self.link, self.log = replica, link, log
        self.recorder = recorder
        self._following = asyncio.create_task(replica.run())
        self._closed = False

    @property
    def agent(self) -> Any:
        """The instance that the replica made."""
        return self.replica.workload.target

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            await self.replica.close()
            await self.link.close()
            await self._following


class Neighbourhood:
    """A plan whose replicas run beside each other."""

    def __init__(self, text: str, **handlers: type) -> None:
        """`handlers` are the agents' classes, by the name that stands behind ``app:`` in the topology."""
        self._handlers = {f"app:{name}": handler for name, handler in handlers.items()}
        reports = {reference: describe(reference, handler) for reference, handler in self._handlers.items()}
        path = Path("/nowhere/topology.yaml")
        topology = parse_topology(text.encode(), {}, source="topology.yaml", path=path)
        self.plan: Plan = make_plan(topology, reports)
        self.hub = MemoryHub()
        self.running: dict[str, Running] = {}
        self._ids = itertools.count(1)

    def prepare(self, peer: str) -> Running:
        """Connect one replica, without starting it."""
        planned = next(replica for replica in self.plan.replicas if replica.peer_id == peer)
        assert planned.handler is not None
        link = self.hub.link(peer, dict(planned.peer_metadata), observes=planned.observe)
        log, recorder = Log(), Recorder(planned.concurrency)
        replica = Replica(
            planned,
            read_agent(planned.handler, self._handlers[planned.handler]),
            link,
            wall_offset=WALL_OFFSET,
            new_id=lambda: f"{peer}-{next(self._ids)}",
            log=log,
            recorder=recorder,
        )
        running = self.running[peer] = Running(replica, link, log, recorder)
        return running

    async def start(self, *peers: str) -> list[Running]:
        """Start replicas; all of the plan if none is named."""
        started = [self.prepare(peer) for peer in peers or [replica.peer_id for replica in self.plan.replicas]]
        for running in started:
            await running.replica.start()
        return started

    @asynccontextmanager
    async def user(self, peer: str = "reader/alice") -> AsyncIterator[User]:
        """Connect a user, who may ask every agent by its name."""
        link = self.hub.link(peer)
        user = User(cast("Client", link))
        following = asyncio.create_task(user._follow())
        await user._welcomed.wait()
        try:
            yield user
        finally:
            await user._close()
            await following

    async def close(self) -> None:
        for running in self.running.values():
            await running.close()

    @classmethod
    @asynccontextmanager
    async def of(cls, text: str, **handlers: type) -> AsyncIterator[Neighbourhood]:
        """All replicas of a plan, started, and closed at the end; nothing of them may be left then."""
        around = cls(text, **handlers)
        try:
            await around.start()
            yield around
        finally:
            await around.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}
