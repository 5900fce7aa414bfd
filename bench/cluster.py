"""Two hubs as one: fan-out and sends across them beside one hub alone, and beside the engines that join them."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import sys
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any, Final, Literal

from bench import cluster_report
from bench.brokers import broker_python
from bench.cluster_report import PING_PONG, PRESENCE
from bench.cluster_servers import ALONE, GROUNDS, HUBS, JOINED, Ground
from bench.lines import child
from bench.measuring import run
from bench.verdict import Bar, tell

if TYPE_CHECKING:
    from collections.abc import Iterator

FAN_OUT, FAN_OUT_WIDE, DIRECT = "fan-out 100", "fan-out 1,000", "direct 20 x 8"
_BEAT: Final = 2.1
"""Seconds within which each hub has given a sign of life."""
_BUSY: Final = 0.9
"""Of a core: a generator that took more may have been the limit."""


@dataclass(frozen=True, slots=True)
class Workload:
    name: str
    kind: str
    options: dict[str, Any]
    grounds: tuple[str, ...] = tuple(GROUNDS)
    fresh: bool = False
    """Each turn has servers of its own, and there is one turn in all."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A bar: a figure of hubs that an engine joins over that of one hub alone, in the same round."""

    name: str
    workload: str
    ground: str
    figure: str
    relation: Literal["<=", ">="]
    limit: float


ASKED: Final = tuple(
    Asked(f"{workload}, {ground}, rate per core / one hub", workload, ground, "per_cpu_s", ">=", 0.5)
    for workload in (FAN_OUT, FAN_OUT_WIDE)
    for ground in JOINED
) + tuple(Asked(f"ping-pong p50, {ground} / one hub", PING_PONG, ground, "p50", "<=", 3) for ground in JOINED)


@dataclass(slots=True)
class Turns:
    """What all rounds have found: workload, then ground, then the figures of each round."""

    of: dict[str, dict[str, list[dict[str, Any]]]] = field(default_factory=dict)

    def add(self, workload: str, ground: str, found: dict[str, Any]) -> None:
        self.of.setdefault(workload, {}).setdefault(ground, []).append(found)

    def middle(self, workload: str, ground: str, figure: str) -> float | None:
        values = [found[figure] for found in self.of.get(workload, {}).get(ground, ()) if found.get(figure) is not None]
        return median(values) if values else None

    def ratio(self, asked: Asked) -> float | None:
        grounds = self.of.get(asked.workload, {})
        pairs = zip(grounds.get(asked.ground, ()), grounds.get(ALONE, ()), strict=False)
        ratios = [mine[asked.figure] / alone[asked.figure] for mine, alone in pairs if alone.get(asked.figure)]
        return median(ratios) if ratios else None

    def everything(self) -> Iterator[dict[str, Any]]:
        return (found for grounds in self.of.values() for rounds in grounds.values() for found in rounds)


def workloads(options: argparse.Namespace) -> list[Workload]:
    times = {"warm": options.warm, "seconds": options.seconds}
    known = {"peers": options.peers, "idle": max(4 * options.seconds, _BEAT), "spaced": round(40 * options.seconds)}
    return [
        Workload(FAN_OUT, "fan_out", {"subscribers": 100, "window": 16, **times}),
        Workload(FAN_OUT_WIDE, "fan_out", {"subscribers": 1_000, "window": 16, **times}),
        Workload(PING_PONG, "round_trips", {"pairs": 1, **times}),
        Workload(DIRECT, "direct", {"pairs": 20, "window": 8, **times}, HUBS),
        Workload(PRESENCE, "presence", known, HUBS, fresh=True),
    ]


async def take_turn(workload: Workload, ground: Ground) -> dict[str, Any]:
    order = {
        "workload": workload.kind,
        "options": workload.options,
        "reach": ground.reach,
        "hubs": ground.hubs,
        "engine": ground.engine,
    }
    async with child(sys.executable, "bench.cluster_generator", order) as generator:
        return await generator.told()


async def rounds(options: argparse.Namespace) -> tuple[Turns, list[dict[str, Any]]]:
    """Let the grounds take turns; who begins changes from round to round. Return the figures, and a line for each turn."""
    found, lines = Turns(), []
    wanted = [
        each for each in workloads(options) if not options.only or any(word in each.name for word in options.only)
    ]

    def note(number: int, workload: Workload, kind: str, figures: dict[str, Any]) -> None:
        found.add(workload.name, kind, figures)
        lines.append({"round": number, "workload": workload.name, "ground": kind, **figures})
        if options.verbose:
            print(json.dumps(lines[-1]), file=sys.stderr, flush=True)

    async with contextlib.AsyncExitStack() as stack:
        lasting = [each for each in wanted if not each.fresh]
        grounds = {kind: await stack.enter_async_context(GROUNDS[kind]()) for kind in GROUNDS if lasting}
        for number in range(options.rounds):
            for workload in lasting:
                for place in range(len(workload.grounds)):
                    kind = workload.grounds[(number + place) % len(workload.grounds)]
                    note(number, workload, kind, await take_turn(workload, grounds[kind]))
    for workload in (each for each in wanted if each.fresh):
        for kind in workload.grounds:
            async with GROUNDS[kind]() as ground:
                note(0, workload, kind, await take_turn(workload, ground))
    return found, lines


def judged(found: Turns) -> list[Bar]:
    bars = [
        Bar(asked.name, found.ratio(asked), asked.relation, asked.limit)
        for asked in ASKED
        if asked.workload in found.of
    ]
    missing = sum(turn.get("lost", 0) + turn.get("uneven", 0) for turn in found.everything())
    return [*bars, Bar("lost or uneven", missing, "<=", 0)]


async def measure(options: argparse.Namespace) -> None:
    if broker_python() is None:
        raise SystemExit("NATS and Valkey could not be installed, and there is nothing to join hubs with")
    found, lines = await rounds(options)
    bars = judged(found)
    summary = {"rounds": options.rounds, "seconds": options.seconds, "peers": options.peers, "cores": os.cpu_count()}
    print(cluster_report.table(found, bars, summary), cluster_report.plan(found), sep="\n", file=sys.stderr)
    if max((turn.get("generator_share", 0.0) for turn in found.everything()), default=0.0) > _BUSY:
        print("a generator took more than 0.9 of its core: it may have been the limit", file=sys.stderr)
    if options.publish:
        told = {bar.name: bar.as_json() for bar in bars}
        cluster_report.publish(found, {**summary, "bars": told, "turns": lines}, bars, summary)
    tell("cluster", bars, {**summary, "turns": lines})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.8, help="that a turn is measured for")
    parser.add_argument("--warm", type=float, default=0.3, help="seconds before these")
    parser.add_argument("--peers", type=int, default=1_000, help="that are connected in a turn of `presence`")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="workloads with one of these words in their names")
    parser.add_argument("--verbose", action="store_true", help="print a line of JSON for each turn, too")
    parser.add_argument(
        "--publish", action="store_true", help="write bench/results/cluster.* and the table in docs/scaling.md anew"
    )
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # for the servers
    run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
