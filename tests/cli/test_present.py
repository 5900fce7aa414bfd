"""Somebody who is in several lobbies comes once and leaves once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli.present import Present
from orchestrator.cli.who import change_line, table
from orchestrator.patterns.roster import Change, Joined, Left, Peer

PEERS = [Peer(name, {"kind": "agent", "agent": "a"}) for name in ("a.1", "a.2")]
PLACES = [(lobby, peer) for lobby in ("hall", "desk", "") for peer in PEERS]


@given(st.lists(st.sampled_from(PLACES), max_size=20))
def test_news_alternate_and_say_who_is_there(toggled: list[tuple[str, Peer]]) -> None:
    present, there = Present(), set[tuple[str, str]]()
    told: dict[str, str] = {}
    for lobby, peer in toggled:
        change: Change = Left(peer, "lost") if (lobby, peer.id) in there else Joined(peer)
        there ^= {(lobby, peer.id)}
        news = present.change(lobby, change)
        if news is not None:
            assert told.get(peer.id, "left") != news.kind
            told[peer.id] = news.kind
        online = {peer_id for _, peer_id in there}
        assert set(present.peers) == set(present.lobbies) == online
        assert {peer_id for peer_id, kind in told.items() if kind == "joined"} == online


def test_names_and_capabilities_steer_no_terminal() -> None:
    present = Present()
    peer = Peer("a.1\x1b[2J", {"agent": "a\n", "capabilities": ["\u202eweb"]})
    news = present.change("hall", Joined(peer))
    assert news is not None
    assert change_line(news) == "a.1\\x1b[2J joined hall (\\u202eweb)"
    [_, row] = table([peer], present.lobbies, {}, 0.0)
    assert row.split() == ["hall", "a\\n", "a.1\\x1b[2J", "-", "\\u202eweb"]
