"""Frames in streams of bytes: however those are cut, the frames are the same and no byte changes."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame as TheirFrame
from websockets.frames import Opcode

from orchestrator.testing.frame_splitter import Frame, FrameSplitter, Part, close_frame

if TYPE_CHECKING:
    from collections.abc import Iterable

PAYLOADS = st.one_of(
    st.binary(max_size=140),
    st.sampled_from([125, 126, 127, 65_535, 65_536, 70_000]).map(lambda size: b"x" * size),
    st.builds(lambda kind: json.dumps({"n": 1, "type": kind}).encode(), st.text(max_size=20)),
)
KINDS = st.sampled_from([Opcode.CONT, Opcode.TEXT, Opcode.BINARY])
CONTROLS = st.builds(
    lambda kind, data: TheirFrame(kind, data),
    st.sampled_from([Opcode.PING, Opcode.PONG]),
    st.binary(max_size=125),
)
FRAMES = st.one_of(
    st.builds(lambda kind, data, fin: TheirFrame(kind, data, fin), KINDS, PAYLOADS, st.booleans()), CONTROLS
)


def written(frames: Iterable[TheirFrame], masked: bool) -> list[bytes]:
    return [frame.serialize(mask=masked) for frame in frames]


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted({at % (len(data) + 1) for at in cuts}), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@given(st.lists(FRAMES, max_size=6), st.booleans(), st.lists(st.integers(0, 10**6), max_size=12))
def test_any_cutting_yields_the_same_frames(frames: list[TheirFrame], masked: bool, cuts: list[int]) -> None:
    raw = written(frames, masked)
    splitter = FrameSplitter()
    got = [piece for data in cut(b"".join(raw), cuts) for piece in splitter.feed(data)]
    assert [piece.raw for piece in got] == raw
    assert splitter.pending == b""
    for piece, frame in zip(got, frames, strict=True):
        assert isinstance(piece, Frame)
        assert piece.payload == frame.data
        assert piece.opcode == {"cont": "continuation"}.get(frame.opcode.name.lower(), frame.opcode.name.lower())


@given(st.binary(max_size=300), st.lists(st.integers(0, 10**6), max_size=12), st.integers(2, 64))
def test_no_byte_of_anything_is_lost_or_changed(data: bytes, cuts: list[int], largest: int) -> None:
    splitter = FrameSplitter(largest)
    given_so_far = got = b""
    for piece in cut(data, cuts):
        given_so_far += piece
        got += b"".join(found.raw for found in splitter.feed(piece))
        assert got + splitter.pending == given_so_far
        assert len(splitter.pending) < largest + 14


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=6), st.lists(st.integers(0, 10**6), max_size=12))
def test_a_frame_too_large_to_keep_comes_in_parts_and_the_next_one_whole(bodies: list[bytes], cuts: list[int]) -> None:
    raw = written((TheirFrame(Opcode.BINARY, body) for body in bodies), masked=True)
    splitter = FrameSplitter(32)
    got = [piece for data in cut(b"".join(raw), cuts) for piece in splitter.feed(data)]
    assert [piece.raw for piece in got if isinstance(piece, Frame)] == [frame for frame in raw if len(frame) <= 32]
    parts = b"".join(piece.raw for piece in got if isinstance(piece, Part))
    assert parts == b"".join(frame for frame in raw if len(frame) > 32)


def test_a_length_that_nobody_can_send_keeps_nothing() -> None:
    splitter = FrameSplitter()
    header = b"\x82\x7f" + b"\xff" * 8
    assert [piece.raw for piece in splitter.feed(header + b"some")] == [header + b"some"]
    assert [piece.raw for piece in splitter.feed(b" more")] == [b" more"]
    assert splitter.pending == b""


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (b'{"type":"ack","requestId":"1"}', "ack"),
        (b'{"data":{"type":"inner"},"type":"message"}', "message"),
        (b'{"data":1}', None),
        (b'{"type":7}', None),
        (b'{"type":""}', None),
        (b'["type"]', None),
        (b'{"type":"a', None),
        (b"\xff", None),
        (b"[" * 100_000, None),
        (b'{"type":"' + b"x" * 100 + b'"}', "x" * 64),
    ],
)
@pytest.mark.parametrize("masked", [False, True])
def test_the_type_of_a_text_frame(payload: bytes, kind: str | None, masked: bool) -> None:
    (frame,) = FrameSplitter().feed(TheirFrame(Opcode.TEXT, payload).serialize(mask=masked))
    assert isinstance(frame, Frame)
    assert frame.type == kind


def test_other_frames_have_no_type() -> None:
    text = b'{"type":"ack"}'
    raw = [TheirFrame(Opcode.BINARY, text), TheirFrame(Opcode.PING, text)]
    found = list(FrameSplitter().feed(b"".join(written(raw, masked=False)) + b"\xc1\x02{}" + b"\x83\x00"))
    assert [(piece.opcode, piece.type) for piece in found if isinstance(piece, Frame)] == [
        ("binary", None),
        ("ping", None),
        ("text", None),
        ("reserved", None),
    ]


@pytest.mark.parametrize("mask", [None, b"\x01\x02\x03\x04"])
def test_a_close_frame_says_its_code(mask: bytes | None) -> None:
    (frame,) = FrameSplitter().feed(close_frame(1012, mask))
    assert isinstance(frame, Frame)
    assert (frame.opcode, frame.payload) == ("close", b"\x03\xf4")
