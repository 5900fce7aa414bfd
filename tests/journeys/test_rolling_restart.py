"""Replicas are restarted one after the other while tasks flow: nothing is lost, done twice, or told as an error."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from orchestrator.errors import ExitCode
from orchestrator.runtime.operator_wire import Restart, Scale
from orchestrator.store.opening import store_at
from tests.journeys.ledger import COUNT, NOTES, Notes
from tests.journeys.operating import change, command, pids
from tests.journeys.running import Running, running
from tests.journeys.sink import ADDRESS, Sink, sink

TOPOLOGY: Final = """\
version: 1
store: sqlite:///tasks.db
coordinators:
  caller: {handler: tests.journeys.steady:Caller, workers: [keeper, sender]}
workers:
  keeper:
    handler: tests.journeys.steady:Keeper
    replicas: 3
    concurrency: 4
    tasks: {delivery: at-least-once}
  sender: {handler: tests.journeys.steady:Sender, replicas: 3, concurrency: 4}
"""
PATIENCE: Final = 30.0
TOLD_TWICE: Final = "an outcome arrived for a task that is not under way"
"""Whoever leaves is asked what became of a task, and its outcome may have been on its way already."""


@asynccontextmanager
async def flowing(folder: Path, least: int) -> AsyncIterator[tuple[Running, Sink]]:
    """Have 50 tasks a second flow, half of each kind, until the block ends; then all of them are looked at."""
    (folder / "steady.yaml").write_text(TOPOLOGY)
    notes = folder / "notes"
    async with sink() as (books, address):
        environ = {ADDRESS: address, NOTES: str(notes), COUNT: str(least)}
        async with running("steady.yaml", directory=folder, environ=environ) as run:
            await run.ready()
            await books.until(lambda: len(books.booked) >= 10, PATIENCE)
            yield run, books
            (folder / "enough").touch()
            told = await run.until(lambda record: record["event"] == "all is called", seconds=PATIENCE)
            run.process.send_signal(signal.SIGTERM)
            assert await run.ended() == ExitCode.DONE, run.said()
    await check(folder, books, told["count"], run)


async def check(folder: Path, books: Sink, count: int, run: Running) -> None:
    notes = Notes.read(folder / "notes")
    assert notes.other == []
    assert notes.done.keys() == set(range(count))
    assert books.booked.keys() == {f"task {number}" for number in range(count)}
    assert books.refused == {}
    trouble = [record for record in run.records if record.get("level") in ("warning", "error")]
    assert {record["event"] for record in trouble} <= {TOLD_TWICE}, run.said()
    store = store_at("sqlite:///tasks.db", folder)
    try:
        [queue] = await store.tasks.stats()
        assert (queue.queue, queue.done, queue.open + queue.dead + queue.cancelled) == ("keeper", count // 2, 0)
    finally:
        await store.close()


@pytest.mark.parametrize(
    "rounds",
    [
        pytest.param(1, id="1 round", marks=pytest.mark.journey),
        pytest.param(20, id="20 rounds", marks=pytest.mark.bars),
    ],
)
async def test_each_worker_in_turn_is_restarted_while_tasks_flow(tmp_path: Path, rounds: int) -> None:
    file, slowest = tmp_path / "steady.yaml", 0.0
    async with flowing(tmp_path, 200) as (_, books):
        for _ in range(rounds):
            for number in (1, 2, 3):
                for agent in ("keeper", "sender"):
                    before, seen, began = await pids(file), len(books.booked), time.monotonic()
                    await change(file, Restart((f"{agent}.{number}",)))
                    slowest = max(slowest, time.monotonic() - began)
                    after = await pids(file)
                    assert {peer for peer in after if after[peer] != before[peer]} == {f"{agent}.{number}"}
                    await books.until(lambda seen=seen: len(books.booked) > seen, PATIENCE)  # type: ignore[misc]
            await asyncio.gather(*(change(file, Restart((agent,))) for agent in ("keeper", "sender", "keeper.1")))
            before = await pids(file)
            code, said = await command("restart", "keeper", "sender", folder=tmp_path)
            assert code == 0, said
            after = await pids(file)
            kept = {peer for peer in after if after[peer] == before[peer]}
            assert kept == {"(hub)", "(store)", "caller"}
    print(f"{12 * rounds} restarts, the slowest in {slowest:.2f} s; {len(books.booked)} tasks")


@pytest.mark.journey
@pytest.mark.bars
async def test_scaling_down_and_up_loses_nothing(tmp_path: Path) -> None:
    file = tmp_path / "steady.yaml"
    async with flowing(tmp_path, 100) as (_, books):
        before = await pids(file)
        for count in (1, 4, 2, 3):
            seen = len(books.booked)
            await change(file, Scale({"keeper": count, "sender": count}))
            await books.until(lambda seen=seen: len(books.booked) > seen + 10, PATIENCE)  # type: ignore[misc]
        after = await pids(file)
        assert {peer for peer in after if before.get(peer) == after[peer]} >= {"caller", "keeper.1", "sender.1"}
