"""What is known of a frame before it is whole, for every way that a stream of frames can be cut (hazard 19)."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.hub.unfinished import Unfinished
from tests.hub.sockets import BINARY, CLOSE, CONTINUATION, PING, TEXT, frame

SIZES = st.sampled_from((0, 1, 2, 5, 124, 125, 126, 127, 300, 65_535, 65_536, 70_000))
ENDINGS = st.sampled_from((b"", b"\xc3\xa9", b"\xf0\x9f\x92\xa1", b"\xff", b"\xc3(", b"\xed\xa0\x80", b"\xe2\x82"))


@dataclass(frozen=True)
class Sent:
    opcode: int
    payload: bytes
    data: bytes


@st.composite
def frames(draw: st.DrawFn) -> Sent:
    opcode = draw(st.sampled_from((TEXT, TEXT, CONTINUATION, BINARY, PING, CLOSE)))
    payload = b"x" * draw(SIZES) + draw(ENDINGS)
    if opcode in (PING, CLOSE):
        payload = payload[:125]
    return Sent(opcode, payload, frame(opcode, payload))


def breaks(payload: bytes) -> bool:
    """Tell whether nothing that follows can make a text of it; half a pair of UTF-16 is seen at its third byte."""
    if len(payload) > 1 and payload[-2] == 0xED and payload[-1] >= 0xA0:
        payload = payload[:-2]
    try:
        payload.decode()
    except UnicodeDecodeError as error:
        return error.reason != "unexpected end of data"
    return False


def expected(sent: list[Sent], end: int) -> tuple[bool, bool, bool]:
    """Return for the first `end` bytes: between frames, within what may be text, and whether that is broken."""
    for one in sent:
        if end == 0:
            break
        if end >= len(one.data):
            end -= len(one.data)
            continue
        come = end - (len(one.data) - len(one.payload))
        text = come >= 0 and one.opcode in (TEXT, CONTINUATION)
        return False, text, text and breaks(one.payload[:come])
    return end == 0, False, False


@given(st.lists(frames(), min_size=1, max_size=5), st.data())
def test_every_cut_is_seen_for_what_it_is(sent: list[Sent], data: st.DataObject) -> None:
    stream = b"".join(one.data for one in sent)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream)), max_size=12)) | {len(stream)})
    unfinished, at = Unfinished(), 0
    for cut in cuts:
        within_text = unfinished.follow(stream[at:cut])
        between, text, broken = expected(sent, cut)
        assert (unfinished.between_frames, within_text) == (between, text)
        if text and data.draw(st.booleans()):
            try:
                unfinished.check((b"", 0))
            except UnicodeDecodeError:
                assert broken
                return
            assert not broken
        at = cut


def test_a_frame_that_continues_a_text_is_checked_from_where_the_text_stands() -> None:
    for before, rest, broken in ((b"\xc3", b"\xa9xx", False), (b"\xc3", b"xx", True), (b"", b"\xa9xx", True)):
        unfinished = Unfinished()
        assert unfinished.follow(frame(CONTINUATION, rest + b"more")[:-4])
        try:
            unfinished.check((before, 0))
        except UnicodeDecodeError:
            assert broken
        else:
            assert not broken


def test_a_frame_that_continues_no_text_may_hold_anything() -> None:
    unfinished = Unfinished()
    whole = frame(CONTINUATION, b"\xff" * 9)
    assert unfinished.follow(whole[:10])
    unfinished.check(None)
    assert not unfinished.follow(whole[10:12])
    assert not unfinished.follow(whole[12:])
    assert unfinished.between_frames
