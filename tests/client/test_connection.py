"""The client on real sockets, against a server that says what the test tells it to."""

from __future__ import annotations

import asyncio
import copy
import gc
import json
import logging
import pickle
import random
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Raw, Struct
from structlog.testing import capture_logs

from orchestrator.client.connection import Client
from orchestrator.client.effects import State, Timeouts
from orchestrator.client.events import (
    Connected,
    DirectReceived,
    Disconnected,
    GoingAway,
    MessageReceived,
    PresenceReceived,
    TokenFailed,
)
from orchestrator.client.policy import ReconnectPolicy
from orchestrator.errors import (
    AckTimeout,
    ConnectionLost,
    HubUnreachable,
    NotConnected,
    PayloadTooLarge,
    PeerNotFound,
    TerminalDisconnect,
    TokenUnavailable,
)
from tests.client.scripted import SAFETY, Caller, ScriptedHub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from orchestrator.client.events import ClientEvent

AT_ONCE = ReconnectPolicy(initial=0.0)
"""Comes back without a delay."""


@pytest.fixture
async def hub() -> AsyncIterator[ScriptedHub]:
    async with ScriptedHub() as hub:
        yield hub


def client_of(hub: ScriptedHub, **options: Any) -> Client:
    options.setdefault("reconnect", AT_ONCE)
    if "token_provider" not in options:
        options.setdefault("api_key", "pk_live_abc")
    return Client(hub.url, **options)


async def pair(hub: ScriptedHub, **options: Any) -> tuple[Client, Caller]:
    """Return a connected client and the server's end of its connection."""
    client = client_of(hub, **options)
    caller, _ = await asyncio.gather(hub.welcomed(), client.connect())
    return client, caller


class Watch:
    """Takes a client's events one by one."""

    def __init__(self, client: Client) -> None:
        self._events = client.events()

    async def next(self) -> ClientEvent:
        async with asyncio.timeout(SAFETY):
            return await anext(self._events)

    async def until(self, kind: type[ClientEvent]) -> Any:
        while True:
            event = await self.next()
            if isinstance(event, kind):
                return event

    async def ended(self) -> bool:
        async with asyncio.timeout(SAFETY):
            return await anext(self._events, None) is None


# -- construction


@pytest.mark.parametrize(
    "credentials",
    [{}, {"api_key": "pk_live_a", "token_provider": lambda: None}, {"token": "a.b.c", "token_provider": lambda: None}],
)
def test_79_exactly_one_credential_is_needed(credentials: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="exactly one of token, token_provider and api_key"):
        Client("ws://localhost:1", **credentials)


@pytest.mark.parametrize("url", ["http://localhost", "ws://192.168.0.1", "wss://hub.example/v1", "ws://localhost?a=b"])
def test_79_urls_that_the_stock_clients_refuse_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="hub url"):
        Client(url, api_key="pk_live_a")


@pytest.mark.parametrize("key", ["", "two words", "pk_live_a\n", "ключ"])
def test_79_a_key_that_cannot_be_one_is_refused_without_being_quoted(key: str) -> None:
    with pytest.raises(ValueError, match="not a publishable key") as caught:
        Client("ws://localhost:1", api_key=key)
    assert not key or key not in str(caught.value)


# -- connecting


async def test_80_connect_returns_after_the_welcome(hub: ScriptedHub) -> None:
    client = client_of(hub)
    assert client.state.value == "idle"
    connecting = asyncio.create_task(client.connect())
    caller = await hub.caller()
    assert caller.target == "/v1?key=pk_live_abc"
    assert not connecting.done()
    assert client.state.value == "connecting"
    await caller.welcome("worker.1", maxMessageSize=1234, metadata={"a": [1]}, expiresAt=17)
    await connecting
    assert (client.state, client.peer_id, client.max_message_size) == (State.CONNECTED, "worker.1", 1234)
    assert await Watch(client).next() == Connected("worker.1", False, 17, 1234, {"a": [1]})
    await client.close()


