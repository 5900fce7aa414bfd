"""Who works on an item: the verdicts of single members, told what the others say one message at a time."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import NotAuthorized
from orchestrator.patterns.claim import (
    RETURN_SECONDS,
    SETTLE_SECONDS,
    TTL_SECONDS,
    ClaimEffect,
    Claims,
    Lost,
    Revoked,
    Unheard,
    Won,
)
from orchestrator.patterns.effects import Accepted, Answer, Publish, Refused, Unanswered, Unsent
from orchestrator.protocol.payloads import ClaimNotice, HoldNotice, RejectNotice, ReleaseNotice

CHANNEL = "teams/desk/state"
SETTLED = SETTLE_SECONDS + 0.01
ALIVE = TTL_SECONDS / 3


def said(effects: list[ClaimEffect]) -> list[Any]:
    return [effect.payload if isinstance(effect, Publish) else effect for effect in effects]


def carried(claims: Claims, effects: list[ClaimEffect], now: float, answer: Answer | None = None) -> list[Any]:
    """Have the hub answer all that is published, by default by taking it; return what is said then."""
    told: list[ClaimEffect] = []
    for effect in effects:
        if isinstance(effect, Publish) and effect.ref is not None:
            told += claims.answered(effect.ref, answer or Accepted(), now)
    return said(told)


def bid(claims: Claims, item: str, now: float) -> list[Any]:
    """Claim an item, over a link that takes no time."""
    effects = claims.claim(item, now)
    carried(claims, effects, now)
    return said(effects)


def holder(name: str, item: str = "x", now: float = 0.0) -> Claims:
    claims = Claims(name, CHANNEL)
    bid(claims, item, now)
    assert Won(item, 1) in claims.tick(now + SETTLED)
    return claims


# -- bids


def test_a_lone_claimant_wins_at_the_settle_time_and_not_before() -> None:
    claims = Claims("a", CHANNEL)
    assert bid(claims, "x", 0.0) == [ClaimNotice("x", "a", 1)]
    assert claims.tick(SETTLE_SECONDS / 2) == []
    assert claims.next_tick() == SETTLE_SECONDS
    assert claims.tick(SETTLED) == [Won("x", 1)]
    assert claims.held == {"x"}


def test_a_bid_settles_after_the_hub_has_taken_it_and_for_as_long_again_as_that_took() -> None:
    claims = Claims("a", CHANNEL)
    effects = claims.claim("x", 0.0)
    assert claims.next_tick() is None
    assert claims.tick(10.0) == []
    carried(claims, effects, 2.0)
    assert claims.next_tick() == 2.0 + SETTLE_SECONDS + 2.0


def test_an_answer_to_an_earlier_bid_does_not_settle_the_present_one() -> None:
    claims = Claims("a", CHANNEL)
    first = claims.claim("x", 0.0)
    claims.release("x", 0.1)
    claims.claim("x", 0.2)
    carried(claims, first, 0.3)
    assert claims.next_tick() is None


def test_of_two_bids_at_one_lamport_time_the_lower_peer_id_wins_on_both_sides() -> None:
    a, b = Claims("a", CHANNEL), Claims("b", CHANNEL)
    bid(a, "x", 0.0)
    bid(b, "x", 0.0)
    a.receive("b", ClaimNotice("x", "b", 1), 0.05)
    b.receive("a", ClaimNotice("x", "a", 1), 0.05)
    assert said(a.tick(SETTLED)) == [Won("x", 1), RejectNotice("x", "a", "a")]
    assert said(b.tick(SETTLED)) == [Lost("x", "a"), ReleaseNotice("x", "b")]


def test_whoever_hears_that_somebody_else_has_won_has_lost_whatever_its_own_bid_was_worth() -> None:
    late = Claims("a", CHANNEL)
    bid(late, "x", 0.0)
    assert late.receive("b", RejectNotice("x", "b", "b"), 0.1) == [Lost("x", "b")]
    assert late.tick(2.0) == []
    assert late.claim("x", 3.0) == [Lost("x", "b")]


def test_a_holder_rejects_a_later_bid_and_names_the_winner() -> None:
    claims = holder("a")
    assert said(claims.receive("b", ClaimNotice("x", "b", 1), 1.0)) == [RejectNotice("x", "a", "a")]


def test_an_item_that_is_known_to_be_held_is_not_bid_for() -> None:
    claims = Claims("b", CHANNEL)
    claims.receive("a", ClaimNotice("x", "a", 1), 0.0)
    assert claims.claim("x", 1.0) == [Lost("x", "a")]


@pytest.mark.parametrize("answer", [Unsent(), Unanswered(), Refused(NotAuthorized("no", "", "desk"))])
def test_a_bid_that_the_hub_did_not_take_is_none(answer: Answer) -> None:
    claims = Claims("a", CHANNEL)
    told = carried(claims, claims.claim("x", 0.0), 0.1, answer)
    assert told == [Unheard("x", answer), ReleaseNotice("x", "a")]
    assert claims.tick(10.0) == []


def test_a_bid_is_void_once_the_connection_has_ended() -> None:
    claims = Claims("a", CHANNEL)
    bid(claims, "x", 0.0)
    assert said(claims.disconnected(0.1)) == [Unheard("x", Unsent()), ReleaseNotice("x", "a")]
    assert claims.tick(10.0) == []


@pytest.mark.parametrize("lamport", [0, -5, 2**53, 2**63])
def test_a_lamport_time_that_nobody_can_count_to_is_none(lamport: int) -> None:
    claims = Claims("b", CHANNEL)
    claims.receive("a", ClaimNotice("x", "a", lamport), 0.0)
    claims.receive("a", HoldNotice("y", "a", lamport), 0.0)
    assert said(claims.claim("y", 1.0)) == [ClaimNotice("y", "b", 1)]


def test_whoever_has_just_started_does_not_come_before_those_who_bid_long_before() -> None:
    old, fresh = Claims("b", CHANNEL, wall_offset=1_000.0), Claims("a", CHANNEL, wall_offset=1_000.0)
    assert bid(old, "x", 0.0) == [ClaimNotice("x", "b", 1_000_000)]
    assert bid(fresh, "x", 0.5) == [ClaimNotice("x", "a", 1_000_500)]
    assert bid(fresh, "y", 0.5) == [ClaimNotice("y", "a", 1_000_501)]


# -- ends


def test_a_released_item_is_free_again() -> None:
    claims = Claims("b", CHANNEL)
    claims.receive("a", ClaimNotice("x", "a", 1), 0.0)
    claims.receive("a", ReleaseNotice("x", "a"), 1.0)
    assert bid(claims, "x", 2.0) == [ClaimNotice("x", "b", 2)]


def test_only_its_holder_can_release_an_item() -> None:
    claims = Claims("b", CHANNEL)
    claims.receive("a", ClaimNotice("x", "a", 1), 0.0)
    claims.receive("mallory", ReleaseNotice("x", "a"), 1.0)
    assert claims.claim("x", 2.0) == [Lost("x", "a")]


@pytest.mark.parametrize("lost", [False, True])
def test_a_bid_that_had_lost_does_not_hold_the_item_after_its_winner_is_gone(lost: bool) -> None:
    observer = Claims("c", CHANNEL)
    observer.receive("a", ClaimNotice("x", "a", 1), 0.0)
    observer.receive("b", ClaimNotice("x", "b", 1), 0.01)
    if lost:
        observer.member_left("a", 5.0)
    else:
        observer.receive("a", ReleaseNotice("x", "a"), 5.0)
    assert bid(observer, "x", 6.0) == [ClaimNotice("x", "c", 2)]


def test_what_a_member_held_that_said_goodbye_is_free() -> None:
    claims = Claims("b", CHANNEL)
    claims.receive("a", HoldNotice("x", "a", 1), 0.0)
    claims.member_left("a", 0.02)
    assert bid(claims, "x", 1.0) == [ClaimNotice("x", "b", 2)]


def test_what_a_member_held_that_was_cut_off_is_free_unless_it_comes_back_in_time() -> None:
    claims = Claims("b", CHANNEL)
    for item in "xy":
        claims.receive("a", HoldNotice(item, "a", 1), 0.0)
    claims.member_left("a", 1.0, lost=True)
    claims.receive("a", HoldNotice("y", "a", 1), 2.0)
    assert claims.claim("x", 0.99 + RETURN_SECONDS) == [Lost("x", "a")]
    assert claims.claim("y", 1.01 + RETURN_SECONDS) == [Lost("y", "a")]
    assert bid(claims, "x", 1.01 + RETURN_SECONDS) == [ClaimNotice("x", "b", 2)]


def test_when_the_best_bidder_is_cut_off_the_next_best_wins() -> None:
    """It knows by itself that its bid is void, and does not come back with it."""
    claims = Claims("c", CHANNEL)
    bid(claims, "x", 0.0)
    claims.receive("b", ClaimNotice("x", "b", 1), 0.01)
    claims.receive("a", ClaimNotice("x", "a", 1), 0.01)
    claims.member_left("a", 0.02, lost=True)
    assert said(claims.tick(SETTLED)) == [Lost("x", "b"), ReleaseNotice("x", "c")]


def test_a_holder_gives_a_sign_of_life_at_every_third_of_the_ttl() -> None:
    claims = holder("a")
    times = []
    for _ in range(4):
        due = claims.next_tick()
        assert due is not None
        effects = claims.tick(due)
        if effects:
            assert said(effects) == [HoldNotice("x", "a", 1)]
            times.append(due)
            carried(claims, effects, due)
    assert times == pytest.approx([ALIVE, 2 * ALIVE, 3 * ALIVE, 4 * ALIVE])


def test_a_claim_ends_when_the_hub_has_taken_no_sign_of_life_for_the_ttl() -> None:
    claims = holder("a")
    told: list[Any] = []
    while (due := claims.next_tick()) is not None and due <= TTL_SECONDS:
        effects = claims.tick(due)
        carried(claims, effects, due, Unanswered())
        told += said(effects)
    assert told[-2:] == [Revoked("x", None), ReleaseNotice("x", "a")]
    assert claims.held == frozenset()


def test_for_the_others_a_silent_holders_claim_ends_no_sooner_than_for_itself() -> None:
    claims = Claims("b", CHANNEL)
    claims.receive("a", ClaimNotice("x", "a", 1), 0.0)
    claims.receive("a", HoldNotice("x", "a", 1), 10.0)
    assert claims.claim("x", 9.9 + TTL_SECONDS) == [Lost("x", "a")]
    assert bid(claims, "x", 10.1 + TTL_SECONDS) == [ClaimNotice("x", "b", 2)]


# -- two holders


def test_of_two_holders_that_hear_each_other_again_the_one_with_the_later_bid_loses() -> None:
    a, b = holder("a"), Claims("b", CHANNEL)
    b.receive("c", ClaimNotice("other", "c", 4), 0.0)
    bid(b, "x", 0.0)
    b.tick(SETTLED)
    assert said(a.receive("b", HoldNotice("x", "b", 5), 5.0)) == [HoldNotice("x", "a", 1)]
    assert said(b.receive("a", HoldNotice("x", "a", 1), 5.1)) == [Revoked("x", "a"), ReleaseNotice("x", "b")]
    assert a.held == {"x"}
    assert not b.held
    assert b.claim("x", 6.0) == [Lost("x", "a")]


def test_a_holder_that_hears_of_another_winner_says_what_it_holds() -> None:
    assert said(holder("a").receive("b", RejectNotice("x", "b", "b"), 5.0)) == [HoldNotice("x", "a", 1)]


# -- reconnects


def test_after_a_reconnect_an_item_whose_release_was_missed_can_be_claimed() -> None:
    claims = Claims("b", CHANNEL)
    claims.receive("a", ClaimNotice("x", "a", 1), 0.0)
    assert claims.rejoined(10.0) == []
    assert bid(claims, "x", 10.0) == [ClaimNotice("x", "b", 2)]
    assert claims.tick(10.0 + RETURN_SECONDS) == [Won("x", 2)]


def test_after_a_reconnect_no_bid_is_decided_before_a_holder_may_have_come_back_too() -> None:
    first, other = holder("b"), Claims("a", CHANNEL)
    other.rejoined(10.0)
    bid(other, "x", 10.0)
    assert other.tick(10.0 + SETTLED) == []
    heard = [effect for payload in said(first.rejoined(11.0)) for effect in other.receive("b", payload, 11.0)]
    assert heard == [Lost("x", "b")]


def test_a_claim_that_is_about_to_end_is_not_said_again_after_the_reconnect() -> None:
    """Somebody else might give way to it, and then nobody had the item."""
    assert said(holder("a").rejoined(TTL_SECONDS - 0.01)) == [Revoked("x", None), ReleaseNotice("x", "a")]


def test_a_release_that_was_not_heard_is_said_again_after_the_reconnect() -> None:
    claims = holder("a")
    carried(claims, claims.release("x", 1.0), 1.0, Unsent())
    assert said(claims.rejoined(2.0)) == [ReleaseNotice("x", "a")]
    assert claims.rejoined(3.0) == []


def test_a_release_that_was_not_heard_is_not_said_once_the_item_is_held_again() -> None:
    claims = holder("a")
    carried(claims, claims.release("x", 1.0), 1.0, Unsent())
    bid(claims, "x", 2.0)
    claims.tick(2.0 + SETTLED)
    assert ReleaseNotice("x", "a") not in said(claims.rejoined(3.0))


def test_fences_grow_with_each_claim_of_an_item() -> None:
    a, b = Claims("a", CHANNEL), Claims("b", CHANNEL)
    fences = []
    for turn in range(6):
        mine, other = (a, b) if turn % 2 else (b, a)
        name = "a" if turn % 2 else "b"
        for notice in bid(mine, "x", float(turn)):
            other.receive(name, notice, float(turn))
        fences += [effect.fence for effect in mine.tick(turn + SETTLED) if isinstance(effect, Won)]
        mine.release("x", turn + 0.5)
        other.receive(name, ReleaseNotice("x", name), turn + 0.5)
    assert fences == sorted(set(fences))
    assert len(fences) == 6


# -- programs that say no more than `claim` and `reject`


def test_a_program_without_lamport_times_holds_what_it_claims_until_it_leaves() -> None:
    claims = Claims("b", CHANNEL)
    claims.receive("a", ClaimNotice("x", "a"), 0.0)
    assert claims.claim("x", 100 * TTL_SECONDS) == [Lost("x", "a")]
    claims.member_left("a", 101 * TTL_SECONDS)
    assert bid(claims, "x", 102 * TTL_SECONDS) == [ClaimNotice("x", "b", 1)]


def test_a_program_whose_bid_came_to_the_hub_before_one_of_ours_wins() -> None:
    """It is heard before the hub's answer to ours."""
    claims = Claims("alpha", CHANNEL)
    effects = claims.claim("x", 0.0)
    assert claims.receive("program", ClaimNotice("x", "program"), 0.01) == []
    carried(claims, effects, 0.02)
    assert said(claims.tick(1.0)) == [Lost("x", "program"), ReleaseNotice("x", "alpha")]


