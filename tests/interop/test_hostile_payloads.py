"""Hazard 27: nothing that one peer can say disconnects another, whichever client that one uses, or harms the hub."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest

from orchestrator.protocol.codes import CloseCode, ErrorCode
from orchestrator.protocol.limits import MAX_FRAME_SIZE
from tests.hub.sockets import CLOSE, TEXT, Raw, frame, raw, upgrade
from tests.interop.corpus import IDENTITIES, METADATA, ROOM, Poison, envelopes, payloads, publish, send
from tests.interop.environments import CLIENTS, SDKS
from tests.interop.programs import Peer, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.interop.hub_process import HubProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")

SENTINEL: Final = "the sentinel"
SENTINEL_TEXT: Final = json.dumps(SENTINEL).encode()
ROOMS: Final = tuple(f"{sdk} room" for sdk in SDKS)
"""The MeteredPeers among the listeners."""


class Attacker:
    """A peer that says what it is told to, and connects again when it was thrown out for it."""

    def __init__(self, hub: HubProcess) -> None:
        self._hub = hub
        self._stack = AsyncExitStack()
        self._raw: Raw | None = None
        self._pings = 0

    async def say(self, *texts: bytes) -> list[str]:
        """Send messages; return the answers, `ack`, an error's code or the code of a close that ended them."""
        connection = self._raw or await self._connect()
        self._pings += 1
        ping = f"ping {self._pings}"
        for text in (*texts, json.dumps({"type": "ping", "requestId": ping}).encode()):
            connection.send(frame(TEXT, text))
        answers: list[str] = []
        while True:
            opcode, payload = await connection.read()
            if opcode == CLOSE:
                await self.leave()
                return [*answers, str(int.from_bytes(payload[:2], "big"))]
            answer = json.loads(payload)
            if answer.get("requestId") == ping:
                return answers
            if answer["type"] in ("ack", "error"):
                answers.append(answer.get("code", "ack"))

    async def _connect(self) -> Raw:
        connection = await self._stack.enter_async_context(connected(self._hub, "attacker"))
        self._raw = connection
        return connection

    async def leave(self) -> None:
        self._raw = None
        await self._stack.aclose()


@asynccontextmanager
async def connected(hub: HubProcess, sub: str) -> AsyncIterator[Raw]:
    """Connect and enter the room, with the worst identity that a token may hold."""
    token = hub.token(sub, rate="unlimited", peer_metadata=METADATA)
    async with raw(hub.url) as connection:
        connection.send(upgrade(f"/v1?token={token}"))
        assert (await connection.head())[0] == 101
        connection.say({"type": "subscribe", "channel": ROOM, "requestId": "in"})
        while (await connection.message())["type"] != "ack":
            pass
        yield connection


@asynccontextmanager
async def listeners(hub: HubProcess) -> AsyncIterator[dict[str, Peer]]:
    """Connect all three clients, and the MeteredPeers of both SDKs."""
    async with AsyncExitStack() as stack:
        peers: dict[str, Peer] = {}
        for client in CLIENTS:
            program = await stack.enter_async_context(running(client))
            peer = peers[client] = await program.open(client, hub.url, brief=True, token=hub.token(client))
            await peer.subscribe(ROOM, metadata=True)
            await peer.subscribe("poison/**", metadata=True)
            if client in SDKS:
                name = f"{client} room"
                peers[name] = await program.join(name, hub.url, ROOM, brief=True, token=hub.token(name))
        yield peers


async def heard_before_sentinel(peer: Peer, kind: str) -> list[dict[str, Any]]:
    heard = []
    while (event := await peer.next(kind))["data"] != SENTINEL:
        heard.append(event)
    return heard


def assert_undisturbed(peers: dict[str, Peer]) -> None:
    for name, peer in peers.items():
        events = [event["event"] for event in peer.told]
        assert not {"disconnected", "server_error", "fatal"} & set(events), name
        states = [event["to"] for event in peer.told if event["event"] == "state"]
        assert states == (["joining", "joined"] if name in ROOMS else []), name


def may_close(text: bytes) -> str | None:
    """Return the code with which a message may end the connection that it came on; `None` = it may not."""
    if len(text) > MAX_FRAME_SIZE:
        return str(int(CloseCode.MESSAGE_TOO_BIG))
    try:
        text.decode()
    except UnicodeDecodeError:
        return str(int(CloseCode.INVALID_TEXT))
    return None


