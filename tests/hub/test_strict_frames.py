"""The rules of frames, each broken on a raw socket: hazards 17, 19 and 20 by name.

These need nothing but Python. Where CPython 2.7 is at hand, `tests/interop/test_autobahn.py` adds the judgement of a
program that is not ours.
"""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from orchestrator.hub.keys import KeyRing
from orchestrator.hub.settings import Settings
from orchestrator.protocol.limits import MAX_FRAME_SIZE
from orchestrator.protocol.tokens import Rate
from tests.hub.sockets import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    frame,
    on_both_loops,
    raw_peer,
    server,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from orchestrator.hub.server import Server

ASK = b'{"type":"ping","requestId":"1"}'
ANSWER = (TEXT, b'{"type":"pong","requestId":"1"}')
MASK = b"\x12\x34\x56\x78"
BROKEN_TEXTS = (
    b"\x80",
    b"\xbf\xbf",
    b"\xc0\xaf",
    b"\xc1\xbf",
    b"\xe0\x80\xaf",
    b"\xe0\x9f\xbf",
    b"\xf0\x80\x80\xaf",
    b"\xf0\x8f\xbf\xbf",
    b"\xf8\x88\x80\x80\x80",
    b"\xfc\x84\x80\x80\x80\x80",
    b"\xed\xa0\x80",
    b"\xed\xaf\xbf\xed\xbf\xbf",
    b"\xf4\x90\x80\x80",
    b"\xfe",
    b"\xff",
    b"\xc3(",
    b"\xe2\x82(",
    b"\xf0\x9f\x92(",
)
CUT_TEXTS = (b"\xc3", b"\xe2\x82", b"\xf0\x9f\x92", b"\xce\xba\xe1\xbd")
WHOLE_TEXTS = ("", "κόσμε", "\x7f\u0080\u07ff\u0800\uffff", "\ud7ff\ue000\ufffd", "\U00010000\U0010ffff", "\ufffe")


def long_header(opcode: int, length: int) -> bytes:
    """Return a header with its length in 64 bits, whether it needs them or not."""
    return bytes([0x80 | opcode, 0xFF]) + length.to_bytes(8, "big") + MASK


def pieces(payload: bytes, opcode: int = TEXT, *, last: bool = True) -> bytes:
    """Return a message of one frame for every byte; without its `last`, the message goes on."""
    ends = [last and at == len(payload) - 1 for at in range(len(payload))]
    return b"".join(frame(CONTINUATION if at else opcode, payload[at : at + 1], fin=fin) for at, fin in enumerate(ends))


def beginning(payload: bytes, whole: int) -> bytes:
    """Return the start of a text frame of `whole` bytes, of which `payload` has come."""
    return frame(TEXT, payload + b"x" * (whole - len(payload)))[: len(payload) - whole]


async def expect_failure(hub: Server, sent: Iterable[bytes], code: int, answers: int = 0) -> None:
    """Send to a connection of its own: it is closed with the code after so many answers, and without a reset."""
    async with raw_peer(hub.url, "a", rate="unlimited") as peer:
        for data in sent:
            peer.send(data)
        for _ in range(answers):
            assert await peer.read() == ANSWER, sent
        opcode, payload = await peer.read()
        assert (opcode, int.from_bytes(payload[:2], "big")) == (CLOSE, code), sent
        peer.send(frame(CLOSE, payload))
        assert await peer.ended(), sent


@asynccontextmanager
async def bystander(hub: Server) -> AsyncIterator[None]:
    """Check that a connection beside the one that breaks the rules notices nothing."""
    async with raw_peer(hub.url, "other") as other:
        yield
        other.send(frame(TEXT, ASK))
        assert await other.read() == ANSWER


@on_both_loops
async def test_hazard_20_reserved_bits_fail_the_connection_on_every_kind_of_frame() -> None:
    async with server() as hub, bystander(hub):
        for reserved in range(1, 8):
            for opcode in (TEXT, BINARY, PING, PONG):
                await expect_failure(hub, [frame(opcode, b"x", reserved=reserved)], 1002)
            split = frame(TEXT, b"{", fin=False) + frame(CONTINUATION, b"}", reserved=reserved)
            await expect_failure(hub, [split], 1002)
        await expect_failure(hub, [frame(CLOSE, b"\x03\xe8", reserved=4)], 1002)


