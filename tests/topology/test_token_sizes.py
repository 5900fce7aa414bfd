"""Tokens that a hub would refuse for their size are refused in the plan, by the place of whom they are for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import TopologyError
from orchestrator.protocol.codes import Action
from orchestrator.protocol.limits import MAX_TOKEN
from orchestrator.protocol.tokens import Claims, Grants, SecretKey, mint, token_size
from orchestrator.topology.plan import make_plan
from orchestrator.topology.token_sizes import LONGEST, SOME_TIME, excess_size, is_short
from tests.topology.files import read

ASTRAL = "\U0001f600"
EXP = 1_900_000_000
LONG = "\u20ac" * 40
"""Three bytes a character where grants are counted, and six in a token."""
MANY = ", ".join(f"'{number:02}{LONG}'" for number in range(60))


def refused(text: str) -> list[str]:
    with pytest.raises(TopologyError) as found:
        make_plan(read(text), None)
    return [str(problem).removeprefix("topology.yaml:") for problem in found.value.problems]


@given(
    name=st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=40),
    channels=st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=20), max_size=5),
    key_id=st.from_regex("sk_id_[a-z0-9]{1,40}", fullmatch=True),
)
def test_the_size_of_a_token_is_known_before_it_is_made(name: str, channels: list[str], key_id: str) -> None:
    claims = Claims(
        sub="a",
        exp=EXP,
        channels=tuple(channels),
        permissions=frozenset({Action.SEND}),
        peer_metadata={"name": name},
        grants=Grants(publish=tuple(channels)),
        instance=name,
    )
    key = SecretKey(key_id, "s" * 40)
    assert token_size(claims, key_id) == len(mint(key, claims))


def test_an_agent_whose_token_is_too_long_for_a_url_is_told_with_size_and_limit() -> None:
    text = f"version: 1\nagents:\n  ok: {{handler: app:A}}\n  a: {{handler: app:A, scopes: {{subscribe: [{MANY}]}}}}\n"
    [line] = refused(text)
    assert line.startswith("4:3: agents.a: its token takes ")
    assert line.endswith(f" bytes, and the URL that it travels in has room for {MAX_TOKEN}")
    assert int(line.split(" takes ")[1].split()[0]) > MAX_TOKEN


def test_a_kind_of_user_is_told_by_the_longest_token_that_one_of_them_can_have() -> None:
    text = f"version: 1\nagents:\n  a: {{handler: app:A}}\nusers:\n  u: {{scopes: {{subscribe: [{MANY}]}}}}\n"
    [line] = refused(text)
    assert line.startswith("5:3: users.u: its token takes ")


def test_capabilities_that_no_token_holds_are_told_at_their_agent() -> None:
    words = ", ".join(f"{'c' * 60}{number}" for number in range(70))
    [line] = refused(f"version: 1\nagents:\n  a: {{handler: app:A, capabilities: [{words}]}}\n")
    assert line.startswith("3:3: agents.a: its name and capabilities take ")
    assert line.endswith(" bytes, and a token holds 4096")


@given(
    words=st.lists(st.integers(1, 64), max_size=900),
    label=st.integers(0, 128),
    channels=st.lists(st.integers(1, 64), max_size=90),
)
def test_what_counts_as_short_is_within_every_limit(words: list[int], label: int, channels: list[int]) -> None:
    capabilities = [f"{'c' * length}" for length in words]
    named = f", name: '{ASTRAL * label}'" if label else ""
    listed = ", ".join(f"'{ASTRAL * length}'" for length in channels)
    text = f"version: 1\nagents:\n  a: {{handler: app:A{named}, capabilities: {capabilities}, scopes: {{subscribe: [{listed}]}}}}\n"
    try:
        [replica] = make_plan(read(text), None).replicas
    except TopologyError:
        return
    if is_short(replica):
        assert excess_size(replica.claims(exp=SOME_TIME, instance=LONGEST), None) is None
