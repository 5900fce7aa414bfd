"""§21.95: the client against the hub of this package."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import socket
import ssl
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
import structlog
import uvloop

from orchestrator.client.connection import Client
from orchestrator.client.events import (
    Connected,
    DirectReceived,
    Disconnected,
    GoingAway,
    MessageReceived,
    PresenceReceived,
    Renewed,
)
from orchestrator.client.policy import ReconnectPolicy
from orchestrator.errors import (
    HubUnreachable,
    NotAuthorized,
    PayloadTooLarge,
    PeerNotFound,
    TerminalDisconnect,
)
from orchestrator.hub.keys import KeyRing, PublishableKey
from orchestrator.hub.settings import Settings
from orchestrator.protocol.tokens import Claims, Grants, SecretKey, mint
from tests.client.scripted import SAFETY
from tests.joined_servers import new_server
from tests.nodes import joined

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from orchestrator.hub.server import Server

KEY = SecretKey("sk_id_test", "sk_secret_" + "t" * 40, rate="unlimited")
CERTIFICATE = Path(__file__).with_name("localhost.pem")
PUBLISHABLE = "pk_live_" + "p" * 24
SETTINGS = Settings(retry_after_ms=20, drain_window=0.1, drain_grace=1.0)


class Hubs:
    """Hubs that follow one another on one listening socket, as a supervisor keeps it."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"ws://127.0.0.1:{self._listening.getsockname()[1]}"
        self.server: Server | None = None

    async def start(self) -> None:
        self.server = new_server(KeyRing([KEY], [PublishableKey(PUBLISHABLE)]), SETTINGS)
        await self.server.start(self._listening.dup())

    async def stop(self) -> None:
        if self.server is not None:
            server, self.server = self.server, None
            await server.drain()

    async def close(self) -> None:
        await self.stop()
        self._listening.close()


@asynccontextmanager
async def running() -> AsyncIterator[Hubs]:
    hubs = Hubs()
    await hubs.start()
    try:
        yield hubs
    finally:
        await hubs.close()


@pytest.fixture
async def hubs() -> AsyncIterator[Hubs]:
    async with running() as hubs:
        yield hubs


def provider(sub: str, **claims: Any) -> Callable[[], Awaitable[str]]:
    async def fresh() -> str:
        return mint(KEY, Claims(sub, int(time.time()) + 60, **claims))

    return fresh


Two: TypeAlias = "tuple[Peer, Peer]"


@pytest.fixture
async def hub_of_two(hubs: Hubs) -> AsyncIterator[Two]:
    async with Peer(hubs, "a") as a, Peer(hubs, "b") as b:
        yield a, b


class Peer:
    """A client and what it has been told so far."""

    def __init__(self, hubs: Hubs, sub: str, **claims: Any) -> None:
        self.client = Client(hubs.url, token_provider=provider(sub, **claims), reconnect=ReconnectPolicy(initial=0.02))
        self._events = self.client.events()

    async def __aenter__(self) -> Peer:
        await self.client.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()

    async def until(self, kind: type[Any]) -> Any:
        async with asyncio.timeout(SAFETY):
            while True:
                event = await anext(self._events)
                if isinstance(event, kind):
                    return event


async def test_95_messages_reach_the_other_subscribers_with_their_bytes_intact(hubs: Hubs) -> None:
    async with Peer(hubs, "a", peer_metadata={"n": 1}) as a, Peer(hubs, "b") as b:
        await a.client.subscribe("team/1")
        await b.client.subscribe("team/1", include_sender_metadata=True)
        assert await a.client.publish("team/1", {"text": "é", "list": [1, None]}) == 1
        got = await b.until(MessageReceived)
        assert (got.channel, got.sender, got.metadata) == ("team/1", "a", {"n": 1})
        assert bytes(got.data) == '{"text":"é","list":[1,null]}'.encode()
        await b.client.unsubscribe("team/1")
        assert await a.client.publish("team/1", 1) == 0 or joined(), (
            "of those at another hub, what is known is a moment old"
        )


async def test_95_directs_reach_a_peer_or_are_refused(hubs: Hubs) -> None:
    async with Peer(hubs, "a") as a, Peer(hubs, "b") as b:
        await a.client.send("b", {"n": 1})
        got = await b.until(DirectReceived)
        assert (got.sender, json.loads(bytes(got.data))) == ("a", {"n": 1})
        with pytest.raises(PeerNotFound, match="'nobody'"):
            await a.client.send("nobody", 1)


