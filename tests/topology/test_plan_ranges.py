"""Words for replicas: what they mean, what they do not, and the fewest of them for a number of replicas."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.topology.part import part_of
from orchestrator.topology.plan import Plan, make_plan
from orchestrator.topology.plan_ranges import NoRange, Range, chosen, read_range, replicas_in, written
from tests.topology.files import read

NUMBERS = st.integers(1, 12)
RANGES = st.one_of(
    st.just(Range("ant")),
    st.tuples(NUMBERS, NUMBERS).map(lambda ends: Range("ant", min(ends), max(ends))),
    NUMBERS.map(lambda first: Range("ant", first, None)),
)


def farm(ants: int = 8) -> Plan:
    text = f"version: 1\nworkers:\n  ant: {{handler: app:Ant, replicas: {ants}}}\n  bee: {{handler: app:Bee}}\n"
    return make_plan(read(text), None)


FARM = farm()


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("ant", Range("ant")),
        ("ant.3", Range("ant", 3, 3)),
        ("ant.1-4", Range("ant", 1, 4)),
        ("ant.5-", Range("ant", 5)),
        ("ant[1-4]", Range("ant", 1, 4)),
        ("ant[5-]", Range("ant", 5)),
        ("red-ant.2", Range("red-ant", 2, 2)),
    ],
)
def test_a_word_means_an_agent_or_some_of_its_replicas(word: str, meant: Range) -> None:
    assert read_range(word) == meant


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("", "'' names no agent: write AGENT, AGENT.3, AGENT.1-4 or AGENT.5-"),
        (".3", "'.3' names no agent: write AGENT, AGENT.3, AGENT.1-4 or AGENT.5-"),
        ("ant[1-4", "'ant[1-4' names no agent: write AGENT, AGENT.3, AGENT.1-4 or AGENT.5-"),
        ("ant.", "'ant.' names no replicas: write ant.3, ant.1-4 or ant.5-"),
        ("ant.x", "'ant.x' names no replicas: write ant.3, ant.1-4 or ant.5-"),
        ("ant.-3", "'ant.-3' names no replicas: write ant.3, ant.1-4 or ant.5-"),
        ("ant.٣", "'ant.٣' names no replicas: write ant.3, ant.1-4 or ant.5-"),
        ("ant.0-3", "'ant.0-3': replicas are counted from 1"),
        ("ant.4-1", "'ant.4-1' counts down: write ant.1-4"),
    ],
)
def test_a_word_that_means_nothing_is_told(word: str, sentence: str) -> None:
    with pytest.raises(NoRange) as caught:
        read_range(word)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("amt.1-2", "--only: there is no agent 'amt' (did you mean 'ant'?)"),
        ("ant.7-9", "--only: there is no ant.9: 'ant' has ant.1 to ant.8, and 'replicas' in the file says so"),
        ("bee.1", "--only: 'bee.1' is none: 'bee' has no 'replicas', and its one copy is called 'bee'"),
    ],
)
def test_what_a_plan_does_not_have_is_told(word: str, sentence: str) -> None:
    assert chosen(FARM, [word], "--only") == ((), [sentence])


@given(RANGES)
def test_a_range_is_read_as_it_is_written(wanted: Range) -> None:
    assert read_range(str(wanted)) == wanted


@given(RANGES, RANGES)
def test_two_ranges_meet_where_a_replica_is_in_both(one: Range, other: Range) -> None:
    many = farm(24)
    both = {*replicas_in_ids(many, one)} & {*replicas_in_ids(many, other)}
    assert one.meets(other) == other.meets(one) == bool(both)
    assert not one.meets(Range("bee"))


@given(st.sets(st.sampled_from([replica.peer_id for replica in FARM.replicas]), min_size=1))
def test_the_words_for_replicas_mean_these_and_no_others(peers: set[str]) -> None:
    meant = tuple(replica for replica in FARM.replicas if replica.peer_id in peers)
    words = list(written(meant, FARM))
    ranges, wrong = chosen(FARM, words, "--only")
    assert wrong == []
    assert replicas_in(FARM, ranges) == meant
    assert {replica.peer_id for replica in part_of(FARM, only=words).here} == peers


def test_all_replicas_of_an_agent_are_written_as_the_agent() -> None:
    assert list(written(FARM.replicas, FARM)) == ["ant", "bee"]
    odd = [replica for replica in FARM.replicas_of("ant") if replica.replica in (1, 2, 3, 5, 7, 8)]
    assert list(written(odd, FARM)) == ["ant.1-3", "ant.5", "ant.7-8"]


def replicas_in_ids(plan: Plan, wanted: Range) -> list[str]:
    return [replica.peer_id for replica in replicas_in(plan, [wanted])]
