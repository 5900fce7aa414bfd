from __future__ import annotations

from orchestrator.patterns.roster import Joined, Left, Peer, Roster
from orchestrator.protocol.frames import Present

AGENT = {"kind": "agent", "agent": "writer", "name": "The Writer", "capabilities": ["pdf"]}


def test_a_peer_reads_what_its_token_says_of_it() -> None:
    peer = Peer("writer.1", AGENT)
    assert (peer.kind, peer.agent, peer.name, peer.capabilities) == ("agent", "writer", "The Writer", ("pdf",))


def test_a_peer_that_says_nothing_is_called_by_its_id() -> None:
    assert (Peer("x").kind, Peer("x").name, Peer("x").capabilities) == ("", "x", ())


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
