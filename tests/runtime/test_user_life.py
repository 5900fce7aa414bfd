"""How a user begins and ends, and what becomes of whoever waits in it then."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import (
    Connected,
    Disconnected,
    GoingAway,
    Reconnecting,
    ReconnectPolicy,
    SubscriberTooSlow,
    TokenFailed,
    User,
    connect,
)
from orchestrator.client import events
from orchestrator.errors import HubUnreachable, NotConnected, TaskCancelled, TerminalDisconnect
from orchestrator.hub.keys import KeyRing
from orchestrator.runtime.feed import Feed, Listeners
from orchestrator.runtime.user_events import told
from tests.client.scripted import SAFETY
from tests.client.test_with_hub import KEY, PUBLISHABLE, SETTINGS, Hubs, provider, running
from tests.joined_servers import new_server
from tests.runtime.in_memory import quiet, skipping
from tests.runtime.users import collected, user

CERTIFICATE = Path(__file__).parents[1] / "client" / "localhost.pem"


@pytest.fixture
async def hubs() -> AsyncIterator[Hubs]:
    async with running() as hubs:
        yield hubs


# -- beginning


@pytest.mark.parametrize(
    "credentials", [{}, {"token": "t", "api_key": "k"}, {"token": "t", "token_provider": provider("a")}]
)
async def test_exactly_one_credential_is_given(credentials: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="exactly one of token, token_provider and api_key"):
        await connect("ws://localhost:1", **credentials).__aenter__()


async def test_a_token_that_cannot_be_one_is_refused_without_being_quoted() -> None:
    with pytest.raises(ValueError, match="token is no token") as refused:
        await connect("ws://localhost:1", token="se cret").__aenter__()
    assert "se cret" not in str(refused.value)


async def test_a_token_or_a_publishable_key_connects(hubs: Hubs) -> None:
    async with asyncio.timeout(SAFETY):
        async with connect(hubs.url, token=await provider("a")()) as a, connect(hubs.url, api_key=PUBLISHABLE) as page:
            assert (a.peer_id, a.state, repr(a)) == ("a", "connected", "<User 'a'>")
            assert page.peer_id not in ("", "a")


async def test_a_certificate_of_one_s_own_is_trusted_by_tls() -> None:
    server = new_server(KeyRing([KEY]), replace(SETTINGS, tls_certificate=str(CERTIFICATE)))
    await server.start(socket.create_server(("127.0.0.1", 0)))
    try:
        port = server.url.rpartition(":")[2]
        trusting = ssl.create_default_context(cafile=CERTIFICATE)
        async with connect(f"wss://localhost:{port}", token_provider=provider("a"), tls=trusting) as a:
            assert a.peer_id == "a"
    finally:
        await server.drain()


async def test_a_hub_that_is_not_there_is_told_by_connect() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"ws://127.0.0.1:{listening.getsockname()[1]}"
    with pytest.raises(HubUnreachable):
        await connect(url, token_provider=provider("a")).__aenter__()


# -- ending

READERS: dict[str, Callable[[User], Any]] = {
    "subscription": lambda user: user.subscribe("x"),
    "presence": lambda user: user.presence("x"),
    "directs": lambda user: user.directs(),
    "events": lambda user: user.events(),
}


class Readers:
    """One task for each kind of feed that waits in it, entered before it is iterated, and one that iterates alone."""

    def __init__(self, user: User) -> None:
        self._user = user
        self.tasks: list[asyncio.Task[list[Any]]] = []

    async def start(self) -> None:
        for make in READERS.values():
            feed = make(self._user)
            await feed.__aenter__()
            self.tasks.append(asyncio.create_task(collected(feed)))

    async def outcomes(self) -> list[Any]:
        async with asyncio.timeout(SAFETY):
            return list(await asyncio.gather(*self.tasks, return_exceptions=True))


async def test_leaving_the_block_ends_whoever_waits_in_it(hubs: Hubs) -> None:
    async with user(hubs, "a") as a:
        readers = Readers(a)
        await readers.start()
    assert await readers.outcomes() == [[], [], [], []]


async def test_leaving_the_block_ends_a_loop_alone_and_cancels_a_question(hubs: Hubs) -> None:
    async with user(hubs, "boss") as boss, boss.presence("x") as roster, boss.directs() as asked:
        async with user(hubs, "a") as a:
            loop = asyncio.create_task(collected(a.subscribe("x")))
            await anext(roster)
            answer = asyncio.create_task(a.ask("boss", "why?"))
            assert (await anext(asked)).data["type"] == "ask"
        assert await loop == []
        with pytest.raises(TaskCancelled):
            await answer
        assert (await anext(asked)).data["type"] == "task-cancel"


async def test_what_came_before_the_end_is_still_read(hubs: Hubs) -> None:
    async with user(hubs, "b") as b, b.directs() as seen:
        async with user(hubs, "a") as a:
            messages = await a.subscribe("x").__aenter__()
            other = await a.directs().__aenter__()
            await b.publish("x", 1)
            await b.send("a", 2)
            assert (await anext(other)).data == 2
            await a.send("b", "both have come")
            await anext(seen)
        assert [message.data for message in await collected(messages)] == [1]


async def test_the_end_for_good_is_raised_to_whoever_waits(hubs: Hubs) -> None:
    async with user(hubs, "a", instance="one") as a:
        readers = Readers(a)
        await readers.start()
        more = asyncio.create_task(collected(a.events()))
        alone = asyncio.create_task(collected(a.subscribe("y")))
        async with user(hubs, "w") as watcher, watcher.presence("y") as roster:
            if "a" not in roster:
                await anext(roster)
            async with user(hubs, "a", instance="two"):
                outcomes = await readers.outcomes()
                for loop in (more, alone):
                    with pytest.raises(TerminalDisconnect, match="4020"):
                        await loop
        assert [type(outcome) for outcome in outcomes] == [TerminalDisconnect] * 4
        assert a.state == "closed"
        for act in ACTS.values():
            with pytest.raises(NotConnected, match="has ended, so nothing was sent: the hub closed the connection for"):
                await act(a)
        with pytest.raises(TerminalDisconnect):
            await a.ask("boss", "why?")


async def test_the_last_event_is_the_disconnect_that_is_final(hubs: Hubs) -> None:
    twice = ReconnectPolicy(initial=0.0, max_attempts=2)
    async with user(hubs, "a", reconnect=twice) as a, a.events() as feed:
        await hubs.close()
        heard = []
        with pytest.raises(HubUnreachable):
            async for event in feed:
                heard.append(event)
        assert [type(event) for event in heard] == [GoingAway, Disconnected, Reconnecting, Disconnected]
        assert isinstance(last := heard[-1], Disconnected)
        assert not last.will_reconnect


ACTS: dict[str, Callable[[User], Awaitable[object]]] = {
    "publish": lambda user: user.publish("x", 1),
    "send": lambda user: user.send("b", 1),
    **{name: lambda user, make=make: make(user).__aenter__() for name, make in READERS.items()},  # type: ignore[misc]
}


@pytest.mark.parametrize(
    "act",
    [*ACTS.values(), lambda user: user.ask("boss", "why?"), lambda user: user.stream("boss", "why?").__anext__()],
    ids=[*ACTS, "ask", "stream"],
)
async def test_a_user_that_was_closed_says_so(hubs: Hubs, act: Callable[[User], Awaitable[object]]) -> None:
    async with user(hubs, "a") as a:
        await a.close()
        await a.close()
        with pytest.raises(NotConnected, match=r"was closed, so nothing was sent: connect\(\) makes another one"):
            await act(a)
        assert (a.state, repr(a)) == ("closed", "<User 'a' closed>")


async def test_two_who_close_at_once_both_find_it_closed(hubs: Hubs) -> None:
    async with user(hubs, "a") as a:
        await asyncio.gather(a.close(), a.close())
        assert a.state == "closed"


# -- events


def test_what_a_connection_reports_is_told_in_a_user_s_words() -> None:
    assert told(events.Connected("a", True, 1.0, 100, {"secret": 1})) == (Connected("a", True, 1.0),)
    lost = events.Disconnected(1006, "why", will_reconnect=True, delay=0.5)
    assert told(lost) == (Disconnected(1006, "why", True), Reconnecting(0.5))
    final = events.Disconnected(4001, "why", will_reconnect=False, delay=None)
    assert told(final) == (Disconnected(4001, "why", False),)
    for same in (GoingAway(1.0), TokenFailed(3, "why")):
        assert told(same) == (same,)
    assert told(events.PresenceReceived("x", (), (), snapshot=True)) == ()


# -- one reader


def feed_of(limit: int) -> tuple[Feed[int], Listeners[int]]:
    listeners: Listeners[int] = Listeners(lambda: None)
    return Feed(listeners, "the numbers", limit), listeners


@given(st.integers(1, 5), st.lists(st.sampled_from(["put", "take"]), max_size=60))
async def test_what_a_reader_gets_and_what_it_is_told_that_it_missed_is_everything(limit: int, acts: list[str]) -> None:
    feed, listeners = feed_of(limit)
    given_out, accounted, kept = 0, 0, deque[int]()
    async with feed:
        for act in [*acts, *(["take"] * (limit + 1))]:
            if act == "put":
                listeners.tell(given_out)
                given_out += 1
            elif accounted < given_out:
                try:
                    number = await anext(feed)
                except SubscriberTooSlow as slow:
                    accounted += slow.missed
                else:
                    assert number == accounted
                    accounted += 1
                    kept.append(number)
        assert accounted == given_out
        assert list(kept) == sorted(kept)


@skipping
async def test_two_tasks_may_read_one_feed() -> None:
    feed, listeners = feed_of(10)
    async with feed:
        two = [asyncio.create_task(anext(feed)) for _ in range(2)]
        await quiet()
        listeners.tell(1)
        listeners.tell(2)
        assert sorted(await asyncio.gather(*two)) == [1, 2]


@skipping
async def test_a_reader_that_is_cancelled_loses_nothing() -> None:
    feed, listeners = feed_of(10)
    async with feed:
        reading = asyncio.create_task(anext(feed))
        await quiet()
        listeners.tell(1)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert await anext(feed) == 1


@skipping
async def test_a_loop_alone_that_is_too_slow_is_left() -> None:
    feed, listeners = feed_of(1)
    reading = asyncio.create_task(collected(feed))
    await quiet()
    assert [listeners.tell(number) for number in range(3)] == [True, False, False]
    with pytest.raises(SubscriberTooSlow, match="2 arrived"):
        await reading
    assert len(listeners) == 0


async def test_a_feed_that_cannot_be_opened_ends() -> None:
    def refuse() -> None:
        raise NotConnected("no")

    feed: Feed[int] = Feed(Listeners(refuse), "the numbers", 1)
    with pytest.raises(NotConnected):
        await feed.__aenter__()
    assert await anext(feed, None) is None


def test_the_sentence_of_a_slow_reader_counts_in_english() -> None:
    assert "1 arrived and was not kept" in str(SubscriberTooSlow("it", 1, 2))
    assert "7 arrived and were not kept" in str(SubscriberTooSlow("it", 7, 2))


async def test_hazard_45_a_token_is_no_local_of_our_frames_while_the_block_runs(hubs: Hubs) -> None:
    """Tools that report errors with the locals of every frame must not find it."""
    token = await provider("a")()
    inside = connect(hubs.url, token=token)
    await inside.__aenter__()
    frame = inside.gen.ag_frame  # type: ignore[attr-defined]
    assert "client" in frame.f_locals
    assert token not in map(str, frame.f_locals.values())
    await inside.__aexit__(None, None, None)


async def test_hazard_52_a_message_that_is_repeated_under_its_id_is_delivered_once(hubs: Hubs) -> None:
    async with user(hubs, "a") as a, user(hubs, "b") as b, b.subscribe("x") as messages, b.directs() as directs:
        for _ in range(2):
            await a.publish("x", 1, id="first")
            await a.send("b", 2, id="second")
        await a.publish("x", "end")
        await a.send("b", "end")
        assert [(await anext(messages)).data for _ in range(2)] == [1, "end"]
        assert [(await anext(directs)).data for _ in range(2)] == [2, "end"]
