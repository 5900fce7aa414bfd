"""Each topology that ships, and each template, answers the question in its head in one process too."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from agents.shout import answer
from orchestrator import Message, User
from orchestrator.cli.init import TEMPLATES, template
from orchestrator.cli.main import main
from orchestrator.errors import ExitCode, TaskFailed
from orchestrator.testing import TestHub, virtual
from tests.cli.test_init import ANSWERS as OF_TEMPLATES
from tests.journeys.running import ROOT
from tests.journeys.test_topologies import ANSWERS, commands_in


async def shout(me: User, inbox: AsyncIterator[Message]) -> None:
    """Do what the program of the file does."""
    async for message in inbox:
        if message.data["type"] == "task":
            await me.send(message.sender, answer(message.data))


async def answered(hub: TestHub, arguments: list[str]) -> str:
    """Ask what the `--ask` of a command ask, one after the other."""
    asked = [arguments[at + 1 : at + 3] for at, word in enumerate(arguments) if word == "--ask"]
    assert asked
    return "\n".join([await hub.ask(agent, prompt) for agent, prompt in asked])


@pytest.mark.nodes("nats")
@pytest.mark.parametrize("name", sorted(ANSWERS))
@virtual
async def test_a_topology_answers_the_question_in_its_head(name: str) -> None:
    file = ROOT / "topologies" / f"{name}.yaml"
    async with TestHub(file, stand_ins={"headline": shout} if name == "everything" else {}) as hub:
        said = await answered(hub, commands_in(file)[-1])
        assert hub.refused == []
    assert [expected for expected in ANSWERS[name] if not re.search(expected, said, re.MULTILINE)] == []


@pytest.fixture
def initialised(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What `init` writes for a template; its modules are forgotten again."""
    files = template(name).files
    for file, text in files.items():
        (tmp_path / file).write_text(text, encoding="utf-8")
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path / "topology.yaml"
    for module in [name for name in sys.modules if f"{name}.py" in files]:
        del sys.modules[module]


@pytest.mark.parametrize("name", TEMPLATES)
@virtual
async def test_a_template_answers_the_question_in_its_head(name: str, initialised: Path) -> None:
    async with TestHub(initialised) as hub:
        said = await answered(hub, shlex.split(template(name).command))
        assert hub.refused == []
    assert [expected for expected in OF_TEMPLATES[name] if not re.search(expected, said, re.MULTILINE)] == []


@pytest.mark.parametrize("name", ["all"])
@virtual
async def test_the_profile_of_the_large_template_runs_with_fewer(
    name: str, initialised: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", "--no-import", "--profile", "small", str(initialised)]) == ExitCode.DONE
    assert ", 6 replicas" in capsys.readouterr().out
    async with TestHub(initialised, profiles=["small"]) as hub:
        assert "x" in await hub.ask("teller", "x")


@virtual
async def test_the_tour_tells_which_package_it_cannot_find() -> None:
    async with TestHub(ROOT / "examples.yaml") as hub:
        with pytest.raises(TaskFailed, match="no_such_package_anywhere"):
            await hub.ask("lead", "no_such_package_anywhere")