async def test_80_connect_fails_without_a_welcome(hub: ScriptedHub) -> None:
    client = client_of(hub, timeouts=Timeouts(welcome=0.05, close=0.2))
    with pytest.raises(HubUnreachable, match=r"no welcome within 0\.05 s"):
        await client.connect()
    assert client.state is State.CLOSED
    assert hub.accepted == 1
    await client.close()


async def test_80_a_server_that_never_answers_the_handshake_is_given_up() -> None:
    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(listen, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    client = Client(f"ws://127.0.0.1:{port}", api_key="k", timeouts=Timeouts(welcome=0.05))
    with pytest.raises(HubUnreachable, match="no welcome"):
        await client.connect()
    await client.close()
    silent.close()
    await silent.wait_closed()


async def test_80_a_refused_first_connect_is_not_retried(hub: ScriptedHub) -> None:
    await hub.stop()
    client = client_of(hub)
    with pytest.raises(HubUnreachable, match="after 1 attempt"):
        await client.connect()
    assert isinstance(client.failure, HubUnreachable)
    assert await Watch(client).next() == Disconnected(1006, client.failure.last, False, None)


async def test_80_an_answer_that_is_no_websocket_is_told() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    client = Client(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}", token_provider=token("canary"))
    with pytest.raises(HubUnreachable, match="503") as caught:
        await client.connect()
    assert "canary" not in str(caught.value)
    await client.close()
    server.close()
    await server.wait_closed()


async def test_80_a_daemon_keeps_trying_until_the_hub_is_there(hub: ScriptedHub) -> None:
    await hub.stop()
    failed = asyncio.Event()

    async def provider() -> str:
        if provider_calls:
            failed.set()
        provider_calls.append(1)
        return "token"

    provider_calls: list[int] = []
    client = client_of(hub, token_provider=provider, daemon=True, reconnect=ReconnectPolicy(initial=0.01, cap=0.01))
    connecting = asyncio.create_task(client.connect())
    async with asyncio.timeout(SAFETY):
        await failed.wait()
    await hub.reopen()
    await hub.welcomed()
    await connecting
    assert client.state is State.CONNECTED
    await client.close()


async def test_80_a_daemon_gives_up_after_its_last_attempt(hub: ScriptedHub) -> None:
    await hub.stop()
    client = client_of(hub, daemon=True, reconnect=ReconnectPolicy(initial=0.0, max_attempts=3))
    with pytest.raises(HubUnreachable, match="after 3 attempts"):
        await client.connect()


async def test_80_cancelling_connect_closes_the_client(hub: ScriptedHub) -> None:
    client = client_of(hub)
    connecting = asyncio.create_task(client.connect())
    caller = await hub.caller()
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    assert client.state is State.CLOSED
    await caller.closed()


async def test_a_client_that_failed_or_was_closed_can_connect_again(hub: ScriptedHub) -> None:
    client, caller = await pair(hub)
    with pytest.raises(RuntimeError, match="connected already"):
        await client.connect()
    await client.close()
    await caller.closed()
    await asyncio.gather(hub.welcomed(), client.connect())
    await client.close()


async def test_an_open_connection_is_closed_by_leaving_the_context(hub: ScriptedHub) -> None:
    async def serve_one() -> Caller:
        return await hub.welcomed()

    serving = asyncio.create_task(serve_one())
    async with client_of(hub) as client:
        assert client.state is State.CONNECTED
    assert (await (await serving).closed())[0] == 1000


# -- tokens


def token(value: Any) -> Any:
    async def provider() -> Any:
        return value

    return provider


async def test_81_a_fresh_token_is_asked_for_before_every_attempt(hub: ScriptedHub) -> None:
    minted: list[str] = []

    async def provider() -> str:
        minted.append(f"a/b+{len(minted)}")
        return minted[-1]

    client, caller = await pair(hub, token_provider=provider)
    assert caller.parameters == {"token": ["a/b+0"]}
    caller.cut()
    caller = await hub.caller()
    assert caller.parameters == {"token": ["a/b+1"]}
    await caller.socket.close(1001)
    caller = await hub.caller()
    assert caller.parameters == {"token": ["a/b+2"]}
    await client.close()


@pytest.mark.parametrize("junk", [None, "", 7, b"bytes", "with space", "line\n", "é"])
async def test_81_junk_instead_of_a_token_is_a_failed_attempt(hub: ScriptedHub, junk: Any) -> None:
    client = client_of(hub, token_provider=token(junk))
    with pytest.raises(TokenUnavailable, match="no token"):
        await client.connect()
    assert hub.accepted == 0


async def test_81_a_provider_that_raises_or_hangs_is_retried_and_told_from_the_third_time_on(hub: ScriptedHub) -> None:
    answers = iter(["good", KeyError("canary"), None, "hang", ValueError("canary"), "good"])

    async def provider() -> Any:
        answer = next(answers)
        if answer == "hang":
            await asyncio.Event().wait()
        if isinstance(answer, Exception):
            raise answer
        return answer

    client, caller = await pair(hub, token_provider=provider, timeouts=Timeouts(token=0.05))
    watch = Watch(client)
    await watch.until(Connected)
    caller.cut()
    assert isinstance(await watch.next(), Disconnected)
    assert await watch.next() == TokenFailed(3, "the token provider gave no answer within 0.05 s")
    assert await watch.next() == TokenFailed(4, "the token provider raised ValueError")
    await hub.welcomed()
    assert isinstance(await watch.next(), Connected)
    await client.close()


# -- coming back


async def test_82_a_terminal_close_ends_it_and_is_told_once_in_the_log(hub: ScriptedHub) -> None:
    with capture_logs() as logs:
        client, caller = await pair(hub)
        watch = Watch(client)
        await watch.until(Connected)
        pending = asyncio.create_task(client.publish("a", 1))
        await caller.hear("publish")
        await caller.socket.close(4020, "replaced")
        assert await watch.next() == Disconnected(4020, "replaced", False, None)
    assert await watch.ended()
    with pytest.raises(ConnectionLost):
        await pending
    assert isinstance(client.failure, TerminalDisconnect)
    assert client.failure.code == 4020
    with pytest.raises(NotConnected, match="4020"):
        await client.publish("a", 1, when_disconnected="wait")
    (record,) = [entry for entry in logs if entry["log_level"] == "error"]
    assert record["code"] == 4020
    assert "took over this peer id" in record["advice"]
    await client.close()
    assert hub.accepted == 1


async def test_82_a_terminal_close_before_the_welcome_fails_connect(hub: ScriptedHub) -> None:
    client = client_of(hub, daemon=True)
    connecting = asyncio.create_task(client.connect())
    await (await hub.caller()).socket.close(4001, "invalid token")
    with pytest.raises(TerminalDisconnect, match="4001"):
        await connecting


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1009, 1011, 4002, 4011])
async def test_82_other_closes_are_followed_by_a_reconnect(hub: ScriptedHub, code: int) -> None:
    client, caller = await pair(hub)
    watch = Watch(client)
    await watch.until(Connected)
    await caller.socket.close(code, "because")
    assert await watch.next() == Disconnected(code, "because", True, 0.0)
    await hub.welcomed(peer="other")
    assert await watch.next() == Connected("other", True, None, 65_536, None)
    assert client.peer_id == "other"
    await client.close()


