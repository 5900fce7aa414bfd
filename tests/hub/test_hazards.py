"""What the world does to a hub, each time under its number (hazards 8, 18, 23, 25, 26, 34, 38, 42, 49, 50 and 55)."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from orchestrator.hub.rosters import Reason
from orchestrator.hub.settings import Settings
from orchestrator.protocol.codes import CloseCode
from tests.hub.rig import Peer, Rig
from tests.hub.sockets import TEXT, frame, on_both_loops, raw, raw_peer, server, token, upgrade
from tests.interop.hub_process import HubProcess, hub_process

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


async def test_hazard_8_heads_and_urls_of_any_size_get_their_status_and_no_url_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    rng = random.Random(8)
    canary = "canary-in-the-url"
    async with server(Settings(handshake_timeout=0.5, drain_grace=0.5)) as hub:
        for _ in range(60):
            url, field = rng.choice((10, 24_000, 24_700, 40_000)), rng.choice((10, 5_000, 33_000))
            target = rng.choice(("/v1?token=", "/v2?x=", "/")) + canary + "x" * url
            async with raw(hub.url) as connection:
                connection.send(upgrade(target, f"X: {'y' * field}"))
                status, _ = await connection.head()
            if url > 24_576:
                assert status == 414
            elif field > 32_768 or url + field > 32_768:
                assert status == 431
            else:
                assert status in (101, 404)
    assert canary not in "\n".join(r.getMessage() for r in caplog.records if not r.name.startswith("websockets"))


@on_both_loops
async def test_hazard_18_compression_is_not_agreed_to_and_a_compressed_frame_ends_the_connection() -> None:
    async with server() as hub, raw(hub.url) as peer:
        offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
        peer.send(upgrade(f"/v1?token={token('a')}", offer))
        status, head = await peer.head()
        assert status == 101
        assert b"extensions" not in head.lower()
        assert (await peer.message())["type"] == "welcome"
        peer.send(frame(TEXT, b"\x00" * 1_000, reserved=4))
        assert await peer.close_code() == CloseCode.PROTOCOL_ERROR


def test_hazard_23_of_what_is_there_twice_the_last_counts_and_nobody_downstream_can_read_it_otherwise() -> None:
    rig = Rig()
    a, b = rig.connect("a"), rig.connect("b")
    b.join("y")
    a.send(
        b'{"type":"ping","type":"publish","channel":"x","channel":"y","requestId":"1","requestId":"2",'
        b'"data":0,"data":{"k":1,"k":2},"from":"z","from":"w"}'
    )
    assert [answer["requestId"] for answer in a.new() if answer["type"] == "ack"] == ["2"]
    assert b.writes[-1][1] == [b'{"type":"message","channel":"y","from":"a","data":{"k":1,"k":2}}']


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
KINDS = ("subscribe", "unsubscribe", "publish", "send", "ping")
FIELDS = st.dictionaries(
    st.sampled_from(["channel", "to", "data", "requestId", "includeSenderMetadata", "id", "from"]), ANYTHING
)


@given(st.lists(st.tuples(st.sampled_from(KINDS) | ANYTHING, FIELDS), max_size=20))
@settings(max_examples=100, deadline=None)
def test_hazard_25_fields_of_any_type_are_answered_by_typed_errors_and_never_by_a_fault(
    frames: list[tuple[Any, dict[str, Any]]],
) -> None:
    rig = Rig()
    peer = rig.connect("a")
    for kind, fields in frames:
        peer.send({"type": kind, **fields})
    rig.advance(0.1)
    assert rig.faults == []
    assert peer.code() is None
    assert not [answer for answer in peer.all() if answer.get("code") == "internal_error"]


def test_hazard_26_types_and_fields_from_the_future_are_named_or_passed_over() -> None:
    rig = Rig()
    a, b = rig.connect("a"), rig.connect("b")
    b.join("x")
    assert a.ask("history", channel="x", since=0)["code"] == "unknown_type"
    assert a.ask("publish", channel="x", data=1, ttl=5, priority={"of": ["a"]}, v=2)["type"] == "ack"
    assert b.new() == [{"type": "message", "channel": "x", "from": "a", "data": 1}]
    assert a.code() is None


@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.bars)])
def test_hazard_34_every_token_ends_within_a_second_before_its_time(count: int) -> None:
    rig, rng = Rig(), random.Random(34)
    peers = [rig.connect(f"p{n}", life=rng.randrange(2, 21)) for n in range(count)]
    ends = [peer.all()[0]["expiresAt"] for peer in peers]
    living = list(range(len(peers)))
    while living:
        rig.advance(0.05)
        still = []
        for at in living:
            if peers[at].code() is None:
                still.append(at)
                assert rig.wall < ends[at]
            else:
                assert peers[at].code() == CloseCode.TOKEN_EXPIRED
                assert ends[at] - 1.0 <= rig.wall <= ends[at]
        living = still
    assert list(rig.hub.connections()) == []


def test_hazard_38_names_are_never_normalised() -> None:
    names = [
        "a/b",
        "a//b",
        "a/./b",
        "a/../b",
        "A/b",
        "a%2fb",
        "a%2Fb",
        "a\\/b",
        "a\\",
        "a\\\\",
        "a",
        "a/",
        " a",
        "\u00e9",
        "e\u0301",
    ]
    rig = Rig()
    speaker = rig.connect("speaker")
    listeners = [rig.connect(f"p{n}") for n in range(len(names))]
    for listener, name in zip(listeners, names, strict=True):
        listener.join(name)
    for name in names:
        assert speaker.ask("publish", channel=name, data=name)["receivers"] == 1
    for listener, name in zip(listeners, names, strict=True):
        assert [(message["channel"], message["data"]) for message in listener.new()] == [(name, name)]


@pytest.mark.one_hub("it looks into the hub at every instant, and hubs agree a moment later")
def test_hazard_42_of_a_thousand_connects_under_one_id_exactly_one_owns_it_at_every_instant() -> None:
    rig, rng = Rig(), random.Random(42)
    watcher = rig.connect("w")
    watcher.join("x")
    peers: list[Peer] = []
    for n in range(1_000):
        peer = rig.connect("a", instance=f"i{rng.randrange(5)}")
        peers.append(peer)
        app = rig.hub.app("default")
        assert app is not None
        assert list(app.peers["a"]) == [peer.connection]
        if n % 10 == 0:
            peer.join("x")
        assert sum(held.code() is None for held in peers[-20:]) == 1
    assert {peer.code() for peer in peers[:-1]} == {CloseCode.NORMAL, CloseCode.ADMIN_DISCONNECT}
    present = False
    for change in watcher.all():
        for _ in change.get("joined", ()):
            assert not present
            present = True
        for _ in change.get("left", ()):
            assert present
            present = False


def test_hazard_49_a_peer_that_is_gone_has_left_in_the_same_turn_however_it_went() -> None:
    for reason in (Reason.LEFT, Reason.LOST):
        rig = Rig()
        watcher, peer = rig.connect("w"), rig.connect("g")
        watcher.join("x")
        peer.join("x")
        watcher.new()
        peer.leave(reason)
        assert watcher.new() == [
            {"type": "presence", "channel": "x", "joined": [], "left": [{"peerId": "g", "reason": reason.value}]}
        ]
        assert watcher.writes[-1][0] == rig.now
        assert rig.hub.roster("default", "x") == [b'{"peerId":"w"}']


@on_both_loops
async def test_hazard_49_a_close_and_a_reset_are_told_without_waiting_for_any_timer() -> None:
    slow = Settings(ping_interval=3_600.0, ping_timeout=3_600.0, drain_grace=0.5)
    async with server(slow) as hub, raw_peer(hub.url, "w") as watcher:
        watcher.say({"type": "subscribe", "channel": "x"})
        assert (await watcher.message())["type"] == "presence"
        for how in ("close", "reset"):
            async with raw_peer(hub.url, how) as ghost:
                ghost.say({"type": "subscribe", "channel": "x"})
                assert (await watcher.message())["joined"] == [{"peerId": how}]
                if how == "close":
                    ghost.send(frame(0x8, b"\x03\xe8"))
                else:
                    ghost.writer.transport.abort()
                assert [entry["peerId"] for entry in (await watcher.message())["left"]] == [how]


def test_hazard_50_joins_and_leaves_alternate_and_never_contradict_a_roster() -> None:
    rig, rng = Rig(), random.Random(50)
    watchers = [rig.connect(f"w{n}", peer_metadata=None) for n in range(3)]
    seen: list[set[str] | None] = [None] * len(watchers)
    movers: list[Peer] = [rig.connect(f"m{n % 4}") for n in range(8)]
    for _ in range(3_000):
        at = rng.randrange(11)
        if at >= 8:
            watchers[at - 8].send({"type": "subscribe", "channel": "x", "requestId": "again"})
        elif rng.random() < 0.1:
            movers[at].leave(rng.choice((Reason.LEFT, Reason.LOST)))
            movers[at] = rig.connect(f"m{at % 4}")
        else:
            movers[at].send({"type": rng.choice(("subscribe", "unsubscribe")), "channel": "x"})
        for peer in (*watchers, *movers):
            peer.send(b'{"type":"ping"}')
        rig.advance(rng.choice((0.1, 0.1, 0.01)))
        for n, watcher in enumerate(watchers):
            seen[n] = folded(watcher.new(), seen[n])
    rig.advance(1.0)
    truth = {json.loads(entry)["peerId"] for entry in rig.hub.roster("default", "x")}
    for n, watcher in enumerate(watchers):
        assert folded(watcher.new(), seen[n]) == truth - {f"w{n}"}


def folded(frames: list[dict[str, Any]], roster: set[str] | None) -> set[str] | None:
    """Return the roster after `frames`; the first presence after an ack is a whole one, `None` stands for its lack."""
    for message in frames:
        if message["type"] == "ack":
            roster = None
        elif message["type"] == "presence":
            joined = [entry["peerId"] for entry in message["joined"]]
            left = [entry["peerId"] for entry in message["left"]]
            if roster is None:
                assert left == []
                roster = set(joined)
                continue
            assert not roster & set(joined)
            assert set(left) <= roster
            roster = (roster | set(joined)) - set(left)
    return roster


async def test_hazard_55_a_drain_under_load_loses_nothing_that_was_acked_and_exits_0(tmp_path: Path) -> None:
    async with asyncio.timeout(30), hub_process(tmp_path / "keys.yaml", "127.0.0.1:0", "--drain-window", "1") as hub:
        sinks = [await opened(hub, f"sink{n}") for n in range(8)]
        sources = [await opened(hub, f"source{n}") for n in range(8)]
        received: list[set[str]] = [set() for _ in sinks]
        acked: list[set[str]] = [set() for _ in sources]
        loaded = asyncio.Event()
        tasks = [asyncio.create_task(taken(sink, received[n])) for n, sink in enumerate(sinks)]
        tasks += [asyncio.create_task(told(source, n, acked[n], loaded)) for n, source in enumerate(sources)]
        await loaded.wait()
        loop = asyncio.get_running_loop()
        started = loop.time()
        assert await hub.stop() == 0
        assert loop.time() - started < 15.0
        assert await asyncio.gather(*tasks) == [True] * 16, "everybody was told that the hub is going away"
        for client in (*sinks, *sources):
            assert client.close_code == CloseCode.GOING_AWAY
        assert sum(map(len, acked)) >= 100
        for n in range(8):
            assert acked[n] <= received[n]


async def opened(hub: HubProcess, sub: str) -> ClientConnection:
    client = await connect(f"{hub.url}/v1?token={hub.token(sub, rate='unlimited')}", max_queue=None)
    assert json.loads(await client.recv())["type"] == "welcome"
    return client


async def taken(client: ClientConnection, received: set[str]) -> bool:
    """Collect what arrives until the end; tell whether the hub said goodbye."""
    goodbye = False
    async for text in client:
        message = json.loads(text)
        if message["type"] == "direct":
            received.add(message["data"])
        goodbye = goodbye or message["type"] == "going_away"
    return goodbye


async def told(client: ClientConnection, number: int, acked: set[str], loaded: asyncio.Event) -> bool:
    """Send, twenty messages under way at a time, and collect what is acked until the end; tell of the goodbye."""
    goodbye, sent = False, 0
    window = 20
    try:
        while True:
            while sent < len(acked) + window:
                name = f"{number}-{sent}"
                sent += 1
                try:
                    await client.send(
                        json.dumps({"type": "send", "to": f"sink{number}", "data": name, "requestId": name})
                    )
                except ConnectionClosed:
                    window = 0  # what has arrived before the end is still to be read
            message = json.loads(await client.recv())
            if message["type"] == "ack":
                acked.add(message["requestId"])
            goodbye = goodbye or message["type"] == "going_away"
            if len(acked) >= 100:
                loaded.set()
    except ConnectionClosed:
        return goodbye
