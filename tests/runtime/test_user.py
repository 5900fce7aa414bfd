"""Users against the hub of this package: what they say, and what they hear of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from pydantic import BaseModel, Field, ValidationError
from structlog.testing import capture_logs

from orchestrator import (
    Connected,
    Disconnected,
    GoingAway,
    Left,
    Message,
    Missed,
    Reconnecting,
    SubscriberTooSlow,
    User,
    connect,
)
from orchestrator.errors import NotAuthorized, NotConnected, PeerNotFound
from orchestrator.protocol.codes import Action
from orchestrator.protocol.tokens import Grants
from tests.client.scripted import SAFETY
from tests.client.test_with_hub import Hubs, provider, running
from tests.runtime.users import SOON, until, user


@pytest.fixture
async def hubs() -> AsyncIterator[Hubs]:
    async with running() as hubs:
        yield hubs


class Reading(BaseModel):
    sensor_id: str = Field(alias="sensorId")
    celsius: float


# -- messages


@pytest.mark.parametrize("data", [None, True, 7, 1.5, "é", [1, None], {"a": {"b": []}}])
async def test_a_json_value_arrives_as_it_was_published(hubs: Hubs, data: Any) -> None:
    async with user(hubs, "a") as a, user(hubs, "b") as b, b.subscribe("team/42") as messages:
        assert await a.publish("team/42", data) == 1
        message = await anext(messages)
        assert (message.channel, message.sender, message.data, message.metadata) == ("team/42", "a", data, None)


async def test_a_model_travels_by_its_aliases_and_is_read_back(hubs: Hubs) -> None:
    reading = Reading(sensorId="s1", celsius=20.5)
    async with user(hubs, "a") as a, user(hubs, "b") as b, b.subscribe("readings") as messages:
        await a.publish("readings", reading)
        await a.publish("readings", {"all": [reading]})
        message = await anext(messages)
        assert message.data == {"sensorId": "s1", "celsius": 20.5}
        assert message.read(Reading) == reading
        assert (await anext(messages)).read(dict[str, list[Reading]]) == {"all": [reading]}
        with pytest.raises(ValidationError):
            message.read(list[int])
        assert repr(message) == "<Message on 'readings' from 'a': 32 bytes>"


async def test_what_is_no_json_is_told_by_its_type(hubs: Hubs) -> None:
    async with user(hubs, "a") as a:
        with pytest.raises(TypeError, match="a JSON value or a pydantic model, and this holds a object"):
            await a.publish("x", {"a": object()})


async def test_who_sent_it_is_told_to_those_who_asked(hubs: Hubs) -> None:
    async with user(hubs, "a", peer_metadata={"name": "Ada"}) as a, user(hubs, "b") as b:
        async with b.subscribe("x") as plain, b.subscribe("x", include_sender_metadata=True) as told:
            await a.publish("x", 1)
            assert (await anext(plain)).metadata is None
            assert (await anext(told)).metadata == {"name": "Ada"}


@pytest.mark.one_hub("what other hubs count is known a moment later, and by subscriptions")
async def test_each_of_two_subscriptions_gets_every_message_and_the_last_one_unsubscribes(hubs: Hubs) -> None:
    async with user(hubs, "a") as a, user(hubs, "b") as b:
        async with b.subscribe("x") as one:
            async with b.subscribe("x") as two:
                assert await a.publish("x", "both") == 1
                assert [(await anext(one)).data, (await anext(two)).data] == ["both", "both"]
            assert await a.publish("x", "one") == 1
            assert (await anext(one)).data == "one"
        assert await a.publish("x", "none") == 0


@pytest.mark.one_hub("what other hubs count is known a moment later, and by subscriptions")
async def test_a_pattern_gets_the_channels_that_it_matches_under_their_names(hubs: Hubs) -> None:
    async with user(hubs, "a") as a, user(hubs, "b") as b:
        async with b.subscribe("fleet/*") as fleet, b.subscribe("fleet/1") as first, b.subscribe("**") as everything:
            for channel in ("fleet/1", "fleet/1/speed", "fleet/2"):
                assert await a.publish(channel, 0) == 1
            names = [(await anext(everything)).channel for _ in range(3)]
            assert names == ["fleet/1", "fleet/1/speed", "fleet/2"]
            assert [(await anext(fleet)).channel for _ in range(2)] == ["fleet/1", "fleet/2"]
            await a.publish("fleet/1", "last")
            assert [(await anext(first)).data for _ in range(2)] == [0, "last"]


async def test_a_name_with_a_backslash_is_that_name(hubs: Hubs) -> None:
    async with user(hubs, "a") as a, user(hubs, "b") as b, b.subscribe("a\\\\b") as messages:
        assert await a.publish("a\\\\b", 1) == 1
        assert (await anext(messages)).channel == "a\\\\b"


async def test_a_loop_alone_subscribes_and_unsubscribes_when_it_is_left(hubs: Hubs) -> None:
    async with user(hubs, "a") as a, user(hubs, "b") as b, a.presence("x") as roster:

        async def greet() -> None:
            assert (await anext(roster)).peer.id == "b"
            await a.publish("x", "hello")

        greeting = asyncio.create_task(greet())
        async for message in b.subscribe("x"):
            assert message.data == "hello"
            break
        await greeting
        assert isinstance(await anext(roster), Left)


async def test_a_subscription_that_is_not_open_says_so(hubs: Hubs) -> None:
    async with user(hubs, "a") as a:
        messages = a.subscribe("x")
        with pytest.raises(RuntimeError, match=r"the subscription to 'x' is not open: enter it with `async with`"):
            await anext(messages)
        async with messages:
            with pytest.raises(RuntimeError, match="was entered before"):
                await messages.__aenter__()
        assert await anext(messages, None) is None
        with pytest.raises(ValueError, match="buffer is a number of items of at least 1, not 0"):
            a.subscribe("x", buffer=0)
        with pytest.raises(ValueError, match="channel name"):
            await a.subscribe("").__aenter__()


async def test_a_slow_reader_learns_how_many_it_missed_and_holds_up_nobody(hubs: Hubs) -> None:
    async with user(hubs, "a") as a, user(hubs, "b") as b:
        async with b.subscribe("x", buffer=2) as slow, b.subscribe("x") as fast, b.events() as events:
            for number in range(5):
                await a.publish("x", number)
            assert [(await anext(fast)).data for _ in range(5)] == [0, 1, 2, 3, 4]
            assert await anext(events) == Missed("x", "slow")
            assert [(await anext(slow)).data for _ in range(2)] == [0, 1]
            with pytest.raises(
                SubscriberTooSlow, match="to 'x' was read too slowly: 3 arrived and were not kept"
            ) as it:
                await anext(slow)
            assert (it.value.missed, it.value.limit) == (3, 2)
            await a.publish("x", 5)
            assert (await anext(slow)).data == 5


async def test_a_reader_that_keeps_up_misses_nothing_of_a_burst_that_is_larger_than_its_buffer(hubs: Hubs) -> None:
    async with user(hubs, "a", rate="unlimited") as a, user(hubs, "b") as b:
        async with b.subscribe("x", buffer=2) as messages, b.directs(buffer=2) as directs:
            reading = asyncio.gather(taken(messages, 500), taken(directs, 500))
            await asyncio.gather(*(a.publish("x", number) for number in range(500)))
            await asyncio.gather(*(a.send("b", number) for number in range(500)))
            assert list(await reading) == [list(range(500))] * 2


async def taken(feed: AsyncIterator[Message], count: int) -> list[Any]:
    return [(await anext(feed)).data for _ in range(count)]


# -- sends


async def test_a_send_is_a_direct_of_its_peer_and_each_reader_gets_it(hubs: Hubs) -> None:
    async with user(hubs, "a", peer_metadata={"name": "Ada"}) as a, user(hubs, "b") as b:
        async with b.directs() as one, b.directs() as two:
            await a.send("b", Reading(sensorId="s1", celsius=1.0))
            for feed in (one, two):
                message = await anext(feed)
                assert (message.channel, message.sender, message.metadata) == ("", "a", {"name": "Ada"})
                assert message.read(Reading).sensor_id == "s1"
            with pytest.raises(PeerNotFound, match="'nobody'"):
                await a.send("nobody", 1)


async def test_an_answer_is_no_direct_and_a_result_that_nobody_asked_for_here_is(hubs: Hubs) -> None:
    async with user(hubs, "a") as asker, user(hubs, "boss") as boss:
        async with asker.directs() as directs, boss.directs() as asked:
            answer = asyncio.create_task(asker.ask("boss", "why?"))
            question = (await anext(asked)).data
            assert (question["type"], question["prompt"]) == ("ask", "why?")
            chunk = {"type": "completion-chunk", "streamId": question["taskId"]}
            await boss.send("a", {**chunk, "seq": 0, "content": "because", "done": False})
            await boss.send("a", {**chunk, "seq": 1, "content": "", "done": True})
            assert await answer == "because"
            late = {**chunk, "seq": 1, "content": "", "done": True}
            result = {"type": "task-result", "taskId": "of another program", "result": 1}
            await boss.send("a", late)
            await boss.send("a", result)
            assert (await anext(directs)).data == result


async def test_that_nobody_reads_directs_is_logged_once(hubs: Hubs) -> None:
    async with user(hubs, "a") as a, user(hubs, "b") as b, b.subscribe("x") as messages:
        with capture_logs() as logs:
            for _ in range(2):
                await a.send("b", "secret")
            await a.publish("x", "after them")
            await anext(messages)
        told = [line for line in logs if "reads no directs" in line["event"]]
        assert len(told) == 1
        assert "secret" not in str(told)


# -- what a token does not allow

NARROW = Grants(subscribe=("mine",), publish=("mine",), send=("b",))
Act = Callable[[User], Awaitable[object]]


async def first(feed: AsyncIterator[Any]) -> None:
    async for _ in feed:
        return


@pytest.mark.parametrize(
    ("act", "scope"),
    [
        (lambda a: a.publish("other", 1), "publish to 'other'"),
        (lambda a: a.send("c", 1), "send to 'c'"),
        (lambda a: first(a.subscribe("other")), "subscribe to 'other'"),
        (lambda a: a.subscribe("mine/*").__aenter__(), r"subscribe to 'mine/\*'"),
        (lambda a: a.presence("other").__aenter__(), "subscribe to 'other'"),
        (lambda a: a.ask("boss", "why?"), "send to 'boss'"),
    ],
)
async def test_what_the_token_does_not_allow_names_the_scope_that_it_lacks(hubs: Hubs, act: Act, scope: str) -> None:
    async with user(hubs, "a", grants=NARROW) as a, user(hubs, "b"), user(hubs, "boss"):
        with pytest.raises(NotAuthorized, match=f"the credential lacks the scope to {scope}"):
            await act(a)
        await a.publish("mine", 1)


async def test_a_refused_subscription_is_not_asked_for_again_when_it_would_be_allowed(hubs: Hubs) -> None:
    grants = [Grants(), Grants(subscribe=("x",), publish=("x",))]

    async def fresh() -> str:
        return await provider("a", grants=grants.pop(0))()

    async with asyncio.timeout(SAFETY), connect(hubs.url, token_provider=fresh, reconnect=SOON) as a:
        with pytest.raises(NotAuthorized):
            await a.subscribe("x").__aenter__()
        async with a.events() as events:
            await hubs.stop()
            await hubs.start()
            await until(events, Connected)
        await a.publish("x", "whatever is restored was asked for before this")
        async with user(hubs, "w") as watcher:
            assert await watcher.publish("x", 1) == 0


async def test_a_permission_that_is_missing_altogether_is_named_too(hubs: Hubs) -> None:
    async with user(hubs, "a", permissions=frozenset({Action.SUBSCRIBE})) as a:
        with pytest.raises(NotAuthorized, match="lacks the scope to publish to 'x'") as refused:
            await a.publish("x", 1)
        assert (refused.value.code, refused.value.subject) == ("action_not_permitted", "x")


# -- reconnects


async def test_reading_goes_on_after_a_reconnect_and_the_gap_shows(hubs: Hubs) -> None:
    async with user(hubs, "b") as b, b.subscribe("x") as messages, b.events() as events, b.events() as more:
        before = b.state
        await hubs.stop()
        gone = await until(events, Disconnected)
        assert (gone.code, gone.will_reconnect) == (1001, True)
        with pytest.raises(NotConnected, match="will be tried again"):
            await b.publish("x", 1)
        waiting = asyncio.create_task(b.publish("x", 1, when_disconnected="wait"))
        assert (before, b.state, messages.gaps) == ("connected", "reconnecting", 1)
        await hubs.start()
        assert (await until(events, Connected)).resumed
        assert await anext(events) == Missed("x", "disconnected")
        await waiting
        async with user(hubs, "a") as a:
            async with b.presence("x"):  # its roster comes after the subscription is restored
                assert await a.publish("x", "again") == 1
        assert (await anext(messages)).data == "again"
        kinds = [type(await anext(more)) for _ in range(3)]
        assert kinds == [GoingAway, Disconnected, Reconnecting]
