"""A task there and its reply back, many at once, and a stream, through the public API: against two bare clients."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import signal
import sys
import tempfile
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from bench.lines import ROOT, child
from bench.measuring import run
from bench.round_trip_agents import TOPOLOGY, Echo, HandOut, ReadOut, Record, Tell, Timing, ask_many, read_many
from bench.round_trip_floor import ECHO, Floor, quiet
from bench.verdict import Bar, tell
from orchestrator import User, connect
from orchestrator.protocol.tokens import Claims, SecretKey, mint
from orchestrator.topology.load import load_topology
from orchestrator.topology.plan import make_plan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

WINDOW: Final = 64
TIMEOUT: Final = 600.0
TICKS: Final = os.sysconf("SC_CLK_TCK")
LIFE: Final = 3600


@dataclass(frozen=True, slots=True)
class Stage:
    """A hub and agents that run, and the two who ask: a user and a bare client, both in this process."""

    user: User
    floor: Floor
    pids: dict[str, int]
    """Of the hub, the agents, and the client that answers the bare one."""

    def cpu(self) -> dict[str, float]:
        """Return the processor time that each process has taken, in seconds."""
        return {"user": time.process_time(), **{name: cpu_seconds(pid) for name, pid in self.pids.items()}}


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    """Start everything; whatever still runs in the end is killed."""
    key = SecretKey("sk_id_bench", f"sk_secret_{secrets.token_hex(32)}", rate="unlimited")
    exp = int(time.time()) + LIFE
    async with AsyncExitStack() as stack:
        topology = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "round_trip.yaml"
        topology.write_text(TOPOLOGY, encoding="utf-8")
        environ = {"BENCH_KEY": f"{key.id}:{key.secret}"}
        url, pids = await stack.enter_async_context(agents(topology, environ))
        plan = make_plan(load_topology(topology, environ), None)
        asker = replace(plan.user("cli").claims("bench", exp), rate="unlimited")
        bare = {name: mint(key, Claims(sub=name, exp=exp, rate="unlimited")) for name in ("floor", ECHO)}
        echo = await stack.enter_async_context(
            child(sys.executable, "bench.round_trip_floor", {"url": url, "token": bare[ECHO]})
        )
        pids["floor"] = (await echo.told())["pid"]
        floor = await stack.enter_async_context(Floor(url, bare["floor"]))
        user = await stack.enter_async_context(connect(url, token=mint(key, asker)))
        yield Stage(user, floor, pids)


@asynccontextmanager
async def agents(topology: Path, environ: dict[str, str]) -> AsyncIterator[tuple[str, dict[str, int]]]:
    """Start ``orchestrator run``; give the hub's address, and the pid of each process when all are ready."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "orchestrator", "run", str(topology), "--log", "json"),
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    reading = None
    try:
        url, pids = "", {}
        while "replicas ready in" not in (record := json.loads(await process.stderr.readline()))["event"]:
            if record["event"] == "ready":
                pids[record.get("peer") or record["process"]] = record["pid"]
                url = record.get("url", url)
        reading = asyncio.create_task(process.stderr.read())
        yield url, {"hub": pids["hub"], "boss": pids["boss"], "worker": pids["worker"]}
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        if reading is not None:
            said = await reading
            if b'"error"' in said:
                sys.stderr.write(said.decode())
        await process.wait()


# -- turns


@dataclass(frozen=True, slots=True)
class Turn:
    """One way to ask, and how many operations it comes to."""

    what: str
    who: str
    operations: int
    ask: Callable[[Stage], Awaitable[Timing]]


def turns(options: argparse.Namespace) -> list[Turn]:
    """Return all turns; those of one kind follow each other, so that they meet the same machine."""
    found = []
    for what, count, window in (("one at a time", options.tasks, 1), ("64 in flight", options.many, WINDOW)):
        found += [
            Turn(what, "floor", count, _floor_tasks(count, window)),
            Turn(what, "user", count, _user_tasks(count, window)),
            Turn(what, "coordinator", count, _boss_tasks(count, window)),
        ]
    streams, tokens = options.streams, options.tokens
    return [
        *found,
        Turn(
            "stream", "floor", streams * tokens, lambda on: read_many(lambda: on.floor.stream(tokens), streams, tokens)
        ),
        Turn("stream", "user", streams * tokens, lambda on: read_many(lambda: _told(on, tokens), streams, tokens)),
        Turn(
            "stream",
            "coordinator",
            streams * tokens,
            lambda on: on.user.run("boss", ReadOut(count=streams, tokens=tokens), timeout=TIMEOUT),
        ),
    ]


def _floor_tasks(count: int, window: int) -> Callable[[Stage], Awaitable[Timing]]:
    return lambda on: ask_many(on.floor.ask, count, window)


