from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.patterns.roster import Change, Joined, Left, Peer, Roster
from orchestrator.protocol.frames import Present

AGENT = {"kind": "agent", "agent": "writer", "name": "The Writer", "capabilities": ["pdf"]}


def test_a_peer_reads_what_its_token_says_of_it() -> None:
    peer = Peer("writer.1", AGENT)
    assert (peer.kind, peer.agent, peer.name, peer.capabilities) == ("agent", "writer", "The Writer", ("pdf",))


def test_a_peer_that_says_nothing_is_called_by_its_id() -> None:
    assert (Peer("x").kind, Peer("x").name, Peer("x").capabilities, Peer("x").replica) == ("", "x", (), None)


@pytest.mark.parametrize(("said", "replica"), [(3, 3), ("3", None), (True, None), (None, None)])
def test_a_replica_is_a_number(said: object, replica: int | None) -> None:
    assert Peer("x", {"replica": said}).replica == replica


def test_the_whole_roster_makes_the_roster_known_and_removes_who_is_not_in_it() -> None:
    roster = Roster()
    roster.update([Present("a"), Present("b")], [], whole=True)
    roster.disconnected()
    known = [roster.known]
    changes = roster.update([Present("b"), Present("c")], [], whole=True)
    assert changes == [Left(Peer("a"), "lost"), Joined(Peer("c"))]
    assert [*known, roster.known] == [False, True]
    assert set(roster.peers) == {"b", "c"}


def test_a_join_that_is_told_twice_is_one_join() -> None:
    roster = Roster()
    assert roster.update([Present("a")], [], whole=False) == [Joined(Peer("a"))]
    assert roster.update([Present("a")], [], whole=False) == []


def test_a_departure_carries_the_hubs_reason_and_an_unknown_one_is_passed_over() -> None:
    roster = Roster()
    roster.update([Present("a")], [], whole=True)
    assert roster.update([], [Present("a", reason="replaced"), Present("b")], whole=False) == [
        Left(Peer("a"), "replaced")
    ]


def test_visible_watchers_are_not_taken_for_members() -> None:
    roster = Roster("agent")
    roster.update([Present("user/1", {"kind": "user"}), Present("writer.1", AGENT)], [], whole=True)
    assert set(roster.peers) == {"writer.1"}


def test_visible_watchers_that_are_agents_are_told_apart_by_their_names() -> None:
    roster = Roster("agent", agents=["writer"])
    roster.update([Present("w", AGENT), Present("d", {"kind": "agent", "agent": "desk"})], [], whole=True)
    assert set(roster.peers) == {"w"}


# -- with a grace


def named(*ids: str) -> list[Present]:
    return [Present(one, {"agent": "a"}) for one in ids]


def gone(peer: str, reason: str | None) -> list[Present]:
    return [Present(peer, reason=reason)]


def graced(*ids: str) -> Roster:
    roster = Roster(grace=2.0, wall_offset=1_000.0)
    roster.update(named(*ids), [], whole=True, now=10.0)
    return roster


@pytest.mark.parametrize("reason", ["lost", "draining"])
def test_who_is_cut_off_and_back_in_time_was_never_away(reason: str) -> None:
    roster = graced("a")
    assert roster.update([], gone("a", reason), whole=False, now=20.0) == []
    assert ("a" in roster, roster.of_agent("a"), roster.next_tick()) == (True, [], 22.0)
    assert roster.tick(21.9) == []
    assert roster.update(named("a"), [], whole=False, now=21.9) == []
    assert (roster.next_tick(), roster.tick(99.0), len(roster.of_agent("a"))) == (None, [], 1)
    assert roster.peers["a"].since == 1_010.0


@pytest.mark.parametrize("reason", ["lost", "draining"])
def test_who_is_cut_off_for_longer_has_left(reason: str) -> None:
    roster = graced("a")
    roster.update([], gone("a", reason), whole=False, now=20.0)
    (left,) = roster.tick(22.0)
    assert (left, "a" in roster, roster.next_tick()) == (Left(Peer("a", {"agent": "a"}), reason), False, None)
    (joined,) = roster.update(named("a"), [], whole=False, now=30.0)
    assert (type(joined), joined.peer.since) == (Joined, 1_030.0)


