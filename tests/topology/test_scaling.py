"""Other numbers of replicas for agents of a topology."""

from __future__ import annotations

import pytest

from orchestrator.errors import ExitCode
from orchestrator.topology.plan import make_plan
from orchestrator.topology.scaling import CannotScale, scaled
from orchestrator.topology.values import MAX_COUNT
from tests.topology.files import DESK, read

PROGRAMS = "version: 1\nagents:\n  a: {handler: app:A}\n  b: {external: true, replicas: 2}\n  c: {handler: app:C, replicas: 1}\n"


def test_the_agents_that_are_named_get_as_many_and_nothing_else_changes() -> None:
    topology = read(DESK)
    other = scaled(topology, {"reviewer": 5, "checker": 1})
    assert (other.workers["reviewer"].replicas, other.agents["checker"].replicas) == (5, 1)
    assert scaled(other, {"reviewer": 3, "checker": 2}) == topology
    assert other.origin is topology.origin
    assert [replica.peer_id for replica in make_plan(other, None).replicas_of("reviewer")][-1] == "reviewer.5"


def test_a_count_that_is_there_already_and_none_at_all_change_nothing() -> None:
    topology = read(DESK)
    assert scaled(topology, {"reviewer": 3}) == topology == scaled(topology, {})


@pytest.mark.parametrize(
    ("name", "count", "sentence"),
    [
        ("reviewr", 2, "there is no agent 'reviewr' (did you mean 'reviewer'?)"),
        ("zzz", 2, "there is no agent 'zzz'; there are 'lead', 'reviewer', 'narrator', 'checker' and 'concierge'"),
        ("reviewer", 0, "reviewer=0: an agent has at least 1 replica; 'enabled: false' in the file switches it off"),
        ("reviewer", -3, "reviewer=-3: an agent has at least 1 replica; 'enabled: false' in the file switches it off"),
        ("reviewer", MAX_COUNT + 1, "reviewer=1001: this is too many; at most 1000 are possible"),
        (
            "narrator",
            2,
            (
                "'narrator' is declared without 'replicas', so its one copy has the peer id 'narrator', and others would be "
                "'narrator.1' and so on: write 'replicas: 1' in the file and start it anew, and it can be scaled from then on"
            ),
        ),
    ],
)
def test_what_cannot_be_had_is_told(name: str, count: int, sentence: str) -> None:
    with pytest.raises(CannotScale) as caught:
        scaled(read(DESK), {name: count})
    assert str(caught.value) == sentence
    assert caught.value.exit_code is ExitCode.USAGE


def test_everything_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(CannotScale) as caught:
        scaled(read(PROGRAMS), {"a": 2, "b": 3, "c": MAX_COUNT, "d": 1})
    assert [sentence.split(" is ")[0] for sentence in caught.value.sentences] == ["'a'", "'b'", "there"]
