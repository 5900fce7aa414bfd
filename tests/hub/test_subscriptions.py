"""Subscribing, by name and by pattern (checklist 15, 17 to 28)."""

from __future__ import annotations

import pytest

from orchestrator.hub.intake import only_reserved
from orchestrator.protocol.tokens import SecretKey
from tests.hub.rig import KEY, Rig

EMPTY = {"type": "presence", "channel": "x", "joined": [], "left": []}


def test_19_a_subscribe_is_acked_and_the_roster_follows_in_a_write_of_its_own_at_least_20_ms_later() -> None:
    rig = Rig()
    rig.connect("b", peer_metadata={"n": 1}).join("x")
    peer = rig.connect("a")
    peer.send({"type": "subscribe", "channel": "x", "requestId": "1"})
    rig.advance(1)
    (_, _), (acked, ack), (told, roster) = peer.writes
    assert ack == [b'{"type":"ack","requestId":"1"}']
    assert len(roster) == 1
    assert told - acked >= 0.020
    assert peer.all()[-1] == EMPTY | {"joined": [{"peerId": "b", "metadata": {"n": 1}}]}


def test_19_the_gap_counts_from_the_moment_the_socket_takes_the_ack() -> None:
    rig = Rig()
    peer = rig.connect("a")
    assert peer.connection is not None
    peer.outbox.stall(10)
    peer.send({"type": "subscribe", "channel": "x", "requestId": "1"})
    rig.advance(2)
    assert len(peer.all()) == 1
    rig.hub.resumed(peer.connection, rig.now)
    rig.flush()
    rig.advance(0.02)
    assert [frame["type"] for frame in peer.all()] == ["welcome", "ack"]
    rig.advance(0.01)
    assert peer.all()[-1] == EMPTY


def test_19_without_a_request_id_there_is_no_ack_and_the_roster_comes_all_the_same() -> None:
    rig = Rig()
    peer = rig.connect("a")
    peer.send({"type": "subscribe", "channel": "x"})
    rig.advance(0.03)
    assert [frame["type"] for frame in peer.all()] == ["welcome", "presence"]


def test_20_the_roster_of_an_empty_channel_is_sent() -> None:
    assert Rig().connect("a").join("x") == [EMPTY]


def test_21_changes_between_ack_and_roster_follow_the_roster_once_each() -> None:
    rig = Rig()
    rig.connect("early").join("x")
    peer = rig.connect("a")
    peer.ask("subscribe", channel="x")
    late = rig.connect("late")
    late.ask("subscribe", channel="x")
    late.ask("unsubscribe", channel="x")
    assert [frame["type"] for frame in peer.new()] == ["welcome", "ack"]
    rig.advance(1)
    assert peer.new() == [
        EMPTY | {"joined": [{"peerId": "early"}]},
        EMPTY | {"joined": [{"peerId": "late"}]},
        EMPTY | {"left": [{"peerId": "late", "reason": "left"}]},
    ]


def test_21_more_changes_than_are_held_are_told_by_a_later_roster() -> None:
    key = SecretKey("sk_id_fast", "f" * 40, rate="unlimited")
    rig = Rig(None, key, KEY)
    watcher, other = rig.connect("w"), rig.connect("o", key=key, rate="unlimited")
    watcher.ask("subscribe", channel="x")
    for _ in range(1201):
        other.send({"type": "subscribe", "channel": "x"})
        other.send({"type": "unsubscribe", "channel": "x"})
    rig.advance(1)
    present: set[str] = set()
    for frame in watcher.all()[2:]:
        present |= {entry["peerId"] for entry in frame["joined"]}
        present -= {entry["peerId"] for entry in frame["left"]}
    assert present == set()
    assert len(watcher.all()) < 1202


