from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.patterns.claim import RETURN_SECONDS, SETTLE_SECONDS, ClaimEffect, Claims, Lost, Won
from orchestrator.patterns.effects import Publish
from orchestrator.protocol.payloads import ClaimNotice, RejectNotice, ReleaseNotice

CHANNEL = "teams/desk/state"
SETTLED = SETTLE_SECONDS + 0.01


def said(effects: list[ClaimEffect]) -> list[Any]:
    return [effect.payload if isinstance(effect, Publish) else effect for effect in effects]


def test_a_lone_claimant_wins_at_the_settle_time_and_not_before() -> None:
    claims = Claims("a", CHANNEL)
    assert said(claims.claim("x", 0.0)) == [ClaimNotice("x", "a", 1)]
    assert claims.tick(SETTLE_SECONDS / 2) == []
    assert claims.next_tick() == SETTLE_SECONDS
    assert claims.tick(SETTLED) == [Won("x", 1)]
    assert claims.held == {"x"}


def test_of_two_bids_at_one_lamport_time_the_lower_peer_id_wins_on_both_sides() -> None:
    a, b = Claims("a", CHANNEL), Claims("b", CHANNEL)
    a.claim("x", 0.0)
    b.claim("x", 0.0)
    a.receive("b", ClaimNotice("x", "b", 1), 0.05)
    b.receive("a", ClaimNotice("x", "a", 1), 0.05)
    assert a.tick(SETTLED) == [Won("x", 1)]
    assert said(b.tick(SETTLED)) == [Lost("x", "a"), ReleaseNotice("x", "b")]


def test_a_holder_rejects_a_later_bid_and_the_bidder_loses_at_once() -> None:
    holder, late = Claims("a", CHANNEL), Claims("b", CHANNEL)
    holder.claim("x", 0.0)
    holder.tick(SETTLED)
    assert said(late.claim("x", 1.0)) == [ClaimNotice("x", "b", 1)]
    answer = said(holder.receive("b", ClaimNotice("x", "b", 1), 1.0))
    assert answer == [RejectNotice("x", "a", "a")]
    assert late.receive("a", RejectNotice("x", "a", "a"), 1.01) == [Lost("x", "a")]
    assert late.tick(2.0) == []


def test_an_item_that_is_known_to_be_held_is_not_bid_for() -> None:
    claims = Claims("b", CHANNEL)
    claims.receive("a", ClaimNotice("x", "a", 1), 0.0)
    assert claims.claim("x", 1.0) == [Lost("x", "a")]


def test_a_released_item_is_free_again() -> None:
    claims = Claims("b", CHANNEL)
    claims.receive("a", ClaimNotice("x", "a", 1), 0.0)
    claims.receive("a", ReleaseNotice("x", "a"), 1.0)
    assert said(claims.claim("x", 2.0)) == [ClaimNotice("x", "b", 2)]


def test_a_bid_that_had_lost_does_not_hold_the_item_after_its_winner_released_it() -> None:
    observer = Claims("c", CHANNEL)
    observer.receive("a", ClaimNotice("x", "a", 1), 0.0)
    observer.receive("b", ClaimNotice("x", "b", 1), 0.01)
    observer.receive("a", ReleaseNotice("x", "a"), 5.0)
    assert said(observer.claim("x", 6.0)) == [ClaimNotice("x", "c", 2)]


def test_only_its_holder_can_release_an_item() -> None:
    claims = Claims("b", CHANNEL)
    claims.receive("a", ClaimNotice("x", "a", 1), 0.0)
    claims.receive("mallory", ReleaseNotice("x", "a"), 1.0)
    assert claims.claim("x", 2.0) == [Lost("x", "a")]


def test_what_a_departed_member_held_is_free() -> None:
    claims = Claims("b", CHANNEL)
    claims.receive("a", ClaimNotice("x", "a", 1), 0.0)
    claims.member_left("a", 0.02)
    assert said(claims.claim("x", 1.0)) == [ClaimNotice("x", "b", 2)]


def test_when_the_best_bidder_leaves_the_next_best_wins() -> None:
    claims = Claims("c", CHANNEL)
    claims.claim("x", 0.0)
    claims.receive("b", ClaimNotice("x", "b", 1), 0.01)
    claims.receive("a", ClaimNotice("x", "a", 1), 0.01)
    claims.member_left("a", 0.02)
    assert said(claims.tick(SETTLED)) == [Lost("x", "b"), ReleaseNotice("x", "c")]


def test_a_bid_that_had_lost_does_not_hold_the_item_after_its_winner_left() -> None:
    observer = Claims("c", CHANNEL)
    observer.receive("a", ClaimNotice("x", "a", 1), 0.0)
    observer.receive("b", ClaimNotice("x", "b", 1), 0.01)
    observer.member_left("a", 5.0)
    assert said(observer.claim("x", 6.0)) == [ClaimNotice("x", "c", 2)]


