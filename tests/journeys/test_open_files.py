"""Hazard 9: a run under a small limit on open files."""

from __future__ import annotations

import resource
import signal
from pathlib import Path
from typing import Final

import pytest

from orchestrator.errors import OrchestratorError
from orchestrator.runtime.operator_wire import Scale
from tests.journeys.operating import change, pids
from tests.journeys.running import descendants, running

pytestmark = pytest.mark.journey

TOPOLOGY: Final = """\
version: 1
agents:
  teller: {handler: tests.journeys.selecting:Teller, replicas: 20}
  spawned: {handler: tests.journeys.selecting:Teller, start_method: spawn}
"""


def limited(soft: int, hard: int) -> list[str]:
    return ["prlimit", f"--nofile={soft}:{hard}"]


@pytest.mark.bars
async def test_what_a_plan_needs_is_taken_from_the_hard_limit_and_children_keep_the_soft_one(tmp_path: Path) -> None:
    (tmp_path / "tellers.yaml").write_text(TOPOLOGY)
    async with running("tellers.yaml", directory=tmp_path, before=limited(64, 400)) as run:
        await run.ready()
        tellers = {f"teller.{number}" for number in range(1, 21)} | {"spawned"}
        while (told := {record["peer"]: record["files"] for record in run.with_event("may open")}).keys() < tellers:
            await run.until(lambda record: record["event"] == "may open", after=len(run.records))
        assert told == {peer: [64, 400] for peer in tellers}
        guardian = descendants(run.pid)[0]
        assert resource.prlimit(guardian, resource.RLIMIT_NOFILE) == (64, 400)
        hub = run.pids()["hub"]
        assert resource.prlimit(hub, resource.RLIMIT_NOFILE) == (400, 400)
        before = await pids(tmp_path / "tellers.yaml")
        with pytest.raises(OrchestratorError, match="the system allows 400: raise the hard limit"):
            await change(tmp_path / "tellers.yaml", Scale({"teller": 100}))
        assert await pids(tmp_path / "tellers.yaml") == before
        run.process.send_signal(signal.SIGINT)
        assert await run.ended() == 0, run.said()


async def test_a_limit_that_does_not_suffice_is_said_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "tellers.yaml").write_text(TOPOLOGY)
    async with running("tellers.yaml", directory=tmp_path, before=limited(64, 100)) as run:
        assert await run.ended() == 1
    [said] = [record["event"] for record in run.records]
    assert said.endswith("the system allows 100: raise the hard limit (`ulimit -Hn`), or plan fewer replicas")
