"""Each topology that ships, run by the command that stands in it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.journeys.running import ROOT, running

pytestmark = pytest.mark.journey

ANSWERS = {
    "dispatch": [r"^4 = 2 \* 2\b", r"^7 = 7$", r"^15 = 3 \* 5\b", r"^60 = 2 \* 2 \* 3 \* 5\b"],
    "presence": [r"guest\.1", r"guest\.2", r"guest\.3"],
    "stream": [r"^a tale of 3 friends$", r"\w+ \w+"],
    "team": [r"bricks", r"mortar", r"windows", r"roof"],
}
"""What the answer to the question in each file holds."""


def command_in(topology: Path) -> list[str]:
    """Return the arguments of the ``orchestrator run`` in the file's head."""
    [command] = re.findall(r"^#   orchestrator run (.*)$", topology.read_text(encoding="utf-8"), re.MULTILINE)
    return shlex.split(command)


def test_every_topology_that_ships_is_run_here() -> None:
    assert {file.stem for file in (ROOT / "topologies").glob("*.yaml")} == set(ANSWERS)


@pytest.mark.parametrize("name", sorted(ANSWERS))
async def test_a_topology_answers_the_question_in_its_head(name: str) -> None:
    async with running(*command_in(ROOT / "topologies" / f"{name}.yaml")) as run:
        assert await run.ended() == 0, run.said()
    for expected in ANSWERS[name]:
        assert re.search(expected, run.answer, re.MULTILINE), (expected, run.answer)
    assert run.records[-1]["event"].endswith("all ended cleanly")
