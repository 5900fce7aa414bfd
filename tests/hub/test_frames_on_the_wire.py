"""WebSocket itself: fragments, UTF-8, reserved bits, closes, slow and dead sockets (checklist 19, 29, 46, 59, 63, 69, 70)."""

from __future__ import annotations

import asyncio
import json
import socket
import struct

from orchestrator.hub.settings import Settings
from tests.hub.sockets import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Raw,
    frame,
    on_both_loops,
    raw_peer,
    server,
)

PING_TEXT = b'{"type":"ping","requestId":"1"}'


async def answers_ping(peer: Raw) -> None:
    peer.send(frame(TEXT, PING_TEXT))
    assert await peer.message() == {"type": "pong", "requestId": "1"}


@on_both_loops
async def test_messages_may_come_in_fragments_with_pings_between_them() -> None:
    async with server() as hub, raw_peer(hub.url, "a") as peer:
        whole = '{"type":"send","to":"a","data":"é💡"}'.encode()
        for at, byte in enumerate(whole):
            last = at == len(whole) - 1
            peer.send(frame(CONTINUATION if at else TEXT, bytes([byte]), fin=last))
            peer.send(frame(PING, bytes([byte])))
        expected = [(PONG, bytes([byte])) for byte in whole]
        expected.insert(len(whole) - 1, (TEXT, '{"type":"direct","from":"a","data":"é💡"}'.encode()))
        assert [await peer.read() for _ in expected] == expected


@on_both_loops
async def test_empty_fragments_are_fragments() -> None:
    async with server() as hub, raw_peer(hub.url, "a") as peer:
        peer.send(frame(TEXT, fin=False) + frame(CONTINUATION, PING_TEXT, fin=False) + frame(CONTINUATION))
        assert (await peer.message())["type"] == "pong"


@on_both_loops
async def test_faults_of_framing_close_with_the_code_of_their_kind() -> None:
    async with server() as hub:
        for sent, code in (
            (frame(TEXT, b"\xff"), 1007),
            (frame(TEXT, b'{"type":"ping","x":"\xed\xa0\x80"}'), 1007),
            (frame(TEXT, b"\xc3", fin=False) + frame(CONTINUATION, b"(", fin=False), 1007),
            (frame(TEXT, PING_TEXT, reserved=4), 1002),
            (frame(TEXT, PING_TEXT, reserved=1), 1002),
            (frame(PING, b"x", reserved=2), 1002),
            (frame(TEXT, PING_TEXT, masked=False), 1002),
            (frame(CONTINUATION, b"x"), 1002),
            (frame(TEXT, b"{", fin=False) + frame(TEXT, b"}"), 1002),
            (frame(0x3, b""), 1002),
            (frame(0xB, b""), 1002),
            (frame(PING, b"x", fin=False), 1002),
            (frame(PING, b"x" * 126), 1002),
            (frame(CLOSE, b"x"), 1002),
            (frame(CLOSE, b"\x03\xed"), 1002),
            (frame(CLOSE, b"\x03\xe8\xff"), 1007),
            (frame(TEXT, b"x" * 40_000, fin=False) + frame(CONTINUATION, b"x" * 40_000), 1009),
            (b"\x81\xff\x80" + b"\x00" * 7 + b"mask", 1002),
            (b"\x81\xff\x7f" + b"\xff" * 7 + b"mask", 1009),
        ):
            async with raw_peer(hub.url, "a") as peer:
                peer.send(sent)
                assert await peer.close_code() == code, sent[:20]


@on_both_loops
async def test_59_the_code_for_a_frame_too_big_arrives_although_the_frame_is_still_being_sent() -> None:
    async with server() as hub, raw_peer(hub.url, "b") as other, raw_peer(hub.url, "a") as peer:
        other.say({"type": "subscribe", "channel": "x"})
        assert (await other.message())["joined"] == []
        peer.say({"type": "subscribe", "channel": "x"})
        assert (await other.message())["joined"] == [{"peerId": "a"}]
        peer.send(frame(TEXT, b"x" * 1_000_000))
        assert await peer.close_code() == 1009
        assert (await other.message())["left"] == [{"peerId": "a", "reason": "lost"}]


@on_both_loops
async def test_59_a_frame_of_exactly_the_limit_is_processed() -> None:
    async with server() as hub, raw_peer(hub.url, "a") as peer:
        peer.send(frame(TEXT, PING_TEXT[:-1] + b',"x":"' + b"y" * (69_632 - len(PING_TEXT) - 7) + b'"}'))
        assert (await peer.message())["type"] == "pong"
        peer.send(frame(TEXT, b"y" * 69_633))
        assert await peer.close_code() == 1009


@on_both_loops
async def test_70_binary_messages_whole_or_in_fragments_are_malformed_and_the_socket_stays_open() -> None:
    async with server() as hub, raw_peer(hub.url, "a") as peer:
        peer.send(frame(BINARY, PING_TEXT))
        assert (await peer.message())["code"] == "malformed_message"
        peer.send(frame(BINARY, b"\xff", fin=False) + frame(CONTINUATION, b"\xff"))
        assert (await peer.message())["code"] == "malformed_message"
        await answers_ping(peer)