async def test_84_the_final_event_follows_the_last_attempt(hub: ScriptedHub) -> None:
    client, _caller = await pair(hub, reconnect=ReconnectPolicy(initial=0.0, max_attempts=3))
    watch = Watch(client)
    await watch.until(Connected)
    await hub.stop()
    assert (await watch.next()).will_reconnect  # type: ignore[union-attr]
    last = await watch.next()
    assert isinstance(last, Disconnected) and not last.will_reconnect
    assert await watch.ended()
    assert isinstance(client.failure, HubUnreachable)


async def test_85_subscriptions_come_back_with_the_connection(hub: ScriptedHub) -> None:
    client, caller = await pair(hub)
    for channel, metadata in (("a", False), ("b", True), ("gone", False)):
        done = asyncio.create_task(client.subscribe(channel, include_sender_metadata=metadata))
        frame = await caller.hear_and_ack("subscribe")
        assert (frame["channel"], frame.get("includeSenderMetadata", False)) == (channel, metadata)
        await done
    done = asyncio.create_task(client.unsubscribe("gone"))
    await caller.hear_and_ack("unsubscribe")
    await done
    caller.cut()
    caller = await hub.welcomed()
    again = [await caller.hear_and_ack("subscribe") for _ in range(2)]
    assert [(frame["channel"], frame.get("includeSenderMetadata")) for frame in again] == [("a", None), ("b", True)]
    watch = Watch(client)
    await caller.say("presence", channel="a", joined=[{"peerId": "x", "metadata": {"n": 1}}], left=[])
    await caller.say("presence", channel="a", joined=[], left=[{"peerId": "x", "reason": "lost"}])
    first, second = await watch.until(PresenceReceived), await watch.until(PresenceReceived)
    assert (first.snapshot, [entry.peer_id for entry in first.joined]) == (True, ["x"])
    assert (second.snapshot, [entry.reason for entry in second.left]) == (False, ["lost"])
    await client.close()


