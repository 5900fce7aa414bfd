"""Tasks and streams between two agents in processes of their own: ours, and autogen-core's over its gRPC runtime."""

from __future__ import annotations

import argparse
import os
import secrets
import socket
import sys
import tempfile
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from bench.environments import python_with
from bench.lines import child
from bench.measuring import cpu_seconds, run
from bench.peers_agents import TIMEOUT, TOPOLOGY, Ask, Look, Measured, Read, Traffic
from bench.round_trip import agents
from bench.round_trip_floor import quiet
from bench.verdict import Bar, tell
from orchestrator import User, connect
from orchestrator.protocol.tokens import Claims, SecretKey, mint
from orchestrator.topology.load import load_topology
from orchestrator.topology.plan import make_plan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from bench.lines import Child

WHEELS: Final = ("autogen-core==0.7.5", "autogen-ext[grpc]==0.7.5", "uvloop==0.23.0")
ALONE: Final = "one at a time"
MANY: Final = "64 in flight"
WINDOW: Final = 64
STREAM: Final = "stream"
LIFE: Final = 3600


@dataclass(frozen=True, slots=True)
class Ours:
    """A hub and two agents under ``orchestrator run``, told by a user what to do."""

    user: User
    pids: tuple[int, ...]

    async def ask(self, count: int, window: int) -> dict[str, float]:
        return (await self.user.run("boss", Ask(count=count, window=window), timeout=TIMEOUT)).model_dump()

    async def stream(self, tokens: int) -> dict[str, float]:
        found: Measured = await self.user.run("boss", Read(tokens=tokens), timeout=TIMEOUT)
        return found.model_dump()

    async def traffic(self, tokens: int) -> dict[str, dict[str, float]]:
        """Return bytes and frames for each token, of producer and reader, in a stream for which nobody takes the time."""
        for agent in ("boss", "worker"):
            await self.user.run(agent, Look(count=True))
        await self.stream(tokens)
        found: dict[str, Traffic] = {
            agent: await self.user.run(agent, Look(count=False)) for agent in ("worker", "boss")
        }
        return {
            agent: {name: round(value / tokens, 4) for name, value in traffic.model_dump().items()}
            for agent, traffic in found.items()
        }


@dataclass(frozen=True, slots=True)
class Autogen:
    """A host and two worker runtimes, of which one is told what to do."""

    asker: Child
    answerer: Child
    pids: tuple[int, ...]

    async def ask(self, count: int, window: int) -> dict[str, float]:
        self.asker.tell({"count": count, "window": window})
        return await self.asker.told()

    async def stream(self, tokens: int) -> dict[str, float]:
        """It has no streams to one caller: as many messages to a topic, which has one subscriber."""
        self.asker.tell({"tokens": tokens})
        await self.asker.told()
        return await self.answerer.told()


@asynccontextmanager
async def ours() -> AsyncIterator[Ours]:
    key = SecretKey("sk_id_bench", f"sk_secret_{secrets.token_hex(32)}", rate="unlimited")
    with tempfile.TemporaryDirectory() as folder:
        topology = Path(folder) / "peers.yaml"
        topology.write_text(TOPOLOGY, encoding="utf-8")
        environ = {"BENCH_KEY": f"{key.id}:{key.secret}"}
        claims = make_plan(load_topology(topology, environ), None).user("cli").claims("bench", int(time.time()) + LIFE)
        async with agents(topology, environ) as (url, pids), connect(url, token=mint(key, _unlimited(claims))) as user:
            yield Ours(user, tuple(pids.values()))


def _unlimited(claims: Claims) -> Claims:
    from dataclasses import replace

    return replace(claims, rate="unlimited")


@asynccontextmanager
async def autogen(python: Path, loop: str) -> AsyncIterator[Autogen]:
    """Without logging, which is off by default, and without tracing, which is not."""
    os.environ["AUTOGEN_DISABLE_RUNTIME_TRACING"] = "true"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    async with AsyncExitStack() as stack:
        started: dict[str, Child] = {}
        pids = []
        for role in ("host", "answer", "ask"):
            order = {"role": role, "address": address, "loop": loop}
            started[role] = await stack.enter_async_context(child(python, "bench.peers_autogen", order))
            pids.append((await started[role].told())["pid"])
        yield Autogen(started["ask"], started["answer"], tuple(pids))


def cpu_of(pids: tuple[int, ...]) -> float:
    return sum(cpu_seconds(pid) or 0.0 for pid in pids)