@on_both_loops
async def test_pings_of_websocket_are_answered_with_their_content() -> None:
    async with server() as hub, raw_peer(hub.url, "a") as peer:
        for payload in (b"", b"\x00\xff", b"x" * 125):
            peer.send(frame(PING, payload))
            assert await peer.read() == (PONG, payload)
        peer.send(frame(PONG, b"unasked"))
        await answers_ping(peer)


@on_both_loops
async def test_a_close_is_answered_after_all_that_was_queued_and_the_server_ends_first() -> None:
    async with server() as hub:
        for sent, code in ((b"\x03\xe8bye", 1000), (b"", 1000), (b"\x0f\xa0", 4000), (b"\x03\xe9", 1001)):
            async with raw_peer(hub.url, "a") as peer:
                peer.send(frame(TEXT, PING_TEXT) * 3 + frame(CLOSE, sent))
                assert [(await peer.message())["type"] for _ in range(3)] == ["pong"] * 3
                opcode, payload = await peer.read()
                assert (opcode, int.from_bytes(payload[:2], "big")) == (CLOSE, code)
                assert await peer.ended()
        assert list(hub.hub.connections()) == []


@on_both_loops
async def test_46_a_reset_socket_leaves_its_channels_at_once() -> None:
    async with server() as hub, raw_peer(hub.url, "w") as watcher, raw_peer(hub.url, "a") as peer:
        watcher.say({"type": "subscribe", "channel": "x"})
        assert (await watcher.message())["type"] == "presence"
        peer.say({"type": "subscribe", "channel": "x"})
        assert (await watcher.message())["joined"] == [{"peerId": "a"}]
        sock = peer.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.writer.transport.abort()
        assert (await watcher.message())["left"] == [{"peerId": "a", "reason": "lost"}]


@on_both_loops
async def test_69_a_silent_socket_is_pinged_and_cut_and_its_membership_freed() -> None:
    async with (
        server(Settings(ping_interval=0.2, ping_timeout=0.2)) as hub,
        raw_peer(hub.url, "w") as watcher,
        raw_peer(hub.url, "a") as silent,
    ):
        watcher.say({"type": "subscribe", "channel": "x"})
        assert (await watcher.message())["type"] == "presence"
        silent.say({"type": "subscribe", "channel": "x"})
        assert (await silent.message())["type"] == "presence"
        assert await silent.read() == (PING, b"")
        while True:
            opcode, payload = await watcher.read()
            if opcode == PING:
                watcher.send(frame(PONG, payload))
            elif (seen := json.loads(payload))["left"]:
                break
        assert seen["left"] == [{"peerId": "a", "reason": "lost"}]


@on_both_loops
async def test_19_ack_and_roster_come_at_least_20_ms_apart() -> None:
    async with server() as hub, raw_peer(hub.url, "a") as peer:
        peer.say({"type": "subscribe", "channel": "x", "requestId": "1"})
        assert (await peer.message())["type"] == "ack"
        clock = asyncio.get_running_loop().time
        acked = clock()
        assert (await peer.message())["type"] == "presence"
        assert clock() - acked > 0.015  # the ack may have been read a little late


@on_both_loops
async def test_63_a_reader_that_stalls_is_closed_and_delays_nobody() -> None:
    async with (
        server(send_buffer=32_768) as hub,
        raw_peer(hub.url, "quick") as quick,
        raw_peer(hub.url, "s") as sender,
        raw_peer(hub.url, "slow") as slow,
    ):
        quick.say({"type": "subscribe", "channel": "x"})
        assert (await quick.message())["type"] == "presence"
        slow.say({"type": "subscribe", "channel": "x"})
        assert (await quick.message())["joined"] == [{"peerId": "slow"}]
        slow.stop_reading()
        message = frame(TEXT, b'{"type":"publish","channel":"x","requestId":"1","data":"%b"}' % (b"y" * 60_000))
        received, seen = 0, {}
        while "left" not in seen:
            sender.send(message)
            assert (await sender.message())["type"] == "ack"
            seen = await quick.message()
            received += "data" in seen
            assert received < 500
        assert seen["left"] == [{"peerId": "slow", "reason": "lost"}]
        assert received > 16
        slow.go_on_reading()
        assert await slow.close_code() == 1008


@on_both_loops
async def test_63_what_a_socket_cannot_take_at_once_arrives_whole_when_it_reads_again() -> None:
    async with (
        server(send_buffer=32_768) as hub,
        raw_peer(hub.url, "s") as sender,
        raw_peer(hub.url, "slow") as slow,
    ):
        slow.stop_reading()
        (connection,) = (held for held in hub.hub.connections() if held.peer_id == "slow")
        count = 0
        while not connection.outbox.stalled or connection.outbox.unsent < 200_000:
            sender.say({"type": "send", "to": "slow", "data": [count, "y" * 60_000], "requestId": "1"})
            sender.say({"type": "send", "to": "slow", "data": [count + 1, "y"], "requestId": "1"})
            assert (await sender.message())["type"] == (await sender.message())["type"] == "ack"
            count += 2
            if len(connection.outbox.frames) > 8:
                break
        slow.go_on_reading()
        assert [(await slow.message())["data"][0] for _ in range(count)] == list(range(count))
