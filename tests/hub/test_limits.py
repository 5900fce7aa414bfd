"""Sizes, rates, quotas and slow readers (checklist 59 to 63, 65)."""

from __future__ import annotations

import pytest

from orchestrator.hub.connect_gate import ConnectGate
from orchestrator.hub.settings import Settings
from orchestrator.protocol.codes import CloseCode
from orchestrator.protocol.tokens import Rate, SecretKey
from tests.hub.rig import Peer, Rig


def ping_of(size: int) -> bytes:
    shell = b'{"type":"ping","x":""}'
    return b'{"type":"ping","x":"%b"}' % (b"y" * (size - len(shell)))


def burst(peer: Peer, most: int = 1000) -> int:
    """Send pings at one moment until the connection is closed; return how many were answered."""
    before = len(peer.all())
    for _ in range(most):
        peer.send(b'{"type":"ping"}')
        if peer.closed:
            break
    return len(peer.all()) - before


def test_59_a_frame_of_69632_bytes_is_processed_and_a_larger_one_closes_1009() -> None:
    peer = Rig().connect("a")
    peer.send(ping_of(69_632))
    assert peer.all()[-1] == {"type": "pong"}
    peer.send(ping_of(69_633))
    assert peer.code() == CloseCode.MESSAGE_TOO_BIG


def test_60_200_frames_pass_at_once_and_a_lasting_excess_closes_4011() -> None:
    rig = Rig()
    peer = rig.connect("a")
    assert burst(peer) == 200
    assert peer.code() == CloseCode.OVER_MESSAGE_RATE
    steady = rig.connect("b")
    for _ in range(2000):
        rig.advance(0.01)
        steady.send(b'{"type":"ping"}')
    assert steady.code() is None


def test_60_pings_of_websocket_and_binary_messages_count_too() -> None:
    rig = Rig()
    peer = rig.connect("a")
    assert peer.connection is not None
    for _ in range(67):
        rig.hub.receive_ping(peer.connection, b"x", rig.now)
        rig.hub.receive_binary(peer.connection, b"x", rig.now)
        rig.hub.receive_pong(peer.connection, rig.now)
    rig.flush()
    assert peer.code() == CloseCode.OVER_MESSAGE_RATE


def test_61_100_subscribes_right_after_connecting_succeed() -> None:
    rig = Rig()
    peer = rig.connect("a")
    for n in range(100):
        assert peer.ask("subscribe", channel=f"c{n}")["type"] == "ack"
    rig.advance(1)
    assert [frame["type"] for frame in peer.all()].count("presence") == 100


@pytest.mark.one_hub("the limit is that of one hub")
def test_62_a_used_up_quota_blocks_publish_and_send_and_nothing_else() -> None:
    rig = Rig(Settings(max_messages=3))
    a, b = rig.connect("a"), rig.connect("b")
    assert a.ask("publish", channel="x", data=1)["type"] == "ack"
    assert a.ask("send", to="b", data=1)["type"] == "ack"
    assert a.ask("send", to="nobody", data=1)["code"] == "peer_not_found"
    assert a.ask("publish", channel="x", data=1)["code"] == "over_message_quota"
    assert b.ask("send", to="a", data=1)["code"] == "over_message_quota"
    assert len(b.join("x")) == 1
    app = rig.hub.app("default")
    assert app is not None
    assert app.messages == 5


@pytest.mark.parametrize(
    ("allowed", "claimed", "passes"),
    [
        (None, None, 200),
        (None, "unlimited", 200),
        (None, Rate(5, 10), 10),
        (None, Rate(5, 900), 200),
        (Rate(5, 20), None, 20),
        (Rate(5, 20), "unlimited", 20),
        ("unlimited", None, 200),
        ("unlimited", Rate(5, 500), 500),
        ("unlimited", "unlimited", 1000),
    ],
)
def test_the_rate_of_a_token_is_as_wide_as_its_key_allows(allowed: object, claimed: object, passes: int) -> None:
    key = SecretKey("sk_id_rate", "r" * 40, rate=allowed)  # type: ignore[arg-type]
    assert burst(Rig(None, key).connect("a", key=key, rate=claimed)) == passes


def fill(rig: Rig, reader: Peer, frames: int) -> None:
    sender = rig.connect("filler")
    for _ in range(frames):
        sender.ask("publish", channel="x", data="y" * 60_000)
        rig.advance(0.01)
    sender.leave()
    assert reader.connection is not None


