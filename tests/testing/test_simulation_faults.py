"""Schedules of mishaps as values, and how the one that fails is made short."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.testing.simulation_faults import (
    KINDS,
    Crash,
    Cut,
    Gone,
    HalfOpen,
    HubCrash,
    Parted,
    Scene,
    Schedule,
    draw,
    in_force,
    shown,
)
from orchestrator.testing.simulation_shrink import RUNS, shrink

SCENE = Scene(("boss", "helper.1", "helper.2"), ("reader",), store=True)


def drawn(seed: int, scene: Scene = SCENE, **options: Any) -> Schedule:
    return draw(seed, scene, **{"duration": 40.0, "most": 6, **options})


@given(st.integers())
def test_a_schedule_is_a_value_of_its_seed(seed: int) -> None:
    schedule = drawn(seed)
    assert schedule == drawn(seed)
    assert hash(schedule) == hash(drawn(seed))
    assert len(schedule) <= 6
    assert list(schedule) == sorted(schedule, key=lambda entry: entry[0])
    assert all(at >= 0 and at + mishap.lasting <= 40.001 for at, mishap in schedule)


@given(st.integers())
def test_what_is_shown_makes_it_anew(seed: int) -> None:
    made: dict[str, Any] = {}
    exec(shown(drawn(seed)), made)
    assert made["schedule"] == drawn(seed)


def test_every_kind_comes_and_hits_everybody() -> None:
    found = [mishap for seed in range(300) for _, mishap in drawn(seed)]
    kinds = Counter(type(mishap) for mishap in found)
    assert set(kinds) == set(KINDS)
    assert {peer for mishap in found for peer in mishap.touches} == {*SCENE.agents, *SCENE.users}
    assert any(not drawn(seed) for seed in range(300))


def test_only_what_is_wanted_and_possible_is_drawn() -> None:
    cuts = [mishap for seed in range(50) for _, mishap in drawn(seed, kinds=(Cut,))]
    assert {type(mishap) for mishap in cuts} == {Cut}
    lonely = [mishap for seed in range(300) for _, mishap in drawn(seed, Scene((), ("reader",)))]
    assert not any(isinstance(mishap, Parted | Crash | Gone) for mishap in lonely)
    nobody = {type(mishap) for seed in range(50) for _, mishap in drawn(seed, Scene(()))}
    assert nobody == {HubCrash}


@pytest.mark.parametrize(
    ("since", "until", "peer", "concerned"),
    [
        (0, 9, "helper.1", False),
        (0, 10, "helper.1", True),
        (10, 20, "helper.1", True),
        (80, 90, "helper.1", True),
        (91, 99, "helper.1", False),
        (10, 20, "helper.2", False),
    ],
)
def test_a_mishap_concerns_its_peer_until_its_aftermath_is_over(
    since: float, until: float, peer: str, concerned: bool
) -> None:
    assert in_force(((10.0, HalfOpen(5.0, "helper.1")),), since, until, peer) is concerned


def test_the_mishaps_of_a_user_are_those_of_everybody_of_that_name_and_of_the_hub_those_of_all() -> None:
    assert in_force(((1.0, Cut(0.0, "reader")),), 0, 5, "reader/alice")
    assert not in_force(((1.0, Cut(0.0, "read")),), 0, 5, "reader/alice")
    assert in_force(((1.0, HubCrash(0.5, silent=False)),), 0, 5, "anybody")


# -- short schedules


def numbered(count: int) -> Schedule:
    return tuple((float(number), Cut(0.0, f"peer.{number}")) for number in range(count))


def numbers(schedule: Schedule) -> list[int]:
    return [int(at) for at, _ in schedule]


@given(st.integers(0, 12), st.sets(st.integers(0, 11), max_size=3))
def test_what_matters_is_left(count: int, needed: set[int]) -> None:
    whole = numbered(max([count, *(number + 1 for number in needed)]))
    shortest = shrink(whole, lambda candidate: needed <= set(numbers(candidate)), runs=1_000)
    assert set(numbers(shortest)) == needed


@given(st.lists(st.booleans(), min_size=200, max_size=200), st.integers(0, 12))
def test_it_always_ends_with_something_that_fails_within_its_runs(answers: Sequence[bool], count: int) -> None:
    whole, tried = numbered(count), list[Schedule]()

    def fails(candidate: Schedule) -> bool:
        tried.append(candidate)
        return answers[len(tried)]

    shortest = shrink(whole, fails)
    assert len(tried) <= RUNS
    assert shortest == whole or any(
        shortest == candidate and answers[number] for number, candidate in enumerate(tried, 1)
    )
