"""Readers that read nothing, beside as many that do: how late these hear, and what the others cost.

The readers, a sender and the dead sockets are in this process, and the hub in one of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import shlex
import statistics
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from bench.bare_peers import BarePeer, DeadReader
from bench.hub_facts import descriptors, forget_peak, peak_mib, resident_mib, unsent
from bench.measuring import run
from bench.real_hub import real_hub
from bench.verdict import Bar, percentile, tell
from orchestrator.protocol.codes import CloseCode
from orchestrator.protocol.limits import OUTBOX_AGE, OUTBOX_BYTES

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from bench.real_hub import RealHub

AT_ONCE: Final = 50
AWAKE: Final = 5
"""So many of the dead read again once they are closed."""
ATTEMPTS: Final = 3
"""Times that the dead may take to fill, where the machine is so busy that some are too old before all are full."""
AFTERMATH: Final = 1.0
"""Seconds that the healthy are still listened to then."""
CUT_AFTER: Final = 12.0
"""Seconds after which the hub has let go of those that never read again."""
PIECE: Final = "x" * 60_000
CHANNEL: Final = "lobby"
STAMP: Final = b'"data":['
PER_READER_MIB: Final = (OUTBOX_BYTES + 65_536) / 2**20
"""What a dead reader may cost the hub."""


class Phase(NamedTuple):
    late: list[float]
    """Seconds that each message took to each healthy reader."""
    cpu_us: float
    """Microseconds of the hub's processor for each message, to all of its readers."""

    def ms(self, share: float) -> float:
        return percentile(self.late, share) * 1000


class Closing(NamedTuple):
    """How the dead readers of one round ended."""

    held_by_kernel: int
    """Bytes, of all of them, when none of them took any more."""
    late_s: float
    """Seconds after the oldest message was too old, until the last of them was seen to have left."""
    codes: list[int]
    """The close codes of those that read again as soon as they were seen to have left; 0 = none came."""
    kept: int = 0
    """Descriptors that the hub still had for those that never read again, after the last round."""


