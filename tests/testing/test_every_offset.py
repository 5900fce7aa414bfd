"""Hazard 15: a reset at any byte of an exchange of 40 frames between the client and the hub, either way.

Whatever byte is the last one to pass: nothing hangs, no task is left, the client comes back by itself, each request
ends once, and the hub's subscriptions are those that the client was told of.
"""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import pytest

from orchestrator.client.connection import Client
from orchestrator.client.events import DirectReceived, MessageReceived
from orchestrator.client.policy import ReconnectPolicy
from orchestrator.errors import ConnectionLost, ConnectionProblem, NotConnected
from orchestrator.hub.keys import KeyRing
from orchestrator.hub.settings import Settings
from orchestrator.protocol.tokens import Claims, SecretKey, mint
from orchestrator.testing import ChaosProxy, LimitData
from tests.joined_servers import new_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterable

    from orchestrator.hub.server import Server
    from orchestrator.testing import ProxyEvent
    from orchestrator.testing.faults import Direction

KEY = SecretKey("sk_id_test", "sk_secret_" + "t" * 40, rate="unlimited")
APP = "default"
CHANNELS = ("x", "y", "z")
HANG = 5.0
"""Seconds that no run may take."""
STRIDE = 29
SLICES = 8
WAYS: tuple[Direction, ...] = ("upstream", "downstream")
FRAMES = 40


def client(url: str, sub: str, instance: str) -> Client:
    async def fresh() -> str:
        return mint(KEY, Claims(sub, int(time.time()) + 600, instance=instance))

    return Client(url, token_provider=fresh, reconnect=ReconnectPolicy(initial=0.001), daemon=True)


class Stage:
    """A hub, and a peer `b` of it that nothing happens to."""

    def __init__(self, server: Server, b: Client) -> None:
        self.server, self.b = server, b
        self._events = b.events()

    def subscriptions(self, peer: str) -> list[set[str]]:
        """Return what each connection of a peer is subscribed to, as the hub sees it."""
        return [set(held.subscriptions) for held in self.server.hub.connections() if held.peer_id == peer]

    async def told(self, last: str) -> list[str]:
        """Return what `b` got, up to the one thing that comes last."""
        got: list[str] = []
        while not got or got[-1] != last:
            event = await anext(self._events)
            if isinstance(event, MessageReceived | DirectReceived):
                got.append(str(event.data, "utf-8").strip('"'))
        return got


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    server = new_server(KeyRing([KEY]), Settings(snapshot_gap=0.0, drain_window=0.0, drain_grace=1.0))
    await server.start(socket.create_server(("127.0.0.1", 0)))
    try:
        async with client(server.url, "b", "only") as b:
            await b.subscribe("w")
            yield Stage(server, b)
    finally:
        await server.drain()


class Exchange:
    """What `a` asks for, in 40 frames both ways when nothing goes wrong, and how each of its requests ended."""

    def __init__(self, a: Client, b: Client) -> None:
        self.a, self.b = a, b
        self.wanted: set[str] = set()
        """The subscriptions that `a` has been told of, as the client promises."""
        self.acked: list[str] = []
        self.asked: list[str] = []
        self.ended: list[str] = []

    async def run(self) -> None:
        for channel in CHANNELS:
            await self._subscribe(channel)
        for number in range(2):
            await self._ask(f"publish {number}", self.a.publish("w", f"publish {number}"))
        await self.b.publish("x", 1)
        await self._send("b", 1)
        await self._unsubscribe("y")
        await asyncio.gather(*(self._send("b", number) for number in (2, 3)), self._send("a", 4))
        await self._subscribe("y")
        await self.b.publish("y", 2)
        await self._unsubscribe("x")
        for number in range(2, 4):
            await self._ask(f"publish {number}", self.a.publish("w", f"publish {number}"))
        await self._unsubscribe("z")
        await self._send("b", 5)

    async def _subscribe(self, channel: str) -> None:
        """A subscription that could not be asked for is not remembered, one whose answer was lost is."""
        error = await self._ask(f"subscribe {channel}", self.a.subscribe(channel))
        if not isinstance(error, NotConnected):
            self.wanted.add(channel)

    async def _unsubscribe(self, channel: str) -> None:
        await self._ask(f"unsubscribe {channel}", self.a.unsubscribe(channel))
        self.wanted.discard(channel)

    async def _send(self, to: str, number: int) -> None:
        words = f"send {number}" if to == "b" else "to myself"
        await self._ask(words, self.a.send(to, words, when_disconnected="wait"))

    async def _ask(self, what: str, request: Awaitable[object]) -> ConnectionProblem | None:
        self.asked.append(what)
        error: ConnectionProblem | None = None
        try:
            await request
        except (ConnectionLost, NotConnected) as problem:
            error = problem
        self.ended.append(what)
        if error is None:
            self.acked.append(what)
        return error


