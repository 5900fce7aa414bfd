"""What commands print where no terminal is, or none that shows colours: characters, and nothing that moves or paints.

The examples of `--help` are looked at for the same where they are tried.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from orchestrator.cli.example_text import examples_of
from orchestrator.cli.main import VERBS
from tests.cli.task_files import each_state, fill
from tests.cli.terminals import control_codes, on_terminal, plain_environment
from tests.cli.test_help_examples import PARSERS
from tests.runtime.operated import Beside, beside

BROKEN: Final = "version: 1\ncoordinators:\n  boss: {handler: app:Boss, workers: [helpr]}\n"
GOOD: Final = """\
version: 1
store: sqlite:///tasks.db
hub: {key: "${HUB_KEY}"}
coordinators:
  boss: {handler: app:Boss, workers: [helper]}
workers:
  helper: {handler: app:Helper, tasks: {delivery: at-least-once}}
users:
  reader: {asks: [boss]}
"""
ENVIRONMENT: Final = {"HUB_KEY": f"sk_id_0123456789ab:sk_secret_{'k' * 43}"}
JSON: Final = {
    "ps": "ps farm.yaml --json",
    "logs": "logs farm.yaml --json",
    "plan": "plan good.yaml --no-import --json",
    "validate": "validate broken.yaml --no-import --json",
    "lint": "lint good.yaml --no-import --json",
    "scopes": "scopes good.yaml --json",
    "token": "token good.yaml reader --sub alice --json",
    "tasks": "tasks good.yaml --json --limit 3",
    "tasks list": "tasks good.yaml --json",
    "tasks show": "tasks show good.yaml task-dead-1 --json",
}
"""A command for each verb with `--json` that can be tried on a terminal here; of others there is an example."""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder with topologies, and a run of one of them whose agents print what they should not."""
    with tempfile.TemporaryDirectory(prefix="o-", dir="/tmp") as name:
        path = Path(name)
        (path / "farm.yaml").touch()
        (path / "broken.yaml").write_text(BROKEN)
        (path / "good.yaml").write_text(GOOD)
        fill(path / "tasks.db", each_state)
        with beside(path / "farm.yaml", {"editor": 2, "researcher": 1}) as run:
            said(run)
            yield path


def said(run: Beside) -> None:
    for number in range(400):
        run.run.says("editor", f"\x1b[31mred\x1b[0m and \x07bell {number} {'x' * 200}")


def json_verbs() -> list[str]:
    return [
        words
        for words, parser in PARSERS.items()
        if any("--json" in action.option_strings for action in parser._actions)
    ]


def test_every_verb_that_prints_json_is_looked_at() -> None:
    for words in json_verbs():
        assert words in JSON or any("--json" in line for line in examples_of(PARSERS[words])), f"{words} --json is not"


@pytest.mark.parametrize("words", JSON)
@pytest.mark.shows_secrets("one of them prints a token")
def test_json_is_the_same_on_a_terminal_and_in_a_pipe(words: str, folder: Path) -> None:
    with on_terminal(JSON[words].split(), cwd=folder, environ=plain_environment(**ENVIRONMENT), piped=2) as terminal:
        shown = terminal.to_the_end().replace("\r\n", "\n")
    assert not control_codes(shown)
    assert shown
    for document in [shown] if words in ("plan", "validate", "lint", "scopes") else shown.splitlines():
        json.loads(document)
    piped = subprocess.run(
        [sys.executable, "-m", "orchestrator", *JSON[words].split()],
        cwd=folder,
        env=plain_environment(**ENVIRONMENT),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert not control_codes(piped.stdout + piped.stderr)
    assert len(piped.stdout.splitlines()) == len(shown.splitlines())


@pytest.mark.parametrize("command", ["validate broken.yaml --no-import", "logs farm.yaml -n 5", "ps farm.yaml"])
def test_a_terminal_without_colours_is_shown_none(command: str, folder: Path) -> None:
    for wish in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        with on_terminal(command.split(), cwd=folder, environ=plain_environment(**wish)) as terminal:
            shown = terminal.to_the_end().replace("\r\n", "\n")
        assert shown.strip()
        assert not control_codes(shown)


@pytest.mark.parametrize("command", ["validate broken.yaml --no-import", "logs farm.yaml -n 5"])
def test_colours_are_for_terminals_that_have_them(command: str, folder: Path) -> None:
    with on_terminal(command.split(), cwd=folder) as terminal:
        shown = terminal.to_the_end()
    assert "\x1b[" in shown
    assert not control_codes(re.sub(r"\x1b\[[\d;]*m", "", shown).replace("\r\n", "\n"))


@pytest.mark.parametrize(
    "command",
    [
        "ps farm.yaml --json",
        "logs farm.yaml -n 1000",
        "graph good.yaml --no-import --format svg",
        "--help",
        *(
            pytest.param(command, marks=pytest.mark.bars)
            for command in (
                "ps farm.yaml",
                "plan good.yaml --no-import --json",
                "validate broken.yaml --no-import --json",
                "validate good.yaml --no-import",
                "lint good.yaml --no-import",
                "scopes good.yaml",
                "schema",
                "tasks good.yaml",
                "run --help",
                "--version",
            )
        ),
    ],
)
def test_a_reader_who_leaves_is_no_trouble(command: str, folder: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)  # nobody will ever read it
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", *command.split()],
        cwd=folder,
        env=plain_environment(**ENVIRONMENT),
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
    )
    os.close(writing)
    assert "Traceback" not in done.stderr
    assert "Broken" not in done.stderr


def test_json_goes_through_a_pipe(folder: Path) -> None:
    reader = (
        "jq -r .pid" if shutil.which("jq") else f"{sys.executable} -c 'import json;print(json.load(open(0))[\"pid\"])'"
    )
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{sys.executable} -m orchestrator ps --json | {reader}"],
        cwd=folder,
        env=plain_environment(**ENVIRONMENT),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "4711\n", "")


@pytest.mark.parametrize("columns", [1, 20, 400])
def test_help_is_shown_on_narrow_and_wide_terminals(columns: int) -> None:
    for verb in ("", *VERBS):
        parser = PARSERS.get(verb, argparse.ArgumentParser())
        parser.formatter_class = _of_width(parser, columns)
        assert not control_codes(parser.format_help())


@pytest.mark.parametrize("columns", [40, 400])
def test_who_runs_is_told_on_narrow_and_wide_terminals(columns: int, folder: Path) -> None:
    with on_terminal(["ps", "farm.yaml"], columns=columns, cwd=folder) as terminal:
        shown = terminal.to_the_end()
    assert "researcher.1" in shown.replace("\r\n", "\n")


def _of_width(parser: argparse.ArgumentParser, columns: int) -> argparse._FormatterClass:
    made = parser.formatter_class

    def formatter(*, prog: str) -> argparse.HelpFormatter:
        found = made(prog=prog)
        found._width = columns - 2
        return found

    return formatter


def test_what_an_error_quotes_steers_no_terminal(tmp_path: Path) -> None:
    with on_terminal(["replay", "\x1b[31m\u202ered.gz"], cwd=tmp_path) as terminal:
        shown = terminal.to_the_end()
    assert control_codes(shown) == ["\r"]
    assert "\\x1b[31m\\u202ered.gz cannot be read" in shown
