"""What every backplane promises, of each of them: in memory, over NATS and over Redis."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from orchestrator.hub.backplane import Backplane, Kind, Topic
from orchestrator.protocol.globs import matches
from tests.brokers import nats_broker as nats_broker
from tests.brokers import start_nats, start_valkey
from tests.brokers import valkey_broker as valkey_broker
from tests.hub.backplane_ends import Ear, Engine, InMemory, OnServer, settled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

ENGINES = ("memory", "nats", "redis")
LAST = Topic(Kind.EVERYBODY)


def channel(text: str, app: str = "app") -> Topic:
    return Topic(Kind.CHANNEL, app, text)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "memory":
        return InMemory()
    return OnServer(request.getfixturevalue("nats_broker" if request.param == "nats" else "valkey_broker"))


@pytest.fixture(params=ENGINES)
def own_engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """One that may be killed."""
    if request.param == "memory":
        yield InMemory()
        return
    running = OnServer((start_nats if request.param == "nats" else start_valkey)(tmp_path / "broker"))
    yield running
    running.kill()


class Pair:
    """Two hubs' ends."""

    def __init__(self, here: Backplane, ear: Ear, there: Backplane, far: Ear) -> None:
        self.here, self.ear, self.there, self.far = here, ear, there, far

    async def said(self) -> None:
        """Wait until everything that was said here was heard there."""
        self.here.publish(LAST, b"last")
        await self.far.has_heard(b"last")


@pytest_asyncio.fixture
async def pair(engine: Engine) -> AsyncIterator[Pair]:
    ear, far = Ear(), Ear()
    async with engine.end(ear) as here, engine.end(far) as there:
        there.listen(LAST)
        await settled(there, far)
        yield Pair(here, ear, there, far)


async def test_is_up_when_it_is_entered_and_says_nothing_of_it(pair: Pair) -> None:
    assert pair.here.up
    assert pair.there.up
    assert pair.ear.turns == []


async def test_what_is_sent_is_heard_by_who_listens_and_by_nobody_else(pair: Pair) -> None:
    pair.there.listen(channel("news"))
    await settled(pair.there, pair.far)
    assert pair.here.publish(channel("news"), b"one")
    assert pair.here.publish(channel("other"), b"two")
    await pair.said()
    assert list(pair.far.once) == [b"one", b"last"]
    assert pair.ear.messages == []


async def test_what_one_hub_sends_is_heard_in_its_order_whatever_the_topics(pair: Pair) -> None:
    topics = [
        *(channel(f"c{number}") for number in range(10)),
        *(Topic(Kind.PEER, "app", f"p{number}") for number in range(5)),
        Topic(Kind.NODE, "", "n"),
        channel("wild/x"),
    ]
    for topic in (*topics[:-1], channel("wild/*"), channel("c1*")):
        pair.there.listen(topic)
    await settled(pair.there, pair.far)
    sent = []
    for number, topic in zip(range(3000), itertools.cycle(topics), strict=False):
        sent.append(b"%d" % number)
        said = pair.here.publish(topic, sent[-1]) if number % 3 else pair.here.ask(topic, sent[-1], number)
        assert said
        if number % 100 == 0:
            await asyncio.sleep(0)
    await pair.said()
    assert list(pair.far.once) == [*sent, b"last"]
    assert pair.ear.unheard == []


async def test_after_a_barrier_nothing_is_missed(pair: Pair) -> None:
    for number in range(200):
        topic = channel(f"news/{number}") if number % 2 else channel(f"old/{number}/*")
        pair.there.listen(topic)
        await settled(pair.there, pair.far)
        spoken = topic._replace(text=topic.text.replace("*", "x"))
        assert pair.here.ask(spoken, b"%d" % number, number)
        await pair.far.has_heard(b"%d" % number)
    await pair.said()
    assert pair.ear.unheard == []


async def test_barriers_are_passed_in_their_order_many_at_a_time(pair: Pair) -> None:
    for number in range(100):
        pair.there.listen(channel(f"c{number}"))
        pair.there.barrier(number)
    await pair.far.until(lambda: 99 in pair.far.barriers)
    assert pair.far.barriers[-100:] == list(range(100))


async def test_what_is_ignored_is_not_heard_any_more(pair: Pair) -> None:
    for topic in (channel("a"), channel("a*"), channel("b/c")):
        pair.there.listen(topic)
    pair.there.ignore(channel("a"))
    pair.there.ignore(channel("b/c"))
    await settled(pair.there, pair.far)
    pair.here.publish(channel("b/c"), b"no")
    pair.here.publish(channel("a"), b"yes")
    await pair.said()
    assert list(pair.far.once) == [b"yes", b"last"]


NAMES = ("a", "a/", "/a", "a/b", "a//b", "a/b/c", "ab", "b", "a.b", "a*", "é/ü", "a/b.c", "x y/z", "a>", "/", "//")


