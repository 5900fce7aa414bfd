"""A process with some of a hub's clients, busy with each other: told by lines of JSON what to do, it answers with lines.

Each member says numbers to some others and on some channels, the next one when the one before was acked. So whoever
hears them on one connection hears them without a gap; what is missing between two connections was lost with the first.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter
from functools import partial
from itertools import cycle
from typing import TYPE_CHECKING, Any, Final, cast

import structlog

from orchestrator.client.connection import Client
from orchestrator.client.events import Connected, DirectReceived, Disconnected, MessageReceived, PresenceReceived
from orchestrator.client.policy import ReconnectPolicy
from orchestrator.errors import ConnectionLost, ConnectionProblem, NotConnected

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.client.connection import WhenDisconnected

PACE: Final = 0.03
"""Seconds between two messages of one loop."""
LONGEST: Final = 2**22


class Member:
    """One client, and what it should know of itself and of the others."""

    def __init__(self, url: str, about: dict[str, Any], first_delay: float) -> None:
        async def token() -> str:
            return str(about["token"])

        # Each hub lives for seconds, and each time counts as the first, as it would be after a stable connection.
        policy = ReconnectPolicy(initial=first_delay, multiplier=1.0, max_attempts=None, per_minute=None)
        self.name: str = about["name"]
        self.client = Client(url, token_provider=token, reconnect=policy)
        self.when_disconnected: WhenDisconnected = "wait" if about["repeats"] else "fail"
        self.repeats = bool(about["repeats"])
        self.wanted: set[str] = set()
        """What the program has subscribed to, as the client documents which calls count."""
        self.rosters: dict[str, set[str]] = {}
        """What was told on this connection."""
        self.whole_at: float | None = None
        """When every subscription had its roster on this connection."""
        self.probes: set[str] = set()
        self.said: dict[str, int] = dict.fromkeys([*(f"@{peer}" for peer in about["peers"]), *about["channels"]], 0)
        """The last number that was acked, by the channel, or the peer after an @."""
        self.heard: dict[str, int] = {}
        """The last number that was heard, by the sender and the channel."""
        self.gaps: list[str] = []
        self.problems: Counter[str] = Counter()
        self.acked_here = False
        """Something was acked on this connection."""
        self.news = asyncio.Event()
        self._fixed: list[str] = about["fixed"]
        self._halls: list[str] = about["halls"]
        self._rng = random.Random(about["seed"])
        self._new_life: set[str] = set()
        """Senders and channels that were heard on this connection."""

    async def begin(self) -> None:
        await self.client.connect()
        self.watching = asyncio.create_task(self.watch())
        for text in self._fixed:
            await self.client.subscribe(text)
            self.wanted.add(text)

    # -- what it hears

    async def watch(self) -> None:
        async for event in self.client.events():
            if isinstance(event, MessageReceived):
                data = json.loads(bytes(event.data))
                if isinstance(data, str):
                    self.probes.add(data)
                else:
                    self._hear(f"{event.sender} {event.channel}", data)
            elif isinstance(event, DirectReceived):
                self._hear(event.sender, json.loads(bytes(event.data)))
            elif isinstance(event, PresenceReceived):
                self._see(event)
            elif isinstance(event, Connected | Disconnected):
                self.rosters.clear()
                self._new_life.clear()
                self.whole_at, self.acked_here = None, False
            self.news.set()

    def _hear(self, flow: str, number: int) -> None:
        last = self.heard.get(flow, 0)
        if flow in self._new_life:
            if number != last + 1:
                self.gaps.append(f"{self.name} heard {number} after {last} of {flow} on one connection")
        elif number < last:
            self.gaps.append(f"{self.name} heard {number} after {last} of {flow}")
        self._new_life.add(flow)
        self.heard[flow] = number

    def _see(self, event: PresenceReceived) -> None:
        if event.channel not in self.wanted:
            return
        joined = {present.peer_id for present in event.joined}
        left = {present.peer_id for present in event.left}
        known = set() if event.snapshot else self.rosters.get(event.channel, set())
        self.rosters[event.channel] = (known - left) | joined
        if self.whole_at is None and self.rosters.keys() >= self.wanted:
            self.whole_at = time.monotonic()

    # -- what it does

    async def talk(self, flows: list[str], until: asyncio.Event) -> None:
        for flow in cycle(flows):
            if until.is_set():
                return
            await self.say(flow)
            await asyncio.sleep(PACE)

    async def say(self, flow: str) -> None:
        """Say the next number until it was acked."""
        number = self.said[flow] + 1
        message_id = f"{flow} {number}" if self.repeats else None
        ask = self.client.send if flow[0] == "@" else self.client.publish
        while True:
            try:
                await ask(flow.removeprefix("@"), number, id=message_id, when_disconnected=self.when_disconnected)
            except ConnectionProblem as problem:
                self.problems[type(problem).__name__] += 1
                await asyncio.sleep(PACE)
            else:
                break
        self.said[flow] = number
        self.acked_here = True
        self.news.set()

    async def come_and_go(self, until: asyncio.Event) -> None:
        """Subscribe and unsubscribe at random."""
        while not until.is_set():
            hall = self._rng.choice(self._halls)
            try:
                if hall in self.wanted:
                    self.wanted.discard(hall)
                    self.rosters.pop(hall, None)
                    await self.client.unsubscribe(hall)
                else:
                    self.wanted.add(hall)
                    await self.client.subscribe(hall)
            except NotConnected:
                self.wanted.discard(hall)
                await asyncio.sleep(PACE)
            except ConnectionLost:  # asked for again on the next connection, or forgotten for good
                pass
            await asyncio.sleep(self._rng.uniform(0.0, 2 * PACE))

    async def until(self, so: Callable[[], bool]) -> None:
        while not so():
            self.news.clear()
            await self.news.wait()

    def sees(self, rosters: dict[str, list[str]], since: float) -> bool:
        seen = {channel: sorted(self.rosters.get(channel, ())) for channel in self.wanted}
        return self.whole_at is not None and self.whole_at > since and seen == rosters

    def has_heard(self, flows: dict[str, int]) -> bool:
        return all(self.heard.get(flow) == number for flow, number in flows.items())


class Crowd:
    def __init__(self, members: list[Member]) -> None:
        self._members = {member.name: member for member in members}
        self._settled = asyncio.Event()
        self._silent = asyncio.Event()
        self._moves: list[asyncio.Task[None]] = []
        self._talks: list[asyncio.Task[None]] = []

    async def begin(self) -> dict[str, Any]:
        await asyncio.gather(*(member.begin() for member in self._members.values()))
        for member in self._members.values():
            peers = [flow for flow in member.said if flow[0] == "@"]
            channels = [flow for flow in member.said if flow[0] != "@"]
            self._talks += [asyncio.create_task(member.talk(flows, self._silent)) for flows in (peers, channels)]
        return {}

    async def go(self) -> dict[str, Any]:
        """Come and go from now on; answer when each member has something acked by the present hub."""
        self._settled.clear()
        self._moves = [asyncio.create_task(member.come_and_go(self._settled)) for member in self._members.values()]
        for member in self._members.values():
            await member.until(partial(getattr, member, "acked_here"))
        return {}

    async def settle(self) -> dict[str, Any]:
        """Come and go no more; tell who holds which subscriptions."""
        self._settled.set()
        await asyncio.gather(*self._moves)
        return {name: sorted(member.wanted) for name, member in self._members.items()}

    async def see(self, rosters: dict[str, dict[str, list[str]]], since: float) -> dict[str, Any]:
        """Answer once each member sees these rosters on a connection that was made since then.

        Tells when that was, and when each had all of its subscriptions back.
        """
        for name, member in self._members.items():
            await member.until(partial(member.sees, rosters[name], since))
        return {"at": time.monotonic(), "whole_at": [member.whole_at for member in self._members.values()]}

    async def hear(self, probes: dict[str, list[str]]) -> dict[str, Any]:
        """Answer once each member has heard these probes; tell which others it heard."""
        others: dict[str, list[str]] = {}
        for name, member in self._members.items():
            expected = set(probes.get(name, ()))
            await member.until(partial(member.probes.issuperset, expected))
            if member.probes > expected:
                others[name] = sorted(member.probes - expected)
            member.probes.clear()
        return others

    async def finish(self) -> dict[str, Any]:
        """Say one number more to everybody, and tell what was said, and what was wrong."""
        self._silent.set()
        await asyncio.gather(*self._talks)
        members = self._members.values()
        await asyncio.gather(*(member.say(flow) for member in members for flow in member.said))
        return {
            "said": {member.name: member.said for member in members},
            "gaps": [gap for member in members for gap in member.gaps],
            "problems": {
                kind: sum((member.problems for member in members if member.repeats == repeats), Counter())
                for kind, repeats in (("repeating", True), ("failing", False))
            },
        }

    async def have_heard(self, flows: dict[str, dict[str, int]]) -> dict[str, Any]:
        """Answer once each member has heard the last number of each of these flows."""
        for name, member in self._members.items():
            await member.until(partial(member.has_heard, flows[name]))
        return {}

    async def end(self) -> dict[str, Any]:
        await asyncio.gather(*(member.client.close() for member in self._members.values()))
        await asyncio.gather(*(member.watching for member in self._members.values()))
        return {}


async def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    reader = asyncio.StreamReader(LONGEST)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    order = json.loads(await reader.readline())
    crowd = Crowd([Member(order["url"], about, order["first_delay"]) for about in order["members"]])
    while line := await reader.readline():
        asked = cast("list[Any]", json.loads(line))
        print(json.dumps(await getattr(crowd, asked[0])(*asked[1:])), flush=True)
        if asked[0] == "end":
            break


if __name__ == "__main__":
    asyncio.run(main())
