"""This package's client takes its turn in `bench/client_throughput.py`, on asyncio's own loop or on uvloop."""

from __future__ import annotations

import asyncio
import cProfile
import pstats
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
import uvloop

from bench.lines import order, say
from bench.turn import Handler, Spent, publish_all
from orchestrator.client.connection import Client
from orchestrator.client.events import Disconnected, MessageReceived

if TYPE_CHECKING:
    from orchestrator.client.events import ClientEvent


def client_of(url: str, token: str, inbox: int) -> Client:
    async def provide() -> str:
        return token

    return Client(url, token_provider=provide, inbox=inbox)


async def receive(asked: dict[str, Any]) -> tuple[Spent, int]:
    """Return what it took, and whether the client cut its connection, which ends the turn: 0 or 1 times."""
    cuts = 0
    handler = Handler(asked["messages"])
    decode = msgspec.json.Decoder().decode

    def dispatch(event: ClientEvent) -> None:
        nonlocal cuts
        if isinstance(event, MessageReceived):
            handler(decode(event.data))
        elif isinstance(event, Disconnected):
            cuts += 1
            handler.done.set()

    async def take_events() -> None:
        async for event in client.events():
            dispatch(event)

    client = client_of(asked["replay"], "a.b.c", asked["inbox"])
    await client.connect()
    taking = asyncio.create_task(take_events())
    spent = Spent()
    spent.start()
    await client.subscribe("bench")
    await handler.done.wait()
    spent.stop()
    await client.close()
    await taking
    return spent, cuts


async def publish(asked: dict[str, Any]) -> Spent:
    async with client_of(asked["hub"], asked["token"], asked["inbox"]) as client:
        return await publish_all(client.publish, asked["publishes"], asked["window"])


async def turn(asked: dict[str, Any]) -> None:
    received, cuts = await receive(asked)
    say(receive={**received.over(asked["messages"]), "cuts": cuts})
    sys.stdin.readline()
    published = await publish(asked)
    say(publish=published.over(asked["publishes"]))


def main() -> None:
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(40), logger_factory=structlog.PrintLoggerFactory(sys.stderr)
    )
    asked = order()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if asked["loop"] == "uvloop" else None) as runner:
        if not asked["profile"]:
            runner.run(turn(asked))
            return
        for what in (receive, publish):
            profile = cProfile.Profile()
            profile.runcall(runner.run, what(asked))
            print(f"-- {what.__name__}, {asked['loop']}", file=sys.stderr)
            pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    main()
