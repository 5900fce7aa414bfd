"""What is written as YAML is read as what it was, with or without comments."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.deployment.yaml_text import WIDTH, Noted, Off, document, scalar

TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.text(st.sampled_from("ab \n\t:#-{}[]&*!|>'\"%@`,?\\$0~\x85\u2028\ufeff\x00")),
    st.sampled_from(
        ["yes", "No", "null", "~", "0x1f", "1e3", "12:30", "2024-01-01", "=", "<<", ".inf", "---", "-", "on"]
    ),
)
VALUES = st.recursive(
    st.one_of(TEXTS, st.integers(), st.booleans()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=12,
)
MAPPINGS = st.dictionaries(TEXTS, VALUES, max_size=4)


@given(MAPPINGS)
def test_values_are_read_as_they_were(value: dict[str, Any]) -> None:
    assert yaml.safe_load(document(value)) in (value, value or None)


@given(MAPPINGS, st.text(st.characters(exclude_categories=["C", "Z"])))
def test_comments_change_no_value(value: dict[str, Any], comment: str) -> None:
    noted = {key: Noted(comment, each) for key, each in value.items()}
    listed = {"list": [Noted(comment, each) for each in value.values()], "last": "x"}
    assert yaml.safe_load(document(noted, comment)) in (value, value or None)
    assert yaml.safe_load(document(listed)) == {"list": list(value.values()), "last": "x"}


@given(MAPPINGS)
def test_what_is_off_is_not_read(value: dict[str, Any]) -> None:
    off = {"first": 1, "off": Off("why", value), "list": [1, Off("why", value), {"a": 2}]}
    assert yaml.safe_load(document(off)) == {"first": 1, "list": [1, {"a": 2}]}


def test_a_file_in_a_value_is_legible() -> None:
    assert document({"conf": "one\n\n  two: 2\n"}) == "conf: |\n  one\n\n    two: 2\n"


@pytest.mark.parametrize("word", ["yes", "N", "null", "12", "-", "a b", "a: b", "", "1.5"])
def test_what_could_be_something_else_is_quoted(word: str) -> None:
    assert scalar(word) == f'"{word}"'


def test_comments_are_broken_at_words_and_commands_are_not() -> None:
    text = document({"a": 1}, f"{'word ' * 40}\n  {'command ' * 40}")
    first, *_, command, _ = text.splitlines()
    assert len(first) <= WIDTH
    assert command == f"#   {'command ' * 40}".rstrip()
