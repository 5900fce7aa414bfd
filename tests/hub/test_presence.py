"""Who is where (checklist 44, 45, 47 to 49, 64)."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.hub.rosters import Reason
from orchestrator.protocol.tokens import Grants
from tests.hub.rig import Rig


def presence(joined: list[dict[str, Any]], left: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"type": "presence", "channel": "x", "joined": joined, "left": left or []}


@pytest.mark.nodes("nats", "redis")
def test_44_the_first_connection_of_a_peer_is_news_and_further_ones_are_not() -> None:
    rig = Rig()
    watcher = rig.connect("w")
    watcher.join("x")
    rig.connect("a", peer_metadata={"kind": "agent"}).join("x")
    assert watcher.new() == [presence([{"peerId": "a", "metadata": {"kind": "agent"}}])]
    rig.connect("a").join("x")
    assert watcher.new() == []


def test_44_the_latest_subscription_of_a_peer_gives_its_metadata() -> None:
    rig = Rig()
    first, second = rig.connect("a", peer_metadata={"n": 1}), rig.connect("a", peer_metadata={"n": 2})
    first.join("x")
    second.join("x")
    reader = rig.connect("r")
    assert reader.join("x") == [presence([{"peerId": "a", "metadata": {"n": 2}}])]
    second.leave()
    assert reader.join("x") == [presence([{"peerId": "a", "metadata": {"n": 1}}])]


@pytest.mark.nodes("nats")
def test_45_the_last_connection_of_a_peer_is_news_when_it_goes_and_others_are_not() -> None:
    rig = Rig()
    watcher, one, two = rig.connect("w"), rig.connect("a"), rig.connect("a")
    for peer in (one, two, watcher):
        peer.join("x")
    watcher.new()
    one.leave()
    assert watcher.new() == []
    two.leave(Reason.LOST)
    assert watcher.new() == [presence([], [{"peerId": "a", "reason": "lost"}])]


def test_47_both_lists_are_in_every_presence_frame() -> None:
    rig = Rig()
    watcher = rig.connect("w")
    watcher.join("x")
    other = rig.connect("o")
    other.join("x")
    other.ask("unsubscribe", channel="x")
    frames = [frame for frame in watcher.all() if frame["type"] == "presence"]
    assert len(frames) == 3
    assert all(isinstance(frame["joined"], list) and isinstance(frame["left"], list) for frame in frames)


def test_48_without_the_presence_action_a_peer_is_told_nothing_and_is_listed_all_the_same() -> None:
    rig = Rig()
    blind, seeing = rig.connect("blind", permissions=["subscribe"]), rig.connect("seeing")
    assert blind.join("x") == []
    assert seeing.join("x") == [presence([{"peerId": "blind"}])]
    assert blind.new() == []


def test_49_ones_own_id_is_in_no_roster_and_no_change() -> None:
    rig = Rig()
    one, two = rig.connect("a"), rig.connect("a")
    assert one.join("x") == two.join("x") == [presence([])]
    two.ask("unsubscribe", channel="x")
    one.ask("unsubscribe", channel="x")
    rig.advance(1)
    assert all(frame["type"] != "presence" for peer in (one, two) for frame in peer.new())


def test_a_peers_join_is_queued_before_anything_it_says() -> None:
    rig = Rig()
    watcher, talker = rig.connect("w"), rig.connect("t")
    watcher.join("x")
    talker.send({"type": "subscribe", "channel": "x"})
    talker.send({"type": "publish", "channel": "x", "data": 1})
    talker.send({"type": "send", "to": "w", "data": 2})
    assert [frame["type"] for frame in watcher.new()] == ["presence", "message", "direct"]


def test_64_a_roster_stays_below_1_mib_by_dropping_the_largest_metadata_first() -> None:
    rig = Rig()
    for n in range(300):
        size = 4000 if n < 290 else 10
        peer = rig.connect(f"p{n}", peer_metadata={"x": "y" * size}, permissions=["subscribe"])
        peer.send({"type": "subscribe", "channel": "x"})
    reader = rig.connect("r")
    reader.ask("subscribe", channel="x")
    rig.advance(1)
    (roster,) = reader.writes[-1][1]
    assert len(roster) < 1_048_576
    entries = reader.all()[-1]["joined"]
    assert len(entries) == 300
    kept = [entry for entry in entries if "metadata" in entry]
    assert 200 < len(kept) < 290
    assert all("metadata" in entry for entry in entries[290:])


def test_an_observer_sees_presence_and_messages_and_is_not_listed() -> None:
    rig = Rig()
    member = rig.connect("m")
    member.join("x")
    observer = rig.connect("o", grants=Grants(observe=("x",)))
    assert observer.join("x") == [presence([{"peerId": "m"}])]
    assert member.new() == []
    assert member.ask("publish", channel="x", data=1)["receivers"] == 1
    other = rig.connect("m2")
    assert other.join("x") == [presence([{"peerId": "m"}])]
    other.leave()
    assert [frame["type"] for frame in observer.new()] == ["message", "presence", "presence"]
    member.new()
    observer.leave()
    assert member.new() == []


def test_grants_limit_what_channels_and_permissions_allow() -> None:
    rig = Rig()
    grants = Grants(subscribe=("in/*", "both"), observe=("both",), publish=("out/*",), send=("boss", "team.*"))
    peer = rig.connect("a", grants=grants)
    rig.connect("boss")
    rig.connect("team.1")
    rig.connect("other")
    assert peer.ask("subscribe", channel="in/1")["type"] == "ack"
    assert peer.ask("subscribe", channel="in/*")["type"] == "ack"
    assert peer.ask("subscribe", channel="in/**")["code"] == "channel_not_authorized"
    assert peer.ask("subscribe", channel="out/1")["code"] == "channel_not_authorized"
    assert peer.ask("publish", channel="out/1", data=1)["type"] == "ack"
    assert peer.ask("publish", channel="in/1", data=1)["code"] == "channel_not_authorized"
    assert peer.ask("send", to="boss", data=1)["type"] == "ack"
    assert peer.ask("send", to="team.1", data=1)["type"] == "ack"
    assert peer.ask("send", to="other", data=1)["code"] == "action_not_permitted"
    assert peer.ask("send", to="nobody", data=1)["code"] == "action_not_permitted"
    rig.connect("w").join("both")
    assert peer.join("both")[0]["joined"] == [{"peerId": "w"}]
    watcher = rig.connect("w2")
    assert {entry["peerId"] for entry in watcher.join("both")[0]["joined"]} == {"w", "a"}
    assert peer.join("in/2") == []


def test_grants_never_widen_channels_or_permissions() -> None:
    rig = Rig()
    grants = Grants(subscribe=("**",), publish=("**",), send=("**",))
    peer = rig.connect("a", channels=("x",), permissions=["subscribe"], grants=grants)
    assert peer.ask("subscribe", channel="y")["code"] == "channel_not_authorized"
    assert peer.ask("publish", channel="x", data=1)["code"] == "action_not_permitted"
    assert peer.ask("send", to="a", data=1)["code"] == "action_not_permitted"
