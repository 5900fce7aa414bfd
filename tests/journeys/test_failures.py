"""What becomes of a run when its processes are killed."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from orchestrator.protocol.tokens import SecretKey, mint
from orchestrator.runtime.user import User, connect
from orchestrator.topology.handlers import HandlerReport
from orchestrator.topology.load import load_topology
from orchestrator.topology.plan import make_plan
from tests.journeys.running import Running, descendants, running, who
from tests.runtime.processes import gone

pytestmark = pytest.mark.journey

TOPOLOGY = """\
version: 1
hub:
  key: ${DESK_KEY}
coordinators:
  boss: {handler: tests.journeys.slow_desk:Boss, workers: [holder]}
workers:
  holder: {handler: tests.journeys.slow_desk:Holder, replicas: 2}
"""
KEY = SecretKey("sk_id_journey", f"sk_secret_{secrets.token_hex(32)}")


@pytest.fixture
def topology(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "gate")
    file = tmp_path / "desk.yaml"
    file.write_text(TOPOLOGY)
    return file


@asynccontextmanager
async def desk(topology: Path) -> AsyncIterator[Running]:
    environ = {"DESK_KEY": f"{KEY.id}:{KEY.secret}"}
    async with running(topology.name, "--log-level", "debug", directory=topology.parent, environ=environ) as run:
        await run.ready()
        yield run


@asynccontextmanager
async def asking(run: Running, topology: Path) -> AsyncIterator[User]:
    """Connect as the built-in user, with a token made like those of `--ask`."""
    hub = next(record for record in run.with_event("ready") if who(record) == "hub")
    loaded = load_topology(topology, {"DESK_KEY": f"{KEY.id}:{KEY.secret}"})
    plan = make_plan(loaded, cast("dict[str, HandlerReport]", None))
    token = mint(KEY, plan.user("cli").claims("journey", int(time.time()) + 600))
    async with connect(hub["url"], token=token) as user:
        yield user


async def open_gate(directory: Path) -> None:
    """Let the task go on that reads, or is about to read, from the gate."""
    await asyncio.to_thread((directory / "gate").write_text, "go")


async def held(run: Running, count: int = 1) -> dict[str, Any]:
    return await run.until(lambda record: record["event"] == "holding" and record["attempt"] == count)


async def test_a_killed_worker_is_named_to_the_asker_and_is_back_within_3_s(topology: Path, tmp_path: Path) -> None:
    """The task is not idempotent: it is not done again, and its caller hears whom it was lost with."""
    async with desk(topology) as run, asking(run, topology) as user:
        async with aclosing(cast("Any", user.stream("boss", f"once {tmp_path}/gate"))) as answer:
            assert await anext(answer) == "once "
            holder = await held(run)
            seen = len(run.records)
            began = time.monotonic()
            os.kill(holder["pid"], signal.SIGKILL)
            lost = await anext(answer)
        assert lost.startswith(f"WorkerLost: {holder['peer']} went away while it held Once")
        await run.until(lambda record: record["event"] == "ready" and who(record) == holder["peer"], after=seen)
        assert time.monotonic() - began < 3.0
        assert run.pids()[holder["peer"]] != holder["pid"]


async def test_an_idempotent_task_of_a_killed_worker_is_done_again(topology: Path, tmp_path: Path) -> None:
    async with desk(topology) as run, asking(run, topology) as user:
        async with aclosing(cast("Any", user.stream("boss", f"safe {tmp_path}/gate"))) as answer:
            assert await anext(answer) == "safe "
            holder = await held(run)
            os.kill(holder["pid"], signal.SIGKILL)
            assert await anext(answer) == f"{tmp_path}/gate done at attempt 2"
        again = await held(run, 2)
        assert again["peer"] != holder["peer"]


@pytest.mark.bars
async def test_after_the_hub_was_killed_everybody_is_back_within_3_s_and_answers(topology: Path) -> None:
    async with desk(topology) as run, asking(run, topology) as user:
        assert await user.ask("boss", "count 3") == "0 1 2 "
        agents = {"boss", "holder.1", "holder.2"}
        seen = len(run.records)
        began = time.monotonic()
        os.kill(run.pids()["hub"], signal.SIGKILL)
        back: set[str] = set()
        while back != agents:
            record = await run.until(
                lambda record: record["event"] == "connected" and record["resumed"] and who(record) in agents - back,
                after=seen,
            )
            back.add(who(record))
        assert time.monotonic() - began < 3.0
        assert await user.ask("boss", "count 3") == "0 1 2 "
        assert run.pids().keys() >= agents


async def test_a_task_survives_the_death_of_the_hub(topology: Path, tmp_path: Path) -> None:
    async with desk(topology) as run, asking(run, topology) as user:
        async with aclosing(cast("Any", user.stream("boss", f"once {tmp_path}/gate"))) as answer:
            assert await anext(answer) == "once "
            await held(run)
            seen = len(run.records)
            os.kill(run.pids()["hub"], signal.SIGKILL)
            await run.until(lambda record: record["event"] == "ready" and who(record) == "hub", after=seen)
            await open_gate(tmp_path)
            assert await anext(answer) == f"{tmp_path}/gate done at attempt 1"


@pytest.mark.bars
async def test_a_killed_parent_leaves_no_process_behind(topology: Path, tmp_path: Path) -> None:
    """Hazard 63: with a task in hand, two seconds after a SIGKILL nothing is left."""
    async with desk(topology) as run, asking(run, topology) as user:
        async with aclosing(cast("Any", user.stream("boss", f"once {tmp_path}/gate"))) as answer:
            assert await anext(answer) == "once "
            await held(run)
            pids = descendants(run.pid)
            assert len(pids) == 5  # the guardian, the hub, a coordinator and two workers
            began = time.monotonic()
            run.process.kill()
            for pid in pids:
                await gone(pid)
            assert time.monotonic() - began < 2.0


@pytest.mark.bars
async def test_ctrl_c_in_the_middle_of_a_task_lets_it_end(topology: Path, tmp_path: Path) -> None:
    async with desk(topology) as run, asking(run, topology) as user:
        async with aclosing(cast("Any", user.stream("boss", f"once {tmp_path}/gate"))) as answer:
            assert await anext(answer) == "once "
            await held(run)
            run.process.send_signal(signal.SIGINT)
            await run.until(lambda record: record["event"].startswith("SIGINT"))
            await open_gate(tmp_path)
            assert await anext(answer) == f"{tmp_path}/gate done at attempt 1"
        assert await run.ended(15) == 0
        assert run.records[-1]["event"].endswith("all ended cleanly")


@pytest.mark.bars
async def test_ctrl_c_in_the_middle_of_an_answer_lets_it_reach_its_end(topology: Path, tmp_path: Path) -> None:
    """Whoever hands out work ends before those whom it hands it to, so the answer still finds them."""
    environ = {"DESK_KEY": f"{KEY.id}:{KEY.secret}"}
    asked = ("--ask", "boss", f"once {tmp_path}/gate")
    async with running(topology.name, *asked, directory=topology.parent, environ=environ) as run:
        await held(run)
        run.process.send_signal(signal.SIGINT)
        await run.until(lambda record: record["event"].startswith("SIGINT"))
        await open_gate(tmp_path)
        assert await run.ended(15) == 0, run.said()
        assert run.answer == f"once {tmp_path}/gate done at attempt 1\n"
