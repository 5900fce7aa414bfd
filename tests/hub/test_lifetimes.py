"""How connections end, go on and are taken over (checklist 7, 26 of §19, 67, 69; §20)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.hub.keys import KeyRing
from orchestrator.hub.settings import Settings
from orchestrator.hub.wire import PING
from orchestrator.protocol.codes import Action, CloseCode, closing
from orchestrator.protocol.tokens import SecretKey, TokenRefused
from tests.hub.rig import KEY, PAGE_KEY, Rig


def left(peer_id: str, reason: str) -> dict[str, object]:
    return {"type": "presence", "channel": "x", "joined": [], "left": [{"peerId": peer_id, "reason": reason}]}


def test_7_a_connection_is_closed_4002_within_half_a_second_before_its_token_ends() -> None:
    rig = Rig()
    peer = rig.connect("a", life=10)
    expires = peer.all()[0]["expiresAt"]
    while peer.closed is None:
        rig.advance(0.05)
    assert peer.closed[0] == CloseCode.TOKEN_EXPIRED
    assert expires - 0.5 <= rig.wall <= expires


def test_66_and_69_a_silent_connection_is_pinged_and_lives_while_it_answers() -> None:
    rig = Rig()
    peer = rig.connect("a")
    assert peer.connection is not None
    for _ in range(12):
        rig.advance(25.0)
        assert peer.writes[-1] == (rig.now, [PING])
        rig.advance(1.0)
        rig.hub.receive_pong(peer.connection, rig.now)
    assert peer.code() is None
    assert not peer.aborted


def test_69_a_connection_that_does_not_answer_is_cut_within_35_seconds_and_its_membership_is_freed() -> None:
    rig = Rig()
    watcher, ghost = rig.connect("w"), rig.connect("g")
    watcher.join("x")
    ghost.join("x")
    watcher.new()
    for _ in range(40):
        rig.advance(1.0)
        watcher.send(b'{"type":"ping"}')
    assert ghost.aborted
    changes = [frame for frame in watcher.new() if frame["type"] == "presence"]
    assert changes == [left("g", "lost")]
    assert not watcher.aborted


def test_69_a_connection_that_talks_is_not_pinged() -> None:
    rig = Rig()
    peer = rig.connect("a")
    for _ in range(20):
        rig.advance(20)
        peer.send(b'{"type":"ping"}')
    assert all(PING not in frames for _, frames in peer.writes)


@pytest.mark.one_hub("each hub spreads its own closes")
def test_67_a_drain_says_goodbye_closes_everybody_1001_and_lets_nobody_in() -> None:
    rig = Rig(Settings(drain_window=2.0, drain_rate=10.0))
    peers = [rig.connect(f"p{n}") for n in range(15)]
    rig.hub.drain(rig.now)
    rig.flush()
    assert all(peer.all()[-1] == {"type": "going_away", "retryAfterMs": 1000} for peer in peers)
    late = rig.connect("late")
    assert late.code() == CloseCode.GOING_AWAY
    rig.advance(0.75)
    closed = sum(peer.closed is not None for peer in peers)
    assert 4 <= closed <= 11
    rig.advance(1.0)
    assert {peer.closed[0] for peer in peers if peer.closed} == {CloseCode.GOING_AWAY}
    assert all(peer.closed for peer in peers)


def test_67_few_connections_are_drained_at_once() -> None:
    rig = Rig()
    peer = rig.connect("a")
    rig.hub.drain(rig.now)
    rig.flush()
    assert peer.code() is not None


@pytest.mark.one_hub("those of a hub that shuts down may turn up elsewhere, and are waited for")
def test_a_drain_gives_its_reason_to_those_who_remain() -> None:
    rig = Rig(Settings(drain_window=2.0, drain_rate=1.0))
    first, second = rig.connect("a"), rig.connect("b")
    first.join("x")
    second.join("x")
    rig.hub.drain(rig.now)
    rig.flush()
    assert first.code() is not None
    assert second.all()[-1] == left("a", "draining")


def test_a_kicked_peer_loses_every_connection_for_good() -> None:
    rig = Rig()
    one, two, other = rig.connect("a"), rig.connect("a"), rig.connect("b")
    assert rig.hub.kick("default", "a", rig.now) == 2
    rig.flush()
    assert [peer.closed and peer.closed[0] for peer in (one, two, other)] == [CloseCode.ADMIN_DISCONNECT] * 2 + [None]
    assert rig.hub.kick("default", "a", rig.now) == 0


def test_a_revoked_key_closes_its_connections_4001_and_no_others() -> None:
    other = SecretKey("sk_id_other", "o" * 40)
    rig = Rig(None, KEY, other, PAGE_KEY)
    revoked, kept, page = rig.connect("a"), rig.connect("b", key=other), rig.connect_by(f"key={PAGE_KEY.key}")
    rig.hub.rekey(KeyRing([other]), rig.now)
    rig.flush()
    assert [peer.closed and peer.closed[0] for peer in (revoked, kept, page)] == [4001, None, 4001]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({}, None),
        ({"channels": ("**",)}, None),
        ({"channels": ("team/**", "tasks/**")}, None),
        ({"channels": ("team/*", "tasks/**")}, 4003),
        ({"channels": ("team/**",)}, 4003),
        ({"actions": frozenset({Action.SUBSCRIBE})}, 4003),
    ],
)
def test_connections_of_a_key_whose_scope_is_narrowed_are_closed_4003(change: dict[str, Any], code: int | None) -> None:
    """A connection goes on while its key allows at least what it did when the connection was made."""
    wide = SecretKey("sk_id_wide", "w" * 40, channels=("team/**", "tasks/*"))
    rig = Rig(None, KEY, wide)
    peer, other = rig.connect("a", key=wide, channels=("team/1",)), rig.connect("b")
    rig.hub.rekey(KeyRing([KEY, replace(wide, **change)]), rig.now)
    rig.flush()
    assert [one.closed and one.closed[0] for one in (peer, other)] == [code, None]


def test_a_suspended_app_is_closed_4012_and_admits_nobody_and_another_app_goes_on() -> None:
    shop = SecretKey("sk_id_shop", "o" * 40, app="shop")
    rig = Rig(None, KEY, shop)
    shut, kept = rig.connect("a", key=shop), rig.connect("b")
    rig.keys = KeyRing([KEY, shop], suspended=["shop"])
    rig.hub.rekey(rig.keys, rig.now)
    rig.flush()
    assert (shut.code(), kept.code()) == (4012, None)
    with pytest.raises(TokenRefused) as refused:
        rig.connect("a", key=shop)
    assert refused.value.code == 4012


def test_the_same_instance_continues_its_connection_without_a_trace() -> None:
    rig = Rig()
    watcher = rig.connect("w")
    watcher.join("x")
    old = rig.connect("a", instance="i1", peer_metadata={"n": 1})
    old.join("x")
    old.join("logs/*", includeSenderMetadata=True)
    watcher.new()
    new = rig.connect("a", instance="i1", peer_metadata={"n": 1})
    assert old.code() == CloseCode.NORMAL
    assert new.all()[0]["type"] == "welcome"
    rig.advance(1)
    assert watcher.new() == []
    assert watcher.ask("publish", channel="x", data=1)["receivers"] == 1
    assert watcher.ask("publish", channel="logs/1", data=2)["receivers"] == 1
    watcher.ask("send", to="a", data=3)
    assert [frame["data"] for frame in new.new() if "data" in frame] == [1, 2, 3]
    assert len(old.all()) == 5
    old.leave()
    assert watcher.join("x")[0]["joined"] == [{"peerId": "a", "metadata": {"n": 1}}]


def test_a_hub_that_continues_connections_says_so_in_the_welcome_of_a_token_with_an_instance() -> None:
    rig = Rig()
    assert rig.connect("a", instance="i1").all()[0]["instance"] == "i1"
    assert "instance" not in rig.connect("b").all()[0]


def test_a_continuation_gets_its_rosters_before_any_change_of_them() -> None:
    rig = Rig()
    old = rig.connect("a", instance="i1")
    old.join("x")
    new = rig.connect("a", instance="i1")
    rig.connect("b").ask("subscribe", channel="x")
    assert [frame["type"] for frame in new.new()] == ["welcome"]
    rig.advance(1)
    assert [frame["joined"] for frame in new.new()] == [[], [{"peerId": "b"}]]


def test_a_continuation_keeps_only_what_its_token_allows() -> None:
    rig = Rig()
    watcher = rig.connect("w")
    watcher.join("x")
    old = rig.connect("a", instance="i1")
    old.join("x")
    old.join("y")
    watcher.new()
    new = rig.connect("a", instance="i1", channels=("y",))
    assert new.connection is not None
    assert list(new.connection.subscriptions) == ["y"]
    assert watcher.new() == [left("a", "left")]


@pytest.mark.nodes("nats")
def test_another_instance_takes_over_and_the_old_one_is_told_loudly() -> None:
    rig = Rig()
    watcher = rig.connect("w")
    watcher.join("x")
    old = rig.connect("a", instance="i1")
    old.join("x")
    watcher.new()
    new = rig.connect("a", instance="i2")
    assert old.closed == (CloseCode.ADMIN_DISCONNECT, "replaced")
    assert watcher.new() == [left("a", "replaced")]
    assert new.code() is None
    old.leave()
    assert watcher.ask("send", to="a", data=1)["type"] == "ack"


def test_without_an_instance_connections_share_the_peer_id() -> None:
    rig = Rig()
    plain, again, instance = rig.connect("a"), rig.connect("a"), rig.connect("a", instance="i1")
    assert [peer.closed for peer in (plain, again, instance)] == [None] * 3


def test_a_replacement_needs_no_free_slot() -> None:
    rig = Rig(Settings(max_connections=1))
    rig.connect("a", instance="i1")
    assert rig.connect("a", instance="i1").closed is None
    assert rig.connect("a", instance="i2").closed is None


@pytest.mark.parametrize("code", [CloseCode.INVALID_TOKEN, CloseCode.TOKEN_EXPIRED, CloseCode.OVER_MESSAGE_RATE])
def test_14_close_reasons_are_fixed_phrases(code: CloseCode) -> None:
    assert len(closing(code).meaning.encode()) <= 123


def test_the_same_history_gives_the_same_bytes() -> None:
    def history() -> list[list[tuple[float, list[bytes]]]]:
        rig = Rig()
        a, b = rig.connect("a", peer_metadata={"n": 1}), rig.connect("b")
        page = rig.connect_by(f"key={PAGE_KEY.key}")
        for peer in (a, b, page):
            peer.join("x")
        a.ask("publish", channel="x", data=1)
        rig.advance(40)
        return [peer.writes for peer in (a, b, page)]

    assert history() == history()