def is_read_by_python(poison: Poison) -> bool:
    """Tell whether Python's `json` reads it: it refuses integers of more than 4,300 digits."""
    try:
        json.loads(poison.text)
    except ValueError:
        return False
    return True


@pytest.mark.one_hub("it takes answers to be in the order of the requests, and sends to other hubs are answered later")
async def test_500_nasty_payloads_disturb_no_client(hub: HubProcess) -> None:
    corpus = payloads()
    assert len(corpus) + len(envelopes()) >= 500
    async with listeners(hub) as peers:
        attacker = Attacker(hub)
        relayed = []
        for poison in corpus:
            texts = [publish(poison.text), *(send(poison.text, to) for to in peers)]
            answers = await attacker.say(*texts)
            if answers == ["ack"] * len(texts):
                relayed.append(poison)
                continue
            closed = may_close(texts[0])
            assert answers == ([closed] if closed else [ErrorCode.MALFORMED_MESSAGE] * len(texts)), poison.name
        assert await attacker.say(publish(SENTINEL_TEXT)) == ["ack"]
        assert await attacker.say(*(send(SENTINEL_TEXT, to) for to in peers)) == ["ack"] * len(peers)

        read_by_python = [poison for poison in relayed if is_read_by_python(poison)]
        for client in CLIENTS:
            expected = len(read_by_python if client == "python" else relayed)
            messages = await heard_before_sentinel(peers[client], "message")
            assert sum(message["channel"] == ROOM for message in messages) == expected, client
            assert all(message["metadata"] == METADATA for message in messages), client
            assert len(await heard_before_sentinel(peers[client], "direct")) == expected, client
        for name in ROOMS:
            await heard_before_sentinel(peers[name], "data")
            assert (await peers[name].next("data"))["data"] == SENTINEL, "the second one came directly"
        assert_undisturbed(peers)
        await attacker.leave()
    hub.assert_healthy()


@pytest.mark.one_hub("it takes answers to be in the order of the requests, and sends to other hubs are answered later")
async def test_nasty_envelopes_are_answered_and_disturb_no_client(hub: HubProcess) -> None:
    async with listeners(hub) as peers:
        attacker = Attacker(hub)
        for poison in envelopes():
            answers = await attacker.say(poison.text)
            closed = may_close(poison.text)
            if closed:
                assert answers == [closed], poison.name
            else:
                assert len(answers) <= 1 and ErrorCode.INTERNAL_ERROR not in answers, poison.name
        assert await attacker.say(publish(SENTINEL_TEXT)) == ["ack"]
        for name, peer in peers.items():
            await heard_before_sentinel(peer, "data" if name in ROOMS else "message")
        assert_undisturbed(peers)
        await attacker.leave()
    hub.assert_healthy()


@pytest.mark.one_hub("a visit that is over before other hubs were told is not told")
async def test_nasty_identities_come_and_go_like_any_other(hub: HubProcess) -> None:
    async with listeners(hub) as peers:
        for identity in IDENTITIES:
            async with connected(hub, identity):
                for name in ROOMS:
                    assert await next_change(peers[name], "peer_joined", identity) == METADATA
            for name in ROOMS:
                await next_change(peers[name], "peer_left", identity)
        async with connected(hub, "attacker") as connection:
            connection.send(frame(TEXT, publish(SENTINEL_TEXT)))
            for name, peer in peers.items():
                await heard_before_sentinel(peer, "data" if name in ROOMS else "message")
        for client in CLIENTS:
            entries = [
                entry
                for event in peers[client].told
                if event["event"] == "presence"
                for entry in event["joined"]
                if entry["peer_id"] in IDENTITIES
            ]
            assert [entry["peer_id"] for entry in entries] == list(IDENTITIES), client
            assert all(entry["metadata"] == METADATA for entry in entries), client
        assert_undisturbed(peers)
    hub.assert_healthy()


async def next_change(peer: Peer, kind: str, peer_id: str) -> object:
    """Return the metadata of a change of a roster, past those of the listeners themselves."""
    while (event := await peer.next(kind))["peer_id"] != peer_id:
        pass
    return event.get("metadata")
