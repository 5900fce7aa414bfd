"""What a network, a hub, a program and its token provider can do to a client, and what it makes of that."""

from __future__ import annotations

import asyncio
import random
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Raw

from orchestrator.client.connection import Client
from orchestrator.client.effects import Attempt, State, Timeouts
from orchestrator.client.events import Connected, DirectReceived, MessageReceived, PresenceReceived, TokenFailed
from orchestrator.client.policy import ReconnectPolicy
from orchestrator.client.session import Session
from tests.client.rig import Rig
from tests.client.scripted import SAFETY, ScriptedHub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from orchestrator.client.events import ClientEvent


@pytest.fixture
async def hub() -> AsyncIterator[ScriptedHub]:
    async with ScriptedHub() as hub:
        yield hub


# -- programs


async def test_hazard_14_a_handler_that_sleeps_delays_neither_heartbeats_nor_acks(hub: ScriptedHub) -> None:
    """It has not come back when the hub, which says nothing by itself, has been asked for several signs of life."""
    client = Client(hub.url, api_key="pk_live_abc", timeouts=Timeouts(inactivity=3.0), inbox=100)
    caller, _ = await asyncio.gather(hub.welcomed(), client.connect())
    asleep, awake, all_handled = asyncio.Event(), asyncio.Event(), asyncio.Event()
    handled: list[int] = []

    async def program() -> None:
        async for event in client.events():
            if isinstance(event, DirectReceived):
                asleep.set()
                await awake.wait()
                handled.append(int(bytes(event.data)))
                if len(handled) == 51:
                    all_handled.set()

    running = asyncio.create_task(program())
    for number in range(50):
        await caller.say("direct", data=number, **{"from": "b"})
    async with asyncio.timeout(2 * SAFETY):
        await asleep.wait()
        for _ in range(3):
            assert (await caller.hear())["type"] == "ping"
            publishing = asyncio.create_task(client.publish("x", 1))
            await caller.hear_and_ack("publish")
            await publishing
    assert handled == [] and client.state is State.CONNECTED and hub.accepted == 1
    awake.set()
    await caller.say("direct", data=50, **{"from": "b"})
    async with asyncio.timeout(SAFETY):
        await all_handled.wait()
    assert handled == list(range(51))
    await client.close()
    await running


# -- the network

WORDS: list[tuple[str, dict[str, Any]]] = [
    ("welcome", {"peerId": "another", "serverTime": 1, "maxMessageSize": 7}),
    ("ack", {"requestId": "1"}),
    ("ack", {"requestId": "2"}),
    ("error", {"requestId": "2", "code": "internal_error", "message": "no"}),
    ("error", {"code": "internal_error", "message": "no"}),
    ("message", {"channel": "x", "from": "b", "data": 1}),
    ("direct", {"from": "b", "data": 1}),
    ("presence", {"channel": "x", "joined": [{"peerId": "b"}], "left": []}),
    ("going_away", {"retryAfterMs": 60_000}),
    ("pong", {}),
]


def seen_of(session: Session) -> tuple[Any, ...]:
    """Everything that a frame may change."""
    waiting = tuple(session.inbox)
    return waiting, session.state, session.peer_id, session.max_message_size, session.deadline(), session.exchange.open


@pytest.mark.parametrize("state", ["waiting", "dialing", "connected", "closed"])
def test_hazard_16_nothing_of_an_old_socket_is_ever_processed_on_a_new_one(state: str) -> None:
    """Structural: frames come with the epoch of their socket, and one of another epoch reaches nothing."""
    rig = Rig(ReconnectPolicy(initial=0.1)).start().welcome()
    for _ in range(3):
        rig.session.subscribe("x", False, rig.now)
        rig.lose()
        rig.pass_time(1.0)
        rig.welcome()
    rig.lose()
    if state != "waiting":
        rig.pass_time(1.0)
        rig.dial()
    if state == "connected":
        rig.welcome()
        rig.session.publish("x", Raw(b"1"), rig.now)
    if state == "closed":
        rig.take(rig.session.close())
    before, now = seen_of(rig.session), rig.now + 0.01
    old = range(rig.epoch - 3, rig.epoch if state in ("dialing", "connected") else rig.epoch + 1)
    assert len(old) >= 3
    for epoch in old:
        for kind, fields in WORDS:
            assert rig.hear_on(epoch, kind, **fields) == [], (epoch, kind)
        assert list(rig.session.lost(epoch, 4001, "late", now)) == []
        assert list(rig.session.opened(epoch, now)) == []
        assert list(rig.session.token_failed(epoch, "late", now)) == []
        assert not rig.session.dialing(epoch, now)
    assert seen_of(rig.session) == before