async def test_88_a_silent_hub_is_pinged_and_then_left(hub: ScriptedHub) -> None:
    client, caller = await pair(hub, timeouts=Timeouts(inactivity=1.2, close=0.1))
    watch = Watch(client)
    await watch.until(Connected)
    await caller.hear("ping")
    event = await watch.next()
    assert isinstance(event, Disconnected) and event.code == 4000
    assert (await caller.closed())[0] == 4000
    await hub.welcomed()
    await watch.until(Connected)
    await client.close()


async def test_92_a_frame_above_one_mebibyte_closes_the_socket(hub: ScriptedHub) -> None:
    client, caller = await pair(hub)
    watch = Watch(client)
    await watch.until(Connected)
    await caller.say("message", channel="a", data="x" * 1_000_000, **{"from": "b"})
    assert isinstance(await watch.next(), MessageReceived)
    await caller.say("message", channel="a", data="x" * 1_048_577, **{"from": "b"})
    event = await watch.next()
    assert isinstance(event, Disconnected) and (event.code, event.will_reconnect) == (1009, True)
    assert (await caller.closed())[0] == 1009
    await client.close()


async def test_92_fragments_are_joined_and_their_sum_is_bounded(hub: ScriptedHub) -> None:
    client, caller = await pair(hub)
    watch = Watch(client)
    await watch.until(Connected)
    await caller.socket.send(['{"type":"direct","from":"b",', "", '"data":"é', 'ü"}'])
    event = await watch.next()
    assert isinstance(event, DirectReceived) and json.loads(bytes(event.data)) == "éü"
    await caller.socket.send(["x" * 600_000, "x" * 600_000])
    event = await watch.next()
    assert isinstance(event, Disconnected) and event.code == 1009
    await client.close()


async def test_binary_frames_are_passed_over_and_bad_utf8_closes(hub: ScriptedHub) -> None:
    client, caller = await pair(hub)
    watch = Watch(client)
    await watch.until(Connected)
    frame = b'{"type":"direct","from":"b","data":1}'
    await caller.socket.send(frame)
    await caller.socket.send([frame[:9], frame[9:]])
    await caller.socket.send(frame, text=True)
    assert isinstance(await watch.next(), DirectReceived)
    await caller.socket.send(b'{"type":"direct","from":"b","data":"\xff"}', text=True)
    event = await watch.next()
    assert isinstance(event, Disconnected) and event.code == 1007
    await client.close()