def test_a_program_whose_bid_comes_after_one_of_ours_is_told_at_once_that_it_has_lost() -> None:
    claims = Claims("zebra", CHANNEL)
    bid(claims, "x", 0.0)
    assert said(claims.receive("program", ClaimNotice("x", "program"), 0.01)) == [RejectNotice("x", "zebra")]


def test_a_program_that_says_that_an_item_is_taken_is_believed() -> None:
    claims = Claims("a", CHANNEL)
    bid(claims, "x", 0.0)
    told = said(claims.receive("program", RejectNotice("x", "program"), 0.1))
    assert told == [Lost("x", "program"), ReleaseNotice("x", "a")]


def test_a_programs_reject_of_one_of_two_bids_leaves_the_decision_to_lamport_time() -> None:
    claims = Claims("a", CHANNEL)
    bid(claims, "x", 0.0)
    claims.receive("b", ClaimNotice("x", "b", 1), 0.01)
    assert claims.receive("program", RejectNotice("x", "program"), 0.02) == []
    assert Won("x", 1) in claims.tick(SETTLED)


def test_a_program_that_remembers_a_claim_which_has_ended_does_not_keep_the_item_from_others() -> None:
    claims = Claims("b", CHANNEL)
    claims.receive("a", ClaimNotice("x", "a", 1), 0.0)
    claims.receive("a", ReleaseNotice("x", "a"), 1.0)
    bid(claims, "x", 2.0)
    assert claims.receive("program", RejectNotice("x", "program"), 2.01) == []
    assert claims.tick(2.0 + SETTLED) == [Won("x", 2)]


def test_a_program_that_was_cut_off_defends_its_claim_when_it_is_back() -> None:
    claims = Claims("b", CHANNEL)
    claims.receive("program", ClaimNotice("x", "program"), 0.0)
    claims.member_left("program", 10.0, lost=True)
    late = 11.0 + RETURN_SECONDS
    bid(claims, "x", late)
    told = said(claims.receive("program", RejectNotice("x", "program"), late))
    assert told == [Lost("x", "program"), ReleaseNotice("x", "b")]


def test_a_programs_reject_takes_nothing_from_a_holder() -> None:
    claims = holder("a")
    assert claims.receive("program", RejectNotice("x", "program"), 1.0) == []
    assert claims.held == {"x"}
