"""Patterns against a second reading of their rules, over random cases. Hazards 37 and 38."""

from __future__ import annotations

import random
from functools import cache
from itertools import product
from typing import Final

import pytest

from orchestrator.protocol.globs import covers, matches
from tests.protocol.glob_oracle import consumes, letters, words

SHARES: Final = 10
"""Into which the million is cut, so that workers can divide it among them."""
NAMES: Final = ["".join(each) for size in range(5) for each in product("ab/\\z", repeat=size)]
"""Every name of up to four characters: all that patterns here may hold, and one that they do not hold."""


@cache
def language(pattern: str) -> int:
    """Return which of `NAMES` a pattern matches, a bit for each."""
    return sum(1 << number for number, name in enumerate(NAMES) if matches(pattern, name))


def agree(seed: int, cases: int, texts_of_a_size: int) -> None:
    """Names are judged by the pattern and by the grant, the pattern by the grant, and all three together.

    What is covered is besides compared name by name: whatever the rule says, it never lets a name in.
    """
    chance = random.Random(seed)
    sizes = (4, 7, 10) * texts_of_a_size
    texts = ["".join(chance.choices("ab/*\\", (3, 1, 3, 4, 2), k=chance.randint(1, size))) for size in sizes]
    names = [text.replace("*", "a") for text in texts]
    read = {text: words(text) for text in texts}
    spelled = {name: letters(name) for name in names}
    met = {"covered": 0, "matched": 0}
    for _ in range(cases):
        grant, pattern, name = chance.choice(texts), chance.choice(texts), chance.choice(names)
        granted = matches(grant, name)
        assert granted == consumes(read[grant], spelled[name]), (grant, name)
        covered = covers(grant, pattern)
        assert covered == consumes(read[grant], read[pattern]), (grant, pattern)
        if covered:
            assert granted or not matches(pattern, name), (grant, pattern, name)
            assert not language(pattern) & ~language(grant), (grant, pattern)
        met["covered"] += covered
        met["matched"] += granted
    assert min(met.values()) > cases // 100, "too few of the triples say anything"


def test_37_38_random_grants_patterns_and_names_agree_with_the_oracle() -> None:
    agree(seed=38, cases=20_000, texts_of_a_size=100)


@pytest.mark.bars
@pytest.mark.parametrize("share", range(SHARES))
def test_37_38_a_million_random_grants_patterns_and_names_agree_with_the_oracle(share: int) -> None:
    agree(seed=3700 + share, cases=1_000_000 // SHARES, texts_of_a_size=400)


def test_37_the_names_that_are_compared_tell_patterns_apart() -> None:
    """A rule that let too much in would be seen by its names, not only by the letter of the rule."""
    assert language("a/**") & ~language("a/*")
    assert language("*") & ~language("a*")
    assert language("**") & ~language("*/**")
    assert not language("a/*") & ~language("a/**")
