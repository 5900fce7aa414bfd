"""Channel patterns, against the protocol's table, a naive matcher, and every short name there is."""

from __future__ import annotations

import re
import timeit
from functools import cache
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.protocol.globs import Star, covers, has_star, matches, tokens
from orchestrator.protocol.limits import MAX_CHANNEL_NAME

patterns = st.text("ab/*\\", min_size=1, max_size=9)
names = st.text("ab/\\", min_size=1, max_size=9)
NAMES = ["".join(letters) for size in range(7) for letters in product("a/z", repeat=size)]


def words(pattern: str) -> tuple[str, ...]:
    r"""Cut a pattern up by a second reading of its rules: `=x` is a literal, `*` and `**` are stars."""
    found: list[str] = []
    for word in re.findall(r"\\[*\\]|\*+|.", pattern, re.DOTALL):
        if word[0] == "*":
            found.append(word[:2])
        else:
            found.append("=" + word[-1])
    return tuple(found)


@cache
def naive(pattern: tuple[str, ...], name: str) -> bool:
    if not pattern:
        return not name
    first, rest = pattern[0], pattern[1:]
    if first[0] == "=":
        return name[:1] == first[1] and naive(rest, name[1:])
    return naive(rest, name) or (bool(name) and (first == "**" or name[0] != "/") and naive(pattern, name[1:]))


@cache
def naive_cover(allowed: tuple[str, ...], requested: tuple[str, ...]) -> bool:
    """The protocol's rule, word for word: what each allowed token may consume of the requested ones."""
    if not allowed:
        return not requested
    if allowed[0][0] == "=":
        return bool(requested) and requested[0] == allowed[0] and naive_cover(allowed[1:], requested[1:])
    consumable = bool(requested) and (allowed[0] == "**" or requested[0] not in ("=/", "**"))
    return naive_cover(allowed[1:], requested) or (consumable and naive_cover(allowed, requested[1:]))


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
    assert matches(pattern, name) == naive(words(pattern), name)


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
    assert covers(allowed, requested) == naive_cover(words(allowed), words(requested))


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


@pytest.mark.parametrize(
    "pattern",
    ["*a" * 128, "**a" * 85, "*" * 256, "a*" * 127 + "b", "**/" * 85, "*/" * 128, "\\*" * 128, "*a/" * 85, "\\" * 256],
)
@pytest.mark.parametrize("name", ["a" * 256, "a" * 255 + "b", "a/" * 128, "/" * 256, "*" * 256, "\\" * 256])
def test_15_adversarial_input_takes_less_than_10_milliseconds(pattern: str, name: str) -> None:
    assert len(pattern) <= MAX_CHANNEL_NAME
    assert min(timeit.repeat(lambda: (matches(pattern, name), covers(pattern, name)), number=1, repeat=4)) < 0.010


def test_any_star_makes_a_pattern_subscription() -> None:
    assert has_star("a/*")
    assert has_star(r"a/\*")
    assert not has_star(r"a/\b")
