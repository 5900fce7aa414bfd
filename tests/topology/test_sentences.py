from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator.topology.model import Topology
from orchestrator.topology.sentences import findings, keys_at, shown
from orchestrator.topology.values import Nothing, Text

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
@given(st.dictionaries(st.sampled_from(sorted(Topology.model_fields)), VALUES))
def test_whatever_a_file_holds_is_told_in_our_own_words(data: dict[str, Any]) -> None:
    try:
        Topology.model_validate(data)
    except ValidationError as error:
        said = [finding.sentence for finding in findings(error)]
        assert said
        for sentence in said:
            assert not re.search("Input|Field|valid|pydantic|another kind of value|Extra", sentence), sentence


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


def test_keys_are_known_at_every_depth() -> None:
    assert "workers" in keys_at(())
    assert "workers" in keys_at(("coordinators", "lead"))
    assert "workers" not in keys_at(("workers", "helper"))
    assert "window" in keys_at(("agents", "a", "restart"))
    assert keys_at(("workers",)) == ()
    assert keys_at(("workers", "w", "environment")) == ()
    assert keys_at(("nowhere", "at", "all")) == ()