@on_both_loops
async def test_hazard_20_reserved_opcodes_fail_the_connection() -> None:
    async with server() as hub, bystander(hub):
        for opcode in (0x3, 0x4, 0x5, 0x6, 0x7, 0xB, 0xC, 0xD, 0xE, 0xF):
            for payload in (b"", b"x" * 125):
                await expect_failure(hub, [frame(opcode, payload)], 1002)


@on_both_loops
async def test_hazard_20_what_came_before_a_fault_is_answered_first_even_in_the_same_packet() -> None:
    async with server() as hub:
        for fault, code in (
            (frame(0x5, b"x"), 1002),
            (frame(TEXT, ASK, masked=False), 1002),
            (frame(TEXT, ASK, reserved=2), 1002),
            (frame(PING, b"x" * 126), 1002),
            (frame(TEXT, b"\xff"), 1007),
            (long_header(TEXT, 2**40), 1009),
        ):
            for before in (1, 2, 3):
                rest = frame(TEXT, ASK) + frame(PING)  # not answered any more
                await expect_failure(hub, [frame(TEXT, ASK) * before + fault + rest], code, answers=before)


@on_both_loops
async def test_hazard_20_unmasked_frames_fail_the_connection() -> None:
    async with server() as hub:
        for opcode in (TEXT, BINARY, CONTINUATION, PING, PONG, CLOSE):
            await expect_failure(hub, [frame(opcode, b"", masked=False)], 1002)


@on_both_loops
async def test_hazard_20_control_frames_have_at_most_125_bytes_and_no_fragments() -> None:
    async with server() as hub:
        for opcode in (PING, PONG, CLOSE):
            await expect_failure(hub, [frame(opcode, b"\x03\xe8" + b"x" * 124)], 1002)
            await expect_failure(hub, [frame(opcode, b"\x03\xe8" + b"x" * 70_000)], 1002)
            await expect_failure(hub, [long_header(opcode, 2**62)], 1002)
            await expect_failure(hub, [frame(opcode, b"", fin=False)], 1002)
            await expect_failure(hub, [frame(opcode, b"", fin=False) + frame(CONTINUATION)], 1002)


@on_both_loops
async def test_hazard_20_messages_in_fragments_follow_one_another_and_take_control_frames_between_them() -> None:
    async with server() as hub:
        for bad in (
            frame(CONTINUATION, ASK),
            frame(CONTINUATION, ASK, fin=False),
            frame(TEXT, ASK, fin=False) + frame(TEXT, ASK),
            frame(TEXT, ASK, fin=False) + frame(BINARY, ASK),
            frame(BINARY, ASK, fin=False) + frame(TEXT, ASK, fin=False),
        ):
            await expect_failure(hub, [bad], 1002)
        whole = frame(TEXT, ASK[:9], fin=False) + frame(CONTINUATION, ASK[9:])
        await expect_failure(hub, [whole + frame(CONTINUATION, b"x")], 1002, answers=1)
        async with raw_peer(hub.url, "a") as peer:
            peer.send(
                frame(TEXT, ASK[:9], fin=False) + frame(PING, b"between") + frame(PONG) + frame(CONTINUATION, ASK[9:])
            )
            assert [await peer.read(), await peer.read()] == [(PONG, b"between"), ANSWER]
            peer.send(pieces(ASK) + pieces(ASK))
            assert [await peer.read(), await peer.read()] == [ANSWER, ANSWER]


@on_both_loops
async def test_hazard_20_a_stream_of_frames_may_be_cut_anywhere() -> None:
    messages = [
        json.dumps({"type": "send", "to": "a", "data": "é" * size}).encode() for size in (1, 15, 16, 17, 50, 5_000)
    ]
    stream = frame(PING, b"p") + b"".join(frame(TEXT, message) for message in messages) + pieces(ASK)
    async with server() as hub, raw_peer(hub.url, "a", rate="unlimited") as peer:
        for step in (1, 3, 7, 16, 131, 132, 133, 1_000):
            for at in range(0, len(stream), step):
                peer.send(stream[at : at + step])
                await asyncio.sleep(0)  # so that writes are packets
            assert await peer.read() == (PONG, b"p")
            assert [len((await peer.message())["data"]) for _ in messages] == [1, 15, 16, 17, 50, 5_000]
            assert await peer.read() == ANSWER


