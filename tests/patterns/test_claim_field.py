"""Members of a team that claim the same items over links of every speed: one holder, and one again after every split."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.patterns.claim import RETURN_SECONDS, SETTLE_SECONDS, Lost, Won
from tests.patterns.claim_field import Field

SEEDS = st.integers(0, 2**32)
JITTER = SETTLE_SECONDS / 8
"""Of each way. What two messages overtake each other by is to stay below the settle time."""
TTL = 6.0


def link(rng: random.Random, slowest: float, jitter: float = JITTER) -> Callable[[], float]:
    """Return how long each message is on its way: always about as long, and that may be long."""
    base = rng.choice((0.001, rng.uniform(0.0, slowest)))
    return lambda: base + rng.uniform(0.0, jitter)


def team(
    rng: random.Random, field: Field, members: int, *, slowest: float = 0.03, programs: int = 0, ttl: float = TTL
) -> list[str]:
    names = [f"m{number:02}" for number in range(members + programs)]
    plain = set(rng.sample(names, programs))
    skew = rng.choice((None, 0.0, 5.0))  # how far their clocks are apart at most, if they look at them at all
    for name in names:
        up, down = link(rng, slowest), link(rng, slowest)
        offset = None if skew is None else 1e9 + rng.uniform(0.0, skew)
        field.add(name, up=up, down=down, plain=name in plain, ttl=ttl, wall_offset=offset)
    return names


def agreed(field: Field, item: str) -> str:
    """Return whom everybody who bid was told to be the holder."""
    named = {
        verdict.peer if isinstance(verdict.outcome, Won) else verdict.outcome.holder
        for verdict in field.verdicts
        if verdict.item == item and verdict.settled and isinstance(verdict.outcome, Won | Lost)
    }
    assert len(named) == 1, (item, sorted(named))
    return named.pop()


@settings(max_examples=150, deadline=None)
@given(seed=SEEDS, members=st.integers(2, 7))
def test_members_that_hear_each_other_agree_on_one_holder(seed: int, members: int) -> None:
    rng, field = random.Random(seed), Field()
    for name in team(rng, field, members):
        field.at(rng.uniform(0.0, 2 * SETTLE_SECONDS), partial(field.claim, name, "x"))
    field.run(TTL)
    assert field.holders["x"] == {agreed(field, "x")}
    assert field.crowded == []


@settings(max_examples=150, deadline=None)
@given(seed=SEEDS, members=st.integers(2, 7))
def test_however_slow_their_links_are_no_two_members_hold_an_item(seed: int, members: int) -> None:
    """Links of up to two seconds each way, beside others of a millisecond."""
    rng, field = random.Random(seed), Field()
    for name in team(rng, field, members, slowest=2.0, ttl=30.0):
        field.at(rng.uniform(0.0, 5.0), partial(field.claim, name, "x"))
    field.run(20.0)
    assert field.crowded == []
    assert len(field.holders["x"]) == 1


@settings(max_examples=150, deadline=None)
@given(seed=SEEDS)
def test_items_go_from_hand_to_hand_with_growing_fences(seed: int) -> None:
    rng, field = random.Random(seed), Field()
    names = team(rng, field, 4)

    def attempt(name: str) -> None:
        for item in "xy":
            if name in field.holders.get(item, ()):
                field.release(name, item)
            else:
                field.claim(name, item)

    for _ in range(40):
        field.at(rng.uniform(0.0, 20.0), partial(attempt, rng.choice(names)))
    field.run(30.0)
    assert field.crowded == []
    for item in "xy":
        fences = [v.outcome.fence for v in field.verdicts if v.item == item and isinstance(v.outcome, Won)]
        assert fences == sorted(set(fences))
        assert fences


@settings(max_examples=200, deadline=None)
@given(seed=SEEDS, programs=st.integers(1, 1), members=st.integers(1, 5))
def test_a_program_takes_part_and_never_holds_an_item_beside_one_of_ours(
    seed: int, programs: int, members: int
) -> None:
    """One program only: two of them race each other, since neither rejects what it has bid for itself in vain."""
    rng, field = random.Random(seed), Field()
    names = team(rng, field, members, programs=programs)
    items = [str(number) for number in range(6)]
    for item in items:
        began = rng.uniform(0.0, 2.0)
        for name in names:
            when = began + rng.uniform(0.0, SETTLE_SECONDS)
            field.at(when, partial(field.claim, name, item))
    field.run(TTL)
    assert field.crowded == []
    assert all(len(field.holders.get(item, ())) <= 1 for item in items)


def test_programs_and_ours_win_about_as_often_as_each_other() -> None:
    rng, won = random.Random(7), {True: 0, False: 0}
    for _ in range(300):
        field = Field()
        names = team(rng, field, 3, programs=1)
        for name in names:
            field.at(rng.uniform(0.0, 0.05), partial(field.claim, name, "x"))
        field.run(2.0)
        for name in field.holders.get("x", ()):
            won[field.members[name].claims is None] += 1
    assert sum(won.values()) >= 290  # a program may be told off by two of whom neither is the last
    assert won[True] / sum(won.values()) == pytest.approx(1 / 4, abs=0.08)


@settings(max_examples=200, deadline=None)
@given(seed=SEEDS, members=st.integers(2, 6))
def test_after_cuts_splits_and_losses_exactly_one_of_several_holders_remains(seed: int, members: int) -> None:
    rng = random.Random(seed)
    rough_until = 20.0
    sides: dict[str, int] = {}

    def loses(sender: str, receiver: str, now: float) -> bool:
        if now >= rough_until:
            return False
        return sides.get(sender, 0) != sides.get(receiver, 0) or rng.random() < 0.05

    field = Field(loses)
    names = team(rng, field, members)
    for name in names:
        field.at(rng.uniform(0.0, 15.0), partial(field.claim, name, "x"))
        field.at(rng.uniform(0.0, 15.0), partial(sides.update, {name: rng.randrange(2)}))
        cut = rng.uniform(0.0, 15.0)
        if rng.random() < 0.5:
            noticed = rng.random() < 0.5
            field.at(cut, partial(field.cut, name, noticed=noticed))
            field.at(cut + rng.uniform(0.0, TTL / 2), partial(field.restore, name))  # in time for its signs of life
    field.run(rough_until)
    before = field.holders.get("x", set()).copy()
    field.run(rough_until + TTL + RETURN_SECONDS)
    holders = field.holders.get("x", set())
    assert len(holders) <= 1
    assert bool(holders) == bool(before)  # the last one of them is never taken from
    assert holders <= before


@pytest.mark.parametrize("items", [100, pytest.param(1_000, marks=pytest.mark.bars)])
def test_twenty_claimants_over_a_lossy_link_agree_whenever_messages_arrive(items: int) -> None:
    """For half of the time each member misses five of a hundred messages. Where nothing was missed, there is one winner
    and all name it; where two came to hold an item, one remains once they hear each other."""
    rng = random.Random(items)
    quiet_at = 40.0
    field = Field(lambda _sender, _receiver, now: now < quiet_at and now % 10 < 5 and rng.random() < 0.05)
    names = team(rng, field, 20)
    for number in range(items):
        item, began = f"item {number}", rng.uniform(0.0, 30.0)
        for name in names:
            when = began + rng.uniform(0.0, SETTLE_SECONDS / 2)
            field.at(when, partial(field.claim, name, item))
    field.run(quiet_at)
    smooth = [item for item in field.holders if item not in field.lost_of]
    crowded = {item for _, item, _ in field.crowded}
    assert len(smooth) > items / 10
    assert crowded
    assert crowded <= field.lost_of
    assert all(field.holders[item] == {agreed(field, item)} for item in smooth)
    field.run(quiet_at + TTL)
    assert len(field.holders) == items
    assert all(len(holders) == 1 for holders in field.holders.values())
