"""A hub at half of what it can do, for minutes, with a bit of everything that clients do: what it keeps of that.

Peers, visitors and requests are in this process, and the hub in one of its own, with authentication, limits and
presence on. Half of the maximum is the rate of acts that takes half a core of the hub, as a few seconds of them say.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import linear_regression, mean
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiohttp import ClientError, ClientSession
from yarl import URL

from bench.bare_peers import BarePeer
from bench.hub_facts import descriptors, resident_mib, visited, wake_ups
from bench.measuring import run
from bench.real_hub import real_hub
from bench.verdict import Bar, tell
from orchestrator.protocol.tokens import Claims, mint

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from bench.real_hub import RealHub

ROOMS: Final = 6
RESIDENTS: Final = 300
HALLS: Final = [f"hall/{number}" for number in range(40)] + [f"hall/{number}*" for number in range(10)] + ["hall/**"]
HELD: Final = 10
"""Halls that a resident is in at most."""
CALIBRATION: Final = 6.0
FIRST_RATE: Final = 150.0
SAMPLE: Final = 5.0
QUIET: Final = 4.0
"""Seconds in which the wake-ups of a hub without connections are counted."""
OPTIONS: Final = ["--max-connections", "5000", "--max-messages", "1000000000", "--ping-interval", "5"]
ACTS: Final = {
    "publish": 40,
    "direct": 30,
    "event": 8,
    "named": 4,
    "move": 8,
    "visit": 5,
    "reconnect": 2,
    "rest": 2,
    "mischief": 1,
}
"""Of a hundred."""


class Sample(NamedTuple):
    at: float
    resident: float
    """MiB."""
    descriptors: int
    cpu: float
    acts: int


class Resident:
    """A peer that stays, and comes back at once when it goes."""

    def __init__(self, name: str, room: str) -> None:
        self.name, self.room = name, room
        self.halls: set[str] = set()
        self.peer: BarePeer | None = None


class Soak:
    def __init__(self, hub: RealHub, session: ClientSession, seed: int) -> None:
        self.hub, self._session = hub, session
        self._rng = random.Random(seed)
        self._residents = [Resident(f"resident {n}", f"room/{n % ROOMS}") for n in range(RESIDENTS)]
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: set[BarePeer] = set()
        self._running = True
        self._visitors = 0
        self._numbers = 0
        self.acts = 0
        self.counts: Counter[str] = Counter()
        self.failures: list[BaseException] = []
        """Of what was done here: of these there are to be none."""

    async def begin(self) -> None:
        for resident in self._residents:
            await self._enter(resident)

    async def act(self, rate: float, until: float) -> None:
        """Do what peers do, so many acts a second, until a time of the loop."""
        loop = asyncio.get_running_loop()
        kinds, weights = list(ACTS), list(ACTS.values())
        due = loop.time()
        while loop.time() < until:
            for kind in self._rng.choices(kinds, weights, k=5):
                self.acts += 1
                getattr(self, f"_{kind}")()
            due += 5 / rate
            await asyncio.sleep(due - loop.time())
            due = max(due, loop.time() - 0.5)  # what a stall of this process has missed is not made up for

    async def end(self) -> None:
        """Let everybody leave. Raises `BaseExceptionGroup` for what went wrong in any of their tasks."""
        self._running = False
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.failures:
            raise BaseExceptionGroup("not everybody could do what was asked of them", self.failures)
        peers = list(self._open)
        for peer in peers:
            peer.close()
        async with asyncio.timeout(30):
            await asyncio.gather(*(peer.gone for peer in peers))

    # -- acts of residents

    def _publish(self) -> None:
        resident = self._rng.choice(self._residents)
        self._say(resident, type="publish", channel=resident.room, data="y" * self._rng.randint(20, 400))

    def _direct(self) -> None:
        to = self._rng.choice(self._residents).name
        self._say(self._rng.choice(self._residents), type="send", to=to, data=[self.acts, "z" * 50])

    def _event(self) -> None:
        """On a channel that was hardly heard of before, to those with patterns."""
        channel = f"events/{self._rng.randrange(4)}/{self._rng.randrange(20_000)}"
        self._say(self._rng.choice(self._residents), type="publish", channel=channel, data={"n": self.acts})

    def _named(self) -> None:
        self._numbers += 1
        frame = {"type": "publish", "channel": "hall/0", "data": 1, "id": f"n{self._numbers}"}
        resident = self._rng.choice(self._residents)
        self._say(resident, **frame)
        self._say(resident, **frame)

    def _move(self) -> None:
        resident = self._rng.choice(self._residents)
        hall = self._rng.choice(HALLS)
        if hall in resident.halls or len(resident.halls) >= HELD:
            hall = hall if hall in resident.halls else self._rng.choice(sorted(resident.halls))
            resident.halls.discard(hall)
            self._say(resident, type="unsubscribe", channel=hall)
        else:
            resident.halls.add(hall)
            self._say(resident, type="subscribe", channel=hall, includeSenderMetadata=self._rng.random() < 0.3)

    def _say(self, resident: Resident, **frame: Any) -> None:
        if resident.peer is not None:
            resident.peer.say(**frame, requestId="r")

    def _reconnect(self) -> None:
        resident = self._rng.choice(self._residents)
        if resident.peer is not None:
            self._go(resident.peer, self._rng.randrange(3))  # and `_enter` follows

    async def _enter(self, resident: Resident) -> None:
        resident.peer = None
        peer = await self._connect(resident.name)
        for channel in (resident.room, f"events/{len(resident.name) % 4}/*", *resident.halls):
            peer.say(type="subscribe", channel=channel)
        resident.peer = peer

        def enter_again(_: object) -> None:
            resident.peer = None
            if self._running:
                self._own(self._enter(resident))

        peer.gone.add_done_callback(enter_again)

    # -- acts of others

    def _visit(self) -> None:
        self._visitors += 1
        self._own(self._visited(f"visitor {self._visitors}", self._rng.randrange(4)))

    async def _visited(self, name: str, how: int) -> None:
        peer = await self._connect(name)
        for channel in (self._rng.choice(HALLS), f"room/{self._rng.randrange(ROOMS)}", "events/**", f"own/{name}"):
            peer.say(type="subscribe", channel=channel, requestId="r")
        peer.say(type="publish", channel=f"own/{name}/news", data=name, requestId="r")
        await asyncio.sleep(self._rng.uniform(0.0, 3.0))
        if how == 3 and not peer.gone.done():
            await self._ask("DELETE", f"/v1/peers/{name}")
        self._go(peer, how)
        await peer.gone

    def _rest(self) -> None:
        room = f"/v1/channels/room/{self._rng.randrange(ROOMS)}"
        asked: list[tuple[str, str, Any]] = [
            ("GET", f"{room}/peers", None),
            ("POST", f"{room}/publish", {"data": "from outside"}),
            ("GET", "/v1/usage", None),
            ("POST", "/v1/tokens", {"peerId": "somebody", "expiresInSec": 60}),
        ]
        self._own(self._ask(*self._rng.choice(asked)))

    def _mischief(self) -> None:
        which = self._rng.randrange(5)
        if which == 0:
            self._own(self._refused())
        else:
            self._visitors += 1
            self._own(self._unruly(f"unruly {self._visitors}", which))

    async def _refused(self) -> None:
        try:
            await BarePeer.connected(self.hub.port, "no.token.at.all")
        except ConnectionError:
            self.counts["refused"] += 1

    async def _unruly(self, name: str, which: int) -> None:
        peer = await self._connect(name)
        peer.say(type="subscribe", channel="hall/0")
        if which == 1:
            peer.say(type="publish", channel="hall/0", data="x" * 70_000)  # 1009
        elif which == 2:
            for _ in range(400):
                peer.say(type="ping")  # 4011
        elif which == 3:
            peer.write(b"\xf1\x80" + bytes(4))  # 1002
        else:
            peer.say(kind="nothing")
            peer.say(type="subscribe", channel="_system/x", requestId="r")
            peer.write(b"\x01\x85" + bytes(4) + b"start")  # of a message that does not go on
            self._go(peer, 2)
        await peer.gone

    async def _ask(self, method: str, path: str, body: Any = None) -> None:
        url = URL(f"http://127.0.0.1:{self.hub.port}{path.replace(' ', '%20')}", encoded=True)
        headers = {"Authorization": f"Bearer {self.hub.key.id}:{self.hub.key.secret}"}
        try:
            async with self._session.request(method, url, json=body, headers=headers) as answer:
                await answer.read()
                self.counts[f"rest {answer.status}"] += 1
        except ClientError:
            self.counts["rest failed"] += 1

    # -- connections

    async def _connect(self, name: str) -> BarePeer:
        claims = Claims(sub=name, exp=int(time.time()) + 3600, peer_metadata={"name": name})
        peer = await BarePeer.connected(self.hub.port, mint(self.hub.key, claims), self._hear)
        self._open.add(peer)
        peer.gone.add_done_callback(lambda code: self._count_gone(peer, code.result()))
        return peer

    def _count_gone(self, peer: BarePeer, code: int) -> None:
        self._open.discard(peer)
        self.counts[f"closed {code}"] += 1

    @staticmethod
    def _go(peer: BarePeer, how: int) -> None:
        if peer.gone.done():
            return
        if how == 0:
            peer.close()
        elif how == 1:
            peer.cut()
        else:
            peer.abandon()

    def _hear(self, text: bytes) -> None:
        self.counts[text[9:14].decode()] += 1

    def _own(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (problem := task.exception()) is not None:
            self.failures.append(problem)


async def watched(soak: Soak, began: float, until: float) -> list[Sample]:
    """Return what the hub was like every few seconds."""
    pid, samples = soak.hub.process.pid, []
    while time.monotonic() < until:
        cpu = soak.hub.cpu_seconds() or 0.0
        samples.append(Sample(time.monotonic() - began, resident_mib(pid), descriptors(pid), cpu, soak.acts))
        await asyncio.sleep(SAMPLE)
    return samples


def per_minute(samples: list[Sample]) -> list[dict[str, float]]:
    """Return the means of each minute."""
    minutes: dict[int, list[Sample]] = {}
    for sample in samples:
        minutes.setdefault(int(sample.at // 60), []).append(sample)
    told = []
    for number, those in minutes.items():
        first, last = those[0], those[-1]
        seconds = max(last.at - first.at, 1e-9)
        told.append(
            {
                "minute": number + 1,
                "mib": round(mean(sample.resident for sample in those), 2),
                "descriptors": round(mean(sample.descriptors for sample in those)),
                "acts_per_s": round((last.acts - first.acts) / seconds),
                "cpu_share": round((last.cpu - first.cpu) / seconds, 2),
            }
        )
    return told


async def quiet_wake_ups(pid: int) -> int:
    before = wake_ups(pid)
    await asyncio.sleep(QUIET)
    return wake_ups(pid) - before


async def rate_for(soak: Soak, share: float) -> float:
    """Return the acts a second that take that share of a core of the hub."""
    loop = asyncio.get_running_loop()
    cpu, acts = soak.hub.cpu_seconds() or 0.0, soak.acts
    await soak.act(FIRST_RATE, loop.time() + CALIBRATION)
    taken = (soak.hub.cpu_seconds() or 0.0) - cpu
    return share * (soak.acts - acts) / taken


async def measured(options: argparse.Namespace) -> tuple[list[Bar], dict[str, object]]:
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        hub = await stack.enter_async_context(real_hub(folder, *OPTIONS))
        pid = hub.process.pid
        empty = await quiet_wake_ups(pid)
        await visited(hub.port)
        start, start_mib = descriptors(pid), resident_mib(pid)
        session = await stack.enter_async_context(ClientSession())
        soak = Soak(hub, session, options.seed)
        await soak.begin()
        rate = await rate_for(soak, options.share)
        began = time.monotonic()
        seconds = 60 * options.minutes
        watching = asyncio.create_task(watched(soak, began, began + seconds))
        await soak.act(rate, loop.time() + seconds)
        samples = await watching
        await soak.end()
        await session.close()
        async with asyncio.timeout(30):
            while descriptors(pid) > start:  # noqa: ASYNC110  # another process says nothing of them
                await asyncio.sleep(0.05)
        left = descriptors(pid) - start
        async with ClientSession() as asking:
            headers = {"Authorization": f"Bearer {hub.key.id}:{hub.key.secret}"}
            async with asking.get(f"http://127.0.0.1:{hub.port}/v1/usage", headers=headers) as answer:
                connections = (await answer.json())["concurrentNow"]
        await asyncio.sleep(16)  # for the ping that every connection was due, and its answer, are over by then
        still, end_mib = await quiet_wake_ups(pid), resident_mib(pid)
        hub.process.send_signal(signal.SIGTERM)
        code = await hub.process.wait()
        log = (folder / "hub.log").read_text(encoding="utf-8")
    counted = [sample for sample in samples if sample.at >= 60 * options.warm_up]
    slope = 60 * linear_regression([each.at for each in counted], [each.resident for each in counted]).slope
    bars = [
        Bar("growth, MiB a minute", slope, "<=", options.slope),
        Bar("descriptors left", left, "<=", 0),
        Bar("connections left", connections, "<=", 0),
        Bar("wake-ups in quiet, beyond those of a new hub", still - empty, "<=", 10),
        Bar("exit code and faults logged", code + log.count("Traceback"), "<=", 0),
    ]
    figures: dict[str, object] = {
        "minutes": options.minutes,
        "warm_up": options.warm_up,
        "acts_per_s": round(rate),
        "hub_maximum_acts_per_s": round(rate / options.share),
        "mib_at_start": round(start_mib, 1),
        "mib_at_end": round(end_mib, 1),
        "wake_ups_in_quiet": [empty, still],
        "per_minute": per_minute(samples),
        "counts": dict(sorted(soak.counts.items())),
    }
    return bars, figures


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--warm-up", type=float, default=3.0, help="minutes that do not count: ids are kept for two")
    parser.add_argument("--share", type=float, default=0.5, help="of what the hub can do")
    parser.add_argument("--slope", type=float, default=1.0, help="MiB a minute that the hub may grow by")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args(words)


async def measure(options: argparse.Namespace) -> None:
    tell("soak", *await measured(options))


if __name__ == "__main__":
    run(measure(arguments()))