@on_both_loops
async def test_hazard_20_close_codes_that_may_not_be_sent_fail_the_connection_and_others_are_answered() -> None:
    async with server() as hub:
        for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535):
            await expect_failure(hub, [frame(CLOSE, code.to_bytes(2, "big"))], 1002)
        for code in (*range(1000, 1004), *range(1007, 1015), 3000, 3999, 4000, 4999):
            await expect_failure(hub, [frame(CLOSE, code.to_bytes(2, "big") + "größer".encode())], code)


@on_both_loops
async def test_hazard_20_close_frames_have_no_content_or_a_code_and_a_text() -> None:
    async with server() as hub:
        await expect_failure(hub, [frame(CLOSE, b"")], 1000)
        await expect_failure(hub, [frame(CLOSE, b"\x03\xe8" + b"x" * 123)], 1000)
        await expect_failure(hub, [frame(CLOSE, b"\x03")], 1002)
        for text in (*BROKEN_TEXTS, *CUT_TEXTS):
            await expect_failure(hub, [frame(CLOSE, b"\x03\xe8" + text)], 1007)


@on_both_loops
async def test_hazard_20_a_close_is_answered_once_and_nothing_after_it_counts() -> None:
    async with server() as hub:
        bye = frame(CLOSE, b"\x03\xe8")
        for after in (bye, frame(TEXT, ASK), frame(PING), frame(0x5), frame(CLOSE, b"\x03"), b"\xff" * 1000):
            async with raw_peer(hub.url, "a") as peer:
                peer.send(bye + after)
                assert await peer.read() == (CLOSE, b"\x03\xe8")
                assert await peer.reader.read(1) == b""
        await expect_failure(hub, [frame(TEXT, b"{", fin=False) + bye], 1000)
        assert list(hub.hub.connections()) == []


@on_both_loops
async def test_hazard_20_the_hub_waits_for_the_answer_to_its_own_close_and_then_ends_first() -> None:
    async with server() as hub, raw_peer(hub.url, "a", rate="unlimited") as peer:
        hub.rekey(KeyRing([]))
        peer.send(frame(TEXT, ASK) * 10)
        assert await peer.read() == (CLOSE, b"\x0f\xa1invalid token")
        peer.send(frame(CLOSE, b"\x0f\xa1"))
        assert await peer.ended()


@on_both_loops
async def test_hazard_20_who_does_not_answer_a_close_is_cut() -> None:
    async with server(Settings(close_wait=0.1, drain_grace=0.5)) as hub, raw_peer(hub.url, "a") as peer:
        peer.send(frame(TEXT, b"\xff"))
        assert await peer.close_code() == 1007
        await peer.ended()


@on_both_loops
async def test_hazard_20_pings_pongs_and_fragments_count_against_the_budget_of_messages() -> None:
    async with server() as hub, bystander(hub):
        for kind, answer in (
            (frame(PING, b"x"), (PONG, b"x")),
            (frame(PONG), None),
            (frame(BINARY, b"x"), None),
            (frame(TEXT, ASK), ANSWER),
        ):
            async with raw_peer(hub.url, "a", rate=Rate(1, 20)) as peer:
                peer.send(kind * 40)
                if answer is not None:
                    assert [await peer.read() for _ in range(20)] == [answer] * 20
                assert await peer.close_code() == 4011
        async with raw_peer(hub.url, "a", rate=Rate(1, 20)) as peer:
            peer.send(pieces(b'{"type":"ping","padding":"' + b"x" * 100 + b'"}'))
            assert await peer.close_code() == 4011


@on_both_loops
async def test_hazard_19_broken_text_fails_the_connection_whole_or_in_fragments() -> None:
    async with server() as hub, bystander(hub):
        for text in (*BROKEN_TEXTS, *CUT_TEXTS):
            await expect_failure(hub, [frame(TEXT, b'{"type":"ping","x":"' + text + b'"}')], 1007)
            await expect_failure(hub, [pieces(b"{" + text + b"}")], 1007)
        for text in CUT_TEXTS:
            await expect_failure(hub, [frame(TEXT, text)], 1007)
            await expect_failure(hub, [pieces(text)], 1007)


@on_both_loops
async def test_hazard_19_broken_text_fails_at_the_fragment_that_breaks_it() -> None:
    async with server() as hub:
        for text in BROKEN_TEXTS:
            await expect_failure(hub, [pieces("κόσμε".encode() + text, last=False)], 1007)
            await expect_failure(hub, [frame(TEXT, text, fin=False)], 1007)


