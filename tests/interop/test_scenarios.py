"""What every client does with a hub: one suite over this package's client and both stock SDKs (§21.95)."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.interop.environments import CLIENTS
from tests.interop.hub_process import PAGE_KEY, HubProcess, hub_process, reserved_address
from tests.interop.programs import Peer, Programs, Refused

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.asyncio(loop_scope="module")

EVERY_KIND: Final[tuple[Any, ...]] = (
    None,
    True,
    False,
    0,
    -1,
    2**53 - 1,
    1.5,
    -2.5e-7,
    "",
    "text",
    "größer, 日本語, \u2028, 👩\u200d👩\u200d👧, e\u0301",
    "a NUL \u0000 and a bell \u0007",
    [],
    [1, [2, [3, []]], None],
    {},
    {"größe": {"💡": [None, {"": False}]}},
    {"type": "rtc-description", "description": {"type": "offer", "sdp": "v=0\r\na=ice-pwd:x\r\n"}},
    {"__meteredTrackMeta": {"trackId": "t", "metadata": {"kind": "camera"}}},
)
LARGEST: Final = "x" * (65_536 - len('""'))
"""A payload of exactly the advertised 65,536 bytes as JSON."""

every_client = pytest.mark.parametrize("client", CLIENTS)


def same(one: object, other: object) -> bool:
    """Compare as JSON does, for which `True` is not 1."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


async def refusal(request: Any) -> int | str:
    with pytest.raises(Refused) as refused:
        await request
    return refused.value.code


@every_client
async def test_1_2_3_both_credentials_connect_under_every_name_of_this_machine(
    hub: HubProcess, programs: Programs, client: str
) -> None:
    port = hub.url.rpartition(":")[2]
    async with programs.running(client) as program:
        for host in ("localhost", "127.0.0.1"):
            peer = await program.open(host, f"ws://{host}:{port}", token=hub.token(f"me at {host}%/+"))
            connected = await peer.next("connected")
            assert (connected["peer_id"], connected["max_message_size"]) == (f"me at {host}%/+", 65_536)
            assert connected["expires_at"] > 0 and connected["resumed"] is False
        ids = set()
        for name in ("k", "l"):
            peer = await program.open(name, hub.url, api_key=PAGE_KEY)
            connected = await peer.next("connected")
            assert (len(connected["peer_id"]), connected["expires_at"]) == (36, None)
            ids.add(connected["peer_id"])
        assert len(ids) == 2


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
async def test_1_a_hub_on_ipv6_is_reached(tmp_path: Path, programs: Programs) -> None:
    async with hub_process(tmp_path / "keys.yaml", "[::1]:0") as hub:
        assert hub.url.startswith("ws://[::1]:")
        for client in CLIENTS:
            async with programs.running(client) as program:
                peer = await program.open("a", hub.url, token=hub.token("a"))
                assert (await peer.next("connected"))["peer_id"] == "a"


@every_client
async def test_5_a_refused_token_reaches_the_client_with_its_code(
    hub: HubProcess, programs: Programs, client: str
) -> None:
    async with programs.running(client) as program:
        assert await refusal(program.open("a", hub.url, token=hub.token("a") + "x")) == 4001


@every_client
async def test_29_31_32_36_every_kind_of_data_arrives_unchanged_by_publish(
    hub: HubProcess, programs: Programs, client: str
) -> None:
    async with programs.running(client) as program:
        a = await program.open("a", hub.url, token=hub.token("a", peer_metadata={"name": "A"}))
        b = await program.open("b", hub.url, token=hub.token("b"))
        c = await program.open("c", hub.url, token=hub.token("c"))
        await a.subscribe("team/42", metadata=True)
        await b.subscribe("team/42", metadata=True)
        await c.subscribe("team/*")
        for data in (*EVERY_KIND, LARGEST):
            await a.publish("team/42", data)
            for receiver, metadata in ((b, {"name": "A"}), (c, None)):
                message = await receiver.next("message")
                assert same(message["data"], data)
                assert (message["channel"], message["from"], message["metadata"]) == ("team/42", "a", metadata)
        await b.publish("team/42", "from b")
        assert (await a.next("message"))["data"] == "from b", "its own messages did not come back to it"