async def test_a_server_s_own_pings_are_answered(hub: ScriptedHub) -> None:
    client, caller = await pair(hub)
    async with asyncio.timeout(SAFETY):
        await (await caller.socket.ping())
    await client.close()


async def test_96_going_away_is_told_and_heeded(hub: ScriptedHub) -> None:
    client, caller = await pair(hub)
    watch = Watch(client)
    await watch.until(Connected)
    await caller.say("going_away", retryAfterMs=50)
    assert await watch.next() == GoingAway(0.05)
    await caller.socket.close(1001)
    event = await watch.next()
    assert isinstance(event, Disconnected) and event.delay == 0.05
    await hub.welcomed()
    await client.close()


async def test_a_connection_that_is_reset_at_any_byte_of_the_hub_s_words_comes_back(hub: ScriptedHub) -> None:
    """§21.87, §21.91: wherever the stream is cut, nothing hangs and the next connection is whole."""
    words = [
        {"type": "welcome", "peerId": "me", "expiresAt": None, "serverTime": 1, "maxMessageSize": 9},
        {"type": "message", "channel": "a", "from": "b", "data": {"n": 1}},
        {"type": "pong"},
    ]
    stream = b"".join(bytes([0x81, len(text)]) + text for text in (json.dumps(word).encode() for word in words))
    client, caller = await pair(hub, reconnect=ReconnectPolicy(initial=0, per_minute=None))
    for offset in range(0, len(stream), 7):
        caller.cut()
        caller = await hub.caller()
        caller.socket.transport.write(stream[:offset])
    caller.cut()
    caller = await hub.welcomed()
    watch = Watch(client)
    await caller.say("direct", data=1, **{"from": "b"})
    await watch.until(DirectReceived)
    await client.close()


# -- requests


class Note(Struct):
    text: str


@pytest.mark.parametrize(
    ("data", "wire"),
    [(None, "null"), ({"é": [1]}, '{"é":[1]}'), (Note("x"), '{"text":"x"}'), (Raw(b'{"a": 1.50}'), '{"a": 1.50}')],
)
async def test_data_goes_out_compact_and_unescaped(hub: ScriptedHub, data: object, wire: str) -> None:
    client, caller = await pair(hub)
    sending = asyncio.create_task(client.send("b", data))
    async with asyncio.timeout(SAFETY):
        text = await caller.socket.recv()
    assert text == f'{{"type":"send","to":"b","data":{wire},"requestId":"1"}}'
    await caller.say("ack", requestId="1")
    await sending
    await client.close()


@pytest.mark.parametrize("data", [float("nan"), {"n": [1, float("inf")]}, [None, (-float("inf"),)]], ids=repr)
async def test_numbers_that_json_lacks_are_refused_and_not_turned_into_null(hub: ScriptedHub, data: object) -> None:
    client, _ = await pair(hub)
    with pytest.raises(ValueError, match="no place in JSON"):
        await client.publish("a", data)
    await client.close()


async def test_publish_returns_how_many_were_reached_where_the_hub_says_so(hub: ScriptedHub) -> None:
    client, caller = await pair(hub)
    for extra, receivers in (({"receivers": 3}, 3), ({}, None)):
        publishing = asyncio.create_task(client.publish("a", 1))
        await caller.ack(await caller.hear("publish"), **extra)
        assert await publishing == receivers
    await client.close()


async def test_publishes_are_pipelined_and_written_in_the_order_of_the_calls(hub: ScriptedHub) -> None:
    client, caller = await pair(hub)
    publishing = [asyncio.create_task(client.publish("a", number)) for number in range(200)]
    heard = [await caller.hear("publish") for _ in range(200)]
    assert [frame["data"] for frame in heard] == list(range(200))
    assert not any(task.done() for task in publishing)
    for frame in reversed(heard):
        await caller.ack(frame, receivers=frame["data"])
    assert await asyncio.gather(*publishing) == list(range(200))
    await client.close()


