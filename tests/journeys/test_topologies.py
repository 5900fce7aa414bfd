"""Each topology that ships, run by the command that stands in it."""

from __future__ import annotations

import re
import shlex
import socket
import sys
from pathlib import Path

import pytest

from orchestrator.hub.keys import KeyRing
from orchestrator.hub.settings import Settings
from orchestrator.protocol.tokens import SecretKey
from tests.joined_servers import new_server
from tests.journeys.running import ROOT, Running, running

pytestmark = pytest.mark.journey

FACTORS = [r"^4 = 2 \* 2\b", r"^7 = 7$", r"^15 = 3 \* 5\b", r"^60 = 2 \* 2 \* 3 \* 5\b"]
ANSWERS = {
    "dispatch": FACTORS,
    "everything": [r"^RIVERS AND LIGHTHOUSES!$", r"^Rivers has 6 letters\.", r"^Confirmed by checker\.\d"],
    "machines": FACTORS,
    "presence": [r"guest\.1", r"guest\.2", r"guest\.3"],
    "stream": [r"^a tale of 3 friends$", r"\w+ \w+"],
    "team": [r"bricks", r"mortar", r"windows", r"roof"],
}
"""What the answer to the question in each file holds."""


LARGEST = "everything"
PROCESSES = [
    LARGEST,
    *(pytest.param(name, marks=pytest.mark.bars) for name in sorted(ANSWERS.keys() - {LARGEST, "machines"})),
]
"""Those that are run as processes alone; tests/testing/test_shipped.py runs each of them in one process."""


def commands_in(topology: Path) -> list[list[str]]:
    """Return the arguments of each ``orchestrator run`` in the file's head."""
    text = topology.read_text(encoding="utf-8")
    return [shlex.split(command) for command in re.findall(r"^#   orchestrator run (.*)$", text, re.MULTILINE)]


def command_in(topology: Path) -> list[str]:
    [command] = commands_in(topology)
    return command


def test_every_topology_that_ships_is_run_here() -> None:
    assert {file.stem for file in (ROOT / "topologies").glob("*.yaml")} == set(ANSWERS)


@pytest.mark.parametrize("name", PROCESSES)
async def test_a_topology_answers_the_question_in_its_head(name: str) -> None:
    async with running(*command_in(ROOT / "topologies" / f"{name}.yaml"), environ={"PYTHON": sys.executable}) as run:
        assert await run.ended() == 0, run.said()
    check(name, run)


def check(name: str, run: Running) -> None:
    for expected in ANSWERS[name]:
        assert re.search(expected, run.answer, re.MULTILINE), (expected, run.answer)
    assert run.records[-1]["event"].endswith("all ended cleanly")


async def test_the_halves_of_a_topology_meet_at_a_hub_of_its_own() -> None:
    """As its head says: a hub, the workers' half beside it, and the coordinator's half, which asks."""
    [workers, front] = commands_in(ROOT / "topologies" / "machines.yaml")
    key = SecretKey("sk_id_machines", "sk_secret_" + "m" * 40, rate="unlimited")
    server = new_server(KeyRing([key]), Settings())
    await server.start(socket.create_server(("127.0.0.1", 0)))
    environ = {"HUB_URL": server.url, "HUB_KEY": f"{key.id}:{key.secret}"}
    try:
        async with running(*workers, environ=environ) as back, running(*front, environ=environ) as run:
            assert await run.ended() == 0, run.said() + back.said()
        check("machines", run)
    finally:
        await server.drain()
