"""Hazard 26: what a later hub may say beyond today's protocol disturbs no client; and hazard 22, what is JSON at all."""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from orchestrator.hub.intake import Refused, read
from orchestrator.protocol.frames import Publish
from orchestrator.protocol.limits import MAX_FRAME_SIZE
from tests.interop.corpus import Poison, payloads, publish
from tests.interop.environments import CLIENTS, command
from tests.interop.programs import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FUTURE: dict[str, Any] = {"v": 2, "priority": {"of": ["a"]}, "traceparent": None, "seq": 2**60, "": "", "id": "m1"}
NEWS: tuple[dict[str, Any], ...] = (
    {"type": "history", "channel": "room", "messages": []},
    {"type": "presence.delta", "channel": "room"},
    {"type": "batch", "frames": [{"type": "message"}]},
    {"type": "error", "code": "a_code_of_tomorrow", "message": "and what it means", "details": [1]},
)
ANA = {"peerId": "ana", "metadata": {"name": "Ana"}, "since": 1}


async def later_hub(connection: ServerConnection) -> None:
    """Say every known frame with fields that are not known, and frames that are not known between them."""

    async def say(**fields: Any) -> None:
        for frame in ({**fields, **FUTURE}, *NEWS):
            await connection.send(json.dumps(frame))

    await say(type="welcome", peerId="me", expiresAt=None, serverTime=1, maxMessageSize=65_536, features=["streams"])
    async for text in connection:
        request = json.loads(text)
        if request["type"] == "ping":
            await say(type="pong")
            continue
        await say(type="ack", requestId=request["requestId"], receivers=1, queuedAt=1)
        if request["type"] == "subscribe":
            await asyncio.sleep(0.03)  # the gap before the roster, which the SDKs count on
            await say(type="presence", channel="room", joined=[ANA], left=[], epoch=7)
            await say(type="message", channel="room", **{"from": "ana"}, data="to all", fromMetadata={"name": "Ana"})
            await say(type="direct", **{"from": "ana"}, data="to you", ttl=5)
            left = {"peerId": "ana", "reason": "a reason of tomorrow", "at": 1}
            await say(type="presence", channel="room", joined=[], left=[left])


@asynccontextmanager
async def from_tomorrow() -> AsyncIterator[str]:
    async with serve(later_hub, "127.0.0.1", 0) as server:
        yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"


@pytest.mark.parametrize("client", CLIENTS)
async def test_hazard_26_frames_and_fields_from_the_future_are_passed_over_by_every_client(client: str) -> None:
    async with from_tomorrow() as url, running(client) as program:
        me = await program.open("me", url, token="header.claims.signature")
        await me.subscribe("room")
        presence = await me.next("presence")
        assert presence["joined"] == [{"peer_id": "ana", "metadata": {"name": "Ana"}}]
        message = await me.next("message")
        assert (message["channel"], message["from"], message["data"]) == ("room", "ana", "to all")
        assert (await me.next("direct"))["data"] == "to you"
        assert (await me.next("presence"))["left"] == ["ana"]
        await me.publish("room", 1)
        await me.send("ana", 2)
        assert not [event for event in me.told if event["event"] == "disconnected"]


READER = """
const { createInterface } = require("node:readline");
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
createInterface({ input: process.stdin }).on("line", (line) => {
  let verdict = true;
  try { JSON.parse(utf8.decode(Buffer.from(line, "base64"))); } catch { verdict = false; }
  console.log(verdict);
});
"""


async def test_hazard_22_the_hub_relays_what_javascript_reads_but_for_halves_of_characters_and_deep_nesting() -> None:
    node, _ = command("javascript")
    corpus = [poison for poison in payloads() if len(publish(poison.text)) <= MAX_FRAME_SIZE]
    process = await asyncio.create_subprocess_exec(
        *(node, "-e", READER), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    lines = b"".join(base64.b64encode(poison.text) + b"\n" for poison in corpus)
    async with asyncio.timeout(20):
        verdicts, _ = await process.communicate(lines)
    by_javascript = dict(zip((poison.name for poison in corpus), verdicts.split(), strict=True))
    more = [poison for poison in corpus if relayed(poison) and by_javascript[poison.name] == b"false"]
    fewer = [poison for poison in corpus if not relayed(poison) and by_javascript[poison.name] == b"true"]
    assert more == []
    assert [poison.name for poison in fewer if not (deep(poison) or half_a_character(poison))] == []
    assert list(by_javascript.values()).count(b"true") > 100
    assert list(by_javascript.values()).count(b"false") > 80


def relayed(poison: Poison) -> bool:
    """Tell whether the hub takes it for the `data` of a message, and then as the bytes that it is."""
    try:
        frame = read(publish(poison.text))
    except (Refused, UnicodeDecodeError):
        return False
    assert isinstance(frame, Publish)
    assert bytes(frame.data) == poison.text.strip(b" \t\r\n")
    return True


def half_a_character(poison: Poison) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in json.dumps(json.loads(poison.text), ensure_ascii=False))


def deep(poison: Poison) -> bool:
    """Tell whether there are more levels than the hub takes, of which the envelope is one."""
    level = most = 0
    for byte in poison.text:
        level += (byte in b"[{") - (byte in b"]}")
        most = max(most, level)
    return most >= 64
