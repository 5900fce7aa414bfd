"""The MeteredPeer of both stock SDKs, whose rosters depend on when the hub sends what."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.interop.environments import SDKS
from tests.interop.programs import Peer, Programs, Refused
from tests.interop.relay import relay

if TYPE_CHECKING:
    from tests.interop.hub_process import HubProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")

every_sdk = pytest.mark.parametrize("sdk", SDKS)

JOINS = [20, pytest.param(100, marks=pytest.mark.bars)]
"""How many joins are tried, and how many if it may take longer."""
PATIENCE = 5.0
"""Seconds after which a peer that was not discovered counts as missed."""


@every_sdk
@pytest.mark.parametrize("joins", JOINS)
async def test_50_an_existing_peer_is_discovered_in_every_join(
    hub: HubProcess, programs: Programs, sdk: str, joins: int
) -> None:
    """One after the other: the joins of an otherwise idle program are those in which frames share a read."""
    async with programs.running("ours") as ours, programs.running(sdk) as program:
        resident = await ours.open("resident", hub.url, token=hub.token("resident", rate="unlimited"))
        await resident.subscribe("room")
        discovered = 0
        for number in range(joins):
            token = hub.token(f"joiner {number}")
            joiner = await program.join("joiner", hub.url, "room", brief=True, token=token)
            discovered += await discovers(joiner, "resident")
            await joiner.close()
        assert discovered == joins


async def discovers(joiner: Peer, peer_id: str) -> bool:
    try:
        async with asyncio.timeout(PATIENCE):
            while (await joiner.next("peer_joined"))["peer_id"] != peer_id:
                pass
    except TimeoutError:
        return False
    return True


@every_sdk
async def test_51_after_an_aborted_socket_only_those_who_came_and_went_are_reported(
    hub: HubProcess, programs: Programs, sdk: str
) -> None:
    async with programs.running("ours") as ours, programs.running(sdk) as program, relay(hub.url) as between:
        others = {}
        for name in ("stays", "stays too", "goes"):
            others[name] = await ours.open(name, hub.url, token=hub.token(name, peer_metadata={"name": name}))
            await others[name].subscribe("room")
        me = await program.join("me", between.url, "room", token=hub.token("me"))
        found = [await me.next("peer_joined") for _ in others]
        assert {event["peer_id"]: event["metadata"] for event in found} == {name: {"name": name} for name in others}
        await until_state(me, "joined")

        await between.abort()
        await until_state(me, "reconnecting")
        await others["goes"].close()
        comes = await ours.open("comes", hub.url, token=hub.token("comes"))
        await comes.subscribe("room")
        between.go_on()
        await until_state(me, "joined")
        await me.broadcast("back again")
        assert (await comes.next("message"))["data"] == "back again"
        await comes.publish("room", "welcome")
        assert (await me.next("data"))["data"] == "welcome"
        changes = sorted((event["event"], event["peer_id"]) for event in me.told)
        assert changes == [("peer_joined", "comes"), ("peer_left", "goes")]


async def until_state(peer: Peer, state: str) -> None:
    while (await peer.next("state"))["to"] != state:
        pass


@every_sdk
async def test_a_refused_join_leaves_the_rooms_of_others_alone(hub: HubProcess, programs: Programs, sdk: str) -> None:
    async with programs.running("ours") as ours, programs.running(sdk) as program:
        watcher = await ours.open("watcher", hub.url, token=hub.token("watcher"))
        await watcher.subscribe("closed")
        assert (await watcher.next("presence"))["joined"] == []
        with pytest.raises(Refused, match="channel_not_authorized"):
            await program.join("me", hub.url, "closed", token=hub.token("me", channels=("open",)))
        me = await program.join("me", hub.url, "open", token=hub.token("me", channels=("open",)))
        await me.broadcast("anybody?")
        await watcher.subscribe("closed")
        assert (await watcher.next("presence"))["joined"] == [], "only the roster asked for again, and nobody in it"


async def test_43_both_sdks_find_each_other_in_one_room_and_talk(hub: HubProcess, programs: Programs) -> None:
    async with programs.running("javascript") as javascript, programs.running("python") as python:
        j = await javascript.join("j", hub.url, "room", token=hub.token("j", peer_metadata={"sdk": "js"}))
        p = await python.join("p", hub.url, "room", token=hub.token("p", peer_metadata={"sdk": "py"}))
        found = [await j.next("peer_joined"), await p.next("peer_joined")]
        assert [(event["peer_id"], event["metadata"]) for event in found] == [
            ("p", {"sdk": "py"}),
            ("j", {"sdk": "js"}),
        ]
        for speaker, listener in ((j, p), (p, j)):
            await speaker.broadcast({"to": "all"})
            await speaker.send_to(listener.name, {"to": "one"})
            heard = [await listener.next("data") for _ in range(2)]
            assert [(event["kind"], event["data"]["to"], event["from"]) for event in heard] == [
                ("broadcast", "all", speaker.name),
                ("direct", "one", speaker.name),
            ]
        await j.close()
        assert (await p.next("peer_left"))["peer_id"] == "j"
