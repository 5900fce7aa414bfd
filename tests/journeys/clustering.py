"""Several real hubs joined by a real engine, and clients that know what should reach them."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from aiohttp import ClientSession
from yarl import URL

from orchestrator.client.connection import Client
from orchestrator.client.events import Connected, DirectReceived, Disconnected, MessageReceived, PresenceReceived
from orchestrator.client.policy import ReconnectPolicy
from orchestrator.errors import ConnectionProblem, RequestRefused
from orchestrator.hub import key_file
from tests.brokers import nats_server, needs_client, valkey_server
from tests.interop.hub_process import HubProcess, hub_process, reserved_address
from tests.journeys.splitter import Splitter, splitter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.brokers import Broker

QUICK: Final = ReconnectPolicy(initial=0.1, multiplier=1.0, max_attempts=None, per_minute=None)
"""Hubs of these tests live for seconds, and each time is as the first one."""
QUICK_DRAIN: Final = ("--drain-window", "0.2", "--drain-grace", "2")
ENGINES: Final = ("nats", "redis")


class Hubs:
    """Hubs by name, each at an address that it keeps, which take the connections to one address by turns."""

    def __init__(self, stack: AsyncExitStack, keys: Path, backplane: str, split: Splitter, *options: str) -> None:
        self._stack, self.keys, self._backplane, self._options = stack, keys, backplane, options
        self.split = split
        self.up: dict[str, HubProcess] = {}
        self._addresses: dict[str, str] = {}
        self._rest = ClientSession()
        self._running: dict[str, AsyncExitStack] = {}

    @property
    def url(self) -> str:
        return self.split.url

    async def start(self, *names: str) -> None:
        await asyncio.gather(*map(self._start, names))

    async def _start(self, name: str) -> None:
        if name not in self._addresses:
            self._addresses[name] = self._stack.enter_context(reserved_address())
        own = self._running[name] = await self._stack.enter_async_context(AsyncExitStack())
        more = ("--backplane", self._backplane, "--node-name", name, *self._options)
        self.up[name] = await own.enter_async_context(hub_process(self.keys, self._addresses[name], *more))
        host, _, port = self._addresses[name].rpartition(":")
        self.split.targets[name] = (host, int(port))

    async def drain(self, name: str) -> float:
        """Stop a hub well; return the seconds that it took."""
        self.split.targets.pop(name)
        hub, began = self.up.pop(name), time.monotonic()
        assert await hub.stop() == 0, self.said()
        await self._running.pop(name).aclose()
        return time.monotonic() - began

    async def kill(self, name: str) -> float:
        """Kill a hub; return when."""
        hub, at = self.up.pop(name), time.monotonic()
        hub.process.kill()
        self.split.targets.pop(name)
        await self._running.pop(name).aclose()
        return at

    async def ask(self, name: str, method: str, path: str, body: Any = None) -> Any:
        """Do what the control plane of one hub does."""
        secret = key_file.load(self.keys).secret_keys[0]
        headers = {"Authorization": f"Bearer {secret.id}:{secret.secret}"}
        url = URL(f"{self.up[name].http}/v1/{path}", encoded=True)
        async with self._rest.request(method, url, json=body, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def roster(self, name: str, channel: str) -> set[str]:
        listed = await self.ask(name, "GET", f"channels/{channel.replace('/', '%2F')}/peers")
        return {entry["peerId"] for entry in listed["peers"]}

    async def rosters(self, channel: str) -> dict[str, set[str]]:
        return {name: await self.roster(name, channel) for name in sorted(self.up)}

    async def everywhere(self, channel: str, peers: set[str], seconds: float) -> float:
        """Wait until each hub lists just these peers; return the seconds that it took."""
        began = time.monotonic()
        while True:
            found = await self.rosters(channel)
            if all(listed == peers for listed in found.values()):
                return time.monotonic() - began
            assert time.monotonic() - began < seconds, (channel, peers, found)
            await asyncio.sleep(0.05)  # nothing else tells when a hub has heard of it

    def client(self, sub: str, name: str | None = None, **options: Any) -> Client:
        """Return a client at the common address, or at one hub's."""
        hub = next(iter(self.up.values()))
        token = hub.token(sub, rate="unlimited", **options.pop("claims", {}))

        async def provide() -> str:
            return token

        url = self.url if name is None else f"ws://{self._addresses[name]}"
        policy = options.pop("reconnect", QUICK)
        return Client(url, token_provider=provide, reconnect=policy, daemon=True, **options)

    def said(self) -> str:
        return self.keys.with_name(f"{self.keys.name}.log").read_text()

    def assert_healthy(self) -> None:
        for hub in self.up.values():
            hub.assert_healthy()

    async def close(self) -> None:
        await self._rest.close()


