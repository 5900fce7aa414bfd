"""Messages that are named are sent again when nobody knows whether the hub has taken them: hazard 52."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.client import connection
from orchestrator.client.connection import REPEATED_WITHIN, Client
from orchestrator.client.effects import Timeouts
from orchestrator.client.events import DirectReceived, MessageReceived
from orchestrator.client.policy import ReconnectPolicy
from orchestrator.errors import AckTimeout, ConnectionLost, NotConnected, RequestRefused
from orchestrator.hub.keys import KeyRing
from orchestrator.hub.settings import Settings
from orchestrator.protocol.limits import ACK_TIMEOUT, REPEAT_WINDOW
from orchestrator.protocol.tokens import Claims, SecretKey, mint
from orchestrator.testing import ChaosProxy, CloseOnFrame, DropFrame
from tests.client.scripted import SAFETY, ScriptedHub
from tests.joined_servers import new_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from orchestrator.testing import FrameRule
    from tests.client.scripted import Caller

KEY = SecretKey("sk_id_test", "sk_secret_" + "t" * 40, rate="unlimited")
SOON = ReconnectPolicy(initial=0.001)
WAYS = ("publish", "send")


def client(url: str, sub: str, ack: float) -> Client:
    async def fresh() -> str:
        return mint(KEY, Claims(sub, int(time.time()) + 60))

    return Client(url, token_provider=fresh, reconnect=SOON, timeouts=Timeouts(ack=ack))


class Talk:
    """`a` speaks to `b` through a proxy that an ack may not get through."""

    def __init__(self, proxy: ChaosProxy, a: Client, b: Client) -> None:
        self.proxy, self.a, self.b = proxy, a, b

    async def say(self, way: str, data: object, **options: Any) -> None:
        if way == "publish":
            assert await self.a.publish("x", data, **options) == 1, "also a repetition is told whom the first reached"
        else:
            await self.a.send("b", data, **options)

    async def heard_before(self, last: str) -> list[str]:
        """Return what `b` has been told; `a` says one thing more, after which nothing can come."""
        await self.a.send("b", last)
        heard: list[str] = []
        async for event in self.b.events():
            if isinstance(event, MessageReceived | DirectReceived):
                heard.append(bytes(event.data).decode().strip('"'))
                if heard[-1] == last:
                    return heard[:-1]
        raise AssertionError("the connection of b ended")


@asynccontextmanager
async def talk(ack: float = SAFETY) -> AsyncIterator[Talk]:
    server = new_server(KeyRing([KEY]), Settings(snapshot_gap=0.0, drain_window=0.0, drain_grace=1.0))
    await server.start(socket.create_server(("127.0.0.1", 0)))
    try:
        async with asyncio.timeout(2 * SAFETY):
            async with ChaosProxy(server.url) as proxy, client(server.url, "b", SAFETY) as b:
                await b.subscribe("x")
                async with client(proxy.url, "a", ack) as a:
                    yield Talk(proxy, a, b)
    finally:
        await server.drain()


@pytest.mark.parametrize("way", WAYS)
async def test_hazard_52_a_named_message_whose_ack_is_suppressed_may_be_sent_again_by_its_program(way: str) -> None:
    async with talk(ack=0.3) as between:
        between.proxy.add(DropFrame(type="ack", direction="downstream", nth=1))
        with pytest.raises(AckTimeout):
            await between.say(way, "once", id="m1")
        await between.say(way, "once", id="m1")
        assert await between.heard_before("end") == ["once"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("rule", "connections"),
    [
        (DropFrame(type="ack", direction="downstream", nth=1), 1),
        (CloseOnFrame(type="ack", direction="downstream", how="reset", nth=1), 2),
        (CloseOnFrame(type="ack", direction="downstream", how=1012, nth=1), 2),
    ],
    ids=["suppressed", "reset", "closed"],
)
async def test_hazard_52_a_named_message_that_waits_sends_itself_again_and_is_delivered_once(
    way: str, rule: FrameRule, connections: int
) -> None:
    async with talk(ack=0.3) as between:
        between.proxy.add(rule)
        await between.say(way, "once", id="m1", when_disconnected="wait", deadline=SAFETY)
        assert await between.heard_before("end") == ["once"]
        assert between.proxy.accepted == connections


@pytest.mark.parametrize("way", WAYS)
async def test_hazard_52_a_named_message_that_did_not_get_through_is_delivered_once_too(way: str) -> None:
    async with talk() as between:
        between.proxy.add(CloseOnFrame(type=way, how="reset", nth=1))
        await between.say(way, "once", id="m1", when_disconnected="wait", deadline=SAFETY)
        assert await between.heard_before("end") == ["once"]


async def test_hazard_52_many_named_messages_over_many_resets_arrive_once_each() -> None:
    async with talk() as between:
        between.proxy.add(CloseOnFrame(type="ack", direction="downstream", how="reset", every=3))
        between.proxy.add(CloseOnFrame(type="send", direction="upstream", how="reset", every=7))
        said = [str(number) for number in range(12)]
        for text in said:
            await between.say("send", text, id=text, when_disconnected="wait", deadline=SAFETY)
        assert between.proxy.accepted > 3
        await between.say("send", "end", id="end", when_disconnected="wait", deadline=SAFETY)
        heard: list[str] = []
        while not heard or heard[-1] != "end":
            event = await anext(between.b.events())
            if isinstance(event, DirectReceived):
                heard.append(bytes(event.data).decode().strip('"'))
        assert heard == [*said, "end"]


async def test_a_message_without_an_id_is_never_sent_again() -> None:
    async with talk() as between:
        between.proxy.add(CloseOnFrame(type="ack", direction="downstream", how="reset", nth=1))
        with pytest.raises(ConnectionLost):
            await between.say("send", "once", when_disconnected="wait", deadline=SAFETY)
        await between.say("send", "then", when_disconnected="wait", deadline=SAFETY)
        assert await between.heard_before("end") == ["once", "then"]


# -- against a hub that says what the test tells it to


@pytest.fixture
async def hub() -> AsyncIterator[ScriptedHub]:
    async with ScriptedHub() as hub:
        yield hub


def scripted(hub: ScriptedHub, **options: Any) -> Client:
    return Client(hub.url, api_key="pk_live_abc", reconnect=ReconnectPolicy(initial=0.0), **options)


@asynccontextmanager
async def calling(hub: ScriptedHub, **options: Any) -> AsyncIterator[Client]:
    client = scripted(hub, **options)
    try:
        async with asyncio.timeout(SAFETY):
            yield client
    finally:
        await client.close()


async def unanswered(hub: ScriptedHub, client: Client, **options: Any) -> tuple[asyncio.Task[int | None], Caller]:
    """Return a named publish that the hub has read, and the connection that it came on."""
    caller, _ = await asyncio.gather(hub.welcomed(), client.connect())
    publishing = asyncio.create_task(client.publish("x", 1, id="m1", when_disconnected="wait", **options))
    assert (await caller.hear("publish"))["id"] == "m1"
    return publishing, caller


async def test_a_repetition_has_the_id_of_the_first_and_a_request_id_of_its_own(hub: ScriptedHub) -> None:
    async with calling(hub) as client:
        publishing, caller = await unanswered(hub, client)
        caller.cut()
        caller = await hub.welcomed()
        again = await caller.hear("publish")
        assert (again["id"], again["data"], again["requestId"]) == ("m1", 1, "2")
        await caller.ack(again, receivers=7)
        assert await publishing == 7


async def test_when_the_connection_does_not_come_back_in_time_it_is_said_that_nobody_knows(hub: ScriptedHub) -> None:
    async with calling(hub) as client:
        publishing, caller = await unanswered(hub, client, deadline=0.2)
        caller.cut()
        await hub.caller()
        with pytest.raises(ConnectionLost):
            await publishing


async def test_when_the_client_ends_it_is_said_that_nobody_knows(hub: ScriptedHub) -> None:
    async with calling(hub) as client:
        publishing, caller = await unanswered(hub, client)
        caller.cut()
        await (await hub.caller()).socket.close(4003)
        with pytest.raises(ConnectionLost):
            await publishing
        with pytest.raises(NotConnected, match="4003"):
            await client.publish("x", 1, id="m1", when_disconnected="wait")


async def test_under_another_peer_id_a_repetition_would_be_a_message_of_its_own_and_is_not_sent(
    hub: ScriptedHub,
) -> None:
    async with calling(hub) as client:
        publishing, caller = await unanswered(hub, client)
        caller.cut()
        caller = await hub.welcomed(peer="somebody else")
        with pytest.raises(ConnectionLost):
            await publishing
        sending = asyncio.create_task(client.send("b", 2))
        await caller.hear_and_ack("send")
        await sending


async def test_a_refusal_of_a_repetition_is_told(hub: ScriptedHub) -> None:
    async with calling(hub) as client:
        publishing, caller = await unanswered(hub, client)
        caller.cut()
        caller = await hub.welcomed()
        again = await caller.hear("publish")
        await caller.say("error", requestId=again["requestId"], code="over_message_quota", message="enough")
        with pytest.raises(RequestRefused, match="enough"):
            await publishing


async def test_what_the_hub_may_have_forgotten_is_not_sent_again(
    hub: ScriptedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert REPEATED_WITHIN + ACK_TIMEOUT < REPEAT_WINDOW, "one that is long on its way is still known"
    monkeypatch.setattr(connection, "REPEATED_WITHIN", 0.0)
    async with calling(hub, timeouts=Timeouts(ack=0.05)) as client:
        publishing, caller = await unanswered(hub, client)
        with pytest.raises(AckTimeout):
            await publishing
        sending = asyncio.create_task(client.send("b", 2))
        await caller.hear_and_ack("send")
        await sending


@pytest.mark.parametrize("name", ["", "x" * 129, 7, ["m1"]])
async def test_an_id_that_the_hub_would_pass_over_is_refused(hub: ScriptedHub, name: Any) -> None:
    client = scripted(hub)
    for saying in (client.publish("x", 1, id=name), client.send("b", 1, id=name)):
        with pytest.raises(ValueError, match="1 to 128 characters"):
            await saying


async def test_what_goes_in_parts_has_no_id(hub: ScriptedHub) -> None:
    client = scripted(hub)
    for saying in (client.publish("x", 1, id="m1", in_parts=True), client.send("b", 1, id="m1", in_parts=True)):
        with pytest.raises(ValueError, match="goes whole"):
            await saying