async def test_a_refusal_names_who_was_asked_for(hub: ScriptedHub) -> None:
    client, caller = await pair(hub)
    sending = asyncio.create_task(client.send("nobody", 1))
    frame = await caller.hear("send")
    await caller.say("error", requestId=frame["requestId"], code="peer_not_found", message="peer is not connected")
    with pytest.raises(PeerNotFound, match="'nobody'"):
        await sending
    await client.close()


async def test_87_requests_in_flight_fail_at_once_when_the_socket_dies(hub: ScriptedHub) -> None:
    client, caller = await pair(hub)
    pending = [asyncio.create_task(client.publish("a", 1)), asyncio.create_task(client.subscribe("b"))]
    await caller.hear("publish")
    await caller.hear("subscribe")
    caller.cut()
    async with asyncio.timeout(SAFETY):
        results = await asyncio.gather(*pending, return_exceptions=True)
    assert [type(result) for result in results] == [ConnectionLost, ConnectionLost]
    await client.close()


async def test_87_an_unanswered_request_times_out_and_the_connection_lives_on(hub: ScriptedHub) -> None:
    client, caller = await pair(hub, timeouts=Timeouts(ack=0.05))
    with pytest.raises(AckTimeout, match="publish to 'a'"):
        await client.publish("a", 1)
    await caller.ack(await caller.hear("publish"))
    sending = asyncio.create_task(client.send("b", 1))
    await caller.hear_and_ack("send")
    await sending
    await client.close()


async def test_a_cancelled_request_leaves_nothing_behind(hub: ScriptedHub) -> None:
    client, caller = await pair(hub)
    publishing = asyncio.create_task(client.publish("a", 1))
    frame = await caller.hear("publish")
    publishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await publishing
    await caller.ack(frame)
    sending = asyncio.create_task(client.send("b", 1))
    await caller.hear_and_ack("send")
    await sending
    await client.close()


async def test_names_and_payloads_are_checked_before_anything_is_sent(hub: ScriptedHub) -> None:
    client = client_of(hub)
    caller, _ = await asyncio.gather(hub.welcomed(maxMessageSize=10), client.connect())
    for name in ("", "a\nb", "x" * 257, "_Metered/x"):
        with pytest.raises(ValueError, match="channel name"):
            await client.publish(name, 1)
        with pytest.raises(ValueError, match="channel name"):
            await client.subscribe(name)
    with pytest.raises(ValueError, match="peer id"):
        await client.send("", 1)
    with pytest.raises(TypeError):
        await client.send("b", object())
    with pytest.raises(PayloadTooLarge, match="11 bytes"):
        await client.send("b", "x" * 9)
    sending = asyncio.create_task(client.send("b", "x" * 8))
    await caller.hear_and_ack("send")
    await sending
    await client.close()


async def test_a_request_without_a_connection_fails_or_waits_as_asked(hub: ScriptedHub) -> None:
    client, caller = await pair(hub)
    watch = Watch(client)
    caller.cut()
    await watch.until(Disconnected)
    with pytest.raises(NotConnected, match="tried again"):
        await client.publish("a", 1)
    caller = await hub.caller()
    with pytest.raises(NotConnected, match=r"within 0\.01 s"):
        await client.send("b", 1, when_disconnected="wait", deadline=0.01)
    waiting = [
        asyncio.create_task(client.publish("a", number, when_disconnected="wait", deadline=SAFETY))
        for number in range(3)
    ]
    await caller.welcome()
    heard = [await caller.hear_and_ack("publish") for _ in range(3)]
    assert [frame["data"] for frame in heard] == [0, 1, 2]
    await asyncio.gather(*waiting)
    await client.close()


async def test_whoever_waits_for_a_connection_hears_that_none_will_come(hub: ScriptedHub) -> None:
    client, caller = await pair(hub)
    watch = Watch(client)
    caller.cut()
    await watch.until(Disconnected)
    waiting = asyncio.create_task(client.publish("a", 1, when_disconnected="wait"))
    await (await hub.caller()).socket.close(4003)
    with pytest.raises(NotConnected, match="4003"):
        await waiting
    idle = client_of(hub)
    with pytest.raises(NotConnected, match="has not been connected"):
        await idle.publish("a", 1, when_disconnected="wait")


