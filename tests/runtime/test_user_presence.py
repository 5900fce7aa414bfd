"""Who is on a channel, as users see it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest
from msgspec import Raw

from orchestrator import Joined, Left, Peer, User
from orchestrator.client.connection import Client
from orchestrator.client.events import Connected, MessageReceived, PresenceReceived
from orchestrator.errors import ConnectionLost, NotAuthorized
from orchestrator.protocol.codes import Action
from orchestrator.protocol.frames import Present
from tests.client.test_with_hub import Hubs, running
from tests.client.test_with_hub import Peer as Bare
from tests.runtime.in_memory import MemoryHub, MemoryLink, quiet, skipping
from tests.runtime.users import until, user

AGENT = {"kind": "agent", "agent": "desk", "name": "Desk"}


@pytest.fixture
async def hubs() -> AsyncIterator[Hubs]:
    async with running() as hubs:
        yield hubs


async def test_the_roster_is_there_when_the_block_begins_and_follows_joins_and_leaves(hubs: Hubs) -> None:
    async with user(hubs, "a", peer_metadata=AGENT) as a, user(hubs, "b") as b, a.presence("lobby") as others:
        assert (len(others), list(others), others.get("b"), bool(others)) == (0, [], None, True)
        async with b.presence("lobby") as roster:
            desk = Peer("a", AGENT)
            assert (list(roster), dict(roster.peers), len(roster)) == ([desk], {"a": desk}, 1)
            assert "a" in roster and desk in roster and "c" not in roster
            assert await anext(others) == Joined(Peer("b"))
            assert others.get("b") == Peer("b")
            async with user(hubs, "c") as c, c.subscribe("lobby"):
                assert await anext(roster) == Joined(Peer("c"))
            assert await anext(roster) == Left(Peer("c"), "left")
            assert list(roster) == [desk]
        rest = [await anext(others) for _ in range(3)]
        assert rest == [Joined(Peer("c")), Left(Peer("c"), "left"), Left(Peer("b"), "left")]


async def test_a_roster_of_one_kind_leaves_out_the_others(hubs: Hubs) -> None:
    async with user(hubs, "a", peer_metadata=AGENT) as a, user(hubs, "b") as b, user(hubs, "c") as c:
        async with c.subscribe("lobby"), b.presence("lobby", kind="agent") as roster, b.presence("lobby") as everybody:
            assert [peer.id for peer in everybody] == ["c"]
            async with a.subscribe("lobby"):
                assert (await anext(roster)).peer.name == "Desk"
                assert [peer.id for peer in roster] == ["a"]


@pytest.mark.nodes("nats")
async def test_a_view_shares_its_channel_with_messages_and_other_views(hubs: Hubs) -> None:
    async with user(hubs, "a") as a, user(hubs, "b") as b, a.subscribe("lobby") as theirs:
        async with b.subscribe("lobby") as messages, b.presence("lobby") as one:
            async with b.presence("lobby") as two:
                assert [peer.id for peer in two] == ["a"]
            assert await a.publish("lobby", 1) == 1
            assert (await anext(messages)).data == 1
            async with user(hubs, "c") as c, c.subscribe("lobby"):
                assert await anext(one) == Joined(Peer("c"))
        await b.publish("lobby", 2)
        assert (await anext(theirs)).data == 2


async def test_after_a_reconnect_the_difference_is_told(hubs: Hubs) -> None:
    """The one who stays comes back within the same restart, so what is waited for is where each has ended up."""
    async with user(hubs, "b") as b:
        async with user(hubs, "gone") as gone, gone.subscribe("lobby"), b.presence("lobby") as roster:
            await gone.close()
            assert await anext(roster) == Left(Peer("gone"), "left")
            async with user(hubs, "stays") as stays, stays.subscribe("lobby"):
                assert await anext(roster) == Joined(Peer("stays"))
                await hubs.stop()
                await stays.close()
                await hubs.start()
                assert (await until(roster, Left)).peer.id == "stays"
                assert len(roster) == 0


async def test_a_pattern_has_no_presence(hubs: Hubs) -> None:
    async with user(hubs, "b") as b:
        with pytest.raises(ValueError, match=r"'fleet/\*' is a pattern, and patterns have no presence"):
            b.presence("fleet/*")


# -- with a hub in memory


class Link(MemoryLink):
    """A connection whose rosters its test sends."""

    def __init__(self, hub: MemoryHub, *, silent: bool = False) -> None:
        super().__init__(hub, "b", {}, frozenset())
        self.silent = silent
        hub.links["b"] = self
        self.restore()

    async def subscribe(self, channel: str, *, include_sender_metadata: bool = False) -> None:
        await super().subscribe(channel)

    def _hold(self, channel: str) -> None:
        if not self.silent:
            super()._hold(channel)

    def say(self, *joined: str, snapshot: bool = False) -> None:
        self.hear(PresenceReceived("lobby", tuple(map(Present, joined)), (), snapshot=snapshot))


class Following:
    """A user over such a connection."""

    def __init__(self, link: Link) -> None:
        self.user = User(cast("Client", link))

    async def __aenter__(self) -> User:
        self._following = asyncio.create_task(self.user._follow())
        await self.user._welcomed.wait()
        return self.user

    async def __aexit__(self, *_: object) -> None:
        await self.user._close()
        await self._following


@skipping
async def test_a_token_that_may_not_see_presence_is_told_so() -> None:
    async with Following(link := Link(MemoryHub(), silent=True)) as b:
        with pytest.raises(NotAuthorized, match="lacks the scope to see the presence on 'lobby'"):
            await b.presence("lobby").__aenter__()
        assert link.channels == {}


@skipping
async def test_a_connection_that_is_lost_before_the_roster_came_fails_the_block() -> None:
    async with Following(link := Link(MemoryHub(), silent=True)) as b:
        entering = asyncio.create_task(b.presence("lobby").__aenter__())
        await quiet()
        link.cut()
        with pytest.raises(ConnectionLost, match="before the presence on 'lobby' was known"):
            await entering


@skipping
async def test_closing_the_user_ends_the_wait_for_a_roster() -> None:
    async with Following(Link(MemoryHub(), silent=True)) as b:
        entering = asyncio.create_task(b.presence("lobby").__aenter__())
        await quiet()
        await b.close()
        with pytest.raises(Exception, match="was closed before the presence on 'lobby' was known"):
            await entering


@skipping
async def test_a_reconnect_tells_who_went_and_who_came_and_nothing_of_those_who_stayed() -> None:
    async with Following(link := Link(MemoryHub(), silent=True)) as b:
        link.say("early")  # of a subscription before this one: not yet the whole
        entering = asyncio.create_task(b.presence("lobby").__aenter__())
        await quiet()
        link.say("early")
        link.say("stays", "goes", snapshot=True)
        roster = await entering
        assert ([peer.id for peer in roster], roster.current) == (["stays", "goes"], True)
        link.cut()
        await quiet()
        assert ([peer.id for peer in roster], roster.current) == (["stays", "goes"], False)
        link.restore()
        link.say("stays", "comes", snapshot=True)
        assert await anext(roster) == Joined(Peer("comes"))
        assert [peer.id for peer in roster] == ["stays", "goes", "comes"], "it has a while to come back as well"
        assert await anext(roster) == Left(Peer("goes"), "lost")
        assert ([peer.id for peer in roster], roster.current) == (["stays", "comes"], True)
        await roster.__aexit__(None, None, None)


@skipping
async def test_a_message_on_the_channel_is_nothing_to_its_roster() -> None:
    async with Following(link := Link(MemoryHub())) as b, b.presence("lobby") as roster:
        link.hear(MessageReceived("lobby", "a", Raw(b"1"), None))
        link.say("a")
        assert await anext(roster) == Joined(Peer("a"))


async def test_a_token_without_the_presence_permission_gets_no_roster_from_the_hub(hubs: Hubs) -> None:
    """What the wait for a roster relies on: to those who may not see it, the hub sends none, not even an empty one."""
    narrow = frozenset({Action.SUBSCRIBE})
    async with user(hubs, "b") as b, b.presence("x") as roster, Bare(hubs, "a", permissions=narrow) as a:
        await a.client.subscribe("x")
        await anext(roster)
        async with user(hubs, "c") as c, c.presence("x"):  # by now a roster would have come
            await c.publish("x", 1)
        told = a.client.events()
        assert [type(await anext(told)) for _ in range(2)] == [Connected, MessageReceived]
