"""What a run does when it is asked to end: what was begun ends as promised, and within the grace all is over."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.journeys.blocking import GATE
from tests.journeys.operating import command
from tests.journeys.running import Running, descendants, running, who
from tests.runtime.processes import gone

pytestmark = pytest.mark.journey

TOPOLOGY: Final = """\
version: 1
coordinators:
  boss: {handler: tests.journeys.blocking:Boss, workers: [waiter]}
workers:
  waiter: {handler: tests.journeys.blocking:Waiter, concurrency: 2}
"""
GRACE: Final = 10.0
Ask: Final = "--ask"


@asynccontextmanager
async def desk(folder: Path, *more: str, grace: float = GRACE, topology: str = TOPOLOGY) -> AsyncIterator[Running]:
    (folder / "desk.yaml").write_text(topology)
    os.mkfifo(folder / "gate")
    environ = {GATE: str(folder / "gate")}
    words = ("desk.yaml", "--grace", str(grace), *more)
    async with running(*words, directory=folder, environ=environ, own_group=True) as run:
        yield run


def to_group(run: Running, number: int) -> None:
    """As a terminal does when somebody types ctrl-c."""
    os.killpg(run.pid, number)


def to_parent(run: Running, number: int) -> None:
    os.kill(run.pid, number)


async def open_gate(folder: Path) -> None:
    await asyncio.to_thread((folder / "gate").write_text, "go")


async def ending(run: Running) -> None:
    await run.until(lambda record: "ending in peace" in record["event"])


async def is_over(run: Running, began: float) -> None:
    assert time.monotonic() - began < GRACE
    assert run.records[-1]["event"].endswith("all ended cleanly"), run.said()


@pytest.mark.parametrize(
    ("send", "number", "question", "answer"),
    [
        (to_group, signal.SIGINT, "count", "one two three end\n"),
        (to_parent, signal.SIGTERM, "wait", "waited to the end\n"),
    ],
    ids=["stream", "task"],
)
async def test_what_was_begun_reaches_its_end(
    tmp_path: Path, send: Callable[[Running, int], None], number: signal.Signals, question: str, answer: str
) -> None:
    async with desk(tmp_path, Ask, "boss", question) as run:
        await run.until(lambda record: record["event"] == "waits")
        began = time.monotonic()
        send(run, number)
        await ending(run)
        await open_gate(tmp_path)
        assert await run.ended() == 0, run.said()
        assert run.answer == answer
        await is_over(run, began)


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.bars)])
async def test_the_second_signal_kills_at_once(tmp_path: Path, number: signal.Signals) -> None:
    async with desk(tmp_path, Ask, "boss", "wait deaf") as run:
        await run.until(lambda record: record["event"] == "waits")
        below = descendants(run.pid)
        to_group(run, number)
        await ending(run)
        began = time.monotonic()
        to_group(run, number)
        assert await run.ended() == 128 + number, run.said()
        assert time.monotonic() - began < 5.0
        await asyncio.gather(*map(gone, below))


@pytest.mark.bars
async def test_a_handler_that_ignores_its_cancellation_is_killed_when_the_grace_is_over(tmp_path: Path) -> None:
    async with desk(tmp_path, Ask, "boss", "wait deaf", grace=2.0) as run:
        holder = await run.until(lambda record: record["event"] == "waits")
        began = time.monotonic()
        to_group(run, signal.SIGINT)
        assert await run.ended() == 130, run.said()
        assert 1.0 < time.monotonic() - began < 8.0
        await gone(holder["pid"])
        assert any("it did not end by itself" in record["event"] for record in run.records), run.said()


@pytest.mark.bars
async def test_without_a_question_the_exit_code_tells_that_somebody_had_to_be_killed(tmp_path: Path) -> None:
    topology = TOPOLOGY + "agents:\n  slow: {handler: tests.journeys.blocking:Stubborn}\n"
    async with desk(tmp_path, grace=1.0, topology=topology) as run:
        await run.ready()
        to_parent(run, signal.SIGINT)
        assert await run.ended() == 1, run.said()
        assert not run.records[-1]["event"].endswith("all ended cleanly")


async def test_a_setup_that_still_runs_is_given_up(tmp_path: Path) -> None:
    topology = TOPOLOGY + "agents:\n  slow: {handler: tests.journeys.blocking:SlowComer}\n"
    async with desk(tmp_path, topology=topology) as run:
        await run.until(lambda record: who(record) == "slow" and record["event"] == "sets up")
        began = time.monotonic()
        to_group(run, signal.SIGINT)
        assert await run.ended() == 0, run.said()
        await is_over(run, began)


@pytest.mark.bars
async def test_the_command_ends_it_with_another_grace(tmp_path: Path) -> None:
    async with desk(tmp_path, Ask, "boss", "wait deaf", grace=600.0) as run:
        await run.until(lambda record: record["event"] == "waits")
        code, said = await command("stop", "--grace", "1", folder=tmp_path)
        assert (code, said) == (0, f"desk.yaml: process {run.pid} has ended\n")
        assert await run.ended() != 0