@pytest.mark.parametrize("pattern", ["*", "**", "a/*", "a/**", "a*", "a/*/c", "**/c", "a//*", "é/*", r"a\**", "x y/*"])
async def test_all_that_a_pattern_matches_is_heard(pair: Pair, pattern: str) -> None:
    pair.there.listen(channel(pattern))
    await settled(pair.there, pair.far)
    for name in NAMES:
        pair.here.publish(channel(name), name.encode())
    await pair.said()
    wanted = [name.encode() for name in NAMES if matches(pattern, name)]
    assert [message for message in pair.far.once if message in wanted] == wanted


async def test_what_several_topics_take_comes_without_anything_in_between(pair: Pair) -> None:
    for text in ("team/chat", "team/*", "team/**", "**", "*/chat", "t*/chat"):
        pair.there.listen(channel(text))
    await settled(pair.there, pair.far)
    sent = [b"%d" % number for number in range(300)]
    for message in sent:
        pair.here.publish(channel("team/chat"), message)
    await pair.said()
    assert list(pair.far.once) == [*sent, b"last"]


async def test_two_patterns_that_are_one_to_the_engine_are_two_here(pair: Pair) -> None:
    pair.there.listen(channel("a*b*c"))
    pair.there.listen(channel("a*d*c"))
    pair.there.ignore(channel("a*b*c"))
    await settled(pair.there, pair.far)
    pair.here.publish(channel("adc"), b"still")
    await pair.said()
    assert b"still" in pair.far.messages


async def test_nobody_listens(pair: Pair) -> None:
    pair.there.listen(channel("a"))
    pair.there.listen(Topic(Kind.PEER, "app", "p.1"))
    await settled(pair.there, pair.far)
    pair.here.ask(Topic(Kind.PEER, "app", "p.1"), b"1", 1)
    pair.here.ask(Topic(Kind.PEER, "app", "p.2"), b"2", 2)
    pair.here.ask(Topic(Kind.PEER, "other", "p.1"), b"3", 3)
    pair.here.ask(channel("p.1"), b"4", 4)
    pair.here.ask(channel("a"), b"5", 5)
    await pair.ear.until(lambda: 4 in pair.ear.unheard)
    pair.there.ignore(Topic(Kind.PEER, "app", "p.1"))
    await settled(pair.there, pair.far)
    pair.here.ask(Topic(Kind.PEER, "app", "p.1"), b"6", 6)
    await pair.ear.until(lambda: 6 in pair.ear.unheard)
    await pair.said()
    assert pair.ear.unheard == [2, 3, 4, 6]
    assert pair.far.messages == [b"1", b"5", b"last"]


async def test_what_there_is_no_room_for_is_refused_and_all_else_arrives(engine: Engine) -> None:
    ear, far = Ear(), Ear()
    async with engine.end(ear, room=10_000) as here, engine.end(far) as there:
        there.listen(channel("a"))
        there.listen(LAST)
        await settled(there, far)
        taken = [here.publish(channel("a"), b"%04d" % number + b"x" * 496) for number in range(30)]
        assert taken == sorted(taken, reverse=True)
        assert 10 <= sum(taken) <= 20
        await far.until(lambda: len(far.messages) == sum(taken))
        assert here.publish(LAST, b"last"), "there is room again"
        await far.has_heard(b"last")
        assert [message[:4] for message in far.messages[:-1]] == [b"%04d" % number for number in range(sum(taken))]


async def test_the_largest_message_arrives_and_a_larger_one_is_refused(pair: Pair) -> None:
    pair.there.listen(channel("a"))
    await settled(pair.there, pair.far)
    largest = bytes(pair.here.largest)
    assert len(largest) > 900_000
    assert not pair.here.publish(channel("a"), largest + b"x")
    assert not pair.here.ask(channel("a"), largest + b"x", 1)
    assert pair.here.publish(channel("a"), largest)
    assert pair.here.publish(channel("a"), b"")
    await pair.said()
    assert list(pair.far.once) == [largest, b"", b"last"]


HOSTILE = (
    "*",
    ">",
    ".",
    "a.b",
    "a b",
    "$SYS",
    "~",
    "%2E",
    "\\",
    "/",
    "//",
    "a/",
    "[a]",
    "?",
    "é",
    "𝄞",
    "\ud800",
    "\r\n",
    "\0",
)


