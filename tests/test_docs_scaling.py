"""The figures in docs/scaling.md are those that were measured, and its promises name tests that exist."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest

from bench.cluster import ASKED
from bench.hub_report import SHOWN

TESTS = Path(__file__).parent
ROOT = TESTS.parent
TEXT = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
PARTS = {path: shown for _, path, shown, _ in SHOWN.findall(TEXT)}
NAME = re.compile(r"`(test_\w+)`")
FIGURES, PLAN = "bench/results/cluster.md", "bench/results/cluster_plan.md"


def promises() -> list[str]:
    """Return the items of the lists of what is guaranteed."""
    section = TEXT.partition("\n## What is guaranteed\n")[2].partition("\n### Limits that are of one hub\n")[0]
    return re.findall(r"^- (.*?)(?=^- |^$|^#|\Z)", section, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("path", [FIGURES, PLAN])
def test_the_figures_shown_are_those_of_the_results(path: str) -> None:
    assert PARTS[path] == (ROOT / path).read_text(encoding="utf-8")


def test_every_bar_is_shown() -> None:
    assert [asked.name for asked in ASKED if f"| {asked.name} |" not in PARTS[FIGURES]] == []


def test_no_turn_of_the_results_has_lost_anything() -> None:
    turns = json.loads((ROOT / "bench" / "results" / "cluster.json").read_text(encoding="utf-8"))["turns"]
    assert turns
    assert [turn for turn in turns if turn.get("lost") or turn.get("uneven")] == []


def test_every_test_that_the_document_names_exists() -> None:
    existing = {
        name
        for path in TESTS.rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert sorted(set(NAME.findall(TEXT)) - existing) == []


def test_every_promise_names_a_test() -> None:
    found = promises()
    assert len(found) > 10
    assert [promise for promise in found if not NAME.search(promise)] == []


def test_every_command_is_a_module_that_is_there() -> None:
    modules = set(re.findall(r"(?:python -m |`)(bench\.\w+)", TEXT))
    assert modules
    assert [module for module in modules if importlib.util.find_spec(module) is None] == []


def test_every_other_page_is_there() -> None:
    pages = set(re.findall(r"\]\((\w[\w-]*\.md)", TEXT))
    assert pages
    assert [page for page in pages if not (ROOT / "docs" / page).exists()] == []
