"""Who is in a lobby, as agents and users see it while connections break, agents die and the hub is shut down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import field

import pytest

from orchestrator import Joined, Left, Presence, agent, on_presence
from orchestrator.errors import NotConnected, PresenceTimeout
from orchestrator.patterns.roster import GRACE
from orchestrator.protocol.frames import Present
from orchestrator.runtime.roster_view import RosterView
from orchestrator.testing import TestHub, virtual

TOPOLOGY = """
version: 1
agents:
  researcher: {handler: app:Researcher, replicas: 3, name: The Researcher, capabilities: [web]}
  writer: {handler: app:Researcher}
  doorkeeper: {handler: app:Doorkeeper}
presence:
  hall: {members: [researcher, writer], watchers: [doorkeeper, reader]}
users:
  reader: {}
"""
HALL = "lobbies/hall"
EVERYBODY = {"researcher.1", "researcher.2", "researcher.3", "writer"}
SOON = GRACE - 0.5
LATER = 60.0


@agent
class Researcher:
    pass


@agent
class Doorkeeper:
    hall: Presence
    told: list[tuple[str, str]] = field(default_factory=list, init=False)

    @on_presence
    async def notice(self, change: Joined | Left) -> None:
        self.told.append((change.peer.id, change.reason if isinstance(change, Left) else "joined"))

    def news(self) -> list[tuple[str, str]]:
        """Return what was told since the last call."""
        news, self.told = self.told, []
        return news


@asynccontextmanager
async def lobby(**options: object) -> AsyncIterator[tuple[TestHub, Doorkeeper]]:
    handlers = {"researcher": Researcher, "writer": Researcher, "doorkeeper": Doorkeeper}
    async with TestHub(TOPOLOGY, handlers=handlers, **options) as hub:  # type: ignore[arg-type]
        doorkeeper: Doorkeeper = hub.agent("doorkeeper")
        await doorkeeper.hall.wait_for("researcher", count=3, timeout=LATER)
        await doorkeeper.hall.wait_for("writer", timeout=LATER)
        doorkeeper.news()
        yield hub, doorkeeper


async def ids(view: RosterView, count: int) -> list[str]:
    """Return who changes next, sorted."""
    return sorted([(await anext(view)).peer.id for _ in range(count)])


# -- who is there


@virtual
async def test_peers_are_described_by_their_tokens() -> None:
    async with lobby() as (_, doorkeeper):
        peers = doorkeeper.hall.peers
        assert set(peers) == EVERYBODY, "and neither the doorkeeper itself nor a user"
        second = peers["researcher.2"]
        assert (second.agent, second.replica, second.name) == ("researcher", 2, "The Researcher")
        assert (second.capabilities, peers["writer"].replica) == (("web",), None)


@virtual
async def test_since_is_when_it_was_first_seen_and_outlives_a_reconnect() -> None:
    async with lobby() as (hub, doorkeeper):
        since = doorkeeper.hall.peers["researcher.1"].since
        await hub.advance(LATER)
        hub.drop("researcher.1")
        hub.drop("doorkeeper")
        await hub.advance(LATER)
        assert doorkeeper.hall.peers["researcher.1"].since == since
        await hub.kill("researcher.1")
        await hub.advance(LATER)
        await hub.start("researcher.1")
        (again,) = [peer for peer in await doorkeeper.hall.wait_for("researcher", count=3) if peer.replica == 1]
        assert again.since - since == pytest.approx(3 * LATER, abs=1)


# -- who comes and goes


@virtual
async def test_a_reconnect_within_the_grace_is_not_told() -> None:
    async with lobby() as (hub, doorkeeper):
        for name in ("researcher", "writer"):
            hub.drop(name)
        await hub.advance(LATER)
        assert (doorkeeper.news(), set(doorkeeper.hall.peers)) == ([], EVERYBODY)


@virtual
async def test_one_that_is_killed_is_lost_after_the_grace() -> None:
    async with lobby() as (hub, doorkeeper):
        await hub.kill("writer")
        await hub.advance(SOON)
        assert (doorkeeper.news(), "writer" in doorkeeper.hall.peers) == ([], True)
        await hub.advance(1)
        assert (doorkeeper.news(), "writer" in doorkeeper.hall.peers) == ([("writer", "lost")], False)
        await hub.start("writer")
        await doorkeeper.hall.wait_for("writer", timeout=1)
        await hub.advance(0)
        assert doorkeeper.news() == [("writer", "joined")]


@virtual
async def test_one_that_says_so_has_left_at_once() -> None:
    async with lobby() as (hub, doorkeeper):
        await hub._lives.pop("writer").close()
        await hub.advance(0.1)
        assert doorkeeper.news() == [("writer", "left")]


@virtual
async def test_a_second_start_replaces_the_first_one_and_both_are_told_at_once() -> None:
    async with lobby() as (hub, doorkeeper):
        second = hub._life("writer")
        await second.start()
        await hub.advance(SOON)
        assert doorkeeper.news() == [("writer", "replaced"), ("writer", "joined")]
        await second.close()


@pytest.mark.one_hub("it shuts down the one hub, and takes it for another")
@virtual
async def test_who_does_not_come_back_after_the_hub_was_shut_down_left_while_it_was_draining() -> None:
    async with lobby() as (hub, _):
        async with hub.user("reader", "a") as user, user.presence(HALL) as view:
            network = hub._network
            network.hub.drain(network.now)
            network.settle()
            await hub.advance(0.1)
            await hub.kill("writer")
            network.hub.draining = False  # from now on it is another one
            change = await anext(view)
            assert (change.peer.id, isinstance(change, Left) and change.reason) == ("writer", "draining")
            await hub.advance(LATER)
            assert {peer.id for peer in view} == EVERYBODY - {"writer"}
            assert not view._kept, "of those who came back nothing is told"


@virtual
async def test_after_an_own_reconnect_the_difference_is_told() -> None:
    async with lobby() as (hub, doorkeeper):
        hub.partition("doorkeeper", "hub")
        await hub.kill("writer")
        await hub.advance(5)
        assert doorkeeper.news() == []
        hub.heal()
        hub.drop("doorkeeper")
        await hub.advance(LATER)
        assert doorkeeper.news() == [("writer", "lost")]
        assert set(doorkeeper.hall.peers) == EVERYBODY - {"writer"}


@virtual
async def test_users_and_handlers_are_told_the_same() -> None:
    async with lobby() as (hub, doorkeeper):
        async with hub.user("reader", "a") as user, user.presence(HALL) as view:
            hub.drop("researcher.1")
            await hub.kill("writer")
            await hub.kill("researcher.3")
            assert await ids(view, 2) == ["researcher.3", "writer"]
            await hub.advance(0)
            assert sorted(doorkeeper.news()) == [("researcher.3", "lost"), ("writer", "lost")]


@virtual
async def test_iterating_tells_what_happens_from_then_on() -> None:
    async with lobby() as (hub, doorkeeper):
        seen: list[str] = []

        async def follow() -> None:
            async for change in doorkeeper.hall:
                seen.append(change.peer.id)

        following = asyncio.create_task(follow())
        await hub.advance(0.1)
        await hub.kill("writer")
        await hub.advance(LATER)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        assert seen == ["writer"]


# -- who watches


@virtual
async def test_watchers_are_in_no_roster() -> None:
    async with lobby() as (hub, doorkeeper):
        async with hub.user("reader", "a") as one, hub.user("reader", "b") as two:
            async with one.presence(HALL) as first, two.presence(HALL) as second:
                assert {peer.id for peer in first} == {peer.id for peer in second} == EVERYBODY
                await hub.advance(1)
        assert doorkeeper.news() == []
        assert set(doorkeeper.hall.peers) == EVERYBODY


@virtual
async def test_where_a_hub_lists_watchers_their_metadata_tells_them_apart() -> None:
    async with lobby() as (hub, doorkeeper):
        presence = hub._lives["doorkeeper"].replica._lobbies["hall"]  # type: ignore[attr-defined]
        others = [
            Present("other", {"kind": "agent", "agent": "doorkeeper"}),
            Present("reader/a", {"kind": "user", "user": "reader"}),
            Present("stranger"),
        ]
        presence.present(others, [], whole=False)
        await hub.advance(0)
        assert (doorkeeper.news(), set(doorkeeper.hall.peers)) == ([], EVERYBODY)


# -- waiting


@virtual
async def test_waiting_for_those_who_are_there_takes_no_time() -> None:
    async with lobby() as (hub, doorkeeper):
        before = hub.now
        there = await doorkeeper.hall.wait_for("researcher", count=2)
        assert ([peer.id for peer in there], hub.now) == (["researcher.1", "researcher.2", "researcher.3"], before)


@virtual
async def test_waiting_ends_when_the_last_one_has_come() -> None:
    async with lobby() as (hub, doorkeeper):
        await hub.kill("researcher")
        async with hub.user("reader", "a") as user, user.presence(HALL) as view:
            waits = [doorkeeper.hall.wait_for("researcher", count=3), view.wait_for("researcher", count=3)]
            waiting = [asyncio.create_task(one) for one in waits]
            for number in (3, 1):
                await hub.start(f"researcher.{number}")
            await hub.advance(1)
            assert not any(one.done() for one in waiting)
            await hub.start("researcher.2")
            for one in waiting:
                assert [peer.replica for peer in await one] == [1, 2, 3]


@virtual
async def test_waiting_in_vain_ends_with_who_is_there() -> None:
    async with lobby() as (hub, doorkeeper):
        await hub.kill("researcher.2")  # which still counts as online, but cannot be counted on
        async with hub.user("reader", "a") as user, user.presence(HALL) as view:
            for waiting, where in ((doorkeeper.hall, "the lobby 'hall'"), (view, "the presence on 'lobbies/hall'")):
                with pytest.raises(PresenceTimeout) as raised:
                    await waiting.wait_for("researcher", count=3, timeout=5)
                assert str(raised.value) == (
                    f"3 of 'researcher' did not come to be in {where} within 5 s: 'researcher.1' and 'researcher.3' are "
                    "there"
                )
                assert raised.value.there == ("researcher.1", "researcher.3")


@virtual
async def test_nobody_counts_while_the_own_connection_is_down() -> None:
    async with lobby() as (hub, doorkeeper):
        hub.partition("doorkeeper", "hub")
        hub.drop("doorkeeper")
        await hub.advance(0.1)
        waiting = asyncio.create_task(doorkeeper.hall.wait_for("writer"))
        await hub.advance(5)
        assert not waiting.done()
        hub.heal()
        assert [peer.id for peer in await waiting] == ["writer"]


@virtual
async def test_whom_nobody_can_wait_for() -> None:
    async with lobby() as (hub, doorkeeper):
        with pytest.raises(
            ValueError, match=r"'reasercher' is no member of the lobby 'hall' \(did you mean 'researcher'"
        ):
            await doorkeeper.hall.wait_for("reasercher")
        with pytest.raises(ValueError, match="at least 1, not 0"):
            await doorkeeper.hall.wait_for("researcher", count=0)
        async with hub.user("reader", "a") as user:
            with pytest.raises(RuntimeError, match="is not open"):
                await user.presence(HALL).wait_for("researcher")


@virtual
async def test_closing_the_view_or_its_user_ends_waiting() -> None:
    async with lobby() as (hub, _):
        async with hub.user("reader", "a") as user:
            view = await user.presence(HALL).__aenter__()
            other = await user.presence(HALL).__aenter__()
            waiting = [asyncio.create_task(one.wait_for("nobody")) for one in (view, other)]
            await hub.advance(1)
            await view.__aexit__(None, None, None)
        for one in waiting:
            with pytest.raises(NotConnected, match="was closed while somebody was waited for"):
                await one
        with pytest.raises(NotConnected):
            await view.wait_for("nobody")


@virtual
async def test_cancelling_leaves_nobody_waiting() -> None:
    async with lobby() as (hub, doorkeeper):
        waiting = asyncio.create_task(doorkeeper.hall.wait_for("writer", count=9))
        await hub.advance(1)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert waiting.cancelled()
        await hub.kill("writer")
        await hub.advance(LATER)
        assert doorkeeper.news() == [("writer", "lost")]