async def test_no_name_is_taken_for_another(pair: Pair) -> None:
    topics = [
        *(Topic(kind, app, text) for kind in (Kind.PEER, Kind.NODE) for app in ("", "a", "a.b") for text in HOSTILE),
        *(channel(text, app) for app in HOSTILE for text in HOSTILE if "*" not in text),
    ]
    for number, topic in enumerate(topics):
        pair.there.listen(topic)
        if number % 2:
            pair.there.ignore(topic)
    await settled(pair.there, pair.far)
    for number, topic in enumerate(topics):
        assert pair.here.ask(topic, b"%d" % number, number)
    await pair.ear.until(lambda: len(pair.ear.unheard) == len(topics) // 2)
    await pair.said()
    assert pair.ear.unheard == list(range(1, len(topics), 2))
    assert pair.far.messages[:-1] == [b"%d" % number for number in range(0, len(topics), 2)]


async def test_apps_do_not_mix(pair: Pair) -> None:
    for app in ("one", "*", "one.c", "", "one/c"):
        pair.there.listen(channel("**", app))
        pair.there.listen(Topic(Kind.PEER, app, "p"))
    await settled(pair.there, pair.far)
    for number, app in enumerate(("two", "on", "one.", "onee", "c", "**", ">")):
        pair.here.ask(channel("a", app), b"no", number)
    await pair.ear.until(lambda: len(pair.ear.unheard) == 7)
    await pair.said()
    assert pair.far.messages == [b"last"]


async def test_namespaces_do_not_mix(engine: Engine) -> None:
    ear, far = Ear(), Ear()
    async with engine.end(ear, namespace="one") as here, engine.end(far, namespace="two") as there:
        there.listen(channel("**"))
        there.listen(LAST)
        await settled(there, far)
        here.ask(channel("a"), b"no", 1)
        here.ask(LAST, b"no", 2)
        await ear.until(lambda: ear.unheard == [1, 2])
        await settled(there, far)
        assert far.messages == []


async def test_what_waits_is_written_before_the_end(engine: Engine) -> None:
    before = asyncio.all_tasks()
    far = Ear()
    async with engine.end(far) as there:
        there.listen(channel("a"))
        await settled(there, far)
        async with engine.end(Ear()) as here:
            for number in range(2000):
                assert here.publish(channel("a"), b"%d" % number + bytes(1000))
        assert not here.up
        assert not here.publish(channel("a"), b"late")
        await far.until(lambda: len(far.messages) == 2000)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_what_is_listened_to_before_the_beginning_is_in_force_with_it(engine: Engine) -> None:
    ear, far = Ear(), Ear()
    there = engine.end(far)
    there.listen(channel("a/*"))
    async with engine.end(ear) as here, there:
        assert here.publish(channel("a/b"), b"one")
        await far.has_heard(b"one")


async def test_a_hub_hears_others_while_it_speaks_without_end(pair: Pair) -> None:
    pair.here.listen(channel("b"))
    pair.there.listen(channel("a"))
    await settled(pair.here, pair.ear)
    await settled(pair.there, pair.far)
    for number in range(2000):
        pair.here.publish(channel("a"), b"%d" % number)
        pair.there.publish(channel("b"), b"%d" % number)
        if number % 50 == 0:
            await asyncio.sleep(0)
    await pair.ear.has_heard(b"1999")
    await pair.far.has_heard(b"1999")
    assert list(pair.ear.once) == list(pair.far.once) == [b"%d" % number for number in range(2000)]


async def test_an_engine_that_was_killed_is_back_when_it_is_back(own_engine: Engine) -> None:
    ear, far = Ear(), Ear()
    async with AsyncExitStack() as stack:
        here = await stack.enter_async_context(own_engine.end(ear))
        there = await stack.enter_async_context(own_engine.end(far))
        for topic in (channel("kept"), channel("dropped"), channel("wild/*")):
            there.listen(topic)
        await settled(there, far)
        own_engine.kill()
        await ear.until(lambda: len(ear.turns) == 1)
        await far.until(lambda: len(far.turns) == 1)
        assert not ear.turns[0].up
        assert ear.turns[0].why
        assert not here.up
        assert not here.publish(channel("kept"), b"lost")
        assert not here.ask(channel("kept"), b"lost", 1)
        there.ignore(channel("dropped"))
        there.listen(channel("new"))
        there.barrier(-1)
        own_engine.start_again()
        started = asyncio.get_running_loop().time()
        await ear.until(lambda: len(ear.turns) == 2)
        await far.until(lambda: len(far.turns) == 2)
        assert asyncio.get_running_loop().time() - started < 5
        assert ear.turns[1] == far.turns[1] == (True, "")
        for number, text in enumerate(("kept", "dropped", "wild/x", "new")):
            assert here.ask(channel(text), text.encode(), number)
        await far.has_heard(b"new")
        await ear.until(lambda: bool(ear.unheard))
        assert list(far.once) == [b"kept", b"wild/x", b"new"]
        assert ear.unheard == [1]
        assert -1 not in far.barriers


async def test_closing_while_the_engine_is_away(own_engine: Engine) -> None:
    before = asyncio.all_tasks()
    ear = Ear()
    async with own_engine.end(ear):
        own_engine.kill()
        await ear.until(lambda: bool(ear.turns))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    assert [turn.up for turn in ear.turns] == [False]
