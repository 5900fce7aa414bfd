"""Whole text messages that pass the library by, beside everything else that it sees: nothing is lost, doubled or moved."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import Protocol, Side, State
from websockets.server import ServerProtocol

from orchestrator.client.framing import Frames, Other, text_frame
from orchestrator.client.wire import Wire

LIMIT = 70_000
SIZES = st.sampled_from([0, 1, 125, 126, 127, 65_535, 65_536, LIMIT]) | st.integers(0, 300)


def raw(opcode: Opcode, payload: bytes, *, fin: bool = True, mask: bool = False) -> bytes:
    return Frame(opcode, payload, fin=fin).serialize(mask=mask, extensions=[])


def cut_up(data: bytes, places: list[int]) -> list[bytes]:
    marks = sorted({min(place, len(data)) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(marks)]


@st.composite
def conversations(draw: st.DrawFn) -> list[tuple[str, bytes]]:
    """Frames as a server may send them, each with what it is: a whole text message, or anything else."""
    found = []
    for kind in draw(st.lists(st.sampled_from(["text", "binary", "ping", "pieces"]), max_size=8)):
        payload = bytes(draw(SIZES))
        if kind == "text":
            found.append(("text", raw(Opcode.TEXT, payload)))
        elif kind == "binary":
            found.append(("other", raw(Opcode.BINARY, payload)))
        elif kind == "ping":
            found.append(("other", raw(Opcode.PING, payload[:125])))
        else:
            begin = draw(st.sampled_from([Opcode.TEXT, Opcode.BINARY]))
            found += [
                ("other", raw(begin, payload, fin=False)),
                ("other", raw(Opcode.PING, b"between")),
                ("other", raw(Opcode.CONT, b"", fin=False)),
                ("other", raw(Opcode.CONT, b"end")),
            ]
    return found


@given(conversations(), st.lists(st.integers(0, 5_000), max_size=20))
def test_frames_are_found_wherever_what_arrives_is_cut(sent: list[tuple[str, bytes]], places: list[int]) -> None:
    frames = Frames(LIMIT)
    data = b"".join(frame for _, frame in sent)
    found = [item for piece in cut_up(data, places) for item in frames.receive(piece)]
    told = [("other", item.data) if isinstance(item, Other) else ("text", raw(Opcode.TEXT, item)) for item in found]
    assert told == sent
    assert frames.rest() == b""


@pytest.mark.parametrize(
    "wrong",
    [raw(Opcode.TEXT, b"x" * (LIMIT + 1)), raw(Opcode.TEXT, b"masked", mask=True)],
    ids=["too large", "masked"],
)
def test_what_a_server_must_not_send_is_handed_on_with_all_that_follows(wrong: bytes) -> None:
    before, after = raw(Opcode.TEXT, b"before"), raw(Opcode.TEXT, b"after")
    assert Frames(LIMIT).receive(before + wrong + after) == [b"before", Other(wrong + after)]


def test_a_text_within_a_message_in_pieces_is_left_to_the_library_to_refuse() -> None:
    begun, text = raw(Opcode.TEXT, b"piece", fin=False), raw(Opcode.TEXT, b"whole")
    assert Frames(LIMIT).receive(begun + text) == [Other(begun), Other(text)]


def test_the_beginning_of_a_frame_is_given_up_when_nothing_more_comes() -> None:
    frames = Frames(LIMIT)
    assert frames.receive(raw(Opcode.TEXT, b"whole") + b"\x81\x05hal") == [b"whole"]
    assert frames.rest() == b"\x81\x05hal"


@given(SIZES)
def test_a_frame_of_ours_is_what_a_server_reads(size: int) -> None:
    server = Protocol(Side.SERVER, state=State.OPEN, max_size=None)
    message = bytes(index % 251 for index in range(size))
    server.receive_data(text_frame(message) + text_frame(b"next"))
    first, second = server.events_received()
    assert isinstance(first, Frame) and isinstance(second, Frame)
    assert (first.opcode, bytes(first.data), bytes(second.data)) == (Opcode.TEXT, message, b"next")


class Socket:
    """What a wire writes to."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        raise AssertionError("nothing was to be cut off")


def answered(socket: Socket) -> bytes:
    """Return a server's answer to the opening handshake, with its first two messages behind it."""
    server = ServerProtocol()
    server.receive_data(socket.written)
    (request,) = server.events_received()
    assert isinstance(request, Request)
    server.send_response(server.accept(request))
    server.send_text(b"welcome")
    server.send_text(b"and more")
    return b"".join(server.data_to_send())


def opened(heard: list[str]) -> tuple[Wire, Socket]:
    """Return a wire that has asked for its WebSocket, and what it writes to; what comes is added to `heard`."""

    def hear(text: str) -> bool:
        heard.append(text)
        return False

    socket = Socket()
    wire = Wire(
        "ws://localhost/v1?token=t",
        close_timeout=1.0,
        on_open=lambda: wire.ask(),
        on_text=hear,
        on_end=lambda code, reason: heard.append(f"{code} {reason}"),
    )
    wire.connection_made(cast(asyncio.BaseTransport, socket))
    return wire, socket


async def test_after_a_text_that_is_none_nothing_is_heard() -> None:
    heard: list[str] = []
    wire, socket = opened(heard)
    wire.data_received(answered(socket) + raw(Opcode.TEXT, b"\xff") + raw(Opcode.TEXT, b"behind it"))
    assert heard == ["welcome", "and more", "1007 a text frame is not UTF-8"]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100_000])
async def test_what_comes_with_the_answer_to_the_handshake_is_heard(size: int) -> None:
    heard: list[str] = []
    wire, socket = opened(heard)
    answer = answered(socket)
    for start in range(0, len(answer), size):
        wire.data_received(answer[start : start + size])
    assert heard == ["welcome", "and more"]