class Field:
    """A hub, healthy readers in one channel, and a sender that stamps its messages."""

    def __init__(self, hub: RealHub, options: argparse.Namespace) -> None:
        self.hub, self._options = hub, options
        self._late: list[float] = []
        self._owed = 0
        """So many deliveries end a phase."""
        self._asked = 0
        self._acks = 0
        self._refused = 0
        self._answered = asyncio.Event()
        self._left: set[str] = set()
        self._there: set[str] = set()
        self._changed = asyncio.Event()

    async def begin(self) -> None:
        self.sender = await BarePeer.connected(self.hub.port, self.hub.token("sender"), self._hear_answer)
        first = BarePeer.connected(self.hub.port, self.hub.token("healthy 0"), self._hear_everything)
        others = [
            BarePeer.connected(self.hub.port, self.hub.token(f"healthy {number}"), self._hear)
            for number in range(1, self._options.healthy)
        ]
        self.healthy = [await first, *await few_at_once(others)]
        for peer in self.healthy:
            peer.say(type="subscribe", channel=CHANNEL)
        await self.until(lambda: len(self._there) == self._options.healthy - 1)

    # -- what the peers hear

    def _hear(self, text: bytes) -> None:
        at = text.find(STAMP)
        if at > 0:
            self._late.append(time.monotonic() - float(text[at + len(STAMP) : text.index(b",", at)]))
            if len(self._late) == self._owed:
                self._changed.set()

    def _hear_everything(self, text: bytes) -> None:
        self._hear(text)
        if text.startswith(b'{"type":"presence"'):
            frame = msgspec.json.decode(text)
            self._there |= {entry["peerId"] for entry in frame["joined"]}
            gone = {entry["peerId"] for entry in frame["left"]}
            self._there -= gone
            self._left |= gone
            self._changed.set()

    def _hear_answer(self, text: bytes) -> None:
        self._acks += text.startswith(b'{"type":"ack"')
        self._refused += text.startswith(b'{"type":"error"')
        self._answered.set()

    async def until(self, so: Any) -> None:
        while not so():
            self._changed.clear()
            await self._changed.wait()

    async def asked(self, count: int, **frame: Any) -> None:
        """Send a request, and wait until no more than `count` are unanswered."""
        self.sender.say(**frame, requestId="r")
        self._asked += 1
        while self._asked - self._acks - self._refused > count:
            self._answered.clear()
            await self._answered.wait()

    # -- phases

    async def fan_out(self, until: asyncio.Future[Any]) -> Phase:
        """Publish at a steady rate until then."""
        loop = asyncio.get_running_loop()
        self._late, self._owed = [], 0
        due, sent, cpu = loop.time(), 0, self.hub.cpu_seconds() or 0.0
        while not until.done():
            self.sender.say(type="publish", channel=CHANNEL, data=[time.monotonic(), "y" * self._options.size])
            sent += 1
            due += 1 / self._options.rate
            await asyncio.sleep(due - loop.time())
        self._owed = sent * self._options.healthy
        async with asyncio.timeout(30):
            await self.until(lambda: len(self._late) >= self._owed)
        return Phase(self._late, ((self.hub.cpu_seconds() or 0.0) - cpu) / sent * 1e6)

    async def dead_readers(self, name: str, *channels: str) -> list[DeadReader]:
        """Connect as many as there are to be; those with a channel are seen to come."""
        names = [f"{name} {number}" for number in range(self._options.dead)]
        dead = await few_at_once(
            [DeadReader.connected(self.hub.port, self.hub.token(each), *channels) for each in names]
        )
        if channels:
            await self.until(lambda: self._there.issuperset(names))
        return dead

    async def stall(self) -> tuple[float, int]:
        """Send the dead more than the kernel takes for them; return since when the rest waits, and how much it took."""
        held = 0
        while True:
            since = time.monotonic()
            await self.asked(0, type="publish", channel="dead", data=PIECE)
            before, held = held, await self._steady_unsent()
            if held - before < self._options.dead * len(PIECE) * 0.1:
                return since, held

    async def _steady_unsent(self) -> int:
        """Return what the kernel holds once the hub has written what it has just acked."""
        before, held = -1, unsent(self.hub.port)
        while held != before:
            await asyncio.sleep(0.02)
            before, held = held, unsent(self.hub.port)
        return held

    async def closing(self, dead: list[DeadReader], since: float, held: int) -> Closing:
        """Wait until the hub has closed the dead readers; have a few of them read again then."""
        await self.until(lambda: len(self._left) == len(dead))
        seen = time.monotonic()
        at_once = await asyncio.gather(*(each.wake() for each in dead[:AWAKE]))
        await asyncio.sleep(seen + AFTERMATH - time.monotonic())
        return Closing(held, seen - since - OUTBOX_AGE, at_once)

    async def round(self, number: int, *, last: bool) -> tuple[Phase, Phase, Closing]:
        """Return what the healthy hear without dead readers and beside them, and how those ended."""
        seconds = asyncio.create_task(asyncio.sleep(self._options.seconds))
        alone = await self.fan_out(seconds)
        base = descriptors(self.hub.process.pid)
        for attempt in range(ATTEMPTS):
            dead = await self.dead_readers(f"dead {number}.{attempt}", CHANNEL, "dead")
            since, held = await self.stall()
            if not self._left:
                break
            await self.until(lambda dead=dead: len(self._left) == len(dead))
            self._forget(dead)
        closing = asyncio.create_task(self.closing(dead, since, held))
        beside = await self.fan_out(closing)
        if last:
            await asyncio.sleep(CUT_AFTER)
        kept = descriptors(self.hub.process.pid) - base if last else 0
        self._forget(dead)
        return alone, beside, (await closing)._replace(kept=kept)

    def _forget(self, dead: list[DeadReader]) -> None:
        for each in dead:
            each.end()
        self._left.clear()

    async def fill(self, name: str) -> float:
        """Send each of the dead other bytes than the others, until all are closed; return by how many MiB the hub grew."""
        pid = self.hub.process.pid
        dead = await self.dead_readers(name)
        before = resident_mib(pid)
        forget_peak(pid)
        turn = 0
        open_ones = list(range(len(dead)))
        async with asyncio.timeout(60):
            while open_ones:
                still = []
                for number in open_ones:
                    refused = self._refused
                    await self.asked(0, type="send", to=f"{name} {number}", data=f"{turn} {number} {PIECE}")
                    if self._refused == refused:
                        still.append(number)
                open_ones, turn = still, turn + 1
        for each in dead:
            each.end()
        return peak_mib(pid) - before


