"""Hazard 34, the hub's side: a peer that renews its connection under the same instance misses and doubles nothing."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from orchestrator.protocol.codes import CloseCode
from tests.hub.sockets import CLOSE, Raw, frame, on_both_loops, raw_peer, server
from tests.nodes import joined

RENEWALS = 30


async def numbers(peer: Raw) -> list[int]:
    """Return what is said to a connection until another one continues it."""
    found: list[int] = []
    while True:
        opcode, payload = await peer.read()
        if opcode == CLOSE:
            assert int.from_bytes(payload[:2], "big") == CloseCode.NORMAL
            peer.send(frame(CLOSE, payload))
            assert await peer.ended(), "without a reset"
            return found
        if b'"data":' in payload:
            found.append(int(payload.rpartition(b":")[2].rstrip(b"}")))


@pytest.mark.nodes("nats")
@on_both_loops
async def test_hazard_34_no_message_is_lost_or_doubled_while_connections_are_renewed_before_they_end() -> None:
    """Published and sent messages in turn; each ack is waited for, so there is always one under way."""
    heard: list[int] = []
    said = 0
    ended = asyncio.Event()
    turns = asyncio.Semaphore(0)

    async def talk(speaker: Raw) -> None:
        nonlocal said
        while not ended.is_set():
            where = {"type": "send", "to": "a"} if said % 2 else {"type": "publish", "channel": "x"}
            speaker.say({**where, "data": said, "requestId": "1"})
            ack = await speaker.message()
            assert ack["type"] == "ack"
            assert ack.get("receivers", 2) == 2 or joined(), "of those at another hub, what is known is a moment old"
            said += 1
            turns.release()

    async with server() as hub, raw_peer(hub.url, "s", rate="unlimited") as speaker, raw_peer(hub.url, "w") as watcher:
        async with AsyncExitStack() as stack:
            first = await stack.enter_async_context(raw_peer(hub.url, "a", instance="1"))
            first.say({"type": "subscribe", "channel": "x"})
            watcher.say({"type": "subscribe", "channel": "x", "requestId": "s"})
            assert (await first.message())["type"] == "presence"
            while (before := await watcher.message())["type"] == "ack" or not before["joined"]:
                pass
            current, talking = first, asyncio.create_task(talk(speaker))
            for _ in range(RENEWALS):
                for _ in range(20):
                    await turns.acquire()
                reading = asyncio.create_task(numbers(current))
                current = await stack.enter_async_context(raw_peer(hub.url, "a", instance="1"))
                heard += await reading
            ended.set()
            await talking
            speaker.say({"type": "send", "to": "a", "data": -1})
            while (last := await current.message()).get("data") != -1:
                heard += [last["data"]] if "data" in last else []
            watcher.say({"type": "ping"})
            while (seen := await watcher.message())["type"] != "pong":
                assert seen["type"] == "message", "nobody came or went"
    assert heard == list(range(said))
