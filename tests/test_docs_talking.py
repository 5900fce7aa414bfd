"""What docs/talking.md says of the commands that talk to a run is so."""

from __future__ import annotations

import argparse
import importlib
import re
from pathlib import Path

import pytest

from orchestrator.cli.chatting import TYPED
from orchestrator.cli.entering import TOKEN
from orchestrator.cli.example_text import examples_of
from orchestrator.cli.main import VERBS
from orchestrator.errors import ExitCode

DOCUMENT = (Path(__file__).parents[1] / "docs" / "talking.md").read_text(encoding="utf-8")
TALKING = ("ask", "chat", "send", "publish", "dispatch", "who", "dashboard")


def parser_of(verb: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"orchestrator {verb}", add_help=False)
    importlib.import_module(f"orchestrator.cli.{VERBS[verb].module}").arguments(verb, parser)
    return parser


@pytest.mark.parametrize("verb", TALKING)
def test_every_verb_and_option_is_described(verb: str) -> None:
    parser = parser_of(verb)
    assert re.search(rf"^\| `{verb}[ `]", DOCUMENT, re.MULTILINE)
    for action in parser._actions:
        for option in action.option_strings:
            assert f"`{option}" in DOCUMENT, f"{verb} {option} is described nowhere"
    assert examples_of(parser)


def test_what_is_shown_can_be_typed() -> None:
    shown = re.findall(r"\$ (?:.*\| )?orchestrator (.*)", DOCUMENT)
    assert shown
    for line in shown:
        verb = line.split()[0]
        assert verb in VERBS


def test_every_line_of_a_chat_is_described() -> None:
    described = re.findall(r"^\| `(/\w+)", DOCUMENT, re.MULTILINE)
    assert described == list(TYPED)


def test_the_variable_of_the_token_is_named() -> None:
    assert f"`{TOKEN}`" in DOCUMENT


def test_exit_codes_are_those_that_there_are() -> None:
    _, _, section = DOCUMENT.partition("## Exit codes")
    codes = [int(code) for cell in re.findall(r"^\| ([\d, ]+) \|", section, re.MULTILINE) for code in cell.split(",")]
    assert codes == [code for code in ExitCode if code is not ExitCode.INVALID]