def test_22_two_simultaneous_joiners_learn_of_each_other_exactly_once() -> None:
    rig = Rig()
    a, b = rig.connect("a"), rig.connect("b")
    for peer in (a, b):
        peer.send({"type": "subscribe", "channel": "x", "requestId": "1"})
    rig.advance(1)
    for peer, other in ((a, "b"), (b, "a")):
        joined = [entry["peerId"] for frame in peer.all() for entry in frame.get("joined", ())]
        assert joined == [other]


def test_23_a_repeated_subscribe_gets_a_fresh_roster_replaces_the_options_and_is_no_news() -> None:
    rig = Rig()
    a, b = rig.connect("a"), rig.connect("b", peer_metadata={"n": 2})
    assert a.join("x") == [EMPTY]
    b.join("x")
    a.new()
    assert a.join("x", includeSenderMetadata=True) == [EMPTY | {"joined": [{"peerId": "b", "metadata": {"n": 2}}]}]
    assert b.new() == []
    b.ask("publish", channel="x", data=1)
    assert a.new()[0]["fromMetadata"] == {"n": 2}
    a.join("x", includeSenderMetadata=False)
    b.ask("publish", channel="x", data=1)
    assert "fromMetadata" not in a.new()[0]


def test_23_several_subscribes_within_the_gap_share_one_roster_after_the_last_ack() -> None:
    rig = Rig()
    peer = rig.connect("a")
    peer.ask("subscribe", channel="x")
    rig.advance(0.015)
    peer.ask("subscribe", channel="x")
    rig.advance(0.015)
    assert [frame["type"] for frame in peer.all()] == ["welcome", "ack", "ack"]
    rig.advance(1)
    assert [frame["type"] for frame in peer.all()] == ["welcome", "ack", "ack", "presence"]


def test_24_unsubscribing_from_a_channel_never_held_is_acked() -> None:
    rig = Rig()
    peer = rig.connect("a", permissions=[])
    assert peer.ask("unsubscribe", channel="nobody/*") == {"type": "ack", "requestId": "r"}


def test_25_nothing_of_a_channel_arrives_after_unsubscribing_not_even_the_roster() -> None:
    rig = Rig()
    a, b = rig.connect("a"), rig.connect("b")
    a.ask("subscribe", channel="x")
    a.ask("unsubscribe", channel="x")
    b.join("x")
    b.ask("publish", channel="x", data=1)
    rig.advance(1)
    assert [frame["type"] for frame in a.all()] == ["welcome", "ack", "ack"]


def test_25_resubscribing_within_the_gap_gives_one_roster() -> None:
    rig = Rig()
    a = rig.connect("a")
    for kind in ("subscribe", "unsubscribe", "subscribe"):
        a.ask(kind, channel="x")
    rig.advance(1)
    assert [frame["type"] for frame in a.all()].count("presence") == 1


def test_26_the_101st_channel_is_refused_and_a_held_one_is_not() -> None:
    rig = Rig()
    peer = rig.connect("a")
    for n in range(100):
        assert peer.ask("subscribe", channel=f"c{n}*" if n % 2 else f"c{n}")["type"] == "ack"
    assert peer.ask("subscribe", channel="one-more")["code"] == "channel_limit_exceeded"
    assert peer.ask("subscribe", channel="c0")["type"] == "ack"
    assert peer.ask("subscribe", channel="c1*")["type"] == "ack"
    peer.ask("unsubscribe", channel="c1*")
    rig.advance(5)
    assert peer.ask("subscribe", channel="one-more")["type"] == "ack"