# -- what a hub may say

DEEP = 100_000


def lists(depth: int) -> str:
    return "[" * depth + "]" * depth


def objects(depth: int) -> str:
    return '{"":' * depth + "1" + "}" * depth


NESTED = [
    '{"type":"message","channel":"x","from":"b","data":%s}',
    '{"type":"direct","from":"b","data":%s}',
    '{"type":"direct","from":"b","data":1,"fromMetadata":{"a":%s}}',
    '{"type":"presence","channel":"x","joined":[{"peerId":"b","metadata":{"a":%s}}],"left":[]}',
    '{"type":"presence","channel":"x","joined":%s,"left":[]}',
    '{"type":"ack","requestId":"9","extra":%s}',
    '{"type":"error","code":%s}',
    '{"type":"welcome","peerId":"me","serverTime":1,"maxMessageSize":9,"metadata":{"a":%s}}',
    '{"type":"unheard of","more":%s}',
    '{"type":%s}',
    "%s",
]


@pytest.mark.parametrize("nest", [lists, objects])
@pytest.mark.parametrize("depth", [500, 1_000, 2_000, DEEP])
async def test_hazard_21_nesting_is_survived_on_the_connection_it_came_on(
    hub: ScriptedHub, nest: Any, depth: int
) -> None:
    client = Client(hub.url, api_key="pk_live_abc")
    caller, _ = await asyncio.gather(hub.welcomed(), client.connect())
    for number, form in enumerate(NESTED):
        await caller.socket.send(form % nest(depth))
        await caller.socket.send(form % nest(depth)[:-1])
        await caller.say("direct", data=number, **{"from": "the sentinel"})
    heard: list[ClientEvent] = []
    events = client.events()
    async with asyncio.timeout(4 * SAFETY):
        while len([event for event in heard if is_sentinel(event)]) < len(NESTED):
            heard.append(await anext(events))
    others = [event for event in heard if not is_sentinel(event)]
    assert all(isinstance(event, Connected | MessageReceived | DirectReceived | PresenceReceived) for event in others)
    assert client.state is State.CONNECTED and hub.accepted == 1
    await client.close()


def is_sentinel(event: ClientEvent) -> bool:
    return isinstance(event, DirectReceived) and event.sender == "the sentinel"


async def test_hazard_21_a_welcome_too_deep_to_be_read_is_waited_for_no_longer_than_any_other(
    hub: ScriptedHub,
) -> None:
    client = Client(
        hub.url,
        api_key="pk_live_abc",
        daemon=True,
        reconnect=ReconnectPolicy(initial=0.0),
        timeouts=Timeouts(welcome=0.2),
    )
    connecting = asyncio.create_task(client.connect())
    await (await hub.caller()).socket.send(NESTED[7] % lists(DEEP))
    await hub.welcomed()
    async with asyncio.timeout(SAFETY):
        await connecting
    await client.close()


# -- the token provider


@pytest.mark.parametrize("welcomed_before", [True, False])
@pytest.mark.parametrize("how", ["throws or returns junk", "hangs"])
def test_hazard_57_a_provider_that_fails_is_asked_again_at_jittered_and_growing_intervals(
    how: str, welcomed_before: bool
) -> None:
    """Never in a tight loop, whether it fails at once or after its ten seconds, and told from the third time on."""
    rig = Rig(ReconnectPolicy(max_attempts=None), random.Random(5), daemon=True).start()
    if welcomed_before:
        rig.welcome()
        rig.lose()
        rig.pass_time(1.0)
    asked: list[float] = []
    while len(asked) < 60:
        asked.append(rig.now)
        before = len(rig.effects)
        if how == "hangs":
            rig.pass_time(10.0)
        else:
            rig.take(rig.session.token_failed(rig.epoch, "the token provider raised OSError", rig.now))
        while not any(isinstance(effect, Attempt) for effect in rig.effects[before:]):
            due = rig.session.deadline()
            assert due is not None
            rig.pass_time(due - rig.now)
    pauses = [after - since for since, after in pairwise(asked)]
    assert min(pauses) > 0.3 and len({round(pause, 6) for pause in pauses}) == len(pauses)
    assert max(pauses) > 15.0
    assert all(asked[n + 12] - asked[n] >= 60.0 for n in range(len(asked) - 12))
    failures = [event.failures for event in rig.session.inbox if isinstance(event, TokenFailed)]
    assert failures == list(range(3, 61))
    assert rig.session.state is (State.RECONNECTING if welcomed_before else State.CONNECTING)