def test_after_a_reconnect_an_item_whose_release_was_missed_can_be_claimed() -> None:
    claims = Claims("b", CHANNEL)
    claims.receive("a", ClaimNotice("x", "a", 1), 0.0)
    assert claims.rejoined(10.0) == []
    assert said(claims.claim("x", 10.0)) == [ClaimNotice("x", "b", 2)]
    assert claims.tick(10.0 + RETURN_SECONDS) == [Won("x", 2)]


def test_after_a_reconnect_no_bid_is_decided_before_a_holder_may_have_come_back_too() -> None:
    holder, other = Claims("b", CHANNEL), Claims("a", CHANNEL)
    holder.claim("x", 0.0)
    holder.tick(SETTLED)
    other.rejoined(10.0)
    other.claim("x", 10.0)
    assert other.tick(10.0 + SETTLED) == []
    heard = [effect for payload in said(holder.rejoined(11.0)) for effect in other.receive("b", payload, 11.0)]
    assert heard == [Lost("x", "b")]


def test_a_release_that_was_not_heard_is_said_again_after_the_reconnect() -> None:
    claims = Claims("a", CHANNEL)
    claims.claim("x", 0.0)
    claims.tick(SETTLED)
    [release] = said(claims.release("x", 1.0))
    claims.unheard(release)
    assert said(claims.rejoined(2.0)) == [ReleaseNotice("x", "a")]
    assert claims.rejoined(3.0) == []


def test_a_release_that_was_not_heard_is_not_said_once_the_item_is_held_again() -> None:
    claims = Claims("a", CHANNEL)
    claims.unheard(ReleaseNotice("x", "a"))
    claims.claim("x", 0.0)
    claims.tick(SETTLED)
    assert ReleaseNotice("x", "a") not in said(claims.rejoined(2.0))


def test_fences_grow_with_each_claim_of_an_item() -> None:
    a, b = Claims("a", CHANNEL), Claims("b", CHANNEL)
    fences = []
    for turn in range(6):
        mine, other = (a, b) if turn % 2 else (b, a)
        name = "a" if turn % 2 else "b"
        for effect in mine.claim("x", float(turn)):
            assert isinstance(effect, Publish)
            assert isinstance(effect.payload, ClaimNotice)
            other.receive(name, effect.payload, float(turn))
        fences += [effect.fence for effect in mine.tick(turn + SETTLED) if isinstance(effect, Won)]
        mine.release("x", turn + 0.5)
        other.receive(name, ReleaseNotice("x", name), turn + 0.5)
    assert fences == sorted(set(fences))
    assert len(fences) == 6


def test_a_program_without_lamport_times_bids_like_everybody_else() -> None:
    claims = Claims("b", CHANNEL)
    claims.receive("a", ClaimNotice("x", "a"), 0.0)
    assert claims.claim("x", 0.1) == [Lost("x", "a")]


@settings(max_examples=150)
@given(seed=st.integers(0, 2**32), members=st.integers(2, 6))
def test_members_that_hear_each_other_within_the_settle_time_agree_on_one_holder(seed: int, members: int) -> None:
    """Every message arrives at everybody, after a delay of its own below the settle time; per link in order."""
    rng = random.Random(seed)
    team = {f"m{number}": Claims(f"m{number}", CHANNEL) for number in range(members)}
    queue: list[tuple[float, int, str, tuple[str, Any] | None]] = []
    links: dict[tuple[str, str], float] = {}
    wins: list[tuple[str, float]] = []

    def publish(sender: str, effects: list[ClaimEffect], now: float) -> None:
        for effect in effects:
            if isinstance(effect, Publish):
                for other in team:
                    if other != sender:
                        at = max(now + rng.uniform(0.001, SETTLE_SECONDS * 0.45), links.get((sender, other), 0.0))
                        links[sender, other] = at
                        queue.append((at, len(queue), other, (sender, effect.payload)))
            elif isinstance(effect, Won):
                wins.append((sender, now))

    for name in team:
        queue.append((rng.uniform(0.0, SETTLE_SECONDS * 2), len(queue), name, None))
    clock = 0.0
    while queue or any(claims.next_tick() is not None for claims in team.values()):
        ticks = [(due, name) for name, claims in team.items() if (due := claims.next_tick()) is not None]
        queue.sort(key=lambda entry: entry[:2])
        if ticks and (not queue or min(ticks)[0] <= queue[0][0]):
            clock, name = min(ticks)
            publish(name, team[name].tick(clock), clock)
            continue
        clock, _, name, what = queue.pop(0)
        if what is None:
            publish(name, team[name].claim("item", clock), clock)
        else:
            sender, notice = what
            publish(name, team[name].receive(sender, notice, clock), clock)
    assert len(wins) == 1, wins
