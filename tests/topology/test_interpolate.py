from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.topology.guesses import Guesses
from orchestrator.topology.interpolate import Filled, fill

ENVIRON = {"A": "1", "EMPTY": "", "TRICK": "${A}"}


def filled(text: str) -> Filled:
    return fill(text, ENVIRON, Guesses())


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("plain", "plain"),
        ("${A}", "1"),
        ("a${A}b${A}c", "a1b1c"),
        ("${EMPTY}", ""),
        ("${EMPTY:-x}", "x"),
        ("${GONE:-x y}", "x y"),
        ("${GONE:-}", ""),
        ("${GONE:-a:-b}", "a:-b"),
        ("${A:?needed}", "1"),
        ("$A $ {A} $$", "$A $ {A} $$"),
        ("$${A}", "${A}"),
        ("$$${A}", "$${A}"),
        ("${TRICK}", "${A}"),
    ],
)
def test_references_are_filled_in(text: str, result: str) -> None:
    found = filled(text)
    assert (found.text, found.wrong) == (result, ())


@pytest.mark.parametrize(
    "text", ["${", "${A", "${}", "${1A}", "${A-x}", "${A:x}", "${A:+x}", "${A:-${A}}", "${GONE}", "${EMPTY:?}", "${ A}"]
)
def test_a_wrong_reference_is_told(text: str) -> None:
    assert len(filled(text).wrong) == 1


def test_the_variables_of_a_text_are_named_even_when_they_are_not_set() -> None:
    assert filled("${A}${GONE:-x}${A}").variables == ("A", "GONE")


@given(st.text())
def test_a_text_without_references_stays_what_it_is(text: str) -> None:
    if "${" not in text:
        assert filled(text) == Filled(text)


@given(st.text(alphabet="${}:-?A x"))
def test_no_reference_is_left_behind_unless_it_is_told_or_escaped(text: str) -> None:
    found = filled(text)
    if not found.wrong:
        assert "${" not in re.sub(r"\$\$\{", "", text) or found.variables or found.text == text


@given(st.text(alphabet=st.characters(exclude_characters="}", exclude_categories=["Cs"])))
def test_a_default_is_taken_as_it_stands(default: str) -> None:
    if "${" not in default:
        assert filled(f"${{GONE:-{default}}}").text == default


@given(st.text())
def test_what_a_variable_holds_is_never_read_again(value: str) -> None:
    assert fill("<${V}>", {"V": value}, Guesses()).text == f"<{value}>"
