"""The figures in docs/performance.md are those that were measured, and its commands are there."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest

from bench.hub_report import SHOWN, show_results
from bench.hub_workloads import ASKED

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "performance.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")
PARTS = SHOWN.findall(TEXT)


@pytest.mark.parametrize(("path", "shown"), [(path, shown) for _, path, shown, _ in PARTS], ids=lambda text: text[:30])
def test_the_figures_shown_are_those_of_the_results(path: str, shown: str) -> None:
    assert shown == (ROOT / path).read_text(encoding="utf-8")


def test_every_bar_is_shown() -> None:
    [shown] = [shown for _, path, shown, _ in PARTS if path == "bench/results/hub.md"]
    assert [asked.name for asked in ASKED if f"| {asked.name} |" not in shown] == []


def test_every_line_of_the_results_is_a_turn_without_a_loss() -> None:
    turns = [json.loads(line) for line in (ROOT / "bench" / "results" / "hub.jsonl").read_text().splitlines()]
    assert turns
    assert [turn for turn in turns if turn.get("lost") or turn.get("uneven")] == []


def test_every_command_is_a_module_that_is_there() -> None:
    modules = re.findall(r"python -m (\S+)", TEXT)
    assert modules
    assert [module for module in modules if importlib.util.find_spec(module) is None] == []


def test_new_figures_take_the_place_of_the_old_and_nothing_else_changes(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    result = (ROOT / "bench" / "results" / "hub.md").read_text(encoding="utf-8")
    document.write_text("before\n<!-- bench/results/hub.md -->\nold\n<!-- end -->\nafter\n", encoding="utf-8")
    show_results(document)
    shown = document.read_text(encoding="utf-8")
    assert shown == f"before\n<!-- bench/results/hub.md -->\n{result}<!-- end -->\nafter\n"