@pytest.mark.one_hub("what other hubs count is known a moment later, and by subscriptions")
def test_27_a_pattern_subscriber_gets_each_message_once_under_the_concrete_name() -> None:
    rig = Rig()
    sender, reader = rig.connect("s", peer_metadata={"n": 1}), rig.connect("r")
    assert reader.join("fleet/*/t") == [{"type": "presence", "channel": "fleet/*/t", "joined": [], "left": []}]
    reader.join("fleet/**", includeSenderMetadata=True)
    reader.join("fleet/1/t")
    assert sender.ask("publish", channel="fleet/1/t", data=1)["receivers"] == 1
    assert sender.ask("publish", channel="fleet/1/2/t", data=2)["receivers"] == 1
    assert sender.ask("publish", channel="other", data=3)["receivers"] == 0
    assert [(f["channel"], f["data"], f["fromMetadata"]) for f in reader.new() if f["type"] == "message"] == [
        ("fleet/1/t", 1, {"n": 1}),
        ("fleet/1/2/t", 2, {"n": 1}),
    ]
    reader.ask("unsubscribe", channel="fleet/**")
    sender.ask("publish", channel="fleet/1/t", data=4)
    last = reader.new()[-1]
    assert (last["data"], "fromMetadata" in last) == (4, False)


@pytest.mark.nodes("nats")
def test_27_audiences_follow_every_change_of_names_and_patterns() -> None:
    rig = Rig()
    sender, reader = rig.connect("s"), rig.connect("r")

    def reached(channel: str) -> bool:
        return bool(sender.ask("publish", channel=channel, data=0)["receivers"])

    assert not reached("a/b")
    reader.ask("subscribe", channel="a/*")
    assert reached("a/b")
    reader.ask("subscribe", channel="a/b")
    reader.ask("unsubscribe", channel="a/*")
    assert reached("a/b")
    assert not reached("a/c")
    reader.ask("unsubscribe", channel="a/b")
    assert not reached("a/b")
    reader.ask("subscribe", channel="**")
    reader.ask("subscribe", channel=r"\*x*")
    assert reached("a/b")
    reader.leave()
    assert not reached("a/b")


def test_27_pattern_subscribers_are_members_of_nothing() -> None:
    rig = Rig()
    rig.connect("watcher").join("x*")
    member = rig.connect("m")
    assert member.join("x") == [EMPTY]


def test_28_without_the_action_there_is_no_subscription_and_the_socket_stays_open() -> None:
    rig = Rig()
    peer = rig.connect("a", permissions=["publish"])
    assert peer.ask("subscribe", channel="x")["code"] == "action_not_permitted"
    assert peer.ask("publish", channel="x", data=1)["type"] == "ack"


def test_17_a_pattern_has_to_be_covered_whole() -> None:
    rig = Rig()
    narrow, wide = rig.connect("n", channels=("a/*",)), rig.connect("w", channels=("a/**",))
    assert narrow.ask("subscribe", channel="a/**")["code"] == "channel_not_authorized"
    assert narrow.ask("subscribe", channel="a/b*")["type"] == "ack"
    assert narrow.ask("subscribe", channel="**")["code"] == "channel_not_authorized"
    assert wide.ask("subscribe", channel="a/*/b")["type"] == "ack"
    assert wide.ask("subscribe", channel="a/**")["type"] == "ack"


@pytest.mark.parametrize("name", ["_metered/x", "_METERED/x", "_Internal/", "_system/a/b", "_system/*", "_sySTEM/**"])
def test_18_reserved_names_are_refused_in_any_case_even_under_a_double_star(name: str) -> None:
    peer = Rig().connect("a")
    assert peer.ask("subscribe", channel=name)["code"] == "channel_reserved"
    if "*" not in name:
        assert peer.ask("publish", channel=name, data=1)["code"] == "channel_reserved"


def test_18_a_pattern_is_reserved_only_when_it_can_match_nothing_else() -> None:
    assert [only_reserved(p) for p in ("_metered*", "_metered/*", "**", r"_system/\**", "*/x", "_meter**")] == [
        False,
        True,
        False,
        True,
        False,
        False,
    ]


def test_a_name_without_a_star_is_exact_byte_for_byte() -> None:
    rig = Rig()
    reader, sender = rig.connect("r"), rig.connect("s")
    reader.join("a\\\\b")
    assert sender.ask("publish", channel="a\\b", data=1)["receivers"] == 0
    sender.ask("publish", channel="a\\\\b", data=1)
    assert reader.new()[0]["channel"] == "a\\\\b"