def _user_tasks(count: int, window: int) -> Callable[[Stage], Awaitable[Timing]]:
    return lambda on: ask_many(lambda number: on.user.run("worker", Echo(number=number)), count, window)


def _boss_tasks(count: int, window: int) -> Callable[[Stage], Awaitable[Timing]]:
    return lambda on: on.user.run("boss", HandOut(count=count, window=window), timeout=TIMEOUT)


def _told(on: Stage, tokens: int) -> AsyncIterator[str]:
    return on.user.stream("worker", Tell(tokens=tokens))


async def take(turn: Turn, on: Stage) -> dict[str, float]:
    """Let one turn happen; return its figures, of which those of the processor are microseconds for each operation."""
    before = on.cpu()
    took = await turn.ask(on)
    after = on.cpu()
    cpu = {f"cpu_us_{name}": (after[name] - before[name]) / turn.operations * 1e6 for name in after}
    return {
        "per_s": turn.operations / took.seconds,
        "p50_ms": took.p50_ms,
        "p99_ms": took.p99_ms,
        **cpu,
        "cpu_us": sum(cpu.values()),
        "wrong": took.wrong,
    }


async def profile(all_turns: list[Turn], on: Stage) -> None:
    """Take each turn of a coordinator once more, with a profile of it and of its worker, which go to standard error."""
    for turn in all_turns:
        if turn.who != "coordinator":
            continue
        for agent in ("boss", "worker"):
            await on.user.run(agent, Record(begin=True))
        await turn.ask(on)
        for agent in ("boss", "worker"):
            table = await on.user.run(agent, Record(begin=False))
            print(f"-- {turn.what}, {turn.operations} operations, {agent}\n{table}", file=sys.stderr)


# -- what is told

COLUMNS: Final = {
    "per_s": "per s",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "cpu_us_user": "user us",
    "cpu_us_hub": "hub us",
    "cpu_us_boss": "boss us",
    "cpu_us_worker": "worker us",
    "cpu_us_floor": "floor us",
    "cpu_us": "all us",
    "cpu_over_floor": "/ floor",
    "rate_over_floor": "rate / floor",
}


def table(figures: dict[str, dict[str, float]]) -> str:
    """Return the figures as lines for people."""
    lines = [("", *COLUMNS.values())]
    for name, shown in figures.items():
        lines.append((name, *(f"{shown[key]:.4g}" if shown.get(key) else "" for key in COLUMNS)))
    return "\n".join(
        "".join(cell.rjust(13) if column else cell.ljust(27) for column, cell in enumerate(line)) for line in lines
    )


async def measure(options: argparse.Namespace) -> None:
    all_turns = turns(options)
    found: dict[Turn, list[dict[str, float]]] = {turn: [] for turn in all_turns}
    async with stage() as on:
        short = {**vars(options), "tasks": 100, "many": 2 * WINDOW, "streams": 1}
        for turn in turns(argparse.Namespace(**short)):
            await turn.ask(on)
        for _ in range(options.rounds):
            for turn in all_turns:
                found[turn].append(await take(turn, on))
        if options.profile:
            await profile(all_turns, on)
    figures: dict[str, dict[str, float]] = {}
    floors = {turn.what: rounds for turn, rounds in found.items() if turn.who == "floor"}
    for turn, rounds in found.items():
        shown = {name: median(each[name] for each in rounds) for name in rounds[0] if name != "wrong"}
        if turn.who != "floor":
            pairs = list(zip(rounds, floors[turn.what], strict=True))
            shown["cpu_over_floor"] = median(each["cpu_us"] / floor["cpu_us"] for each, floor in pairs)
            shown["rate_over_floor"] = median(each["per_s"] / floor["per_s"] for each, floor in pairs)
        figures[f"{turn.what}, {turn.who}"] = {name: value for name, value in shown.items() if value >= 0.01}
    print(table(figures), file=sys.stderr)
    wrong = sum(each["wrong"] for rounds in found.values() for each in rounds)
    rounded: dict[str, Any] = {
        name: {key: float(f"{value:.4g}") for key, value in shown.items()} for name, shown in figures.items()
    }
    tell("round_trip", [Bar("wrong answers", wrong, "<=", 0)], {**vars(options), "figures": rounded})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tasks", type=int, default=1_000, help="one at a time, in each turn")
    parser.add_argument("--many", type=int, default=4_000, help=f"{WINDOW} at a time, in each turn")
    parser.add_argument("--streams", type=int, default=5, help="one after the other, in each turn")
    parser.add_argument("--tokens", type=int, default=1_000, help="of each stream")
    parser.add_argument("--profile", action="store_true", help="show afterwards where the agents' time goes")
    quiet()
    run(measure(parser.parse_args()), fast=False)


if __name__ == "__main__":
    main()
