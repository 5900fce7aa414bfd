"""Durable tasks of eight processes: this package's store, Redis Streams on Valkey and NATS JetStream in turns, all of
which answer when the disk has it."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final, NamedTuple

from bench.brokers import broker_python, nats, our_store, valkey
from bench.lines import child
from bench.measuring import cpu_seconds, run
from bench.verdict import Bar, tell

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from bench.brokers import Broker
    from bench.lines import Child

WHAT: Final = {"enqueue": 10_000, "end_to_end": 4_000}
"""Each kind of turn, and how many tasks a second are asked for."""
OTHERS: Final = ("valkey", "nats")
DEPTHS: Final = {"ours": (256, 1024, 2048), "valkey": (64, 256, 1024), "nats": (256, 1024, 2000)}
WARM_UP: Final = 0.3
"""Seconds."""
_HEAD_START: Final = 0.05
"""Seconds before a turn begins, in which all are told of it."""
_IN_MEMORY: Final = ("tmpfs", "ramfs")


@dataclass(frozen=True, slots=True)
class System:
    name: str
    serve: Callable[[Path, int], AbstractAsyncContextManager[Broker]]
    python: Path
    depths: tuple[int, ...]
    """How many tasks one client has under way, in one turn after the other."""


class Turn(NamedTuple):
    per_s: float
    server_cpu_us: float
    clients_cpu_us: float


Figures = dict[str, dict[int, Turn]]
"""What → depth → figures of one round."""


@dataclass(frozen=True, slots=True)
class Seat:
    """A system in one round: its server, on an empty folder, and its clients."""

    system: System
    broker: Broker
    clients: list[Child]

    async def turn(self, what: str, depth: int, seconds: float) -> Turn:
        began, before = time.monotonic() + _HEAD_START, cpu_seconds(self.broker.pid)
        for client in self.clients:
            client.tell({"do": what, "depth": depth, "at": began, "seconds": seconds})
        told = await asyncio.gather(*(client.told() for client in self.clients))
        after = cpu_seconds(self.broker.pid)
        done = sum(each["done"] for each in told)
        took = max(each["ended"] for each in told) - began
        server = after - before if before is not None and after is not None else float("nan")
        return Turn(done / took, server / done * 1e6, sum(each["cpu"] for each in told) / done * 1e6)


async def seated(system: System, clients: int, stack: AsyncExitStack, folder: str | None) -> Seat:
    own = stack.enter_context(tempfile.TemporaryDirectory(prefix=system.name, dir=folder))
    broker = await stack.enter_async_context(system.serve(Path(own), clients))
    module = f"bench.store_turn_{system.name}"
    started = [await stack.enter_async_context(child(system.python, module, each)) for each in broker.orders]
    await asyncio.gather(*(client.told() for client in started))
    return Seat(system, broker, started)


async def round_of(who: list[System], options: argparse.Namespace) -> dict[str, Figures]:
    """Let all systems take each turn, one after the other; the first in `who` begins."""
    found: dict[str, Figures] = {system.name: {what: {} for what in options.what} for system in who}
    async with AsyncExitStack() as stack:
        seats = [await seated(system, options.clients, stack, options.folder) for system in who]
        for what in options.what:
            for seat in seats:
                await seat.turn(what, seat.system.depths[0], WARM_UP)
            for depths in zip_longest(*(seat.system.depths for seat in seats)):
                for seat, depth in zip(seats, depths, strict=True):
                    if depth is not None:
                        found[seat.system.name][what][depth] = await seat.turn(what, depth, options.seconds)
        await asyncio.gather(*(client.ended() for seat in seats for client in seat.clients))
    return found


def systems(options: argparse.Namespace) -> list[System]:
    here = Path(sys.executable)
    found = [System("ours", our_store, here, tuple(options.ours))]
    elsewhere = broker_python() if options.valkey or options.nats else None
    if elsewhere is not None and options.valkey:
        found.append(System("valkey", valkey, elsewhere, tuple(options.valkey)))
    if elsewhere is not None and options.nats:
        found.append(System("nats", nats, elsewhere, tuple(options.nats)))
    return found


async def rounds(who: list[System], options: argparse.Namespace) -> dict[str, list[Figures]]:
    """Return the rounds of each system; who begins changes from round to round."""
    found: dict[str, list[Figures]] = {system.name: [] for system in who}
    for number in range(options.rounds):
        first = number % len(who)
        for name, figures in (await round_of(who[first:] + who[:first], options)).items():
            found[name].append(figures)
    return found


def best(found: list[Figures], what: str) -> int:
    """Return the depth of the greatest rate, of the medians of rounds."""
    return max(found[0][what], key=lambda depth: median(each[what][depth].per_s for each in found))


def compared(found: dict[str, list[Figures]], what: str, other: str) -> list[float]:
    """Return the ratio of each round, each at the depth that is best for it."""
    ours, theirs = best(found["ours"], what), best(found[other], what)
    pairs = zip(found["ours"], found[other], strict=True)
    return [each[what][ours].per_s / their[what][theirs].per_s for each, their in pairs]


def shown(found: list[Figures], what: str) -> dict[str, object]:
    depth = best(found, what)
    return {
        "depth": depth,
        **{name: round(median(getattr(each[what][depth], name) for each in found), 1) for name in Turn._fields},
        "per_s_by_depth": {each: round(median(one[what][each].per_s for one in found)) for each in found[0][what]},
    }


def file_system(folder: Path) -> str:
    """Return the kind of the file system that a folder is on; empty where the system does not say."""
    try:
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()]
    except OSError:
        return ""
    above = [mount for mount in mounts if folder.resolve().is_relative_to(mount[1])]
    return max(above, key=lambda mount: len(mount[1]))[2] if above else ""


def sync_ms(folder: Path, count: int = 100) -> float:
    """Return milliseconds until the disk has a page that was written at the end of a file, the median."""
    took = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(count):
            os.write(file.fileno(), bytes(4_096))
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - began)
    return median(took) * 1_000


async def measure(options: argparse.Namespace) -> None:
    folder = Path(options.folder or tempfile.gettempdir())
    kind = file_system(folder)
    if kind in _IN_MEMORY:
        sys.exit(f"{folder} is in memory ({kind}), where nothing lasts: name a folder on a disk with --folder")
    figures: dict[str, object] = {"file_system": kind, "sync_ms": round(sync_ms(folder), 3), "clients": options.clients}
    who = systems(options)
    found = await rounds(who, options)
    bars = []
    for what in options.what:
        for name in found:
            figures[f"{what}_{name}"] = shown(found[name], what)
        ours = median(each[what][best(found["ours"], what)].per_s for each in found["ours"])
        bars.append(Bar(f"{what}_per_s", ours, ">=", WHAT[what]))
        for other in OTHERS:
            ratios = compared(found, what, other) if other in found else []
            bars.append(Bar(f"{what} / {other}", median(ratios) if ratios else None, ">=", 1.0))
            figures[f"{what}_ratio_to_{other}_per_round"] = [round(ratio, 2) for ratio in ratios]
    tell("store_process", bars, figures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5, help="that each turn takes")
    parser.add_argument("--clients", type=int, default=8, help="processes, each with one connection")
    parser.add_argument("--what", nargs="*", choices=tuple(WHAT), default=tuple(WHAT))
    parser.add_argument("--folder", help="where the files go; the system's temporary folder if not given")
    for name in ("ours", *OTHERS):
        wanted = "tasks that a client has under way, one turn for each"
        without = "; nothing = without it" if name in OTHERS else ""
        parser.add_argument(f"--{name}", type=int, nargs="*", default=DEPTHS[name], help=f"{wanted}{without}")
    run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
