"""Publishing and sending (checklist 29 to 43, 52)."""

from __future__ import annotations

import json

import pytest

from orchestrator.protocol.tokens import SecretKey
from tests.hub.rig import Rig


@pytest.mark.nodes("nats", "redis")
def test_29_every_other_subscriber_gets_a_publish_and_the_publishing_connection_does_not() -> None:
    rig = Rig()
    a, again, b, c = rig.connect("a"), rig.connect("a"), rig.connect("b"), rig.connect("c")
    for peer in (a, again, b, c):
        peer.join("x")
    for peer in (a, again, b, c):
        peer.new()
    assert a.ask("publish", channel="x", data=1) == {"type": "ack", "requestId": "r", "receivers": 3}
    expected = {"type": "message", "channel": "x", "from": "a", "data": 1}
    assert [peer.new() for peer in (again, b, c)] == [[expected]] * 3
    assert [frame["type"] for frame in a.new()] == ["ack"]


def test_30_publishing_needs_no_subscription_and_no_subscriber() -> None:
    assert Rig().connect("a").ask("publish", channel="x", data=1)["receivers"] == 0


@pytest.mark.parametrize(
    "data",
    [
        "null",
        "0",
        "-0.0",
        "1e400",
        "123456789012345678901234567890",
        "1.10",
        '""',
        r'"\u00e9\/\n"',
        '"é💡"',
        "[ 1 , [ ] ]",
        '{"b":1,"a":{"b":1,"b":2}}',
        "true",
        r'"\u0000"',
    ],
)
def test_31_data_arrives_byte_for_byte(data: str) -> None:
    rig = Rig()
    reader, sender = rig.connect("r"), rig.connect("s")
    reader.join("x")
    sender.send(b'{"data":%b,"type":"publish","channel":"x"}' % data.encode())
    sender.send(b'{"type":"send","to":"r","data":%b}' % data.encode())
    message, direct = (texts[-1] for _, texts in reader.writes[-2:])
    assert message == b'{"type":"message","channel":"x","from":"s","data":%b}' % data.encode()
    assert direct == b'{"type":"direct","from":"s","data":%b}' % data.encode()


def test_31_missing_data_is_refused() -> None:
    peer = Rig().connect("a")
    assert peer.ask("publish", channel="x")["code"] == "missing_data"
    assert peer.ask("send", to="b")["code"] == "missing_data"


def test_32_metadata_is_stamped_where_it_was_asked_for_and_exists() -> None:
    rig = Rig()
    asks, plain = rig.connect("1"), rig.connect("2")
    asks.join("x", includeSenderMetadata=True)
    plain.join("x", includeSenderMetadata="yes")
    asks.new()
    named, nameless = rig.connect("n", peer_metadata={"name": "N"}), rig.connect("m")
    named.ask("publish", channel="x", data=1)
    nameless.ask("publish", channel="x", data=2)
    assert [frame.get("fromMetadata") for frame in asks.new()] == [{"name": "N"}, None]
    assert all("fromMetadata" not in frame for frame in plain.new())


def test_33_the_sender_is_who_the_token_says() -> None:
    rig = Rig()
    reader, liar = rig.connect("r"), rig.connect("liar")
    reader.join("x")
    liar.send({"type": "publish", "channel": "x", "data": {"from": "boss"}, "from": "boss", "fromMetadata": {"b": 1}})
    assert reader.new() == [{"type": "message", "channel": "x", "from": "liar", "data": {"from": "boss"}}]


def test_34_a_thousand_publishes_arrive_in_order_at_each_subscriber() -> None:
    rig = Rig()
    readers = [rig.connect(f"r{n}") for n in range(3)]
    for reader in readers:
        reader.join("x")
    for reader in readers:
        reader.new()
    sender = rig.connect("s")
    for n in range(1000):
        sender.send({"type": "publish", "channel": "x", "data": n})
        rig.advance(0.01)
    for reader in readers:
        assert [frame["data"] for frame in reader.new()] == list(range(1000))


@pytest.mark.parametrize("name", ["*", "a/*", "a**", r"a\*"])
def test_35_a_star_in_a_publish_is_invalid(name: str) -> None:
    assert Rig().connect("a").ask("publish", channel=name, data=1)["code"] == "invalid_channel"


def test_36_a_payload_of_64_kib_is_delivered() -> None:
    rig = Rig()
    reader, sender = rig.connect("r"), rig.connect("s")
    reader.join("x")
    data = "y" * (65_536 - 2)
    sender.ask("publish", channel="x", data=data)
    assert reader.new()[0]["data"] == data


