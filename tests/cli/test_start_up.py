"""What a command imports before it does its work: what takes long is left to the commands that need it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IMPORTED = """
import sys

already = set(sys.modules)
from orchestrator.cli.main import main

try:
    code = main(sys.argv[1:])
except SystemExit as done:
    code = done.code
for name in sorted(set(sys.modules) - already):
    print("module", name)
sys.exit(code)
"""
OF_HANDLERS = {"asyncio", "msgspec", "pydantic", "pydantic_core", "websockets"}
"""What runs, and checks, agents; a file is read without any of it."""
SLOW = {"email", "importlib.metadata", "secrets", "socket", "ssl", "uuid", "zoneinfo"}


def imported(*words: str) -> set[str]:
    """Return the modules that a command imports by itself, on top of those that Python starts with."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return {line.removeprefix("module ") for line in done.stdout.splitlines() if line.startswith("module ")}


def test_help_imports_next_to_nothing() -> None:
    found = imported("--help")
    assert "orchestrator.cli.main" in found
    assert found & {"dataclasses", "inspect", "yaml", *OF_HANDLERS, *SLOW} == set()


@pytest.mark.parametrize(
    "words",
    [
        "validate --no-import topologies/dispatch.yaml",
        "plan --no-import topologies/dispatch.yaml",
        "graph --no-import topologies/dispatch.yaml",
        "scopes topologies/dispatch.yaml",
        "lint --no-import topologies/dispatch.yaml",
    ],
)
def test_a_file_is_looked_at_without_what_runs_it(words: str) -> None:
    found = imported(*words.split())
    assert "orchestrator.topology.load" in found
    assert found & {*OF_HANDLERS, *SLOW} == set()


def test_no_parser_is_made_for_a_verb_that_is_not_typed() -> None:
    count = """
import argparse, sys
made = []
init = argparse.ArgumentParser.__init__
argparse.ArgumentParser.__init__ = lambda self, **settings: (made.append(settings["prog"]), init(self, **settings))[1]
from orchestrator.cli.main import main
main(sys.argv[1:])
print(*made, sep=", ")
"""
    words = ["validate", "--no-import", "topologies/dispatch.yaml"]
    done = subprocess.run(
        [sys.executable, "-c", count, *words], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "orchestrator, orchestrator validate"


def test_a_good_file_is_checked_without_looking_for_what_would_be_wrong() -> None:
    unneeded = {"difflib", "orchestrator.topology.certificates", "orchestrator.topology.odd_spaces"}
    assert imported("validate", "--no-import", "topologies/dispatch.yaml") & unneeded == set()
