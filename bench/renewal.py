"""A client whose tokens last five seconds, in traffic both ways: nobody may notice that it renews its connection."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog

from bench.measuring import run
from bench.real_hub import real_hub
from bench.verdict import Bar, percentile, tell
from orchestrator.client.connection import Client
from orchestrator.client.events import DirectReceived, Disconnected, MessageReceived, PresenceReceived, Renewed
from orchestrator.errors import ConnectionProblem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bench.real_hub import RealHub
    from orchestrator.client.events import ClientEvent

SUBJECT: Final = "subject"
TO_SUBJECT: Final = "to-subject"
FROM_SUBJECT: Final = "from-subject"
AFTERMATH: Final = 0.25
"""Seconds after a renewal that still count as during it."""
PATIENCE: Final = 5.0
"""Seconds for what is still under way in the end."""


@dataclass(slots=True)
class Flow:
    """Numbered messages of one sender to one receiver, published and sent in turn."""

    taken: set[int] = field(default_factory=set)
    """Acked by the hub: these have to arrive."""
    heard: list[tuple[float, int]] = field(default_factory=list)
    acks: list[tuple[float, float]] = field(default_factory=list)
    """When each request was made, and the seconds until its ack."""
    failures: list[str] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def hear(self, event: ClientEvent) -> None:
        if isinstance(event, MessageReceived | DirectReceived):
            self.heard.append((time.monotonic(), int(json.loads(bytes(event.data))["n"])))
            self.news.set()

    async def complete(self) -> None:
        """Wait until all that was acked has been heard; nothing more may be asked for meanwhile."""
        while not self.taken <= {number for _, number in self.heard}:
            self.news.clear()
            await self.news.wait()

    def described(self) -> dict[str, Any]:
        numbers = [number for _, number in self.heard]
        once = set(numbers)
        times = [at for at, _ in self.heard]
        return {
            "acked": len(self.taken),
            "heard": len(numbers),
            "lost": len(self.taken - once),
            "doubled": len(numbers) - len(once),
            "out_of_order": sum(late < early for early, late in pairwise(numbers)),
            "failed_requests": len(self.failures),
            "failures": sorted(set(self.failures))[:5],
            "longest_gap_ms": round(max((b - a for a, b in pairwise(times)), default=0.0) * 1000, 1),
        }


@dataclass(slots=True)
class Renewals:
    """When tokens were asked for, and when the client said that it had renewed; readings of the monotonic clock."""

    asked: list[float] = field(default_factory=list)
    done: list[float] = field(default_factory=list)
    disconnects: int = 0

    def during(self, at: float) -> bool:
        """Tell whether something that began at this time began while a connection was being replaced."""
        spans = zip(self.asked[1:], self.done, strict=False)
        return any(begin <= at <= end + AFTERMATH for begin, end in spans)

    def watch(self, event: ClientEvent) -> None:
        if isinstance(event, Renewed):
            self.done.append(time.monotonic())
        elif isinstance(event, Disconnected):
            self.disconnects += 1


@dataclass(slots=True)
class Watched:
    """What another peer sees of the subject's presence."""

    changes: int = 0
    seen: bool = False

    def watch(self, event: ClientEvent) -> None:
        """Count everything after the subject was first there."""
        if not isinstance(event, PresenceReceived):
            return
        for entry in (*event.joined, *event.left):
            if entry.peer_id == SUBJECT:
                self.changes += self.seen
                self.seen = True


async def speak(client: Client, channel: str, peer: str, flow: Flow, rate: float, seconds: float) -> None:
    """Publish and send in turn, without waiting for acks, so that there is always something under way."""

    async def request(number: int) -> None:
        begin = time.monotonic()
        try:
            if number % 2:
                await client.send(peer, {"n": number})
            else:
                await client.publish(channel, {"n": number})
        except ConnectionProblem as error:
            flow.failures.append(f"{type(error).__name__}: {error}")
            return
        flow.acks.append((begin, time.monotonic() - begin))
        flow.taken.add(number)

    begin = time.monotonic()
    async with asyncio.TaskGroup() as requests:
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, begin + number / rate - time.monotonic()))
            requests.create_task(request(number))


