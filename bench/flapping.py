"""How often a client knocks in its first minute at a hub that lets it in, or nearly, and then closes."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import random
import sys
from collections import Counter
from contextlib import AsyncExitStack
from typing import Final, Literal

import structlog
from websockets.asyncio.server import ServerConnection, serve

from bench.verdict import Bar, percentile, tell
from orchestrator.client.connection import Client
from orchestrator.client.effects import Attempt
from orchestrator.client.policy import ReconnectPolicy
from orchestrator.client.session import Session
from orchestrator.errors import NotConnected
from orchestrator.protocol.codes import CloseCode

MINUTE: Final = 60.0
Flap = Literal["after the welcome", "before the handshake ends"]
FLAPS: Final[tuple[Flap, ...]] = ("after the welcome", "before the handshake ends")
WELCOME: Final = json.dumps(
    {"type": "welcome", "peerId": "me", "expiresAt": None, "serverTime": 1, "maxMessageSize": 65_536}
)


def attempts_in_virtual_time(rng: random.Random, flap: Flap, age: float, round_trip: float) -> int:
    """Return how often a session dials within a minute, while each connection ends at once.

    With an `age`, a connection of so many seconds came before, and the minute begins with its end.
    """
    session = Session("ws://hub:1", ReconnectPolicy(), rng, daemon=True)
    now, made = 0.0, 0
    effects = session.start(now)
    if age:
        session.dialing(1, now)
        session.received(1, WELCOME, now)
        now = age
        session.lost(1, CloseCode.ABNORMAL, "", now)
        effects = ()
    end = now + MINUTE
    while now < end:
        for attempt in [effect for effect in effects if isinstance(effect, Attempt)]:
            made += 1
            session.dialing(attempt.epoch, now)
            now += round_trip
            if flap == "after the welcome":
                session.received(attempt.epoch, WELCOME, now)
            session.lost(attempt.epoch, CloseCode.ABNORMAL, "", now)
            session.inbox.clear()
        due = session.deadline()
        if due is None:
            raise RuntimeError("the session has stopped trying")
        now = max(now, due)
        effects = session.tick(now) if now < end else ()
    return made


class FlappingServer:
    """Closes every connection, in one of two ways, and counts them."""

    def __init__(self, flap: Flap) -> None:
        self._flap = flap
        self.accepted = 0

    async def start(self, stack: AsyncExitStack) -> str:
        """Serve until the stack ends, and return the address."""
        if self._flap == "after the welcome":
            open_ended = serve(self._welcome, "127.0.0.1", 0, compression=None, ping_interval=None, close_timeout=1)
            sockets = (await stack.enter_async_context(open_ended)).sockets
        else:
            server = await stack.enter_async_context(await asyncio.start_server(self._half, "127.0.0.1", 0))
            sockets = server.sockets
        return f"ws://127.0.0.1:{next(iter(sockets)).getsockname()[1]}"

    async def _welcome(self, socket: ServerConnection) -> None:
        self.accepted += 1
        await socket.send(WELCOME)
        await socket.close(CloseCode.INTERNAL_ERROR)

    async def _half(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: web")
        await writer.drain()
        writer.close()


async def attempts_in_real_time(flap: Flap, seconds: float, stack: AsyncExitStack) -> int:
    """Return how often a real client was accepted within `seconds` of its first attempt."""

    async def provide() -> str:
        return "a.b.c"

    async def live() -> None:
        with contextlib.suppress(NotConnected):
            await client.connect()
            async for _ in client.events():
                pass

    server = FlappingServer(flap)
    client = Client(await server.start(stack), token_provider=provide, daemon=True)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(live())
        await asyncio.sleep(seconds)
        accepted = server.accepted
        await client.close()
    return accepted


async def real(clients: int, seconds: float) -> dict[Flap, list[int]]:
    async with AsyncExitStack() as stack:
        flaps: list[Flap] = [FLAPS[number % len(FLAPS)] for number in range(clients)]
        found = await asyncio.gather(*(attempts_in_real_time(flap, seconds, stack) for flap in flaps))
    return {flap: [made for each, made in zip(flaps, found, strict=True) if each == flap] for flap in FLAPS}


def described(found: list[int]) -> dict[str, object]:
    spread = {str(made): times for made, times in sorted(Counter(found).items())}
    return {"runs": len(found), "max": max(found, default=0), "p99": percentile(list(found), 0.99), "attempts": spread}


def measure(options: argparse.Namespace) -> None:
    rng = random.Random(options.seed)
    virtual: dict[str, list[int]] = {
        f"{flap}, {'after a stable connection' if age else 'from the first connect on'}": [
            attempts_in_virtual_time(rng, flap, age, options.round_trip) for _ in range(options.sessions)
        ]
        for flap in FLAPS
        for age in (0.0, 2 * ReconnectPolicy().stable_after)
    }
    lived = asyncio.run(real(options.clients, options.seconds))
    runs = [made for each in [*virtual.values(), *lived.values()] for made in each]
    bars = [Bar("attempts in the first minute", max(runs), "<=", options.limit)]
    figures: dict[str, object] = {
        "share_of_runs_beyond": sum(made > options.limit for made in runs) / len(runs),
        "virtual": {flap: described(found) for flap, found in virtual.items()},
        "real": {flap: described(found) for flap, found in lived.items()},
        "real_seconds": options.seconds,
    }
    tell("flapping", bars, figures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=2000, help="of each kind, in virtual time")
    parser.add_argument("--round-trip", type=float, default=0.001, help="virtual seconds that each connection lasts")
    parser.add_argument("--clients", type=int, default=20, help="real ones, half of each kind")
    parser.add_argument("--seconds", type=float, default=MINUTE, help="for which the real ones are watched")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=int, default=12)
    # what the clients and the library log of each close is no news here
    logging.disable(logging.CRITICAL)
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    measure(parser.parse_args())


if __name__ == "__main__":
    main()