@asynccontextmanager
async def hubs_at(folder: Path, backplane: str, *names: str, options: tuple[str, ...] = ()) -> AsyncIterator[Hubs]:
    """Run hubs on an engine that runs already."""
    async with AsyncExitStack() as stack:
        split = await stack.enter_async_context(splitter())
        hubs = Hubs(stack, folder / "keys.yaml", backplane, split, *QUICK_DRAIN, *options)
        stack.push_async_callback(hubs.close)
        await hubs.start(*names)
        yield hubs
        hubs.assert_healthy()


@asynccontextmanager
async def joined(
    folder: Path, engine: str, *names: str, options: tuple[str, ...] = ()
) -> AsyncIterator[tuple[Hubs, Broker]]:
    """Run hubs on an engine of their own."""
    needs_client("nats" if engine == "nats" else "redis", "nats-py" if engine == "nats" else "redis[hiredis]")
    start = nats_server if engine == "nats" else valkey_server
    with start(folder / "engine") as broker:
        async with hubs_at(folder, f"{broker.url}/journeys", *names, options=options) as hubs:
            yield hubs, broker


@dataclass
class Change:
    """What a reader was told of a peer."""

    peer: str
    what: str
    """`joined`, or why it left."""
    at: float


class Member:
    """One client that listens, and notes what it hears and when."""

    def __init__(self, client: Client, name: str) -> None:
        self.client, self.name = client, name
        self.heard: dict[str, list[Any]] = {}
        """What came, by its sender, and for a channel by sender and channel."""
        self.connected_at: list[float] = []
        self.lost_at: list[float] = []
        self.codes: list[int] = []
        self.changes: dict[str, list[Change]] = {}
        """By channel, without the rosters that come whole."""
        self.rosters: dict[str, set[str]] = {}
        self.problems: Counter[str] = Counter()
        self.acked: dict[str, int] = {}
        """The last number that was acked, by receiver."""
        self._news = asyncio.Event()

    async def begin(self, *channels: str) -> None:
        self._watching = asyncio.create_task(self._watch(), name=self.name)
        await self.client.connect()
        for channel in channels:
            await self.client.subscribe(channel)

    async def end(self) -> None:
        await self.client.close()
        await self._watching

    async def _watch(self) -> None:
        async for event in self.client.events():
            now = time.monotonic()
            match event:
                case DirectReceived():
                    self.heard.setdefault(event.sender, []).append(json.loads(bytes(event.data)))
                case MessageReceived():
                    self.heard.setdefault(f"{event.sender} {event.channel}", []).append(json.loads(bytes(event.data)))
                case PresenceReceived():
                    self._see(event, now)
                case Connected():
                    self.connected_at.append(now)
                case Disconnected():
                    self.lost_at.append(now)
                    self.codes.append(event.code)
                case _:
                    pass
            self._news.set()

    def _see(self, event: PresenceReceived, now: float) -> None:
        joined, left = {one.peer_id for one in event.joined}, {one.peer_id for one in event.left}
        if event.snapshot:
            self.rosters[event.channel] = joined
            return
        self.rosters[event.channel] = (self.rosters.get(event.channel, set()) | joined) - left
        changes = self.changes.setdefault(event.channel, [])
        changes += [Change(one.peer_id, "joined", now) for one in event.joined]
        changes += [Change(one.peer_id, one.reason or "?", now) for one in event.left]

    async def until(self, so: Callable[[], bool], seconds: float) -> None:
        """Wait for something to be true of what was heard. Raises `TimeoutError`."""
        async with asyncio.timeout(seconds):
            while not so():
                self._news.clear()
                await self._news.wait()

    async def talk(self, to: str, until: asyncio.Event, pace: float = 0.0) -> None:
        """Say numbers to a peer, each until it was acked."""
        while not until.is_set():
            await self.say(to)
            await asyncio.sleep(pace)

    async def say(self, to: str) -> None:
        number = self.acked.get(to, 0) + 1
        while True:
            try:
                await self.client.send(to, number, id=f"{to} {number}", when_disconnected="wait")
                break
            except ConnectionProblem as problem:
                self.problems[problem.code if isinstance(problem, RequestRefused) else type(problem).__name__] += 1
                await asyncio.sleep(0.01)  # until it is somewhere
        self.acked[to] = number


