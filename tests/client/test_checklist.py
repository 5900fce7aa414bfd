"""Every number of the protocol's checklist about clients, and of the hazards that they stand, is the name of a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hub.test_checklist import TESTS, named_in

CHECKLIST = range(79, 97)
HAZARDS = (4, 5, 14, 15, 16, 21, 27, 34, 36, 45, 52, 53, 57)
AT_THE_CLIENT = ("client", "interop", "journeys", "runtime", "testing")
"""Folders whose tests have a client in them."""


@pytest.fixture(scope="module")
def named() -> tuple[set[int], set[int]]:
    checklist: set[int] = set()
    hazards: set[int] = set()
    for folder in AT_THE_CLIENT:
        for path in (TESTS / folder).rglob("test_*.py"):
            if path != Path(__file__):
                of_checklist, of_hazards = named_in(path.read_text(encoding="utf-8"))
                checklist |= of_checklist
                hazards |= of_hazards
    return checklist, hazards


def test_every_number_of_the_checklist_that_is_about_clients_is_named(named: tuple[set[int], set[int]]) -> None:
    assert sorted(set(CHECKLIST) - named[0]) == []


def test_every_hazard_that_clients_have_to_stand_is_named(named: tuple[set[int], set[int]]) -> None:
    assert sorted(set(HAZARDS) - named[1]) == []