def test_37_a_direct_message_needs_no_subscription_and_carries_the_senders_metadata() -> None:
    rig = Rig()
    target, sender = rig.connect("t", channels=()), rig.connect("s", channels=(), peer_metadata={"k": 1})
    target.new()
    assert sender.ask("send", to="t", data={"n": 1}) == {"type": "ack", "requestId": "r"}
    assert target.new() == [{"type": "direct", "from": "s", "data": {"n": 1}, "fromMetadata": {"k": 1}}]


@pytest.mark.nodes("nats")
def test_38_a_send_to_nobody_is_refused_and_nothing_is_kept() -> None:
    rig = Rig()
    sender = rig.connect("s")
    assert sender.ask("send", to="t", data=1)["code"] == "peer_not_found"
    assert [frame["type"] for frame in rig.connect("t").all()] == ["welcome"]


@pytest.mark.nodes("nats")
def test_39_every_connection_of_the_target_gets_it_and_there_is_one_ack() -> None:
    rig = Rig()
    one, two, sender = rig.connect("t"), rig.connect("t"), rig.connect("s")
    sender.ask("send", to="t", data=1)
    assert one.all()[-1] == two.all()[-1] == {"type": "direct", "from": "s", "data": 1}
    assert one.ask("send", to="t", data=2)["type"] == "ack"
    assert [peer.all()[-1 - (peer is one)]["data"] for peer in (one, two)] == [2, 2]


@pytest.mark.nodes("nats")
def test_40_sends_and_publishes_of_one_sender_keep_their_order() -> None:
    rig = Rig()
    reader, sender = rig.connect("r"), rig.connect("s")
    reader.join("x")
    reader.new()
    for n in range(50):
        sender.send({"type": "publish", "channel": "x", "data": n} if n % 3 else {"type": "send", "to": "r", "data": n})
    assert [frame["data"] for frame in reader.new()] == list(range(50))


def test_41_sending_needs_its_action_and_no_scope() -> None:
    rig = Rig()
    rig.connect("t")
    assert rig.connect("a", permissions=["publish"]).ask("send", to="t", data=1)["code"] == "action_not_permitted"
    assert rig.connect("b", permissions=["send"], channels=()).ask("send", to="t", data=1)["type"] == "ack"


@pytest.mark.parametrize("to", ["", "x" * 129, "a\nb", "\x7f", 7, None, ["a"]])
def test_42_what_is_no_peer_id_is_refused(to: object) -> None:
    assert Rig().connect("a").ask("send", to=to, data=1)["code"] == "invalid_peer_id"


@pytest.mark.parametrize(
    "data",
    [
        {"type": "rtc-description", "description": {"type": "offer", "sdp": "v=0\r\n"}},
        {"type": "rtc-ice", "candidate": None},
        {"__meteredTrackMeta": {"trackId": "t", "metadata": {}}},
    ],
)
def test_43_signalling_payloads_pass_through_untouched(data: object) -> None:
    rig = Rig()
    target, sender = rig.connect("t"), rig.connect("s")
    sender.ask("send", to="t", data=data)
    assert target.all()[-1]["data"] == data


def test_52_every_request_with_an_id_has_exactly_one_answer() -> None:
    rig = Rig()
    peer = rig.connect("a", permissions=["subscribe"])
    requests: list[dict[str, object]] = [
        {"type": "subscribe", "channel": "x"},
        {"type": "subscribe"},
        {"type": "unsubscribe", "channel": "x"},
        {"type": "publish", "channel": "x", "data": 1},
        {"type": "send", "to": "a", "data": 1},
        {"type": "ping"},
        {"type": "fly"},
    ]
    for n, request in enumerate(requests):
        peer.send(request | {"requestId": f"id{n}"})
    rig.advance(1)
    answered = [frame["requestId"] for frame in peer.all() if "requestId" in frame]
    assert answered == [f"id{n}" for n in range(len(requests))]


def test_two_apps_never_meet() -> None:
    one, two = SecretKey("sk_id_1", "1" * 40, app="one"), SecretKey("sk_id_2", "2" * 40, app="two")
    rig = Rig(None, one, two)
    a, b = rig.connect("same", key=one), rig.connect("same", key=two)
    a.join("x")
    assert b.join("x")[0]["joined"] == []
    b.join("**")
    only = rig.connect("only", key=one)
    assert only.ask("publish", channel="x", data="secret")["receivers"] == 1
    assert b.ask("send", to="only", data=1)["code"] == "peer_not_found"
    assert "secret" not in json.dumps(b.all())
    assert rig.hub.kick("two", "only", rig.now) == 0