async def few_at_once(coroutines: list[Coroutine[Any, Any, Any]]) -> list[Any]:
    gate = asyncio.Semaphore(AT_ONCE)

    async def gated(coroutine: Coroutine[Any, Any, Any]) -> Any:
        async with gate:
            return await coroutine

    return await asyncio.gather(*map(gated, coroutines))


async def measured(options: argparse.Namespace) -> tuple[list[Bar], dict[str, object]]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        hub = await stack.enter_async_context(real_hub(folder, *options.hub))
        field = Field(hub, options)
        await field.begin()
        base = resident_mib(hub.process.pid)
        rounds = [await field.round(n, last=n == options.rounds - 1) for n in range(options.rounds)]
        grown = await field.fill("full")
    ratios = [beside.ms(0.99) / alone.ms(0.99) for alone, beside, _ in rounds]
    closings = [closing for _, _, closing in rounds]
    codes = [code for closing in closings for code in closing.codes]
    limit = options.memory or options.dead * PER_READER_MIB
    bars = [Bar("growth of the hub with full outboxes, MiB", grown, "<=", limit)]
    if rounds:
        bars += [
            Bar("p99 beside the dead / alone", statistics.median(ratios), "<=", 1.1),
            Bar("closed after the oldest message was too old, s", max(each.late_s for each in closings), "<=", 1.0),
            Bar(
                "without 1008 of those that read again",
                sum(code != CloseCode.POLICY_VIOLATION for code in codes),
                "<=",
                0,
            ),
            Bar("descriptors of the dead that the hub kept", max(each.kept for each in closings), "<=", 0),
        ]
    figures: dict[str, object] = {
        "healthy": options.healthy,
        "dead": options.dead,
        "rate": options.rate,
        "p99_ratio_per_round": [round(ratio, 3) for ratio in ratios],
        "p50_ms": [(round(alone.ms(0.5), 2), round(beside.ms(0.5), 2)) for alone, beside, _ in rounds],
        "p99_ms": [(round(alone.ms(0.99), 2), round(beside.ms(0.99), 2)) for alone, beside, _ in rounds],
        "hub_cpu_us": [(round(alone.cpu_us), round(beside.cpu_us)) for alone, beside, _ in rounds],
        "deliveries": [(len(alone.late), len(beside.late)) for alone, beside, _ in rounds],
        "kernel_holds_kib_per_dead": round(
            max((each.held_by_kernel for each in closings), default=0) / 1024 / options.dead
        ),
        "closed_late_s": [round(each.late_s, 3) for each in closings],
        "base_mib": round(base, 1),
        "growth_mib": round(grown, 1),
    }
    return bars, figures


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--healthy", type=int, default=500)
    parser.add_argument("--dead", type=int, default=500)
    parser.add_argument("--rate", type=float, default=50.0, help="messages a second to each")
    parser.add_argument("--size", type=int, default=100, help="bytes of a message")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each phase without dead readers")
    parser.add_argument("--rounds", type=int, default=5, help="0 = only the memory of full outboxes")
    parser.add_argument("--memory", type=float, default=0.0, help="MiB that the hub may grow by instead of its default")
    parser.add_argument("--hub", type=shlex.split, default=[], metavar="OPTIONS", help="for the hub, in one word")
    return parser.parse_args(words)


async def measure(options: argparse.Namespace) -> None:
    tell("dead_readers", *await measured(options))


if __name__ == "__main__":
    run(measure(arguments()))