async def take(side: Ours | Autogen, turn: str, options: argparse.Namespace) -> dict[str, float]:
    """Let one side take one turn; return its figures, of which those of the processor are microseconds for each operation."""
    before = cpu_of(side.pids)
    if turn == STREAM:
        count = options.tokens
        found = await side.stream(count)
    else:
        count = options.tasks if turn == ALONE else options.many
        found = await side.ask(count, 1 if turn == ALONE else WINDOW)
    return {**found, "per_s": count / found["seconds"], "cpu_us": (cpu_of(side.pids) - before) / count * 1e6}


async def measure(options: argparse.Namespace) -> None:
    python = python_with("autogen", WHEELS)
    found: dict[str, dict[str, list[dict[str, float]]]] = {turn: {} for turn in (ALONE, MANY, STREAM)}
    async with AsyncExitStack() as stack:
        mine = await stack.enter_async_context(ours())
        sides: dict[str, Ours | Autogen] = {"ours": mine}
        if python is not None:
            sides["autogen"] = await stack.enter_async_context(autogen(python, options.autogen_loop))
        short = argparse.Namespace(tasks=100, many=4 * WINDOW, tokens=1_000)
        for side in sides.values():
            for turn in found:
                await take(side, turn, short)
        for number in range(options.rounds):
            for turn, by_side in found.items():
                for name in sorted(sides, reverse=number % 2 == 0):
                    by_side.setdefault(name, []).append(await take(sides[name], turn, options))
        traffic = await mine.traffic(options.tokens)
    figures: dict[str, Any] = {}
    for turn, by_side in found.items():
        for name, rounds in by_side.items():
            medians = {figure: median(each[figure] for each in rounds) for figure in rounds[0]}
            figures[f"{turn}, {name}"] = {figure: float(f"{value:.4g}") for figure, value in medians.items() if value}
    print(_table(figures), file=sys.stderr)
    tell("peers", _bars(found), {**vars(options), "figures": figures, "ratios": _ratios(found), "per_token": traffic})


def _per_round(found: Mapping[str, list[dict[str, float]]], figure: str) -> list[float]:
    """Return ours over theirs in each round."""
    return [
        mine[figure] / theirs[figure] for mine, theirs in zip(found["ours"], found.get("autogen", ()), strict=False)
    ]


def _ratios(found: dict[str, dict[str, list[dict[str, float]]]]) -> dict[str, dict[str, list[float]]]:
    wanted = ((ALONE, ("p50_ms", "p99_ms", "cpu_us")), (MANY, ("per_s", "p50_ms", "cpu_us")), (STREAM, ("per_s",)))
    return {
        turn: {figure: [float(f"{ratio:.3g}") for ratio in _per_round(found[turn], figure)] for figure in figures}
        for turn, figures in wanted
    }


def _bars(found: dict[str, dict[str, list[dict[str, float]]]]) -> list[Bar]:
    def ratio(turn: str, figure: str) -> float | None:
        return median(ratios) if (ratios := _per_round(found[turn], figure)) else None

    wrong = sum(each["wrong"] for by_side in found.values() for rounds in by_side.values() for each in rounds)
    return [
        Bar("round trip p50 / autogen", ratio(ALONE, "p50_ms"), "<=", 0.5),
        Bar("tasks a second with 64 in flight / autogen", ratio(MANY, "per_s"), ">=", 3.0),
        Bar("tokens a second", median(each["per_s"] for each in found[STREAM]["ours"]), ">=", 20_000),
        Bar("wrong answers and streams", wrong, "<=", 0),
    ]


def _table(figures: dict[str, dict[str, float]]) -> str:
    columns = {"per_s": "per s", "p50_ms": "p50 ms", "p95_ms": "p95 ms", "p99_ms": "p99 ms", "cpu_us": "all us"}
    lines = [("", *columns.values())]
    lines += [
        (name, *(f"{shown[key]:.4g}" if key in shown else "" for key in columns)) for name, shown in figures.items()
    ]
    return "\n".join(
        "".join(cell.rjust(11) if column else cell.ljust(25) for column, cell in enumerate(line)) for line in lines
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tasks", type=int, default=500, help="one at a time, in each turn")
    parser.add_argument("--many", type=int, default=3_200, help=f"{WINDOW} at a time, in each turn")
    parser.add_argument("--tokens", type=int, default=30_000, help="of the stream in each turn")
    parser.add_argument("--autogen-loop", choices=("asyncio", "uvloop"), default="asyncio")
    quiet()
    run(measure(parser.parse_args()), fast=False)


if __name__ == "__main__":
    main()