@pytest.mark.parametrize("reason", ["left", "replaced", None])
def test_what_is_final_is_told_at_once(reason: str | None) -> None:
    roster = graced("a")
    assert roster.update([], gone("a", reason), whole=False, now=20.0) == [
        Left(Peer("a", {"agent": "a"}), reason or "left")
    ]
    assert roster.next_tick() is None


def test_what_is_final_ends_a_grace() -> None:
    roster = graced("a")
    roster.update([], gone("a", "lost"), whole=False, now=20.0)
    assert [type(change) for change in roster.update([], gone("a", "left"), whole=False, now=21.0)] == [Left]
    assert (roster.next_tick(), roster.tick(99.0)) == (None, [])


def test_one_that_comes_back_as_another_is_another() -> None:
    roster = graced("a")
    roster.update([], gone("a", "lost"), whole=False, now=20.0)
    other = Present("a", {"agent": "a", "capabilities": ["pdf"]})
    changes = roster.update([other], [], whole=False, now=21.0)
    assert [type(change) for change in changes] == [Left, Joined]
    assert (changes[0].peer.capabilities, changes[1].peer.capabilities) == ((), ("pdf",))
    assert (roster.peers["a"].capabilities, roster.peers["a"].since, roster.next_tick()) == (("pdf",), 1_021.0, None)


def test_the_grace_of_those_who_are_absent_begins_with_the_own_return() -> None:
    roster = graced("a", "b", "c")
    roster.update([], gone("a", "draining"), whole=False, now=20.0)
    roster.disconnected()
    assert (roster.next_tick(), roster.tick(99.0), roster.of_agent("a")) == (None, [], [])
    assert roster.update(named("b"), [], whole=True, now=50.0) == []
    assert (set(roster.peers), roster.next_tick()) == ({"a", "b", "c"}, 52.0)
    assert roster.update(named("c"), [], whole=False, now=51.0) == []
    assert roster.tick(52.0) == [Left(Peer("a", {"agent": "a"}), "draining")]
    assert set(roster.peers) == {"b", "c"}


def test_a_whole_roster_that_was_asked_for_again_does_not_prolong_a_grace() -> None:
    roster = graced("a", "b")
    roster.update([], gone("a", "lost"), whole=False, now=20.0)
    assert roster.update(named("b"), [], whole=True, now=21.0) == []
    assert roster.next_tick() == 22.0


Step = tuple[str, str, str | None, float]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["join", "leave", "leave", "disconnect", "whole", "tick"]),
        st.sampled_from("abc"),
        st.sampled_from(["left", "lost", "draining", "replaced", None]),
        st.sampled_from([0.0, 0.5, 1.9, 2.0, 5.0]),
    ),
    max_size=60,
)


def folded(here: set[str], changes: Iterable[Change]) -> set[str]:
    """Return who is there after `changes`, none of which may contradict the one before."""
    here = set(here)
    for change in changes:
        assert (change.peer.id in here) == isinstance(change, Left)
        (here.remove if isinstance(change, Left) else here.add)(change.peer.id)
    return here


@given(STEPS, st.sampled_from([0.0, 2.0]))
def test_changes_add_up_to_the_peers_and_in_the_end_to_the_truth(steps: list[Step], grace: float) -> None:
    roster, now, here = Roster(grace=grace), 0.0, set[str]()
    truth: set[str] = set()
    for what, peer, reason, pause in [*steps, ("whole", "a", None, 0.0)]:
        now += pause
        changes: list[Change] = []
        if what == "join" and peer not in truth:
            truth.add(peer)
            changes = roster.update(named(peer), [], whole=False, now=now) if roster.known else []
        elif what == "leave" and peer in truth:
            truth.remove(peer)
            changes = roster.update([], gone(peer, reason), whole=False, now=now) if roster.known else []
        elif what == "disconnect":
            roster.disconnected()
        elif what == "whole":
            changes = roster.update(named(*sorted(truth)), [], whole=True, now=now)
        elif what == "tick":
            changes = roster.tick(now)
        here = folded(here, changes)
        assert set(roster.peers) == here
        if roster.known:
            assert truth <= here
            assert {found.id for found in roster.of_agent("a")} == truth
    here = folded(here, roster.tick(now + grace))
    assert here == truth == set(roster.peers)
    assert roster.next_tick() is None