# -- events


async def test_an_unattended_inbox_delays_neither_acks_nor_heartbeats(hub: ScriptedHub) -> None:
    client, caller = await pair(hub, timeouts=Timeouts(inactivity=3.0))
    for number in range(2_000):
        await caller.say("message", channel="a", data=number, **{"from": "b"})
    publishing = asyncio.create_task(client.publish("a", 1))
    await caller.hear_and_ack("publish")
    await publishing
    await caller.hear("ping")
    watch = Watch(client)
    await watch.until(Connected)
    got = [await watch.next() for _ in range(2_000)]
    assert [bytes(event.data) for event in got if isinstance(event, MessageReceived)] == [
        str(number).encode() for number in range(2_000)
    ]
    await client.close()


async def test_a_burst_larger_than_the_inbox_reaches_a_program_that_takes_its_events(hub: ScriptedHub) -> None:
    """However many frames come in one read: the program has its turn before the inbox is full."""
    client, caller = await pair(hub, inbox=100)
    text = b'{"type":"direct","from":"b","data":1}'
    caller.socket.transport.write((bytes([0x81, len(text)]) + text) * 5_000)
    watch = Watch(client)
    for _ in range(5_000):
        await watch.until(DirectReceived)
    await client.close()


async def test_what_arrived_before_a_close_is_handed_on_before_it(hub: ScriptedHub) -> None:
    client, caller = await pair(hub, inbox=100)
    text = b'{"type":"direct","from":"b","data":1}'
    close = b"\x88\x05" + (1001).to_bytes(2, "big") + b"bye"
    caller.socket.transport.write((bytes([0x81, len(text)]) + text) * 300 + close)
    caller.socket.transport.close()
    watch = Watch(client)
    for _ in range(300):
        await watch.until(DirectReceived)
    assert (await watch.until(Disconnected)).code == 1001
    await client.close()


async def test_a_full_inbox_closes_the_connection_and_taking_from_it_brings_it_back(hub: ScriptedHub) -> None:
    client, caller = await pair(hub, inbox=10)
    for number in range(12):
        await caller.say("message", channel="a", data=number, **{"from": "b"})
    assert await caller.closed() == (1008, "the inbox is full: 10 events wait to be taken by the program")
    assert client.state is State.RECONNECTING
    assert hub.accepted == 1
    watch = Watch(client)
    event = await watch.until(Disconnected)
    assert event.code == 1008 and event.will_reconnect
    await hub.welcomed()
    await watch.until(Connected)
    await client.close()


async def test_a_second_consumer_is_told_that_there_can_be_one(hub: ScriptedHub) -> None:
    client, _caller = await pair(hub)
    watch = Watch(client)
    await watch.until(Connected)
    first, second = asyncio.create_task(watch.next()), asyncio.create_task(Watch(client).next())
    with pytest.raises(RuntimeError, match="one consumer"):
        await second
    await client.close()
    with pytest.raises(StopAsyncIteration):
        await first


# -- the end


async def test_93_close_from_within_the_consumer_ends_it_and_fails_what_is_in_flight(hub: ScriptedHub) -> None:
    client, caller = await pair(hub)
    pending = asyncio.create_task(client.publish("a", 1))
    await caller.hear("publish")
    await caller.say("direct", data=1, **{"from": "b"})
    await caller.say("direct", data=2, **{"from": "b"})
    seen = []
    async for event in client.events():
        seen.append(event)
        if isinstance(event, DirectReceived):
            await client.close()
    assert len(seen) == 2
    with pytest.raises(ConnectionLost, match="closed"):
        await pending
    assert (await caller.closed())[0] == 1000
    assert client.state is State.CLOSED and client.failure is None


