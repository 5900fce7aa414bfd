"""Patterns are found by what they begin and end with: the same that trying each of them finds."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.hub.pattern_index import PatternIndex
from orchestrator.protocol.globs import matches
from tests.hub.rig import Rig

PIECES = st.sampled_from(["*", "**", "a", "b", "/", "ab/", "\\*", "\\\\", "c"])
PATTERNS = st.lists(PIECES, min_size=1, max_size=7).map("".join).filter(lambda text: "*" in text)
NAMES = st.text("ab/c*\\", min_size=1, max_size=9)


@given(
    patterns=st.lists(PATTERNS, unique=True, max_size=25), names=st.lists(NAMES, max_size=10), gone=st.integers(0, 25)
)
def test_what_is_found_is_what_matches(patterns: list[str], names: list[str], gone: int) -> None:
    index: PatternIndex[str] = PatternIndex()
    for pattern in patterns:
        index.add(pattern, pattern)
    for pattern in patterns[:gone]:
        index.remove(pattern)
    left = patterns[gone:]
    for name in (*names, *(pattern.replace("**", "a/b").replace("*", "ab") for pattern in patterns)):
        assert sorted(index.matching(name)) == sorted(pattern for pattern in left if matches(pattern, name)), name
    assert bool(index) == bool(left)


def test_an_index_that_everything_was_taken_out_of_holds_nothing() -> None:
    index: PatternIndex[int] = PatternIndex()
    texts = [f"{start}*{end}" for start in ("", "a/", "a/b-", "x") for end in ("", "/z", "y")]
    for number, text in enumerate(texts):
        index.add(text, number)
    random.Random(1).shuffle(texts)
    for text in texts:
        index.remove(text)
    assert not index
    assert (index._folders, index._items) == ({}, {})


def test_of_a_thousand_patterns_those_are_tried_that_begin_and_end_like_the_name() -> None:
    """What a publish costs among patterns that do not match it hardly depends on how many there are."""
    index: PatternIndex[str] = PatternIndex()
    shapes = ("fleet/{}/*", "*/events/{}", "shop/*/orders/{}", "logs/{}*", "**/audit/{}", "a-{}-*")
    for number in range(1_000):
        text = shapes[number % len(shapes)].format(number)
        index.add(text, text)
    tried = 0

    class Counting:
        def __init__(self, pattern: object) -> None:
            self._pattern = pattern

        def matches(self, name: str) -> bool:
            nonlocal tried
            tried += 1
            return bool(self._pattern.matches(name))  # type: ignore[attr-defined]

    for folder in index._folders.values():
        for alike in folder.by_start.values():
            for one in (one for held in alike.by_end.values() for one in held.values()):
                one.pattern = Counting(one.pattern)  # type: ignore[assignment]
    for name in ("load/channel-77", "shop/berlin/orders/nine", "logs/other", "fleet/77"):
        assert list(index.matching(name)) == []
    assert tried == 0
    assert list(index.matching("shop/berlin/orders/8")) == ["shop/*/orders/8"]
    assert tried == 1


@pytest.mark.one_hub("what other hubs count is known a moment later, and by subscriptions")
def test_a_message_on_a_channel_that_only_patterns_take_in_reaches_each_of_their_subscribers_once() -> None:
    rig = Rig()
    names = ("a/*", "*/x", "**", "a/**/x", "b/*", "*y")
    readers = {name: rig.connect(f"reader-{at}") for at, name in enumerate(names)}
    everything = rig.connect("everything")
    for name, reader in readers.items():
        reader.join(name)
        everything.join(name)
    assert rig.connect("sender").ask("publish", channel="a/x", data=1)["receivers"] == 4
    got = {name for name, reader in readers.items() if any(f["type"] == "message" for f in reader.new())}
    assert got == {"a/*", "*/x", "**"}
