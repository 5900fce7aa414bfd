"""`orchestrator init`: each template is valid, fits its handlers, answers what its head asks, and overwrites nothing."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from orchestrator.cli.init import TEMPLATES, template
from orchestrator.cli.main import main
from orchestrator.errors import ExitCode
from tests.journeys.running import running
from tests.topology.editor_view import findings

ROOT = Path(__file__).parents[2]

ANSWERS = {
    "dispatch": [r"^2\n2\n2\n3\n2\n2\n13 letters in 6 words$"],
    "stream": [r"^It begins with a quiet harbour\. .* they had\. $"],
    "team": [r"mover\.\d carried the piano", r"mover\.\d carried the sofa", r"mover\.\d carried the lamp"],
    "presence": [r"^visitor\.1 is here\nvisitor\.2 is here\nvisitor\.3 is here$"],
    "all": [r"13 letters in 6 words", r"mover\.\d carried the piano", r"mover\.\d carried the lamp"],
}
"""What the answer to the question in the head of each template holds."""


PROCESSES = ["all", *(pytest.param(name, marks=pytest.mark.bars) for name in TEMPLATES if name != "all")]
"""The templates that are run as processes; tests/testing/test_shipped.py runs each of them in one."""


def initialised(directory: Path, name: str) -> Path:
    assert main(["init", str(directory), "--template", name]) == ExitCode.DONE
    return directory / "topology.yaml"


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_is_valid_and_fits_its_handlers(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    topology = initialised(tmp_path, name)
    capsys.readouterr()
    assert main(["validate", "--strict", str(topology)]) == ExitCode.DONE
    assert capsys.readouterr().err == ""
    assert findings(topology.read_text(encoding="utf-8")) == []


@pytest.mark.journey
@pytest.mark.parametrize("name", PROCESSES)
async def test_a_template_answers_the_question_in_its_head(name: str, tmp_path: Path) -> None:
    initialised(tmp_path, name)
    _, _, *arguments = shlex.split(template(name).command)
    async with running(*arguments, directory=tmp_path) as run:
        assert await run.ended() == ExitCode.DONE, run.said()
    for expected in ANSWERS[name]:
        assert re.search(expected, run.answer, re.MULTILINE), (expected, run.answer)
    assert run.records[-1]["event"].endswith("all ended cleanly")


@pytest.mark.bars
@pytest.mark.journey
async def test_the_profile_of_the_large_template_runs_with_fewer(tmp_path: Path) -> None:
    initialised(tmp_path, "all")
    async with running("topology.yaml", "--profile", "small", "--ask", "teller", "x", directory=tmp_path) as run:
        assert await run.ended() == ExitCode.DONE, run.said()
    assert "6 replicas ready in" in run.said()


def test_what_to_type_next_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "my desk"
    initialised(directory, "dispatch")
    assert capsys.readouterr().out.splitlines() == [
        "wrote topology.yaml, counting_desk.py, README.md, .gitignore",
        "next:",
        f"  cd '{directory}'",
        '  orchestrator run topology.yaml --ask desk "to be or not to be"',
    ]
    assert ".env" in (directory / ".gitignore").read_text().splitlines()


def test_without_a_directory_it_is_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == ExitCode.DONE
    assert (tmp_path / "topology.yaml").read_text() == template("dispatch").files["topology.yaml"]
    assert "  cd " not in capsys.readouterr().out


def test_nothing_is_overwritten_and_then_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "topology.yaml").write_text("mine")
    (tmp_path / "moving_crew.py").symlink_to("nowhere.py")
    assert main(["init", str(tmp_path), "--template", "all"]) == ExitCode.USAGE
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (
        f"orchestrator: 'topology.yaml' and 'moving_crew.py' are in {str(tmp_path)!r} already, and nothing is "
        "overwritten; name another directory: orchestrator init DIR\n"
    )
    assert (tmp_path / "topology.yaml").read_text() == "mine"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["moving_crew.py", "topology.yaml"]


def test_a_readme_that_is_there_stays_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "README.md").write_text("mine")
    initialised(tmp_path, "stream")
    assert (tmp_path / "README.md").read_text() == "mine"
    assert "wrote topology.yaml, harbour_tale.py, .gitignore; kept 'README.md' as it was\n" in capsys.readouterr().out


def test_a_directory_that_is_a_file_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["init", str(tmp_path / "file")]) == ExitCode.USAGE
    assert capsys.readouterr().err == f"orchestrator: {tmp_path / 'file'} cannot be written: file exists\n"


def test_an_unknown_template_is_refused_with_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        main(["init", "--template", "dispach"])
    assert exited.value.code == ExitCode.USAGE
    assert all(name in capsys.readouterr().err for name in ("dispatch",))


MODULES = sorted({name for each in TEMPLATES for name in template(each).files if name.endswith(".py")})


def test_handlers_have_names_that_nothing_installed_has() -> None:
    known = {name.lower() for names in metadata.packages_distributions() for name in names.split(".")}
    for module in MODULES:
        name = module.removesuffix(".py")
        assert name not in sys.stdlib_module_names
        assert name not in known
        assert importlib.util.find_spec(name) is None


@pytest.mark.parametrize("module", MODULES)
def test_handlers_import_what_is_public_and_say_what_they_are_for(module: str) -> None:
    import orchestrator

    tree = ast.parse(template("all").files[module])
    assert ast.get_docstring(tree)
    names = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "orchestrator"
        for alias in node.names
    }
    assert names
    assert names <= set(orchestrator.__all__)


def test_the_readme_of_a_template_shows_its_command() -> None:
    for name in TEMPLATES:
        found = template(name)
        assert f"$ {found.command}\n" in found.files["README.md"]


def test_the_wheel_holds_the_templates(tmp_path: Path) -> None:
    """The package is installed with everything in its folder: hatchling leaves out only what Git ignores."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert settings["tool"]["hatch"]["build"]["targets"]["wheel"] == {"packages": ["orchestrator"]}
    ignored = subprocess.run(
        ["git", "check-ignore", "--stdin"],
        input="\n".join(str(path) for path in (ROOT / "orchestrator/cli/templates").rglob("*") if path.is_file()),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ignored.stdout == ""