def test_63_a_reader_that_stalls_is_closed_1008_when_a_mebibyte_waits_and_nobody_else_is() -> None:
    rig = Rig()
    slow, quick = rig.connect("slow"), rig.connect("quick")
    slow.join("x")
    quick.join("x")
    assert slow.connection is not None
    rig.hub.stalled(slow.connection, 1000, rig.now)
    fill(rig, slow, 17)
    assert slow.code() is None
    quick.new()
    fill(rig, slow, 1)
    assert slow.code() == CloseCode.POLICY_VIOLATION
    assert [f["left"] for f in quick.new() if f["type"] == "presence"] == [[{"peerId": "slow", "reason": "lost"}]]
    assert quick.code() is None
    assert slow.outbox.frames == []


def test_63_a_reader_that_stalls_is_closed_1008_when_the_oldest_byte_is_five_seconds_old() -> None:
    rig = Rig()
    slow = rig.connect("slow")
    assert slow.connection is not None
    slow.send(b'{"type":"ping"}')
    rig.hub.stalled(slow.connection, 1, rig.now)
    rig.advance(4.9)
    assert slow.code() is None
    rig.advance(0.2)
    assert slow.code() == CloseCode.POLICY_VIOLATION


def test_63_a_reader_that_catches_up_in_time_stays_and_loses_nothing() -> None:
    rig = Rig()
    slow = rig.connect("slow")
    assert slow.connection is not None
    slow.send(b'{"type":"ping"}')
    for _ in range(3):
        rig.hub.stalled(slow.connection, 1, rig.now)
        rig.advance(2)
        slow.send(b'{"type":"ping"}')
        rig.advance(1)
        rig.hub.resumed(slow.connection, rig.now)
        rig.flush()
    rig.advance(20)
    assert slow.code() is None
    assert [frame["type"] for frame in slow.all()] == ["welcome", *["pong"] * 4]


def test_63_an_old_frame_counts_from_the_time_it_was_queued_not_from_its_write() -> None:
    rig = Rig()
    slow = rig.connect("slow")
    assert slow.connection is not None
    slow.send(b'{"type":"ping"}')
    rig.hub.stalled(slow.connection, 1, rig.now)
    rig.advance(1)
    slow.send(b'{"type":"ping"}')
    rig.advance(3)
    rig.hub.resumed(slow.connection, rig.now)
    rig.flush()
    rig.hub.stalled(slow.connection, 1, rig.now)
    rig.advance(1.9)
    assert slow.code() is None
    rig.advance(0.2)
    assert slow.code() is not None


def test_a_single_write_that_the_socket_takes_is_no_slow_reader_however_large() -> None:
    rig = Rig()
    reader = rig.connect("r")
    reader.join("x")
    sender = rig.connect("s")
    assert sender.connection is not None
    for _ in range(30):  # all within one turn, so that nothing is written in between
        rig.hub.receive(sender.connection, b'{"type":"publish","channel":"x","data":"%b"}' % (b"y" * 60_000), rig.now)
    rig.flush()
    assert reader.code() is None
    assert len(reader.writes[-1][1]) == 30


def test_65_a_ping_is_answered_with_a_pong_that_repeats_the_id_and_no_ack() -> None:
    peer = Rig().connect("a", permissions=[])
    peer.new()
    peer.send(b'{"type":"ping"}')
    peer.send(b'{"type":"ping","requestId":"7"}')
    assert peer.new() == [{"type": "pong"}, {"type": "pong", "requestId": "7"}]


def test_13_the_61st_attempt_in_a_minute_from_one_address_is_refused_and_others_are_not() -> None:
    gate = ConnectGate(60)
    assert all(gate.admits("192.0.2.1", n * 0.1) for n in range(60))
    assert not gate.admits("192.0.2.1", 6.0)
    assert gate.admits("192.0.2.2", 6.0)
    assert gate.admits("192.0.2.1", 60.05)
    assert not gate.admits("192.0.2.1", 60.06)
    assert all(gate.admits(address, 7.0) for address in ("127.0.0.1", "127.9.9.9", "::1") for _ in range(100))
    assert all(ConnectGate(0).admits("192.0.2.1", 0.0) for _ in range(100))