@dataclass
class Ring:
    """Members each of which talks to the next ones, through one or several hubs."""

    members: list[Member]
    steps: tuple[int, ...] = (1, 2)
    pace: float = 0.0
    _enough: asyncio.Event = field(default_factory=asyncio.Event)

    async def begin(self) -> None:
        await asyncio.gather(*(member.begin() for member in self.members))
        count = len(self.members)
        self._talks = [
            asyncio.create_task(member.talk(self.members[(at + step) % count].name, self._enough, self.pace))
            for at, member in enumerate(self.members)
            for step in self.steps
        ]

    async def moves(self, by: int, seconds: float) -> None:
        """Wait until each flow has gone on by so many."""
        flows = [
            (one, self.members[(at + step) % len(self.members)].name)
            for at, one in enumerate(self.members)
            for step in self.steps
        ]
        wanted = [(one, to, one.acked.get(to, 0) + by) for one, to in flows]
        async with asyncio.timeout(seconds):
            while any(one.acked.get(to, 0) < number for one, to, number in wanted):  # noqa: ASYNC110  # none of them tells
                await asyncio.sleep(0.02)

    async def finish(self, seconds: float = 20.0) -> None:
        self._enough.set()
        async with asyncio.timeout(seconds):
            await asyncio.gather(*self._talks)
        by_name = {member.name: member for member in self.members}
        for member in self.members:
            for to, number in member.acked.items():
                hearer = by_name[to]
                await hearer.until(
                    lambda hearer=hearer, member=member, number=number: (  # type: ignore[misc]
                        hearer.heard.get(member.name, [0])[-1] >= number
                    ),
                    seconds,
                )

    async def end(self) -> None:
        await asyncio.gather(*(member.end() for member in self.members))

    @property
    def acked(self) -> int:
        return sum(sum(member.acked.values()) for member in self.members)

    def faults(self) -> list[str]:
        """Return what was lost, came twice, or came out of order, of all that was acked."""
        by_name = {member.name: member for member in self.members}
        found = []
        for member in self.members:
            for to, number in member.acked.items():
                heard = by_name[to].heard.get(member.name, [])
                lost = sorted(set(range(1, number + 1)) - set(heard))
                if lost:
                    found.append(f"{to} has not heard {lost[:5]} of {number} from {member.name}")
                if len(set(heard)) < len(heard):
                    twice = sorted(value for value, times in Counter(heard).items() if times > 1)
                    found.append(f"{to} has heard {twice[:5]} twice from {member.name}")
                if heard != sorted(heard):
                    found.append(f"{to} has not heard {member.name} in order")
        return found
