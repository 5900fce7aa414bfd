"""Hazard 2: frames, and messages in fragments, that are begun and not finished."""

from __future__ import annotations

import asyncio

from orchestrator.hub.settings import Settings
from tests.hub.sockets import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame, on_both_loops, raw_peer, server

TIMEOUT = 0.4
PIECE = TIMEOUT / 3
"""Seconds between two pieces of what is sent in pieces."""
SETTINGS = Settings(frame_timeout=TIMEOUT, drain_grace=0.5)
WHOLE = frame(TEXT, b'{"type":"ping"}' + b" " * 200)
BEGINNINGS = {
    "a byte": WHOLE[:1],
    "half a header": WHOLE[:5],
    "half a text": WHOLE[:50],
    "half a binary frame": frame(BINARY, b"x" * 60_000)[:20],
    "half a ping": frame(PING, b"x" * 100)[:20],
    "a frame and half of the next": WHOLE + WHOLE[:50],
    "a fragment": frame(TEXT, b'{"type":', fin=False),
    "a binary fragment": frame(BINARY, b"x", fin=False),
    "two fragments and a half": frame(TEXT, b"{", fin=False) + frame(CONTINUATION, b" ", fin=False) + WHOLE[:3],
}


@on_both_loops
async def test_hazard_2_what_is_begun_and_not_finished_in_time_closes_1008() -> None:
    async def begin(name: str, beginning: bytes) -> None:
        async with raw_peer(hub.url, f"peer.{name.replace(' ', '-')}") as connection:
            connection.send(beginning)
            while (got := await connection.read())[0] != CLOSE:
                pass
            assert got == (CLOSE, (1008).to_bytes(2, "big") + b"slow consumer or protocol abuse"), name
            assert asyncio.get_running_loop().time() >= began + TIMEOUT, name

    async with server(SETTINGS) as hub:
        began = asyncio.get_running_loop().time()
        await asyncio.gather(*(begin(name, beginning) for name, beginning in BEGINNINGS.items()))


@on_both_loops
async def test_hazard_2_a_byte_now_and_then_gains_no_time() -> None:
    async with server(SETTINGS) as hub, raw_peer(hub.url, "a") as connection:

        async def trickle() -> None:
            for byte in WHOLE[:-1]:
                connection.send(bytes([byte]))
                await asyncio.sleep(TIMEOUT / 20)  # 215 of them would take ten times as long as is allowed

        trickling = asyncio.create_task(trickle())
        assert await connection.close_code() == 1008
        assert not trickling.done()
        trickling.cancel()


@on_both_loops
async def test_hazard_2_whoever_finishes_each_frame_in_time_may_be_slow_for_ever() -> None:
    async with server(SETTINGS) as hub, raw_peer(hub.url, "a") as connection, raw_peer(hub.url, "b") as other:
        began = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() < began + 2.5 * TIMEOUT:
            connection.send(WHOLE[:50])
            other.send(frame(TEXT, b'{"type":', fin=False))
            await asyncio.sleep(PIECE)  # the pace of the slow
            ping = frame(PING, b"!")
            connection.send(WHOLE[50:] + ping[:3])
            other.send(frame(CONTINUATION, b'"ping"}'))
            assert (await connection.message())["type"] == "pong"
            assert (await other.message())["type"] == "pong"
            await asyncio.sleep(PIECE)
            connection.send(ping[3:])
            assert await connection.read() == (PONG, b"!")
