"""Hazard 66: what a topology names reaches no code outside its directory, its project and what is installed, and no shell."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.agents.describe import read_agent
from orchestrator.agents.loading import load_handler
from orchestrator.errors import HandlerError
from tests.journeys.running import running, who

TRAP = "raise SystemExit('it was run')\n"
WORDS = (
    "$HOME", "$(touch a)", "`touch b`", "; touch c", "&& touch d", "| tee e", "> f", "< /etc/passwd", "*", "?", "~",
    "a b", "  ", "", "'", '"', "\\", "\\n", "#", "!!", "%s", "--", "-c", "\u00e9\u202e", "a\tb", "x=y", "{a,b}", "$0", "&",
)  # fmt: skip
"""What a shell would make something else of."""


@pytest.fixture
def inside(tmp_path: Path) -> Iterator[Path]:
    """A topology's directory, with a trap beside it."""
    path, modules = list(sys.path), set(sys.modules)
    for folder in ("inside/real", "inside/bare", "outside/package"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "inside" / "pyproject.toml").touch()
    (tmp_path / "inside" / "real" / "__init__.py").touch()
    for file in ("trap.py", "package/__init__.py", "package/inner.py"):
        (tmp_path / "outside" / file).write_text(TRAP)
    yield tmp_path / "inside"
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("link", "target", "reference"),
    [
        ("linked_out.py", "trap.py", "linked_out:Boss"),
        ("linked_out.py", "trap.py", "linked_out"),
        ("linked_package", "package", "linked_package:Boss"),
        ("linked_package", "package", "linked_package.inner:Boss"),
        ("linked_space", ".", "linked_space.trap:Boss"),
        ("linked_space", ".", "linked_space.package.inner:Boss"),
        ("real/trap.py", "trap.py", "real.trap:Boss"),
        ("real/inner", "package", "real.inner:Boss"),
        ("bare/trap.py", "trap.py", "bare.trap:Boss"),
        ("bare/__init__.py", "trap.py", "bare:Boss"),
    ],
)
def test_66_no_link_of_any_kind_leads_out_of_the_directory(
    inside: Path, link: str, target: str, reference: str
) -> None:
    (inside / link).symlink_to(inside.parent / "outside" / target)
    with pytest.raises(HandlerError, match="is a link out of the topology's directory"):
        load_handler(reference, inside)


def test_66_a_link_to_a_link_leads_out_no_more_than_one_does(inside: Path) -> None:
    (inside / "first.py").symlink_to(inside.parent / "outside" / "trap.py")
    (inside / "second.py").symlink_to(inside / "first.py")
    with pytest.raises(HandlerError, match="is a link out of the topology's directory"):
        load_handler("second:Boss", inside)


@pytest.mark.parametrize(
    "reference",
    ["os:system", "builtins:eval", "subprocess:Popen", "subprocess:run", "os:_exit", "pathlib:Path", "sys", "builtins"],
)
def test_66_what_is_installed_and_no_agent_is_neither_called_nor_made(inside: Path, reference: str) -> None:
    with pytest.raises(HandlerError):
        read_agent(reference, load_handler(reference, inside))


def visible(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir() if not file.name.startswith(".")}


@pytest.mark.journey
async def test_66_the_words_of_a_command_arrive_as_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "words.py").write_text("import json, sys\nprint(json.dumps(sys.argv[1:]), flush=True)\n")
    command = [sys.executable, "words.py", *WORDS]
    agent = {"command": command, "restart": {"condition": "never"}}
    (tmp_path / "words.yaml").write_text(json.dumps({"version": 1, "agents": {"one": agent}}))
    async with running("words.yaml", directory=tmp_path) as run:
        said = await run.until(lambda record: who(record) == "one" and record["event"].startswith("["))
        await run.ended()
    assert json.loads(said["event"]) == list(WORDS)
    assert visible(tmp_path) == {"words.py", "words.yaml"}
