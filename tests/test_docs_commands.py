"""What docs/commands.md shows of the commands is what they print."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
from pathlib import Path
from typing import get_args

import pytest

from orchestrator.cli.bench_text import table as bench_table
from orchestrator.cli.graph import FORMS as DRAWINGS
from orchestrator.cli.init import TEMPLATES
from orchestrator.cli.main import VERBS, main
from orchestrator.cli.problems import FORMS
from orchestrator.cli.ps import table
from orchestrator.client.load.course import PARTS
from orchestrator.errors import ExitCode
from orchestrator.runtime.operator_wire import State
from tests.runtime.operated import BEGAN, TableRun

ROOT = Path(__file__).parents[1]
DOCUMENT = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")


def fences(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def shown(verb: str) -> tuple[list[str], str]:
    """Return the arguments of the command that is shown for a verb, and what it is shown to print."""
    [fence] = [fence for fence in fences(DOCUMENT, "console") if fence.startswith(f"$ orchestrator {verb} ")]
    command, _, printed = fence.partition("\n")
    return shlex.split(command.removeprefix("$ orchestrator ")), printed


@pytest.fixture
def smallest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The smallest example of the README, in the current directory."""
    (tmp_path / "app.py").write_text(fences(README, "python")[0])
    (tmp_path / "topology.yaml").write_text("name: app\n" + fences(README, "yaml")[0])
    monkeypatch.chdir(tmp_path)
    return tmp_path / "topology.yaml"


def test_init_prints_what_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words, printed = shown("init")
    assert main(words) == ExitCode.DONE
    assert capsys.readouterr().out == printed


def test_mistakes_are_told_as_shown(smallest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = smallest.read_text().removeprefix("name: app\n")
    smallest.write_text(text.replace("[helper]", "[helpr]").replace("replicas: 3", "replicas: thre"))
    words, _ = shown("validate")
    assert main(words) == ExitCode.INVALID
    assert capsys.readouterr().err == fences(DOCUMENT, "text")[0]


def test_the_graph_is_drawn_as_shown(smallest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words, printed = shown("graph")
    assert main(words) == ExitCode.DONE
    assert capsys.readouterr().out == printed


def test_every_template_and_form_is_described() -> None:
    for name in TEMPLATES:
        assert f"| `{name}` |" in DOCUMENT
    for form in (*FORMS, *DRAWINGS):
        assert f"`--format {form}`" in DOCUMENT


async def test_a_run_is_shown_as_shown() -> None:
    _, printed = shown("ps")
    assert table(TableRun({"editor": 1, "researcher": 2}).view(), BEGAN + 200) == printed.splitlines()


@pytest.mark.parametrize("verb", ["ps", "top", "logs", "scale", "restart", "reload", "stop"])
def test_every_option_of_what_asks_a_run_is_described(verb: str) -> None:
    parser = argparse.ArgumentParser(add_help=False)
    importlib.import_module(f"orchestrator.cli.{VERBS[verb].module}").arguments(verb, parser)
    _, _, section = DOCUMENT.partition("## While it runs")
    section = section.partition("\n## ")[0]
    assert f"| `orchestrator {verb} FILE" in section
    for action in parser._actions:
        for option in action.option_strings:
            assert f"`{verb} {option}" in section or f"`{option}`" in section, f"{verb} {option} is described nowhere"


def test_every_option_and_workload_of_the_load_is_described() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    importlib.import_module("orchestrator.cli.bench").arguments("bench", parser)
    _, _, section = DOCUMENT.partition("## Measure: bench")
    section = section.partition("\n## ")[0]
    for action in parser._actions:
        for option in action.option_strings:
            assert f"| `{option}" in section, f"bench {option} is described nowhere"
    for workload in PARTS:
        assert f"| `{workload}` |" in section
    titles, *rows = shown("bench")[1].splitlines()
    assert titles.split() == bench_table([])[0].split()
    assert [row.split("  ")[0] for row in rows] == [part for parts in PARTS.values() for part in parts]


def test_everything_that_the_doctor_looks_at_is_described() -> None:
    section = DOCUMENT.partition("## When it does not run: doctor")[2].partition("\n## ")[0]
    for name in ("doctor", "doctor_machine", "doctor_topology"):
        source = (ROOT / "orchestrator" / "cli" / f"{name}.py").read_text(encoding="utf-8")
        checks = re.findall(r'\b(?:ok|wrong|none|engine)\(\s*"([^"]+)"', source)
        for check in checks:
            assert f"`{check}`" in section, f"{check} is described nowhere"


def test_every_state_of_a_replica_is_described() -> None:
    _, _, section = DOCUMENT.partition("| state | |")
    for state in get_args(State):
        assert f"`{state}`" in section.partition("\n\n")[0]
