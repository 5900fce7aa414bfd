"""This package's client against the stock Python SDK, in turns: taking messages, and publishing with acks."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from bench.lines import STOCK_MISSING, child, stock_python
from bench.measuring import run
from bench.real_hub import real_hub
from bench.replay import MESSAGES_IN_ONE_WRITE, serve_replay
from bench.verdict import Bar, tell

if TYPE_CHECKING:
    from bench.real_hub import RealHub

WHO = ("ours_asyncio", "ours_uvloop", "stock")
WHAT = {"receive": 1.3, "publish": 2.0}
"""Each half of a turn, and how many times the stock SDK's speed is asked for."""


async def turn(who: str, asked: dict[str, Any], hub: RealHub) -> dict[str, dict[str, float]]:
    """Let one client in a fresh process take its turn; return both halves of it."""
    python = stock_python() if who == "stock" else sys.executable
    assert python is not None
    module = "bench.turn_stock" if who == "stock" else "bench.turn_ours"
    async with child(python, module, {**asked, "loop": who.removeprefix("ours_")}) as client:
        found = await client.told()
        before = hub.cpu_seconds()
        client.finish()
        found |= await client.told()
        after = hub.cpu_seconds()
    if before is not None and after is not None:
        found["publish"]["hub_cpu_us"] = (after - before) / asked["publishes"] * 1e6
    return found


async def rounds(options: argparse.Namespace) -> list[dict[str, dict[str, dict[str, float]]]]:
    """Return who → what → figures of each round; who begins changes from round to round."""
    who = WHO if stock_python() else WHO[:-1]
    if len(who) < len(WHO):
        print(STOCK_MISSING, file=sys.stderr)
    messages = options.messages // MESSAGES_IN_ONE_WRITE * MESSAGES_IN_ONE_WRITE
    publishes = options.publishes // options.window * options.window
    found = []
    with tempfile.TemporaryDirectory() as folder:
        server, replay = await serve_replay(messages, options.size)
        async with real_hub(Path(folder)) as hub, server:
            asked = {
                "replay": replay,
                "hub": hub.url,
                "token": hub.token("bench"),
                "messages": messages,
                "publishes": publishes,
                "window": options.window,
                "inbox": options.inbox,
                "profile": False,
            }
            for number in range(options.rounds):
                turns = [who[(number + place) % len(who)] for place in range(len(who))]
                found.append({each: await turn(each, asked, hub) for each in turns})
            if options.profile:
                await profile(asked)
    return found


async def profile(asked: dict[str, Any]) -> None:
    """Run each loop once under a profiler, whose tables go to standard error."""
    for loop in ("asyncio", "uvloop"):
        async with child(sys.executable, "bench.turn_ours", {**asked, "loop": loop, "profile": True}) as client:
            await client.ended()


def compared(found: list[dict[str, dict[str, dict[str, float]]]], who: str, what: str, figure: str) -> list[float]:
    """Return the ratio of each round: above 1, `who` is better than the stock SDK."""
    pairs = [(each[who][what][figure], each["stock"][what][figure]) for each in found if "stock" in each]
    return [ours / stock if figure == "per_s" else stock / ours for ours, stock in pairs]


async def measure(options: argparse.Namespace) -> None:
    found = await rounds(options)
    bars = []
    figures: dict[str, object] = {
        "rounds": options.rounds,
        "window": options.window,
        "data_bytes": options.size,
        "inbox": options.inbox,
    }
    for what, limit in WHAT.items():
        for who in found[0]:
            halves = [each[who][what] for each in found]
            cut = sum(half.get("cuts", 0) for half in halves)
            shown: dict[str, object] = {name: round(median(half[name] for half in halves), 2) for name in halves[0]}
            shown = {"cuts": cut} if cut else shown
            faster = None if cut else compared(found, who, what, "per_s")
            if who != "stock":
                bars.append(Bar(f"{what} {who} / stock", median(faster) if faster else None, ">=", limit))
                if faster:
                    shown["ratio_per_round"] = [round(ratio, 2) for ratio in faster]
                    shown["cpu_ratio_per_round"] = [round(it, 2) for it in compared(found, who, what, "cpu_us")]
            figures[f"{what}_{who}"] = shown
    cuts = sum(each[who]["receive"]["cuts"] for each in found for who in each)
    bars.append(Bar("connections cut for a full inbox", cuts, "<=", 0))
    tell("client_throughput", bars, figures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=200_000, help="that each client takes in its turn")
    parser.add_argument("--size", type=int, default=100, help="bytes of their data")
    parser.add_argument("--publishes", type=int, default=40_000, help="that each client makes in its turn")
    parser.add_argument("--window", type=int, default=64, help="publishes under way at a time")
    parser.add_argument("--inbox", type=int, default=10_000, help="events that wait in our client at most")
    parser.add_argument("--profile", action="store_true", help="show afterwards where our client's time goes")
    run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
