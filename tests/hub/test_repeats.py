"""Messages that their sender has named are taken once (§20, hazards 47 and 52)."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.hub.repeats import Repeats
from orchestrator.hub.settings import Settings
from orchestrator.protocol.tokens import SecretKey
from tests.hub.rest_client import control_plane
from tests.hub.rig import KEY, Peer, Rig

OTHER = SecretKey("sk_id_other", "sk_secret_" + "o" * 32, app="other")


def received(peer: Peer) -> list[Any]:
    return [frame["data"] for frame in peer.new() if frame["type"] in ("message", "direct")]


def test_hazard_47_a_publish_that_comes_again_is_acked_as_the_first_and_delivered_once() -> None:
    rig = Rig()
    a, b = rig.connect("a"), rig.connect("b")
    b.join("x")
    first = a.ask("publish", channel="x", data=1, id="m1")
    assert first["receivers"] == 1
    b.leave()
    assert a.ask("publish", channel="x", data=2, id="m1") == first
    assert a.ask("publish", channel="x", data=3, id="m2")["receivers"] == 0
    assert received(b) == [1]


def test_hazard_47_a_send_that_comes_again_is_acked_and_delivered_once() -> None:
    rig = Rig()
    a, b = rig.connect("a"), rig.connect("b")
    for _ in range(3):
        assert a.ask("send", to="b", data=1, id="m1") == {"type": "ack", "requestId": "r"}
    a.send({"type": "send", "to": "b", "data": 1, "id": "m1"})
    assert received(b) == [1]


def test_hazard_52_a_client_that_lost_the_ack_with_its_connection_may_send_again() -> None:
    rig = Rig()
    a, b = rig.connect("a"), rig.connect("b")
    a.ask("send", to="b", data=1, id="m1")
    a.leave()
    again = rig.connect("a")
    assert again.ask("send", to="b", data=1, id="m1")["type"] == "ack"
    assert received(b) == [1]


def test_hazard_47_what_was_refused_was_not_taken() -> None:
    rig = Rig()
    a = rig.connect("a")
    assert a.ask("send", to="b", data=1, id="m1")["code"] == "peer_not_found"
    b = rig.connect("b")
    assert a.ask("send", to="b", data=1, id="m1")["type"] == "ack"
    assert received(b) == [1]


@pytest.mark.one_hub("it looks into the one hub that counts attempts")
def test_hazard_47_a_repetition_needs_the_rights_of_the_first_and_counts_as_an_attempt() -> None:
    rig = Rig(Settings(max_messages=2))
    a = rig.connect("a")
    assert a.ask("publish", channel="x", data=1, id="m1")["type"] == "ack"
    powerless = rig.connect("a", permissions=["send"])
    assert powerless.ask("publish", channel="x", data=1, id="m1")["code"] == "action_not_permitted"
    assert a.ask("publish", channel="x", data=1, id="m1")["type"] == "ack"
    assert a.ask("publish", channel="x", data=1, id="m2")["code"] == "over_message_quota"
    app = rig.hub.app("default")
    assert app is not None
    assert app.messages == 4


def test_hazard_47_nobody_uses_up_the_ids_of_another_peer_or_app() -> None:
    rig = Rig(None, KEY, OTHER)
    a, b, c, d = rig.connect("a"), rig.connect("b"), rig.connect("a", key=OTHER), rig.connect("d", key=OTHER)
    b.join("x")
    d.join("x")
    assert a.ask("publish", channel="x", data="a", id="m1")["receivers"] == 1
    assert c.ask("publish", channel="x", data="c", id="m1")["receivers"] == 1
    assert b.ask("publish", channel="x", data="b", id="m1")["receivers"] == 0
    assert received(b) == ["a"]
    assert received(d) == ["c"]


def test_hazard_47_an_id_is_known_for_120_seconds() -> None:
    rig = Rig()
    a, b = rig.connect("a"), rig.connect("b")
    b.join("x")
    for wait, count in ((0.0, 1), (119.9, 0), (0.2, 1), (1.0, 0)):
        for peer in (a, b):  # so that neither is taken for dead
            peer.send(b'{"type":"ping"}')
        for _ in range(12):
            rig.advance(wait / 12)
            for peer in (a, b):
                peer.send(b'{"type":"ping"}')
        a.ask("publish", channel="x", data=1, id="m1")
        assert len(received(b)) == count, wait


def test_hazard_47_of_more_ids_than_are_kept_the_oldest_is_forgotten() -> None:
    repeats = Repeats(window=120.0, most=3)
    for n in range(4):
        repeats.note("a", str(n), n, now=float(n))
    assert [repeats.receivers("a", str(n), 4.0) for n in range(4)] == [None, 1, 2, 3]
    assert repeats.receivers("a", "3", 122.9) == 3
    assert repeats.receivers("a", "3", 123.0) is None
    assert len(repeats) == 0
    standard = Repeats()
    for n in range(100_001):
        standard.note("a", str(n), 0, now=0.0)
    assert len(standard) == 100_000


@pytest.mark.parametrize("name", [7, None, "", "x" * 129, ["m1"], {"a": 1}, True])
def test_an_id_of_another_kind_counts_as_not_given(name: Any) -> None:
    rig = Rig()
    a, b = rig.connect("a"), rig.connect("b")
    for _ in range(2):
        assert a.ask("send", to="b", data=1, id=name)["type"] == "ack"
    assert received(b) == [1, 1]


async def test_hazard_47_a_publish_by_rest_may_be_named_too() -> None:
    async with control_plane() as api:
        for count in (1, 1, 2):
            name = f"m{count}"
            assert (await api.publish("x", data=1, id=name)).body == {"channel": "x", "delivered": 0}
        assert len(api.hub.hub.app("default").repeats) == 2  # type: ignore[union-attr]
        assert (await api.usage())["messagesUsed"] == 3