@every_client
async def test_36_37_43_every_kind_of_data_arrives_unchanged_by_send(
    hub: HubProcess, programs: Programs, client: str
) -> None:
    async with programs.running(client) as program:
        a = await program.open("a", hub.url, token=hub.token("a", peer_metadata={"name": "A"}))
        b = await program.open("b", hub.url, token=hub.token("b", channels=()))
        for data in (*EVERY_KIND, LARGEST):
            await a.send("b", data)
            direct = await b.next("direct")
            assert same(direct["data"], data)
            assert (direct["from"], direct["metadata"]) == ("a", {"name": "A"})


@every_client
async def test_28_38_what_is_refused_has_its_code_and_leaves_the_connection_open(
    hub: HubProcess, programs: Programs, client: str
) -> None:
    async with programs.running(client) as program:
        a = await program.open("a", hub.url, token=hub.token("a", channels=("x",)))
        mute = await program.open("mute", hub.url, token=hub.token("mute", permissions=frozenset({"presence"})))
        assert await refusal(a.subscribe("other")) == "channel_not_authorized"
        assert await refusal(a.publish("other", 1)) == "channel_not_authorized"
        assert await refusal(a.send("nobody", 1)) == "peer_not_found"
        assert await refusal(a.publish("x*", 1)) == "invalid_channel"
        assert await refusal(mute.subscribe("x")) == "action_not_permitted"
        assert await refusal(mute.send("a", 1)) == "action_not_permitted"
        await a.subscribe("x")
        await mute.unsubscribe("never subscribed")
        assert not [event for event in (*a.told, *mute.told) if event["event"] in ("disconnected", "server_error")]


@every_client
async def test_52_data_nested_too_deeply_is_refused_at_once(hub: HubProcess, programs: Programs, client: str) -> None:
    """Hazard 21: without the request's id in the answer the SDKs would wait 15 s for another one."""
    deepest: object = 1
    for _ in range(63):
        deepest = [deepest]
    async with programs.running(client) as program:
        a = await program.open("a", hub.url, token=hub.token("a"))
        await a.send("a", deepest)
        assert same((await a.next("direct"))["data"], deepest)
        async with asyncio.timeout(10):
            assert await refusal(a.send("a", [deepest])) == "malformed_message"


@every_client
async def test_19_20_44_47_49_presence_tells_who_is_there_who_joins_and_who_leaves(
    hub: HubProcess, programs: Programs, client: str
) -> None:
    async with programs.running(client) as program:
        a = await program.open("a", hub.url, token=hub.token("a", peer_metadata={"name": "A"}))
        b = await program.open("b", hub.url, token=hub.token("b"))
        await a.subscribe("team")
        assert_presence(await a.next("presence"), joined={}, left=[])
        await b.subscribe("team")
        assert_presence(await b.next("presence"), joined={"a": {"name": "A"}}, left=[])
        assert_presence(await a.next("presence"), joined={"b": None}, left=[])
        await b.unsubscribe("team")
        assert_presence(await a.next("presence"), joined={}, left=["b"])
        await b.subscribe("team")
        assert_presence(await a.next("presence"), joined={"b": None}, left=[])
        await b.close()
        assert_presence(await a.next("presence"), joined={}, left=["b"])


def assert_presence(event: dict[str, Any], joined: dict[str, object], left: list[str]) -> None:
    assert event["channel"] == "team"
    assert {entry["peer_id"]: entry["metadata"] for entry in event["joined"]} == joined
    assert event["left"] == left


