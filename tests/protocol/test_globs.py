"""Channel patterns, against the protocol's table, a naive matcher, and every short name there is.

Checklist 15 and 17, hazards 37 to 39.
"""

from __future__ import annotations

import sys
import timeit
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.protocol.globs import Star, compiled, covers, has_star, matches, tokens
from orchestrator.protocol.limits import MAX_CHANNEL_CLAIMS, MAX_CHANNEL_NAME
from tests.protocol.glob_oracle import consumes, letters, words

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

patterns = st.text("ab/*\\", min_size=1, max_size=9)
names = st.text("ab/\\", min_size=1, max_size=9)
NAMES = ["".join(letters) for size in range(7) for letters in product("a/z", repeat=size)]


@pytest.mark.parametrize(
    ("pattern", "table"),
    [
        ("a/*", {"a/b": True, "a/b/c": False, "a/": True, "ab": False}),
        ("a/**", {"a/b": True, "a/b/c": True, "a/": True, "ab": False}),
        ("a*", {"a/b": False, "a/b/c": False, "a/": False, "ab": True}),
        ("**", {"a/b": True, "a/b/c": True, "a/": True, "ab": True}),
    ],
)
def test_15_the_truth_table_holds(pattern: str, table: dict[str, bool]) -> None:
    assert {name: matches(pattern, name) for name in table} == table


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        (r"a\*", "a*", True),
        (r"a\*", "ab", False),
        (r"a\\*", "a\\b", True),
        (r"a\\*", "a*", False),
        (r"a\b", r"a\b", True),
        (r"a\b", "ab", False),
        ("a\\", "a\\", True),
        (r"\\\*", r"\*", True),
        ("A*", "ab", False),
        ("a*", "Ab", False),
        ("a***b", "a/x/b", True),
        ("*", "", True),
        ("*a*", "bab", True),
        ("a.c", "abc", False),
        ("[ab]", "a", False),
        ("?", "a", False),
        ("{a,b}", "a", False),
        ("a*", "aä\U0001f600", True),
        ("a", "a\n", False),
        ("*/state", "team/state", True),
        ("*/state", "team/x/state", False),
    ],
)
def test_15_escapes_and_letter_case_count_and_nothing_else_is_special(pattern: str, name: str, expected: bool) -> None:
    assert matches(pattern, name) is expected


@given(patterns, names)
@settings(max_examples=500, deadline=None)
def test_15_a_match_is_what_a_naive_matcher_finds(pattern: str, name: str) -> None:
    assert matches(pattern, name) == consumes(words(pattern), letters(name))


@given(patterns)
def test_tokens_are_what_a_second_reading_finds(pattern: str) -> None:
    assert tuple(t.value if isinstance(t, Star) else f"={t}" for t in tokens(pattern)) == words(pattern)


@pytest.mark.parametrize(
    ("allowed", "requested", "expected"),
    [
        ("a/*", "a/**", False),
        ("a/**", "a/*/b", True),
        ("**", "**", True),
        ("**", "*", True),
        ("*", "**", False),
        ("*", "*", True),
        ("a/*", "a/*", True),
        ("a/*", "a/b*", True),
        ("a/b*", "a/*", False),
        ("a/*", "a/b", True),
        (r"a/\*", "a/*", False),
        ("a/*", r"a/\*", True),
        ("a**", "a*", True),
        ("*/*", "a*/*b", True),
        ("*/*", "a*", False),
        ("**/x", "*/x", True),
        ("team/**", "teams/**", False),
    ],
)
def test_17_a_pattern_is_allowed_when_it_is_covered(allowed: str, requested: str, expected: bool) -> None:
    assert covers(allowed, requested) is expected


@given(patterns, patterns)
@settings(max_examples=500, deadline=None)
def test_17_covering_is_the_rule_of_the_protocol(allowed: str, requested: str) -> None:
    assert covers(allowed, requested) == consumes(words(allowed), words(requested))


@given(st.text("a/*", min_size=1, max_size=5), st.text("a/*", min_size=1, max_size=5))
@settings(max_examples=300, deadline=None)
def test_17_a_covered_pattern_matches_nothing_that_is_not_allowed(allowed: str, requested: str) -> None:
    """Over every name of up to six characters: one that the patterns hold, a slash, and one that they do not hold."""
    if covers(allowed, requested):
        assert [name for name in NAMES if matches(requested, name) and not matches(allowed, name)] == []


@given(patterns)
def test_every_pattern_covers_itself_and_is_covered_by_all(pattern: str) -> None:
    assert covers(pattern, pattern)
    assert covers("**", pattern)


@given(patterns, patterns, patterns)
@settings(deadline=None)
def test_covering_is_transitive(widest: str, middle: str, narrowest: str) -> None:
    if covers(widest, middle) and covers(middle, narrowest):
        assert covers(widest, narrowest)


@given(st.text("ab/\\", min_size=1, max_size=9), patterns)
def test_a_name_without_stars_is_covered_by_what_matches_it(name: str, pattern: str) -> None:
    escaped = name.replace("\\", "\\\\")
    assert covers(pattern, escaped) == matches(pattern, name)


WORST = (
    "*a" * 128,
    "**a" * 85,
    "*" * 256,
    "a*" * 127 + "b",
    "**/" * 85,
    "*/" * 128,
    "\\*" * 128,
    "*a/" * 85,
    "\\" * 256,
)
LONGEST = ("a" * 256, "a" * 255 + "b", "a/" * 128, "/" * 256, "*" * 256, "\\" * 256)


@pytest.mark.parametrize("pattern", WORST)
@pytest.mark.parametrize("name", LONGEST)
def test_15_adversarial_input_takes_less_than_10_milliseconds(pattern: str, name: str) -> None:
    assert len(pattern) <= MAX_CHANNEL_NAME
    assert min(timeit.repeat(lambda: (matches(pattern, name), covers(pattern, name)), number=1, repeat=4)) < 0.010


def lines_of(work: Callable[[], object]) -> int:
    """Count the lines of Python that `work` runs."""
    count = 0

    def trace(_frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("pattern", WORST)
@pytest.mark.parametrize("name", LONGEST)
def test_39_a_match_takes_a_few_steps_per_character_of_the_name_whatever_the_pattern(pattern: str, name: str) -> None:
    """Each step is on integers of as many bits as the pattern has characters, so there is nothing to multiply."""
    ready = compiled(pattern)
    assert lines_of(lambda: ready.matches(name)) <= 6 * len(name) + 20


@pytest.mark.parametrize("pattern", WORST)
def test_39_a_cover_check_takes_a_few_steps_per_character_of_both_patterns(pattern: str) -> None:
    for requested in WORST:
        lines = lines_of(partial(compiled(pattern).covers, compiled(requested)))
        assert lines <= 18 * (len(pattern) + len(requested)) + 20


def test_39_a_hundred_grants_take_no_more_than_a_hundred_times_the_steps_of_one() -> None:
    grants = [compiled("*a" * (28 + number)) for number in range(MAX_CHANNEL_CLAIMS)]
    name = "a" * 255 + "b"
    most = max(lines_of(partial(grant.matches, name)) for grant in grants)
    assert lines_of(lambda: [grant.matches(name) for grant in grants]) <= MAX_CHANNEL_CLAIMS * (most + 2) + 5


def test_any_star_makes_a_pattern_subscription() -> None:
    assert has_star("a/*")
    assert has_star(r"a/\*")
    assert not has_star(r"a/\b")
