"""`--app-dir`: handlers come from there, wherever the topology lies."""

from __future__ import annotations

from pathlib import Path

from tests.journeys.running import ROOT, running

APP = """\
from collections.abc import AsyncIterator

from orchestrator import StreamTask, agent, task


class Say(StreamTask[str]):
    prompt: str


@agent
class Boss:
    @task
    async def say(self, ask: Say) -> AsyncIterator[str]:
        yield ask.prompt.upper()
"""


async def test_handlers_are_taken_from_the_directory_that_is_given(tmp_path: Path) -> None:
    (tmp_path / "apps").mkdir()
    (tmp_path / "apps" / "distant.py").write_text(APP)
    (tmp_path / "topology.yaml").write_text("version: 1\nagents:\n  boss: {handler: distant:Boss}\n")
    question = [str(tmp_path / "topology.yaml"), "--ask", "boss", "hello"]
    async with running(*question, directory=ROOT) as lost:
        assert await lost.ended() == 3
    async with running(*question, "--app-dir", str(tmp_path / "apps"), directory=ROOT) as run:
        assert await run.ended() == 0, run.said()
    assert run.answer.strip() == "HELLO"