async def run(stage: Stage, way: Direction, offset: int) -> None:
    """Let one exchange happen with a reset after `offset` bytes, and look at what is left of it."""
    name = f"run {way:10} {offset:05}"
    limit = LimitData(offset, reset=True, direction=way, connections=1)
    async with asyncio.timeout(HANG), ChaosProxy(stage.server.url, faults=[limit]) as proxy:
        async with client(proxy.url, "a", name) as a:
            exchange = Exchange(a, stage.b)
            await exchange.run()
            assert sorted(exchange.ended) == sorted(exchange.asked)
            await proxy.seen(lambda event: event.what == "reset")
            await come_back(a, name)
            assert stage.subscriptions("a") == [exchange.wanted]
            rosters = {channel for channel in CHANNELS if stage.server.hub.roster(APP, channel)}
            assert rosters == exchange.wanted
            got = await stage.told(name)
            assert len(got) == len(set(got)), "something was delivered twice"
            passed = {what for what in exchange.acked if what.startswith(("publish", "send"))}
            assert passed <= set(got), "something was acknowledged, and not delivered"
            assert proxy.accepted == 2
        await proxy.wait_for(open_connections=0)
    assert stage.subscriptions("a") == []


async def come_back(a: Client, words: str) -> None:
    """Return when the hub has taken something from `a`: all that `a` asked for before, it has taken then too."""
    while True:
        try:
            await a.send("b", words, when_disconnected="wait")
        except ConnectionLost:
            continue
        return


async def sweep(way: Direction, offsets: Iterable[int]) -> None:
    async with stage() as around:
        before = asyncio.all_tasks()
        for offset in offsets:
            try:
                await run(around, way, offset)
            except Exception as error:
                raise AssertionError(f"after {offset} bytes {way}: {error!r}") from error
            left = [task for task in asyncio.all_tasks() - before if not task.done()]
            assert left == [], f"after {offset} bytes {way}"


class Measured(NamedTuple):
    total: int
    boundaries: list[int]
    """Offsets at which a frame ends, and the one at which the HTTP head does."""


async def measured(way: Direction) -> Measured:
    """Return what passes one way in an exchange that nothing happens to."""
    async with stage() as around, ChaosProxy(around.server.url) as proxy:
        async with client(proxy.url, "a", f"run {way:10} {0:05}") as a:
            exchange = Exchange(a, around.b)
            async with asyncio.timeout(HANG):
                await exchange.run()
                await proxy.seen(lambda _: len(frames(proxy.events)) == FRAMES)
            assert exchange.acked == exchange.asked
            events = proxy.events
    assert len(frames(events)) == FRAMES
    total = sum(event.size for event in events if event.what == "passed" and event.direction == way)
    sizes = [event.size for event in frames(events) if event.direction == way]
    boundaries = [total - sum(sizes)]
    for size in sizes:
        boundaries.append(boundaries[-1] + size)
    assert boundaries[-1] == total
    return Measured(total, boundaries)


def frames(events: Iterable[ProxyEvent]) -> list[ProxyEvent]:
    return [event for event in events if event.what == "frame"]


@pytest.mark.one_hub("the bytes that it counts are those of one hub")
@pytest.mark.parametrize("way", WAYS)
async def test_hazard_15_a_reset_at_or_beside_each_end_of_a_frame_and_here_and_there(way: Direction) -> None:
    total, boundaries = await measured(way)
    beside = {edge + aside for edge in boundaries for aside in (-1, 0, 1)}
    await sweep(way, sorted(offset for offset in beside | set(range(0, total, STRIDE)) if 0 <= offset <= total))


@pytest.mark.bars
@pytest.mark.parametrize("part", range(SLICES))
@pytest.mark.parametrize("way", WAYS)
async def test_hazard_15_a_reset_at_every_byte(way: Direction, part: int) -> None:
    total, _ = await measured(way)
    await sweep(way, range(part, total + 1, SLICES))
