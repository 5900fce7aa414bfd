"""A handler that blocks its event loop is noticed, shown with the place where it stands, and started again (hazard 14)."""

from __future__ import annotations

import inspect
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.journeys import blocking
from tests.journeys.running import Record, Running, running, who

pytestmark = pytest.mark.journey

TOPOLOGY: Final = """\
version: 1
coordinators:
  boss: {handler: tests.journeys.blocking:Boss, workers: [blocker, quickly]}
  pacer: {handler: tests.journeys.blocking:Pacer, workers: [quickly]}
workers:
  blocker:
    handler: tests.journeys.blocking:HANDLER
    watchdog: 1s
    tasks: {delivery: at-least-once, backoff: {delay: 10ms}}
  quickly: {handler: tests.journeys.blocking:Quickly}
agents:
  late: {handler: tests.journeys.blocking:LateComer, watchdog: 1s}
"""
UNLIMITED: Final = "  sleeper: {handler: tests.journeys.blocking:Sleeper, watchdog: unlimited}\n"
BLOCKED: Final = "its event loop has been blocked"


@asynccontextmanager
async def desk(folder: Path, *questions: str, handler: str = "Blocker", more: str = "") -> AsyncIterator[Running]:
    (folder / "desk.yaml").write_text(TOPOLOGY.replace("HANDLER", handler) + more)
    asked = [word for question in questions for word in ("--ask", "boss", question)]
    async with running("desk.yaml", *asked, directory=folder) as run:
        yield run


def about_blocker(record: Record) -> bool:
    return who(record) == "blocker"


async def test_who_blocks_is_shown_where_it_stands_and_its_task_is_done_again_elsewhere(tmp_path: Path) -> None:
    async with desk(tmp_path, "block 600", "quick") as run:
        began = time.monotonic()
        assert await run.ended(60) == 0, run.said()
        took = time.monotonic() - began
    assert "done at attempt 2\n" in run.answer and "quick\n" in run.answer
    [told] = [record for record in run.records if BLOCKED in record["event"] and record["level"] == "error"]
    assert about_blocker(told) and told["level"] == "error" and "1 s" in told["event"]
    function = blocking.Blocker.block
    source, first = inspect.getsourcelines(function)
    line = first + next(number for number, text in enumerate(source) if "time.sleep" in text)
    [stack] = [record for record in run.records if f'blocking.py", line {line} in block' in record["event"]]
    assert about_blocker(stack) and stack["level"] == "error"
    assert "Fatal Python error" in stack["event"] and "\n" in stack["event"], "in one record"
    assert not [record for record in run.records if record["event"].startswith("  File ")]
    [again] = [record for record in run.records if "is started again" in record["event"]]
    assert about_blocker(again) and BLOCKED in again["event"]
    assert {who(record) for record in run.with_event("ready")} == {
        "hub",
        "store",
        "boss",
        "pacer",
        "blocker",
        "quickly",
        "late",
    }
    assert took < 30
    check_pace(run)


def check_pace(run: Running) -> None:
    """Nobody else was held up while one was blocked (hazard 14)."""
    events = [record["event"] for record in run.records]
    until = next(number for number, event in enumerate(events) if BLOCKED in event)
    paced = [record["seconds"] for record in run.records[events.index("blocks") : until] if record["event"] == "paced"]
    assert len(paced) >= 5
    assert max(paced) < 1.0


@pytest.mark.bars
async def test_a_thread_that_blocks_is_nobodys_business_and_without_a_limit_nobody_is_bitten(tmp_path: Path) -> None:
    async with desk(tmp_path, "block 2.5", handler="Threaded", more=UNLIMITED) as run:
        assert await run.ended(60) == 0, run.said()
    assert run.answer == "done at attempt 1\n"
    assert not [record for record in run.records if record["level"] == "error" or "started again" in record["event"]]
    [slept] = run.with_event("has blocked")
    assert slept["seconds"] > 2.0
