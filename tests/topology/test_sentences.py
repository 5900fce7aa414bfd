from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.topology.model import Topology
from orchestrator.topology.sentences import shown
from orchestrator.topology.validation import validate
from orchestrator.topology.values import Nothing, Text
from tests.topology.files import complaints, keys_at

KEYS = sorted(
    {key for steps in [(), ("hub",), ("defaults",), ("workers", "w"), ("presence", "l")] for key in keys_at(steps)}
    | {"restart", "window", "publish", "w", "W", "timeout"}
)
SCALARS = st.sampled_from(["w", "1", "no", "", "30s", "app:W", "ws://h"])
VALUES = st.recursive(
    SCALARS | SCALARS.map(lambda text: Text(text, text)) | st.just(Nothing.NOTHING),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=30,
)


@settings(max_examples=200)
@given(st.dictionaries(st.sampled_from(sorted(Topology.keys)), VALUES))
def test_whatever_a_file_holds_is_told_in_our_own_words(data: dict[str, Any]) -> None:
    topology, found = validate(Topology, data)
    assert (topology is None) == bool(found)
    for finding in found:
        assert not re.search("Input|Field|valid|pydantic|another kind of value|Extra", finding.sentence), finding


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (Nothing.NOTHING, "nothing"),
        ({}, "a mapping"),
        ([1], "a list"),
        (Text("thre", "thre"), "'thre'"),
        (Text("thre", "${N}"), "what '${N}' stands for"),
        ("thre", "'thre'"),
        ("3", "the quoted text '3'"),
        ("true", "the quoted text 'true'"),
        (3, "3"),
        ("a" * 100, "'" + "a" * 59 + "…'"),
    ],
)
def test_a_value_is_shown_as_its_author_sees_it(value: object, words: str) -> None:
    assert shown(value) == words


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("wokers: {}", "wokers: unknown key 'wokers' (did you mean 'workers'?)"),
        ("includ: x.yaml", "includ: unknown key 'includ' (did you mean 'include'?)"),
        ("hub: {lsten: '127.0.0.1:0'}", "hub.lsten: unknown key 'lsten' (did you mean 'listen'?)"),
        ("coordinators: {c: {wrkers: []}}", "coordinators.c.wrkers: unknown key 'wrkers' (did you mean 'workers'?)"),
        ("agents: {a: {restart: {windw: 1}}}", "agents.a.restart.windw: unknown key 'windw' (did you mean 'window'?)"),
        (
            "teams: {t: {claims: {q: 1}}}",
            "teams.t.claims.q: unknown key 'q'; the keys here are 'consistency', 'ttl' and 'allow_unsafe_claims'",
        ),
    ],
)
def test_the_keys_of_every_depth_are_known(text: str, sentence: str) -> None:
    assert sentence in [line.partition(": ")[2] for line in complaints(f"version: 1\n{text}\n")]


@pytest.mark.parametrize("text", ["workers: {whatever: {}}", "agents: {a: {environment: {WHATEVER: x}}}"])
def test_where_any_name_may_stand_no_key_is_unknown(text: str) -> None:
    assert not [line for line in complaints(f"version: 1\n{text}\n") if "unknown key" in line]


def test_a_misspelt_key_that_is_needed_is_told_once() -> None:
    said = complaints("version: 1\nteams: {t: {membrs: [a]}}\nagents: {a: {handler: app}}\n")
    assert [line.partition(": ")[2] for line in said] == [
        "teams.t.membrs: unknown key 'membrs' (did you mean 'members'?)"
    ]