async def test_95_order_is_kept_across_pipelined_publishes(hubs: Hubs) -> None:
    async with Peer(hubs, "a", rate="unlimited") as a, Peer(hubs, "b") as b:
        await b.client.subscribe("x")
        await asyncio.gather(*(a.client.publish("x", number) for number in range(1_000)))
        got = [int(bytes((await b.until(MessageReceived)).data)) for _ in range(1_000)]
        assert got == list(range(1_000))


@pytest.mark.nodes("nats", "redis")
async def test_95_presence_begins_with_the_whole_roster_and_goes_on_with_changes(hubs: Hubs) -> None:
    async with Peer(hubs, "a", peer_metadata={"kind": "agent"}) as a, Peer(hubs, "b") as b:
        await a.client.subscribe("lobby")
        first = await a.until(PresenceReceived)
        assert (first.snapshot, first.joined, first.left) == (True, (), ())
        await b.client.subscribe("lobby")
        roster = await b.until(PresenceReceived)
        assert roster.snapshot
        assert [(entry.peer_id, entry.metadata) for entry in roster.joined] == [("a", {"kind": "agent"})]
        joined = await a.until(PresenceReceived)
        assert (joined.snapshot, [entry.peer_id for entry in joined.joined]) == (False, ["b"])
        await b.client.close()
        left = await a.until(PresenceReceived)
        assert (left.snapshot, [entry.peer_id for entry in left.left]) == (False, ["b"])


async def test_95_what_a_token_does_not_allow_is_refused_and_the_connection_stays(hubs: Hubs) -> None:
    narrow = Grants(subscribe=("mine",), send=("b",))
    async with Peer(hubs, "a", channels=("mine",), grants=narrow) as a, Peer(hubs, "b"):
        await a.client.subscribe("mine")
        for refused in (
            a.client.subscribe("other"),
            a.client.publish("mine", 1),
            a.client.send("c", 1),
        ):
            with pytest.raises(NotAuthorized):
                await refused
        await a.client.send("b", 1)


async def test_95_a_payload_at_the_limit_passes_and_one_above_is_kept_back(hubs: Hubs) -> None:
    async with Peer(hubs, "a") as a, Peer(hubs, "b") as b:
        limit = a.client.max_message_size
        await a.client.send("b", "x" * (limit - 2))
        assert len(bytes((await b.until(DirectReceived)).data)) == limit
        with pytest.raises(PayloadTooLarge):
            await a.client.send("b", "x" * (limit - 1))


async def test_a_payload_above_the_limit_goes_in_parts_where_that_is_asked_for(hub_of_two: Two) -> None:
    a, b = hub_of_two
    await b.client.subscribe("x")
    whole = {"text": 'é"\\' * 300_000}
    assert await a.client.publish("x", whole, in_parts=True) == 1
    got = await b.until(MessageReceived)
    assert (got.channel, got.sender, json.loads(bytes(got.data))) == ("x", "a", whole)
    sends = [a.client.send("b", [n] * 100_000, in_parts=True, when_disconnected="wait") for n in range(6)]
    await asyncio.gather(*sends)
    heard = [json.loads(bytes((await b.until(DirectReceived)).data)) for _ in range(6)]
    assert [len(data) for data in heard] == [100_000] * 6
    assert sorted(data[0] for data in heard) == list(range(6))
    with pytest.raises(PayloadTooLarge, match="8388608"):
        await a.client.send("b", "x" * 9_000_000, in_parts=True)
    with pytest.raises(PeerNotFound):
        await a.client.send("nobody", whole, in_parts=True)


async def test_a_payload_of_which_parts_are_missing_is_given_up_and_that_is_logged(hub_of_two: Two) -> None:
    a, b = hub_of_two
    with structlog.testing.capture_logs() as logged:
        await a.client.send("b", {"type": "part", "id": "1", "seq": 0, "of": 3, "text": "["})
        await a.client.send("b", {"type": "part", "id": "1", "seq": 2, "of": 3, "text": "]"})
        await a.client.send("b", "next")
        assert bytes((await b.until(DirectReceived)).data) == b'"next"'
    [note] = [entry for entry in logged if entry["event"] == "a payload in parts was given up"]
    assert (note["sender"], note["why"], note["parts"], note["of"]) == ("a", "part 1 did not arrive", 1, 3)