@on_both_loops
async def test_hazard_19_broken_text_fails_before_its_frame_is_whole() -> None:
    async with server() as hub:
        broken = [beginning("κόσμε".encode() + text, 60) for text in BROKEN_TEXTS]
        broken += [beginning(b"x" * (size // 2) + b"\xff", size) for size in (200, 3_000, MAX_FRAME_SIZE)]
        broken += [beginning(b"x" * size + b"\xff", 3_000) for size in (117, 118, 123, 124)]
        split = frame(CONTINUATION, b"(" + b"x" * 40)
        broken.append(frame(TEXT, b"\xce\xba\xcf", fin=False) + split[:-30])
        broken.append(frame(TEXT, ASK) + frame(PING) + beginning(b"\xff", 60))
        await asyncio.gather(*[expect_failure(hub, [sent], 1007) for sent in broken[:-1]])
        async with raw_peer(hub.url, "a") as peer:
            peer.send(broken[-1])
            assert [await peer.read(), await peer.read()] == [ANSWER, (PONG, b"")]
            assert await peer.close_code() == 1007


async def until_looked_at(hub: Server) -> None:
    """Wait until frames that are unfinished now have been looked at: a younger one is, and fails."""
    await expect_failure(hub, [beginning(b"\xff", 60)], 1007)


@on_both_loops
async def test_hazard_19_a_frame_may_stay_unfinished_at_any_byte_of_a_text_that_is_right() -> None:
    text = '{"type":"send","to":"a","data":"κόσμε💡"}'.encode()
    async with server() as hub:
        for whole in (frame(TEXT, text), frame(TEXT, text[:34], fin=False) + frame(CONTINUATION, text[34:])):
            async with raw_peer(hub.url, "a", rate="unlimited") as peer:
                at = 0
                for end in (1, 5, 9, 37, 38, 44, 48, 49, 50, 51, 52):
                    peer.send(whole[at:end])
                    await until_looked_at(hub)
                    at = end
                peer.send(whole[at:])
                assert (await peer.message())["data"] == "κόσμε💡"


@on_both_loops
async def test_hazard_19_binary_content_is_not_text_however_it_is_split() -> None:
    async with server() as hub, raw_peer(hub.url, "a", rate="unlimited") as peer:
        peer.send(frame(BINARY, b"\xff" * 10, fin=False))
        last = frame(CONTINUATION, b"\xff" * 10)
        peer.send(last[:-3])
        await until_looked_at(hub)
        peer.send(last[-3:])
        assert (await peer.message())["code"] == "malformed_message"


@on_both_loops
async def test_hazard_19_text_that_is_right_passes_byte_for_byte() -> None:
    async with server() as hub, raw_peer(hub.url, "a", rate="unlimited") as peer:
        for text in WHOLE_TEXTS:
            sent = json.dumps({"type": "send", "to": "a", "data": text}, ensure_ascii=False).encode()
            for message in (frame(TEXT, sent), pieces(sent)):
                peer.send(message)
                assert (await peer.message())["data"] == text


@on_both_loops
async def test_hazard_17_a_length_beyond_the_limit_is_refused_without_memory_for_it() -> None:
    async with server() as hub, bystander(hub):
        tracemalloc.start()
        try:
            for length in (MAX_FRAME_SIZE + 1, 2**31, 2**32, 2**62, 2**63 - 1):
                for opcode in (TEXT, BINARY):
                    await expect_failure(hub, [long_header(opcode, length) + b"x" * 100], 1009)
            await expect_failure(hub, [long_header(TEXT, 2**63)], 1002)
            await expect_failure(hub, [long_header(TEXT, 2**64 - 1)], 1002)
            assert tracemalloc.get_traced_memory()[1] < 2**20
        finally:
            tracemalloc.stop()


@on_both_loops
async def test_hazard_17_fragments_beyond_the_limit_together_are_refused_before_the_last_one() -> None:
    async with server() as hub:
        for opcode in (TEXT, BINARY):
            part = frame(opcode, b"x" * 30_000, fin=False), *[frame(CONTINUATION, b"x" * 30_000, fin=False)] * 2
            await expect_failure(hub, part, 1009)


@on_both_loops
async def test_hazard_17_lengths_are_written_as_short_as_they_can_be() -> None:
    async with server() as hub:
        for length in (0, 125):
            await expect_failure(hub, [bytes([0x81, 0xFE]) + length.to_bytes(2, "big") + MASK + b"x" * length], 1002)
        for length in (0, 125, 126, 65_535):
            await expect_failure(hub, [long_header(TEXT, length) + b"x" * length], 1002)
