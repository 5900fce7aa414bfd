"""Lists of patterns in fewer patterns: nobody gains a name by it, and nobody loses one."""

from __future__ import annotations

from itertools import product
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import TopologyError
from orchestrator.protocol.globs import matches
from orchestrator.protocol.limits import MAX_CHANNEL_CLAIMS
from orchestrator.protocol.tokens import Grants, allows
from orchestrator.topology.merging import Whole, merged, without_covered
from orchestrator.topology.plan import make_plan
from orchestrator.topology.scopes import inbox_channel
from tests.topology.files import read

NAMES: Final = ["".join(each) for size in range(5) for each in product("ab/*\\", repeat=size)]
WHOLES: Final = (Whole(("w.1", "w.2", "w.3"), "w.*"), Whole(("w.*", "v"), "*"))


@given(st.lists(st.text("ab/*\\", min_size=1, max_size=4), max_size=8))
def test_what_others_cover_is_left_out_and_the_same_names_match(patterns: list[str]) -> None:
    left = without_covered(patterns)
    assert set(left) <= set(patterns)
    for name in NAMES:
        assert any(matches(each, name) for each in left) == any(matches(each, name) for each in patterns)


@pytest.mark.parametrize(
    ("patterns", "left"),
    [
        (["a/b", "a/*", "a/**"], ("a/**",)),
        (["a", "b", "a"], ("a", "b")),
        (["**", "***", "*"], ("**",)),
        ([r"a\*", "a*"], ("a*",)),
        (["a/*", "*/b"], ("a/*", "*/b")),
        ([], ()),
    ],
)
def test_of_patterns_that_say_the_same_the_first_stays(patterns: list[str], left: tuple[str, ...]) -> None:
    assert without_covered(patterns) == left


def test_very_many_patterns_are_compared_with_those_only_that_begin_alike() -> None:
    many = [f"a/{number}" for number in range(20_000)]
    assert without_covered([*many, "a/1*"]) == (*(each for each in many if not each.startswith("a/1")), "a/1*")


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        (("x", "w.1", "w.2", "w.3"), ("x", "w.*")),
        (("w.1", "w.3"), ("w.1", "w.3")),
        (("v", "w.3", "w.2", "w.1", "u/*"), ("*", "u/*")),
        (("w.*", "v"), ("*",)),
        (("w.*", "w.1"), ("w.*",)),
    ],
)
def test_what_is_all_there_is_said_in_one(patterns: tuple[str, ...], found: tuple[str, ...]) -> None:
    assert merged(patterns, WHOLES) == found


def topology(replicas: int, singles: int, send: list[str], publish: list[str]) -> str:
    agents = "".join(f"  s{number}: {{handler: a:S}}\n" for number in range(singles))
    return (
        f"version: 1\nagents:\n  w: {{handler: a:W, replicas: {replicas}}}\n{agents}"
        f"  x: {{handler: a:X, scopes: {{send: {send}, publish: {publish}}}}}\nusers:\n  u: {{}}\n"
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(101, 130), st.integers(0, 3), st.sets(st.integers(1, 130), max_size=3), st.booleans(), st.booleans())
def test_merging_allows_no_name_of_the_topology_that_was_not_allowed_and_loses_none(
    replicas: int, singles: int, missing: set[int], with_singles: bool, with_itself: bool
) -> None:
    wanted = [f"w.{number}" for number in range(1, replicas + 1) if number not in missing]
    send = [*wanted, *(f"s{number}" for number in range(singles) if with_singles), *(["x"] if with_itself else [])]
    publish = [inbox_channel(peer) for peer in wanted]
    text = topology(replicas, singles, send, publish)
    derived = 1  # the built-in user is answered
    if len(send) + derived > MAX_CHANNEL_CLAIMS and missing & set(range(1, replicas + 1)):
        with pytest.raises(TopologyError, match="with each one left out that others cover exactly"):
            make_plan(read(text), None)
        return
    plan = make_plan(read(text), None)
    (owner,) = plan.replicas_of("x")
    peers = [replica.peer_id for replica in plan.replicas]
    assert [peer for peer in [*peers, "u/alice"] if allows(owner.grants.send, peer)] == [
        peer for peer in peers if peer in send
    ]
    assert [peer for peer in [*peers, "w"] if allows(owner.grants.publish, inbox_channel(peer))] == wanted
    assert len(owner.channels) <= MAX_CHANNEL_CLAIMS


def test_what_a_token_can_hold_is_left_as_it_is_written() -> None:
    text = topology(3, 0, ["w.1", "w.2", "w.3", "w.*"], ["a/*", "a/b"])
    (owner,) = make_plan(read(text), None).replicas_of("x")
    assert owner.grants == Grants(publish=("a/*", "a/b"), send=("cli/*", "w.1", "w.2", "w.3", "w.*"))


def test_a_flat_list_that_is_too_long_leaves_out_what_it_says_twice() -> None:
    channels = [f"news/{number}" for number in range(60)]
    scopes = f"{{subscribe: {channels}, publish: {[f'{channel}x' for channel in channels]}, observe: ['news/*']}}"
    (owner,) = make_plan(read(f"version: 1\nagents:\n  x: {{handler: a:X, scopes: {scopes}}}\n"), None).replicas
    assert owner.channels == ("news/*",)
    assert len(owner.grants.subscribe) == 60


def test_a_user_of_very_many_agents_asks_them_all_by_one_pattern() -> None:
    names = [f"s{number}" for number in range(120)]
    agents = "".join(f"  {name}: {{handler: a:S}}\n" for name in names)
    plan = make_plan(read(f"version: 1\nagents:\n{agents}users:\n  u: {{asks: [{', '.join(names)}]}}\n"), None)
    assert plan.user("u").grants == Grants(send=("*",))
    assert plan.user("cli").grants == Grants(send=("*",))