async def test_93_close_takes_about_a_second_at_most_when_the_hub_does_not_answer(hub: ScriptedHub) -> None:
    """The hub's end reads nothing any more, so it never sees the goodbye."""
    client, caller = await pair(hub)
    caller.socket.transport.pause_reading()
    loop = asyncio.get_running_loop()
    before = loop.time()
    await client.close()
    assert loop.time() - before < 1.5
    caller.cut()


async def test_93_close_stops_a_reconnect_and_a_hanging_provider(hub: ScriptedHub) -> None:
    asked = asyncio.Event()

    async def provider() -> str:
        if asked.is_set() or hub.accepted == 0:
            return "token"
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    client, caller = await pair(hub, token_provider=provider)
    caller.cut()
    async with asyncio.timeout(SAFETY):
        await asked.wait()
    await client.close()
    assert client.state is State.CLOSED
    await client.close()
    assert hub.accepted == 1


async def test_93_close_while_connecting_fails_connect(hub: ScriptedHub) -> None:
    client = client_of(hub)
    connecting = asyncio.create_task(client.connect())
    await hub.caller()
    await client.close()
    with pytest.raises(NotConnected, match="closed while"):
        await connecting


async def test_93_no_task_or_timer_outlives_the_client(hub: ScriptedHub) -> None:
    client, caller = await pair(hub)
    caller.cut()
    caller = await hub.welcomed()
    await client.close()
    await caller.closed()
    await hub.stop()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not [task for task in left if "orchestrator" in repr(task)]
    assert client._driver.idle


# -- secrets


async def test_94_no_credential_is_printed_pickled_logged_or_raised(
    hub: ScriptedHub, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    told: list[str] = []
    asyncio.get_running_loop().set_debug(True)
    with capture_logs() as logs:
        for options in ({"api_key": "canary"}, {"token_provider": token("canary")}):
            client, caller = await pair(hub, **options)
            told.append(repr(client))
            with pytest.raises(TypeError) as refused:
                pickle.dumps(client)
            told.append(str(refused.value))
            with pytest.raises(TypeError):
                copy.deepcopy(client)
            await caller.socket.close(1008, "no: token=canary")
            await hub.welcomed()
            await client.close()
            told += [repr(value) for value in (*vars(client).values(), *vars(client._credentials).values())]
            failing = client_of(hub, **options)
            connecting = asyncio.create_task(failing.connect())
            await (await hub.caller()).socket.close(4001, "token=canary")
            with pytest.raises(TerminalDisconnect) as terminal:
                await connecting
            error: BaseException | None = terminal.value
            while error is not None:
                told.append(repr(error) + str(error))
                error = error.__cause__ or error.__context__
    told += [repr(entry) for entry in logs]
    told += [record.getMessage() for record in caplog.records if record.name != "websockets.server"]
    assert told
    assert not [text for text in told if "canary" in text]


async def test_94_a_provider_s_exception_is_told_by_its_type_alone(hub: ScriptedHub) -> None:
    async def provider() -> str:
        raise RuntimeError("canary")

    client = client_of(hub, token_provider=provider)
    with capture_logs() as logs, pytest.raises(TokenUnavailable, match="RuntimeError") as caught:
        await client.connect()
    assert "canary" not in repr(logs) + str(caught.value)
    assert caught.value.__cause__ is None and caught.value.__context__ is None


async def test_many_clients_cut_together_come_back_spread_out(hub: ScriptedHub) -> None:
    policy = ReconnectPolicy(initial=0.5)
    clients = [client_of(hub, reconnect=policy, rng=random.Random(seed)) for seed in range(20)]
    connecting = asyncio.gather(*(client.connect() for client in clients))
    callers = [await hub.welcomed() for _ in clients]
    await connecting
    for caller in callers:
        caller.cut()
    delays = [(await Watch(client).until(Disconnected)).delay for client in clients]
    assert len(set(delays)) == len(delays)
    assert max(delays) - min(delays) > 0.3
    await asyncio.gather(*(client.close() for client in clients))
    gc.collect()
