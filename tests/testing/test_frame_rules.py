"""Rules for single frames: decided on bytes alone, and between our client and the hub."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError
from websockets.frames import Frame, Opcode

from orchestrator.client.connection import Client
from orchestrator.client.effects import Timeouts
from orchestrator.client.events import Connected, Disconnected, MessageReceived
from orchestrator.client.policy import ReconnectPolicy
from orchestrator.errors import AckTimeout, ConnectionLost, TerminalDisconnect
from orchestrator.hub.keys import KeyRing
from orchestrator.hub.settings import Settings
from orchestrator.protocol.tokens import Claims, SecretKey, mint
from orchestrator.testing import ChaosProxy, CloseOnFrame, DelayFrame, DropFrame, DuplicateFrame
from orchestrator.testing.faults import stream
from orchestrator.testing.frame_gate import CutOff, FrameGate, Noted, Opening, Passed
from orchestrator.testing.frame_rules import RuleInForce
from tests.client.scripted import ScriptedHub
from tests.joined_servers import new_server
from tests.testing.far_end import SAFETY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from orchestrator.testing import FrameRule, ProxyEvent
    from orchestrator.testing.faults import Direction
    from orchestrator.testing.frame_gate import Outcome

KEY = SecretKey("sk_id_test", "sk_secret_" + "t" * 40, rate="unlimited")
REQUEST = b"GET /v1?token=x HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n"
RESPONSE = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"


# -- on bytes alone


class Gates:
    """Both gates of one connection, and what they noted."""

    def __init__(self, *rules: FrameRule, seed: int = 0) -> None:
        self.rules = {number: RuleInForce(rule) for number, rule in enumerate(rules, 1)}
        self.noted: list[Noted] = []
        opening = Opening()
        self.up = self._gate("upstream", opening, seed)
        self.down = self._gate("downstream", opening, seed)

    def _gate(self, way: Direction, opening: Opening, seed: int) -> FrameGate:
        return FrameGate(way, opening, self.rules, lambda number: stream(seed, number, way), self.noted.append)

    def open(self, request: bytes = REQUEST, response: bytes = RESPONSE) -> Gates:
        assert passed(self.up.feed(request)) == request
        assert passed(self.down.feed(response)) == response
        return self


def passed(outcomes: list[Outcome]) -> bytes:
    return b"".join(outcome.data for outcome in outcomes if isinstance(outcome, Passed))


def text(**fields: Any) -> bytes:
    return Frame(Opcode.TEXT, json.dumps(fields).encode()).serialize(mask=False)


ACK, MESSAGE = text(type="ack"), text(type="message", data=1)


@given(st.lists(st.integers(0, 400), max_size=8), st.booleans())
def test_without_a_rule_that_acts_every_byte_passes_in_order(cuts: list[int], ruled: bool) -> None:
    whole = RESPONSE + ACK + MESSAGE + ACK[:3]
    edges = [0, *sorted({at for at in cuts if at < len(whole)}), len(whole)]
    gates = Gates(*[DropFrame(type="nothing")] * ruled)
    gates.up.feed(REQUEST)
    got = b"".join(passed(gates.down.feed(whole[a:b])) for a, b in itertools.pairwise(edges))
    assert got == (whole[:-3] if ruled else whole)
    assert [noted.frame_type for noted in gates.noted] == ["ack", "message"]
    gates.rules.clear()
    assert got + passed(gates.down.release()) == whole
    assert passed(gates.down.feed(ACK[3:])) == ACK[3:]
    assert [noted.frame_type for noted in gates.noted] == ["ack", "message", "ack"]


@pytest.mark.parametrize("at", range(1, len(ACK)))
def test_a_rule_that_comes_in_the_middle_of_a_frame_leaves_that_frame_alone(at: int) -> None:
    gates = Gates().open()
    before = passed(gates.down.feed(ACK[:at]))
    gates.rules[1] = RuleInForce(DropFrame())
    assert before + passed(gates.down.feed(ACK[at:] + MESSAGE)) == ACK
    assert [noted.what for noted in gates.noted] == ["frame", "frame", "dropped"]


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        (DropFrame(nth=2), [0, 2, 3, 4, 5]),
        (DropFrame(every=2), [0, 2, 4]),
        (DropFrame(), []),
        (DropFrame(type="ack", nth=2), [0, 1, 3, 4, 5]),
        (DropFrame(type="message", every=3), [0, 1, 2, 3, 4]),
        (DropFrame(type="other"), [0, 1, 2, 3, 4, 5]),
        (DropFrame(opcode="ping"), [0, 1, 2, 3, 4, 5]),
        (DropFrame(opcode="text", nth=6), [0, 1, 2, 3, 4]),
        (DropFrame(direction="upstream"), [0, 1, 2, 3, 4, 5]),
        (DropFrame(probability=0.0), [0, 1, 2, 3, 4, 5]),
    ],
    ids=repr,
)
def test_which_frames_a_rule_means(rule: FrameRule, kept: list[int]) -> None:
    said = [text(type="message" if number % 2 else "ack", n=number) for number in range(6)]
    assert passed(Gates(rule).open().down.feed(b"".join(said))) == b"".join(said[number] for number in kept)


def test_frames_are_counted_over_all_connections_or_anew_for_each() -> None:
    for each, second in ((False, ACK), (True, b"")):
        one = Gates(DropFrame(nth=1, each_connection=each)).open()
        other = Gates()
        other.rules.update(one.rules)
        other.open()
        assert passed(one.down.feed(ACK)) == b""
        assert passed(other.down.feed(ACK)) == second


def test_the_first_rule_that_acts_wins_and_every_one_counts() -> None:
    gates = Gates(DropFrame(nth=1), DuplicateFrame(nth=2)).open()
    assert passed(gates.down.feed(ACK + MESSAGE)) == MESSAGE * 2


def test_the_same_seed_means_the_same_frames() -> None:
    frames = [text(type="ack", n=number) for number in range(40)]
    got = [
        passed(Gates(DropFrame(probability=0.5), seed=seed).open().down.feed(b"".join(frames))) for seed in (1, 1, 2)
    ]
    assert got[0] == got[1] != got[2]
    assert 0 < len(got[0]) < len(b"".join(frames))


def test_what_becomes_of_a_frame() -> None:
    delayed = Gates(DelayFrame(delay=2.0, nth=1)).open().down.feed(ACK + MESSAGE)
    assert delayed == [Passed(ACK, 2.0), Passed(MESSAGE)]
    assert Gates(DuplicateFrame(copies=2)).open().down.feed(ACK) == [Passed(ACK)] * 3
    rule = CloseOnFrame(how="fin", nth=2)
    assert Gates(rule).open().down.feed(ACK * 3) == [Passed(ACK), CutOff("fin", b"", repr(rule))]
    rule = CloseOnFrame(how=1012, deliver=True)
    assert Gates(rule).open().down.feed(ACK) == [CutOff("fin", ACK + b"\x88\x02\x03\xf4", repr(rule))]
    (cut,) = Gates(CloseOnFrame(how=1012)).open().up.feed(ACK)
    assert isinstance(cut, CutOff)
    assert cut.last == b"\x88\x82\0\0\0\0\x03\xf4"


@pytest.mark.parametrize(
    ("request_", "response"),
    [
        (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"),
        (REQUEST, b"HTTP/1.1 429 Too Many Requests\r\n\r\n"),
        (b"no HTTP at all" * 10_000, b"x" * 70_000),
    ],
)
def test_what_is_no_websocket_passes_under_every_rule(request_: bytes, response: bytes) -> None:
    gates = Gates(DropFrame()).open(request_, response)
    assert passed(gates.down.feed(ACK)) == ACK
    assert gates.noted == []


def test_a_frame_too_large_to_keep_passes_under_every_rule() -> None:
    gates = Gates(DropFrame()).open()
    large = Frame(Opcode.BINARY, b"x" * 2_000_000).serialize(mask=False)
    parts = [large[start : start + 50_000] for start in range(0, len(large), 50_000)]
    assert b"".join(passed(gates.down.feed(part)) for part in parts) == large
    assert passed(gates.down.feed(ACK)) == b""


# -- between the client and the hub


def note_types(events: tuple[ProxyEvent, ...], what: str) -> list[tuple[str | None, str | None]]:
    return [(event.direction, event.type or event.opcode) for event in events if event.what == what]


class Conversation:
    """A hub, a proxy before it, `a` through the proxy, and `b` directly."""

    def __init__(self, proxy: ChaosProxy, a: Client, b: Client) -> None:
        self.proxy, self.a, self.b = proxy, a, b


def client(url: str, sub: str, ack: float = SAFETY) -> Client:
    async def fresh() -> str:
        return mint(KEY, Claims(sub, int(time.time()) + 60))

    policy = ReconnectPolicy(initial=0.001)
    return Client(url, token_provider=fresh, reconnect=policy, timeouts=Timeouts(ack=ack))


@asynccontextmanager
async def conversation(ack: float = SAFETY) -> AsyncIterator[Conversation]:
    server = new_server(KeyRing([KEY]), Settings(snapshot_gap=0.0, drain_window=0.0, drain_grace=1.0))
    await server.start(socket.create_server(("127.0.0.1", 0)))
    try:
        async with asyncio.timeout(SAFETY):
            async with ChaosProxy(server.url) as proxy, client(proxy.url, "a", ack) as a, client(server.url, "b") as b:
                yield Conversation(proxy, a, b)
    finally:
        await server.drain()


async def next_of(client: Client, kind: type[Any]) -> Any:
    async for event in client.events():
        if isinstance(event, kind):
            return event
    raise AssertionError(f"the client ended before {kind.__name__}")


async def test_a_dropped_ack_is_missed_though_the_hub_has_done_it() -> None:
    async with conversation(ack=0.5) as talk:
        await talk.b.subscribe("x")
        talk.proxy.add(DropFrame(type="ack", direction="downstream", nth=1))
        with pytest.raises(AckTimeout):
            await talk.a.publish("x", 1)
        assert bytes((await next_of(talk.b, MessageReceived)).data) == b"1"
        assert await talk.a.publish("x", 2) == 1
        assert note_types(talk.proxy.events, "dropped") == [("downstream", "ack")]


async def test_a_duplicated_frame_arrives_twice_either_way() -> None:
    async with conversation() as talk:
        await talk.a.subscribe("x")
        with talk.proxy.fault(DuplicateFrame(type="message")):
            await talk.b.publish("x", "once")
            assert [bytes((await next_of(talk.a, MessageReceived)).data) for _ in range(2)] == [b'"once"'] * 2
        await talk.b.subscribe("y")
        with talk.proxy.fault(DuplicateFrame(type="publish", direction="upstream")):
            await talk.a.publish("y", "again")
        assert [bytes((await next_of(talk.b, MessageReceived)).data) for _ in range(2)] == [b'"again"'] * 2


async def test_a_delayed_frame_holds_back_those_behind_it() -> None:
    async with conversation() as talk:
        await talk.a.subscribe("x")
        with talk.proxy.fault(DelayFrame(type="message", delay=0.05, nth=1)):
            await talk.b.publish("x", 1)
            delayed = await talk.proxy.seen(lambda event: event.what == "delayed")
            await talk.b.publish("x", 2)
            got = [bytes((await next_of(talk.a, MessageReceived)).data) for _ in range(2)]
            assert got == [b"1", b"2"]
            assert asyncio.get_running_loop().time() >= delayed.time + 0.05


@pytest.mark.parametrize("how", ["reset", "fin", 1012])
async def test_a_connection_that_ends_on_a_frame_comes_back(how: Any) -> None:
    async with conversation() as talk:
        await talk.a.subscribe("x")
        talk.proxy.add(CloseOnFrame(type="publish", how=how, nth=2))
        assert await talk.a.publish("x", 1) == 0
        with pytest.raises(ConnectionLost):
            await talk.a.publish("x", 2)
        while not (await next_of(talk.a, Connected)).resumed:
            pass
        assert await talk.a.publish("x", 3) == 0
        assert talk.proxy.accepted == 2


async def test_a_close_code_reaches_the_client() -> None:
    async with conversation() as talk:
        talk.proxy.add(CloseOnFrame(type="ack", direction="downstream", how=4003))
        with pytest.raises(ConnectionLost):
            await talk.a.publish("x", 1)
        gone = await next_of(talk.a, Disconnected)
        assert (gone.code, gone.will_reconnect) == (4003, False)
        assert isinstance(talk.a.failure, TerminalDisconnect)


async def test_control_frames_are_meant_by_their_opcode() -> None:
    async with ScriptedHub() as hub, ChaosProxy(hub.url, faults=[DropFrame(opcode="ping", nth=1)]) as proxy:
        async with connect(proxy.url, compression=None, proxy=None) as ours:
            await hub.caller()
            await ours.ping()
            answered = await ours.ping()
            async with asyncio.timeout(SAFETY):
                await answered
            dropped, pong = note_types(proxy.events, "dropped"), note_types(proxy.events, "frame")[-1]
            assert (dropped, pong) == ([("upstream", "ping")], ("downstream", "pong"))
            proxy.add(CloseOnFrame(opcode="ping", how=1001))
            await ours.ping()
            with pytest.raises(ConnectionClosedError):
                async with asyncio.timeout(SAFETY):
                    await ours.recv()


async def test_compressed_frames_pass_and_rules_by_type_say_that_they_cannot_act() -> None:
    from websockets.asyncio.server import serve

    async def echo(socket: Any) -> None:
        async for message in socket:
            await socket.send(message)

    async with serve(echo, "127.0.0.1", 0) as server:
        target = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with ChaosProxy(target, faults=[DropFrame(type="ack")]) as proxy:
            async with connect(proxy.url, proxy=None) as ours:
                said = json.dumps({"type": "ack", "text": "x" * 100})
                await ours.send(said)
                async with asyncio.timeout(SAFETY):
                    assert await ours.recv() == said
                    unreadable = await proxy.seen(lambda event: event.what == "unreadable")
                assert "switch compression off" in unreadable.detail
                with pytest.raises(ValueError, match=r"type='publish'.*agreed on compression"):
                    proxy.add(DropFrame(type="publish"))
                proxy.add(DropFrame(opcode="text", nth=1))
                await ours.send("dropped")
                await ours.send("kept")
                assert await ours.recv() == "kept"


def test_encrypted_frames_have_no_rules() -> None:
    with pytest.raises(ValueError, match="frames to wss://localhost:443 are encrypted"):
        ChaosProxy("wss://localhost").add(DropFrame())


async def test_the_log_holds_no_credential() -> None:
    async with conversation() as talk:
        await talk.a.publish("x", "words of mine")
        logged = repr(talk.proxy.events)
        assert "publish" in logged
        assert not any(secret in logged for secret in ("eyJ", "token", "words of mine"))
