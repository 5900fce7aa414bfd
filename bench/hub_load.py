"""The hub under load, in turns with a naive hub and with NATS: fan-out, direct sends, streams, connects, and what grows."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import sys
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Any

from bench import hub_report
from bench.brokers import broker_python
from bench.hub_servers import NATS, OURS, SERVERS, Server
from bench.hub_workloads import ASKED, Asked, Workload, workloads
from bench.lines import child
from bench.measuring import run
from bench.verdict import Bar, tell

if TYPE_CHECKING:
    from collections.abc import Iterable

_BUSY = 0.9
"""Of a core: a generator that took more may have been the limit."""


@dataclass(frozen=True, slots=True)
class Turns:
    """What all rounds have found: workload, then server, then the figures of each round."""

    of: dict[str, dict[str, list[dict[str, Any]]]]

    def add(self, workload: Workload, server: str, found: dict[str, Any]) -> None:
        self.of.setdefault(workload.name, {}).setdefault(server, []).append(found)

    def middle(self, workload: str, server: str, figure: str) -> float | None:
        values = [found[figure] for found in self.of.get(workload, {}).get(server, ()) if found.get(figure) is not None]
        return median(values) if values else None

    def ratios(self, asked: Asked) -> list[float]:
        """Return the figure of each round over the one that it is held against, or by itself."""
        ours = self.of.get(asked.workload, {}).get(OURS, [])
        if asked.by_itself:
            return [found[asked.figure] for found in ours]
        others = self.of.get(asked.beside or asked.workload, {}).get(asked.rival or OURS, [])
        pairs = zip(ours, others, strict=False)  # without NATS, there is nothing beside it
        return [mine[asked.figure] / other[asked.figure] for mine, other in pairs if other.get(asked.figure)]

    def total(self, figure: str) -> int:
        return sum(found.get(figure, 0) for found in self.everything())

    def most(self, figure: str) -> float:
        return max((found[figure] for found in self.everything()), default=0.0)

    def everything(self) -> Iterable[dict[str, Any]]:
        return (found for servers in self.of.values() for rounds in servers.values() for found in rounds)


async def take_turn(workload: Workload, server: Server) -> dict[str, Any]:
    order = {
        "workload": workload.kind,
        "options": workload.options,
        "around": workload.around,
        "reach": server.reach,
        "pid": server.pid,
    }
    async with child(sys.executable, "bench.hub_generator", order) as generator:
        return await generator.told()


async def rounds(options: argparse.Namespace, kinds: list[str]) -> tuple[Turns, list[dict[str, Any]]]:
    """Let the servers take turns; who begins changes from round to round. Return the figures, and a line for each turn."""
    found, lines = Turns({}), []
    async with contextlib.AsyncExitStack() as stack:
        lasting = {kind: await stack.enter_async_context(SERVERS[kind]()) for kind in kinds}
        for number in range(options.rounds):
            for workload in workloads(options):
                if options.only and not any(word in workload.name for word in options.only):
                    continue
                able = [kind for kind in kinds if kind in workload.servers]
                for place in range(len(able)):
                    kind = able[(number + place) % len(able)]
                    if workload.fresh:
                        async with SERVERS[kind]() as server:
                            figures = await take_turn(workload, server)
                    else:
                        figures = await take_turn(workload, lasting[kind])
                    found.add(workload, kind, figures)
                    lines.append({"round": number, "workload": workload.name, "server": kind, **figures})
                    if options.verbose:
                        print(json.dumps(lines[-1]), file=sys.stderr, flush=True)
    return found, lines


def processor(found: Turns) -> dict[str, float]:
    """Return how many times the processor of the hub each rival takes for an operation, where rates are compared.

    That bears company on the machine better than rates do.
    """
    asked = [replace(each, figure="server_cpu_us") for each in ASKED if each.rival and each.figure == "per_s"]
    ratios = {each.name: found.ratios(each) for each in asked}
    return {name: round(1 / median(values), 2) for name, values in ratios.items() if values}


def judged(found: Turns) -> list[Bar]:
    bars = []
    for asked in ASKED:
        if asked.workload in found.of:
            ratios = found.ratios(asked)
            bars.append(Bar(asked.name, median(ratios) if ratios else None, asked.relation, asked.limit))
    bars.append(Bar("lost or uneven", found.total("lost") + found.total("uneven"), "<=", 0))
    return bars


async def measure(options: argparse.Namespace) -> None:
    kinds = [kind for kind in SERVERS if kind != NATS or broker_python()]
    found, lines = await rounds(options, kinds)
    bars = judged(found)
    for line in hub_report.for_people(found.of, found.middle):
        print(line, file=sys.stderr)
    print(f"processor of the rivals for an operation / ours: {processor(found)}", file=sys.stderr)
    if found.most("generator_share") > _BUSY:
        print("a generator took more than 0.9 of its core: it may have been the limit", file=sys.stderr)
    summary = {"rounds": options.rounds, "seconds": options.seconds, "cores": os.cpu_count()}
    report = hub_report.table(found.of, found.middle, bars, summary)
    hub_report.write(lines, report, publish=options.publish)
    figures = {
        workload: {
            server: {figure: found.middle(workload, server, figure) for figure in turns[0]}
            for server, turns in servers.items()
        }
        for workload, servers in found.of.items()
    }
    tell("hub_load", bars, {**summary, "processor_of_rivals": processor(found), "medians": figures})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="that a turn is measured for")
    parser.add_argument("--warm", type=float, default=0.5, help="seconds before these")
    parser.add_argument("--connections", type=int, default=9_000, help="that are opened in a turn of `connects`")
    parser.add_argument("--channels", type=int, default=100_000, help="that exist where there are many")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="workloads with one of these words in their names")
    parser.add_argument("--verbose", action="store_true", help="print a line of JSON for each turn, too")
    parser.add_argument(
        "--publish", action="store_true", help="write bench/results/hub.* and the table in docs/performance.md anew"
    )
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # for the servers
    run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
