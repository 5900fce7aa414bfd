"""Every number of the protocol's checklist, and of the hazards that a hub has to stand, is the name of some test.

A test names a number of the checklist (§21) by beginning with it, as `test_19_…` does, or in its docstring (§21.19).
It names a hazard as `test_hazard_34_…` does, or its docstring, or that of its whole module, speaks of hazard 34.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS = Path(__file__).parents[1]
CHECKLIST = range(1, 79)
HAZARDS = (8, *range(17, 36), *range(37, 48), 49, 50, 55)
NUMBERED = re.compile(r"test_(\d+(?:_(?:and_)?\d+)*)_")
BY_HAZARD = re.compile(r"test_(?:hazard_|h)(\d+(?:_(?:and_)?\d+)*)_")
SECTION = re.compile(r"§21\.(\d+)")
SPOKEN_OF = re.compile(r"[Hh]azards? (\d+(?: to \d+)?(?:(?:, | and )\d+(?: to \d+)?)*)")
RANGE = re.compile(r"(\d+)(?: to (\d+))?")


def numbers(text: str) -> Iterator[int]:
    """Yield what is meant by, say, "29 to 31 and 45"."""
    for first, last in RANGE.findall(text):
        yield from range(int(first), int(last or first) + 1)


def named_in(source: str) -> tuple[set[int], set[int]]:
    """Return the numbers of the checklist and of hazards that the tests of a module name."""
    tree = ast.parse(source)
    module = ast.get_docstring(tree) or ""
    checklist: set[int] = set()
    hazards = {number for found in SPOKEN_OF.findall(module) for number in numbers(found)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or not node.name.startswith("test_"):
            continue
        text = ast.get_docstring(node) or ""
        checklist.update(int(number) for number in SECTION.findall(text))
        hazards.update(number for found in SPOKEN_OF.findall(text) for number in numbers(found))
        if name := BY_HAZARD.match(node.name):
            hazards.update(numbers(name[1]))
        elif (name := NUMBERED.match(node.name)) and not module.startswith("Hazard"):
            checklist.update(numbers(name[1]))
    return checklist, hazards


@pytest.fixture(scope="module")
def named() -> tuple[set[int], set[int]]:
    checklist: set[int] = set()
    hazards: set[int] = set()
    for path in TESTS.rglob("test_*.py"):
        if path != Path(__file__):
            of_checklist, of_hazards = named_in(path.read_text(encoding="utf-8"))
            checklist |= of_checklist
            hazards |= of_hazards
    return checklist, hazards


def test_every_number_of_the_checklist_that_is_about_hubs_is_named(named: tuple[set[int], set[int]]) -> None:
    assert sorted(set(CHECKLIST) - named[0]) == []


def test_every_hazard_that_hubs_have_to_stand_is_named(named: tuple[set[int], set[int]]) -> None:
    assert sorted(set(HAZARDS) - named[1]) == []


def test_no_two_tests_of_a_module_have_one_name() -> None:
    """The second one would take the place of the first, which would never run."""
    twice = []
    for path in TESTS.rglob("test_*.py"):
        places: dict[str, list[int]] = defaultdict(list)
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                places[node.name].append(node.lineno)
        twice += [(path.name, name) for name, lines in places.items() if len(lines) > 1]
    assert twice == []


def test_a_name_is_found_however_it_is_given() -> None:
    source = (
        '"""Of hazards 1 to 3, 9 and 11."""\n'
        "def test_4_5_x(): ...\nasync def test_6_and_7_x(): ...\ndef test_hazard_20_x(): ...\n"
        'def test_y():\n    """§21.8 and hazard 30."""\ndef helper_12_x(): ...\n'
    )
    assert named_in(source) == ({4, 5, 6, 7, 8}, {1, 2, 3, 9, 11, 20, 30})
    assert named_in('"""Hazard 33: x."""\ndef test_5_x(): ...') == (set(), {33})
