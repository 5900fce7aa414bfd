"""What is answered with an error, and in which order faults are found (checklist 53 to 58, 70)."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.hub.json_depth import too_deep
from tests.hub.rig import Rig


def answer(text: bytes) -> dict[str, Any]:
    """Send one text, and return the one frame that answers it; the connection has to stay open."""
    rig = Rig()
    peer = rig.connect("a", permissions=["subscribe"], channels=("ok",))
    peer.new()
    peer.send(text)
    assert peer.code() is None
    (frame,) = peer.new()
    assert rig.faults == []
    return frame


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"nonsense",
        b"[]",
        b'[{"type":"ping"}]',
        b'"ping"',
        b"null",
        b"1",
        b"{}",
        b'{"type":null}',
        b'{"type":7}',
        b'{"type":["ping"]}',
        b'{"Type":"ping"}',
        b'{"type":"ping"} {"type":"ping"}',
        b'{"type":"ping",}',
        b'{"type":"publish","channel":"ok","data":NaN}',
        b'{"type":"publish","channel":"ok","data":-Infinity}',
        b'{"type":"publish","channel":"ok","data":01}',
        b'{"type":"publish","channel":"ok","data":"\x01"}',
        b'{"type":"publish","channel":"ok","data":"\\ud800"}',
        b'{"type":"publish","channel":"\\ud800","data":1}',
        b'\xef\xbb\xbf{"type":"ping"}',
        b'{"type":"ping","x":' + b"[" * 64 + b"]" * 64 + b"}",
        b'{"type":"ping","x":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        b'{"type":"ping","x":' + b'{"a":' * 5_000 + b"1" + b"}" * 5_000 + b"}",
    ],
    ids=lambda text: text[:40].decode("latin-1"),
)
def test_53_what_is_no_message_is_malformed_and_the_socket_stays_open(text: bytes) -> None:
    frame = answer(text)
    assert frame["code"] == "malformed_message"
    assert "requestId" not in frame


def test_53_64_levels_of_nesting_are_allowed_and_65_are_not() -> None:
    assert answer(b'{"type":"ping","x":' + b"[" * 63 + b"]" * 63 + b"}") == {"type": "pong"}
    brackets_in_texts = b'{"type":"ping","x":"' + b'[{\\"' * 100 + b'"}'
    assert answer(brackets_in_texts) == {"type": "pong"}


def test_nesting_is_counted_through_lists_and_objects_and_past_texts() -> None:
    assert not too_deep(b'[{"a":[]},{"b":[[]]},"[[[[["]' * 1, 4)
    assert too_deep(b'[{"a":[]},{"b":[[]]},"[[[[["]', 3)
    assert not too_deep(b"[" + b"[]," * 1000 + b"[]]", 2)


def test_54_an_unknown_type_is_named_and_its_request_id_comes_back() -> None:
    assert answer(b'{"type":"publsh","requestId":"7"}') == {
        "type": "error",
        "code": "unknown_type",
        "requestId": "7",
        "message": "there is no message type 'publsh' (did you mean 'publish'?)",
    }
    assert "requestId" not in answer(b'{"type":"welcome"}')


@pytest.mark.parametrize("request_id", ['""', "1", "null", "[]", "true", '"' + "x" * 129 + '"'])
def test_55_an_invalid_request_id_is_malformed_and_does_not_come_back(request_id: str) -> None:
    for kind in ("ping", "subscribe", "fly"):
        frame = answer(b'{"type":"%b","channel":"ok","requestId":%b}' % (kind.encode(), request_id.encode()))
        assert frame["code"] == "malformed_message"
        assert "requestId" not in frame


def test_55_a_request_id_of_128_characters_is_fine() -> None:
    assert answer(b'{"type":"subscribe","channel":"ok","requestId":"%b"}' % ("é" * 128).encode())["type"] == "ack"


def test_56_requests_without_an_id_are_not_acked_and_their_faults_have_none() -> None:
    rig = Rig()
    peer = rig.connect("a")
    peer.new()
    peer.send({"type": "subscribe", "channel": "x"})
    peer.send({"type": "publish", "channel": "x", "data": 1})
    peer.send({"type": "unsubscribe", "channel": "x"})
    peer.send({"type": "send", "to": "nobody", "data": 1})
    (frame,) = peer.new()
    assert (frame["code"], "requestId" in frame) == ("peer_not_found", False)


def test_57_a_fault_in_one_request_is_answered_and_harms_nobody_else() -> None:
    rig = Rig()
    peer, other = rig.connect("a"), rig.connect("b")
    other.join("x")
    assert peer.connection is not None
    peer.connection.rights._scopes = (None,)  # type: ignore[assignment]
    assert peer.ask("publish", channel="x", data=1)["code"] == "internal_error"
    assert len(rig.faults) == 1
    assert peer.ask("ping")["type"] == "pong"
    assert other.ask("publish", channel="x", data=1)["type"] == "ack"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b'{"type":"fly","requestId":1,"channel":""}', "malformed_message"),
        (b'{"type":"fly","channel":""}', "unknown_type"),
        (b'{"type":"publish","channel":""}', "invalid_channel"),
        (b'{"type":"publish","channel":"_metered/x"}', "channel_reserved"),
        (b'{"type":"publish","channel":"_metered/*","data":1}', "invalid_channel"),
        (b'{"type":"publish","channel":"forbidden"}', "missing_data"),
        (b'{"type":"publish","channel":"forbidden","data":1}', "action_not_permitted"),
        (b'{"type":"subscribe","channel":"_system/x"}', "channel_reserved"),
        (b'{"type":"subscribe","channel":"forbidden"}', "channel_not_authorized"),
        (b'{"type":"send","to":""}', "invalid_peer_id"),
        (b'{"type":"send","to":"b"}', "missing_data"),
        (b'{"type":"send","to":"b","data":1}', "action_not_permitted"),
    ],
)
def test_58_faults_are_found_in_the_protocols_order(text: bytes, code: str) -> None:
    assert answer(text)["code"] == code


@pytest.mark.parametrize("channel", ['""', "null", "7", "[]", '"a\\nb"', '"\\u0085"', '"' + "é" * 129 + '"'])
def test_58_what_is_no_channel_is_invalid_for_every_request_that_needs_one(channel: str) -> None:
    for kind in ("subscribe", "unsubscribe", "publish"):
        frame = answer(b'{"type":"%b","data":1,"requestId":"r","channel":%b}' % (kind.encode(), channel.encode()))
        assert (frame["code"], frame["requestId"]) == ("invalid_channel", "r")


def test_of_a_field_that_is_there_twice_the_last_one_counts() -> None:
    assert answer(b'{"type":"ping","type":"subscribe","channel":"bad","channel":"ok","requestId":"r"}') == {
        "type": "ack",
        "requestId": "r",
    }
    assert answer(b'{"type":"subscribe","channel":7,"channel":"ok","requestId":"r"}')["type"] == "ack"
    assert answer(b'{"type":"subscribe","channel":"ok","channel":7,"requestId":"r"}')["code"] == "invalid_channel"


def test_unknown_fields_are_passed_over() -> None:
    assert answer(b'{"type":"subscribe","channel":"ok","requestId":"r","future":{"x":1}}')["type"] == "ack"


def test_70_a_binary_message_is_malformed_and_the_socket_stays_open() -> None:
    rig = Rig()
    peer = rig.connect("a")
    assert peer.connection is not None
    rig.hub.receive_binary(peer.connection, b"x", rig.now)
    rig.flush()
    assert peer.all()[-1]["code"] == "malformed_message"
    assert peer.ask("ping")["type"] == "pong"


@pytest.mark.parametrize(
    "data",
    [rb'"\ud800"', rb'{"cut inside an emoji":"\ud83d"}', b"[" * 400 + b"]" * 400],
    ids=["half a surrogate pair", "in a value", "far too deep"],
)
def test_52_data_that_cannot_be_relayed_is_refused_under_the_id_of_its_request(data: bytes) -> None:
    """Hazard 24: what other parsers refuse is not passed on, and its sender does not wait for nothing."""
    refused = answer(b'{"type":"publish","requestId":"r1","channel":"ok","data":' + data + b"}")
    assert (refused["code"], refused.get("requestId")) == ("malformed_message", "r1")


@pytest.mark.parametrize("text", [b'{"requestId":"r"}', b'{"type":7,"requestId":"r"}', b'{"type":[],"requestId":"r"}'])
def test_52_a_message_without_a_type_is_refused_under_its_id(text: bytes) -> None:
    frame = answer(text)
    assert (frame["code"], frame["requestId"]) == ("malformed_message", "r")


@pytest.mark.parametrize("data", [b"9" * 5_000 + b',"x":NaN', b'"\\udfff","x":' + b"9" * 5_000])
def test_52_an_id_is_found_beside_numbers_of_any_length(data: bytes) -> None:
    frame = answer(b'{"type":"publish","channel":"ok","requestId":"r","data":%b}' % data)
    assert (frame["code"], frame["requestId"]) == ("malformed_message", "r")