class Peers:
    """The clients of one run and their watchers, closed together."""

    def __init__(self, hub: RealHub, stack: AsyncExitStack) -> None:
        self._hub, self._stack = hub, stack

    async def join(self, provide: Callable[[], Awaitable[str]], *watchers: Callable[[ClientEvent], None]) -> Client:
        async def watch() -> None:
            async for event in client.events():
                for watcher in watchers:
                    watcher(event)

        async def close() -> None:
            await client.close()
            await watching

        client = Client(self._hub.url, token_provider=provide)
        await client.connect()
        watching = asyncio.create_task(watch())
        self._stack.push_async_callback(close)
        return client

    def tokens(self, sub: str) -> Callable[[], Awaitable[str]]:
        async def provide() -> str:
            return self._hub.token(sub)

        return provide


async def live(options: argparse.Namespace, stack: AsyncExitStack) -> tuple[Flow, Flow, Renewals, Watched]:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    hub = await stack.enter_async_context(real_hub(folder))
    inward, outward, renewals, watched = Flow(), Flow(), Renewals(), Watched()

    async def short_lived() -> str:
        renewals.asked.append(time.monotonic())
        return hub.token(SUBJECT, options.life, instance="1")

    peers = Peers(hub, stack)
    watcher = await peers.join(peers.tokens("watcher"), watched.watch)
    await watcher.subscribe(TO_SUBJECT)
    subject = await peers.join(short_lived, inward.hear, renewals.watch)
    await subject.subscribe(TO_SUBJECT)
    peer = await peers.join(peers.tokens("peer"), outward.hear)
    await peer.subscribe(FROM_SUBJECT)
    async with asyncio.TaskGroup() as speakers:
        speakers.create_task(speak(peer, TO_SUBJECT, SUBJECT, inward, options.rate, options.seconds))
        speakers.create_task(speak(subject, FROM_SUBJECT, "peer", outward, options.rate, options.seconds))
    with contextlib.suppress(TimeoutError):  # what is lost by then is counted
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(inward.complete(), outward.complete())
    await asyncio.sleep(AFTERMATH)  # for what comes twice
    return inward, outward, renewals, watched


async def measure(options: argparse.Namespace) -> None:
    async with AsyncExitStack() as stack:
        inward, outward, renewals, watched = await live(options, stack)
        changes, disconnects = watched.changes, renewals.disconnects
    flows = {"to_subject": inward.described(), "from_subject": outward.described()}
    bars = [
        Bar(name.replace("_", " "), sum(flow[name] for flow in flows.values()), "<=", 0)
        for name in ("lost", "doubled", "out_of_order", "failed_requests")
    ]
    bars += [
        Bar("presence changes seen by others", changes if watched.seen else None, "<=", 0),
        Bar("disconnects of the subject", disconnects, "<=", 0),
        Bar("renewals", len(renewals.done), ">=", int(options.seconds / options.life)),
    ]
    during = [took for at, took in outward.acks if renewals.during(at)]
    otherwise = [took for at, took in outward.acks if not renewals.during(at)]
    figures: dict[str, object] = {
        "seconds": options.seconds,
        "token_life_s": options.life,
        "tokens_asked_for": len(renewals.asked),
        **flows,
        "ack_p99_ms": {
            "during_renewals": round(percentile(during, 0.99) * 1000, 2),
            "otherwise": round(percentile(otherwise, 0.99) * 1000, 2),
            "longest": round(max((took for _, took in outward.acks), default=0.0) * 1000, 2),
        },
        "acks_during_renewals": len(during),
    }
    tell("renewal", bars, figures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--life", type=float, default=5.0, help="seconds that a token of the subject lasts")
    parser.add_argument("--rate", type=float, default=200.0, help="messages a second in each direction")
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    run(measure(parser.parse_args()), fast=False)


if __name__ == "__main__":
    main()
