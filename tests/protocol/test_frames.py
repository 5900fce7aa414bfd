"""The envelopes of both directions: what they look like on the wire, and what is passed over."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from orchestrator.protocol import frames
from orchestrator.protocol.frames import decode_hub_frame, encode_json

LISTED: list[tuple[Any, dict[str, Any]]] = [
    (frames.Subscribe("team/42", "r1", True), {"type": "subscribe", "channel": "team/42", "requestId": "r1", "includeSenderMetadata": True}),
    (frames.Subscribe("team/42"), {"type": "subscribe", "channel": "team/42"}),
    (frames.Unsubscribe("team/42", "r2"), {"type": "unsubscribe", "channel": "team/42", "requestId": "r2"}),
    (frames.Publish("a", Raw(b'{"kind":"claim"}'), "r3"), {"type": "publish", "channel": "a", "data": {"kind": "claim"}, "requestId": "r3"}),
    (frames.Send("worker-3", Raw(b"null"), "r4"), {"type": "send", "to": "worker-3", "data": None, "requestId": "r4"}),
    (frames.Ping(), {"type": "ping"}),
    (frames.Welcome("p", 1.5, 65536), {"type": "welcome", "peerId": "p", "serverTime": 1.5, "maxMessageSize": 65536, "expiresAt": None}),
    (frames.Welcome("p", 1.5, 65536, 9.0, {"a": 1}), {"type": "welcome", "peerId": "p", "serverTime": 1.5, "maxMessageSize": 65536, "expiresAt": 9.0, "metadata": {"a": 1}}),
    (frames.Ack("r1"), {"type": "ack", "requestId": "r1"}),
    (frames.Ack("r1", 3), {"type": "ack", "requestId": "r1", "receivers": 3}),
    (frames.Ack("r1", 0), {"type": "ack", "requestId": "r1", "receivers": 0}),
    (frames.Error("peer_not_found", "r1", "nobody"), {"type": "error", "code": "peer_not_found", "requestId": "r1", "message": "nobody"}),
    (frames.Error("malformed_message"), {"type": "error", "code": "malformed_message"}),
    (frames.Message("a", "p", Raw(b"1")), {"type": "message", "channel": "a", "from": "p", "data": 1}),
    (frames.Direct("p", Raw(b"[1]"), {"kind": "agent"}), {"type": "direct", "from": "p", "data": [1], "fromMetadata": {"kind": "agent"}}),
    (frames.GoingAway(1000), {"type": "going_away", "retryAfterMs": 1000}),
    (frames.Pong("r"), {"type": "pong", "requestId": "r"}),
]  # fmt: skip


@pytest.mark.parametrize(("frame", "text"), LISTED, ids=lambda value: type(value).__name__)
def test_a_frame_is_written_as_the_protocol_lists_it(frame: Any, text: dict[str, Any]) -> None:
    assert json.loads(encode_json(frame)) == text


@pytest.mark.parametrize("frame", [frame for frame, _ in LISTED if isinstance(frame, frames.HubFrame)])
def test_what_a_hub_writes_a_client_reads(frame: frames.HubFrame) -> None:
    assert decode_hub_frame(encode_json(frame)) == frame
    assert decode_hub_frame(encode_json(frame).decode()) == frame


def test_2_a_welcome_always_holds_its_four_fields() -> None:
    assert json.loads(encode_json(frames.Welcome("p", 0, 0))).keys() == {"type", "peerId", "serverTime", "maxMessageSize", "expiresAt"}  # fmt: skip


@pytest.mark.parametrize("joined", [(), (frames.Present("p"),)])
@pytest.mark.parametrize("left", [(), (frames.Present("q", reason="lost"),)])
def test_47_presence_always_holds_both_arrays(
    joined: tuple[frames.Present, ...], left: tuple[frames.Present, ...]
) -> None:
    text = json.loads(encode_json(frames.Presence("a", joined, left)))
    assert text["type"] == "presence"
    assert [len(text["joined"]), len(text["left"])] == [len(joined), len(left)]


def test_47_metadata_is_there_only_if_present() -> None:
    text = encode_json(frames.Presence("a", (frames.Present("p"), frames.Present("q", {})), ()))
    assert json.loads(text)["joined"] == [{"peerId": "p"}, {"peerId": "q", "metadata": {}}]


def test_a_documented_snapshot_without_left_is_read() -> None:
    frame = decode_hub_frame('{"type":"presence","channel":"a","joined":[{"peerId":"p"}]}')
    assert frame == frames.Presence("a", (frames.Present("p"),), ())


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(json_values)
def test_31_data_arrives_as_the_bytes_it_left_as(value: Any) -> None:
    data = Raw(json.dumps(value, indent=1, ensure_ascii=True).encode())
    frame = decode_hub_frame(encode_json(frames.Message("a", "p", data)))
    assert isinstance(frame, frames.Message)
    assert bytes(frame.data) == bytes(data)


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"invented","a":1}',
        '{"type":"subscribe","channel":"a"}',
        '{"type":7}',
        '{"type":null}',
        "{}",
        "[]",
        "null",
        '"welcome"',
        "",
        "{",
        '{"type":"ack"}',
        '{"type":"ack","requestId":7}',
        '{"type":"message","channel":"a","from":"p"}',
        '{"type":"message","channel":"a","from":null,"data":1}',
        '{"type":"direct","from":"p","data":NaN}',
        '{"type":"presence","channel":"a","joined":null,"left":[]}',
        '{"type":"welcome","peerId":"p","serverTime":"now","maxMessageSize":1}',
        b"\xff\xfe",
        b'{"type":"pong","requestId":"\xff"}',
        '{"type":"direct","from":"p","data":' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"type":"welcome","peerId":"p","serverTime":1,"maxMessageSize":1,"metadata":'
        + '{"a":' * 100_000
        + "1"
        + "}" * 100_001,
        "[" * 100_000,
    ],
)
def test_89_what_is_unknown_or_broken_is_passed_over(text: str | bytes) -> None:
    assert decode_hub_frame(text) is None


@given(st.binary(max_size=60))
def test_89_no_bytes_disturb_the_reader(noise: bytes) -> None:
    decode_hub_frame(noise)


def test_89_extra_fields_are_passed_over() -> None:
    assert decode_hub_frame('{"type":"pong","extra":{"a":[1]},"requestId":"r"}') == frames.Pong("r")


def test_33_a_sender_is_what_the_envelope_says_whatever_the_data_claims() -> None:
    frame = decode_hub_frame('{"type":"direct","from":"mallory","data":{"from":"boss"}}')
    assert isinstance(frame, frames.Direct)
    assert frame.sender == "mallory"


def test_frames_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        frames.Ack("r").request_id = "s"  # type: ignore[misc]


def test_what_json_cannot_hold_is_refused_when_it_is_written() -> None:
    with pytest.raises((TypeError, msgspec.EncodeError)):
        encode_json({"a": object()})