async def test_hazard_34_a_connection_goes_on_under_fresh_tokens(hubs: Hubs) -> None:
    issued = 0

    async def short_lived() -> str:
        nonlocal issued
        issued += 1
        return mint(KEY, Claims("a", int(time.time()) + 4, instance="one", metadata={"n": issued}))

    client = Client(hubs.url, token_provider=short_lived)
    async with Peer(hubs, "b") as b, asyncio.timeout(20), client:
        await b.client.subscribe("x")
        await client.subscribe("x")
        seen: list[Any] = []
        async for event in client.events():
            seen.append(event)
            if isinstance(event, Renewed) and event.metadata == {"n": 3}:
                break
        assert await b.client.publish("x", 1) == 1
        async for event in client.events():
            if isinstance(event, MessageReceived):
                break
    assert not any(isinstance(event, Disconnected) for event in seen)
    assert sum(isinstance(event, Connected) for event in seen) == 1


async def test_95_a_publishable_key_connects_under_a_new_id_each_time(hubs: Hubs) -> None:
    ids = set()
    for _ in range(2):
        async with Client(hubs.url, api_key=PUBLISHABLE) as client:
            ids.add(client.peer_id)
    assert len(ids) == 2


async def test_82_a_token_that_the_hub_does_not_know_ends_it(hubs: Hubs) -> None:
    stranger = SecretKey("sk_id_other", "sk_secret_" + "o" * 40)

    async def fresh() -> str:
        return mint(stranger, Claims("a", int(time.time()) + 60))

    client = Client(hubs.url, token_provider=fresh, daemon=True)
    with pytest.raises(TerminalDisconnect, match="4001"):
        await client.connect()


async def test_82_another_instance_of_the_same_peer_takes_over(hubs: Hubs) -> None:
    async with Peer(hubs, "a", instance="one") as one, Peer(hubs, "a", instance="two"):
        last = await one.until(Disconnected)
        assert (last.code, last.will_reconnect) == (4020, False)
        assert isinstance(one.client.failure, TerminalDisconnect)


async def test_a_token_that_expires_is_replaced_by_a_fresh_one(hubs: Hubs) -> None:
    lives = iter([1, 60])

    async def fresh() -> str:
        return mint(KEY, Claims("a", int(time.time()) + 1 + next(lives), instance="one"))

    client = Client(hubs.url, token_provider=fresh, reconnect=ReconnectPolicy(initial=0.02))
    async with asyncio.timeout(SAFETY), client:
        await client.subscribe("x")
        codes = []
        async for event in client.events():
            if isinstance(event, Disconnected):
                codes.append(event.code)
            if isinstance(event, Connected) and event.resumed:
                break
        assert codes == [4002]


async def test_68_the_client_comes_back_with_its_subscriptions_when_the_hub_restarts(hubs: Hubs) -> None:
    async with Peer(hubs, "a") as a, Peer(hubs, "b") as b:
        for peer in (a, b):
            await peer.client.subscribe("team/1")
        await hubs.stop()
        assert await a.until(GoingAway) == GoingAway(0.02)
        for peer in (a, b):
            gone = await peer.until(Disconnected)
            assert gone.code == 1001 and gone.delay >= 0.02
        waiting = asyncio.create_task(a.client.publish("team/1", "later", when_disconnected="wait", deadline=SAFETY))
        await hubs.start()
        for peer in (a, b):
            event = await peer.until(Connected)
            assert event.resumed
        roster = await b.until(PresenceReceived)
        assert roster.snapshot
        await waiting
        async with asyncio.timeout(SAFETY):
            while await a.client.publish("team/1", "now") == 0:
                await b.until(PresenceReceived)
        assert bytes((await b.until(MessageReceived)).data) in (b'"later"', b'"now"')


async def test_over_tls_the_hub_s_certificate_has_to_be_trusted() -> None:
    """The key beside this test signs nothing but this name of the loopback interface."""
    server = new_server(KeyRing([KEY]), dataclasses.replace(SETTINGS, tls_certificate=str(CERTIFICATE)))
    await server.start(socket.create_server(("127.0.0.1", 0)))
    try:
        with pytest.raises(HubUnreachable, match=r"(?i)certificate"):
            await Client(server.url, token_provider=provider("a")).connect()
        trusting = ssl.create_default_context(cafile=CERTIFICATE)
        async with asyncio.timeout(SAFETY), Client(server.url, token_provider=provider("a"), tls=trusting) as client:
            await client.send("a", "to myself")
    finally:
        await server.drain()


def test_the_client_runs_on_uvloop_too() -> None:
    async def converse() -> bytes:
        async with running() as hubs, Peer(hubs, "a") as a, Peer(hubs, "b") as b:
            await a.client.send("b", "x" * 60_000)
            got = await b.until(DirectReceived)
            return bytes(got.data)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert len(runner.run(converse())) == 60_002