@every_client
async def test_39_44_45_two_connections_of_one_peer_are_one_peer_to_the_others(
    hub: HubProcess, programs: Programs, client: str
) -> None:
    async with programs.running(client) as program:
        token = hub.token("twin")
        watcher = await program.open("watcher", hub.url, token=hub.token("watcher"))
        await watcher.subscribe("team")
        assert_presence(await watcher.next("presence"), joined={}, left=[])
        first = await program.open("first", hub.url, token=token)
        second = await program.open("second", hub.url, token=token)
        await first.subscribe("team")
        assert_presence(await watcher.next("presence"), joined={"twin": None}, left=[])
        await second.subscribe("team")
        assert_presence(await second.next("presence"), joined={"watcher": None}, left=[])

        await watcher.send("twin", "to both")
        for connection in (first, second):
            assert (await connection.next("direct"))["data"] == "to both"
        await first.publish("team", "from the first")
        for connection in (watcher, second):
            assert (await connection.next("message"))["data"] == "from the first"

        await first.close()
        await second.publish("team", "still here")
        assert (await watcher.next("message"))["data"] == "still here"
        assert not [event for event in watcher.told if event["event"] == "presence"]
        await second.close()
        assert_presence(await watcher.next("presence"), joined={}, left=["twin"])


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGTERM, id="drained", marks=pytest.mark.bars),
        pytest.param(signal.SIGKILL, id="killed"),
    ],
)
@every_client
async def test_68_subscriptions_come_back_by_themselves_after_a_restart_of_the_hub(
    tmp_path: Path, programs: Programs, client: str, number: signal.Signals
) -> None:
    keys = tmp_path / "keys.yaml"
    with reserved_address() as address:
        async with programs.running(client) as program:
            async with hub_process(keys, address) as hub:
                a = await program.open("a", hub.url, token=hub.token("a"))
                await a.next("connected")
                await a.subscribe("team", metadata=True)
                await a.subscribe("tasks/*")
                await a.subscribe("given up")
                await a.unsubscribe("given up")
                await hub.stop(number)
            if number is signal.SIGTERM:
                assert (await a.next("going_away"))["retry_after_ms"] == 1000
            ended = await a.next("disconnected")
            assert (ended["code"], ended["will_reconnect"]) == (1001 if number is signal.SIGTERM else 1006, True)
            a.told.clear()
            async with hub_process(keys, address) as hub, programs.running("ours") as other:
                token = hub.token("b", peer_metadata={"name": "B"}, rate="unlimited")
                b = await other.open("b", hub.url, token=token)
                connected = await a.next("connected")
                assert (connected["peer_id"], connected["resumed"]) == ("a", True)
                await b.subscribe("team")
                await b.present("team", "a")
                await b.publish("given up", "not for a")
                await b.publish("team", "again")
                message = await a.next("message")
                assert (message["data"], message["metadata"]) == ("again", {"name": "B"})
                await until_heard(b, "tasks/1", a)
                await a.send("b", "here I am")
                assert (await b.next("direct"))["data"] == "here I am"


async def until_heard(publisher: Peer, channel: str, subscriber: Peer) -> None:
    """Publish until it arrives: nothing tells when a pattern, which is no member of a channel, has been replayed."""
    heard = asyncio.ensure_future(subscriber.next("message"))
    while not heard.done():
        await publisher.publish(channel, "to a pattern")
    assert (await heard)["channel"] == channel


@pytest.mark.nodes("nats")
async def test_95_all_three_clients_in_one_channel_hear_each_other(hub: HubProcess, programs: Programs) -> None:
    async with AsyncExitStack() as stack:
        peers = {}
        for client in CLIENTS:
            program = await stack.enter_async_context(programs.running(client))
            peers[client] = await program.open(client, hub.url, token=hub.token(client))
            await peers[client].subscribe("all")
        for name, peer in peers.items():
            others = [(other, receiver) for other, receiver in peers.items() if other != name]
            for data in EVERY_KIND:
                await peer.publish("all", data)
                for other, receiver in others:
                    message = await receiver.next("message")
                    assert message["from"] == name and same(message["data"], data)
                    await peer.send(other, data)
                    direct = await receiver.next("direct")
                    assert direct["from"] == name and same(direct["data"], data)


async def test_integers_beyond_a_float_keep_their_digits_on_the_way_through_the_hub(
    hub: HubProcess, programs: Programs
) -> None:
    """Hazard 22. JavaScript has no such integers; both Python clients do."""
    async with programs.running("ours") as ours, programs.running("python") as python:
        sender = await ours.open("a", hub.url, token=hub.token("a"))
        receiver = await python.open("b", hub.url, token=hub.token("b"))
        for number in (2**53 + 1, 2**64 + 1, -(10**100)):
            await sender.send("b", number)
            assert (await receiver.next("direct"))["data"] == number
