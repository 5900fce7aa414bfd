"""Hazard 58: the engine between two hubs is killed, comes and goes, or hangs, and what is local goes on all the while."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final

import pytest

from orchestrator.errors import RequestRefused
from tests.brokers import Broker, start_nats, start_valkey
from tests.journeys.clustering import ENGINES, Change, Hubs, Member, Ring, joined

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

NAMES: Final = ("n1", "n2")
FAILS: Final = 1.5
"""Seconds in which a send ends that cannot be carried out: the hub's one, and what a busy machine takes to tell it."""
HEALED: Final = 5.0
LOBBY: Final = "lobby"


class Probe:
    """Sends to a peer of another hub, again and again, and notes how each send ended, and how long it took."""

    def __init__(self, member: Member, to: str) -> None:
        self._member, self._to = member, to
        self.ends: list[tuple[float, float, str]] = []
        """When it began, how many seconds it took, and what was answered."""
        self._news = asyncio.Event()

    async def run(self) -> None:
        while True:
            began = time.monotonic()
            try:
                await self._member.client.send(self._to, "probe")
                what = "ack"
            except RequestRefused as refused:
                what = refused.code
            self.ends.append((began, time.monotonic() - began, what))
            self._news.set()
            await asyncio.sleep(0.02)

    async def until(self, what: str, since: float, seconds: float) -> float:
        """Wait for a send that was begun since then and ended so; return the seconds from then to its end."""
        async with asyncio.timeout(seconds):
            while True:
                for began, took, how in self.ends:
                    if began >= since and how == what:
                        return began + took - since
                self._news.clear()
                await self._news.wait()

    def said_since(self, since: float) -> set[str]:
        return {how for began, _, how in self.ends if began >= since}

    @property
    def slowest(self) -> float:
        return max(took for _, took, _ in self.ends)


class Scene:
    """Two hubs; on each of them two members that talk to one another, and all four across."""

    def __init__(self, hubs: Hubs) -> None:
        self.hubs = hubs
        self.local = [self._member(f"{name} {kind}", name) for name in NAMES for kind in ("a", "b")]
        self.across = Ring([self._member(f"{name} far {n}", name) for n in range(2) for name in NAMES], (1, 2), 0.01)
        self._near = [asyncio.Event(), asyncio.Event()]
        probing = self._member("n1 probe", "n1")
        self.members = [*self.local, *self.across.members, probing]
        self.probe = Probe(probing, "n2 a")
        self.enough = asyncio.Event()

    def _member(self, name: str, hub: str) -> Member:
        return Member(self.hubs.client(name, hub), name)

    async def begin(self) -> None:
        await asyncio.gather(*(member.begin() for member in (*self.local, self.members[-1])))
        await self.across.begin()
        await asyncio.gather(*(member.client.subscribe(LOBBY) for member in self.members))
        first = self.local
        pairs = [(first[0], first[1]), (first[1], first[0]), (first[2], first[3]), (first[3], first[2])]
        self._talks = [asyncio.create_task(one.talk(two.name, self.enough, 0.005)) for one, two in pairs]
        self._probing = asyncio.create_task(self.probe.run())
        await self.across.moves(2, 10.0)
        await self.sees(set())
        self.forget()

    def names(self) -> set[str]:
        return {member.name for member in self.members}

    async def sees(self, more: set[str], seconds: float = HEALED) -> None:
        """Wait until every roster is what it should be, at the hubs and with all members."""
        await self.hubs.everywhere(LOBBY, self.names() | more, seconds)
        for member in self.members:
            await member.until(
                lambda member=member: (  # type: ignore[misc]
                    member.rosters.get(LOBBY) == (self.names() | more) - {member.name}
                ),
                seconds,
            )

    def forget(self) -> None:
        for member in self.members:
            member.changes.clear()

    def told(self) -> set[tuple[tuple[str, str], ...]]:
        """Return what the members were told of others, each in its order."""

        def of(changes: list[Change]) -> tuple[tuple[str, str], ...]:
            return tuple((change.peer, change.what) for change in changes)

        return {of(member.changes.get(LOBBY, [])) for member in self.members}

    async def end(self) -> None:
        self._probing.cancel()
        await asyncio.gather(self._probing, return_exceptions=True)
        self.enough.set()
        await asyncio.gather(*self._talks)
        await self.across.finish()
        assert self.across.faults() == []
        assert Ring(self.local).faults() == []
        assert [member.problems.total() for member in self.local] == [0] * len(self.local)
        assert [len(member.connected_at) for member in self.members] == [1] * len(self.members)
        await asyncio.gather(*(member.end() for member in self.members))


class Engine:
    """The engine, and those that are started on its port after it was killed."""

    def __init__(self, kind: str, first: Broker) -> None:
        self._kind, self.now = kind, first
        self.up = True

    def kill(self) -> float:
        self.now.kill()
        self.up = False
        return time.monotonic()

    async def start(self) -> float:
        start = start_nats if self._kind == "nats" else start_valkey
        self.now = await asyncio.to_thread(start, self.now.folder, self.now.port)
        self.up = True
        return time.monotonic()

    @contextmanager
    def paused(self) -> Iterator[float]:
        self.now.pause()
        try:
            yield time.monotonic()
        finally:
            self.now.resume()


@asynccontextmanager
async def scene(folder: Path, kind: str) -> AsyncIterator[tuple[Scene, Engine]]:
    async with joined(folder, kind, *NAMES) as (hubs, broker):
        engine = Engine(kind, broker)
        try:
            here = Scene(hubs)
            await here.begin()
            yield here, engine
            await here.end()
        finally:
            engine.now.kill()


async def outage(here: Scene, engine: Engine, number: int, seconds: float) -> dict[str, float]:
    """Have the engine away for a while; one peer comes and one goes meanwhile, and everybody is told of each once."""
    leaver, comer = (
        Member(here.hubs.client(f"{what} {number}", hub), f"{what} {number}")
        for what, hub in (("leaver", "n2"), ("comer", "n1"))
    )
    await leaver.begin(LOBBY)
    await here.sees({leaver.name})
    here.forget()
    before = {member.name: dict(member.acked) for member in here.local}
    killed = engine.kill()
    failing = await here.probe.until("backend_error", killed, FAILS)
    await comer.begin(LOBBY)
    await leaver.end()
    assert "n1 a" in await here.hubs.roster("n2", LOBBY), "what was known last stays for as long as nobody knows better"
    await asyncio.sleep(max(0.0, killed + seconds - time.monotonic()))  # that long it is away
    assert here.probe.said_since(killed) <= {"backend_error"}
    for member in here.local:
        assert all(member.acked[to] > last + 10 for to, last in before[member.name].items()), (before, member.acked)
    back = await engine.start()
    healed = await here.probe.until("ack", back, HEALED)
    await here.sees({comer.name})
    seen = time.monotonic() - back
    assert seen <= HEALED
    for member in here.members:  # why somebody left is told to those who are there, and not asked for afterwards
        why = "left" if member.name.startswith("n2") else "lost"
        told = sorted((change.peer, change.what) for change in member.changes[LOBBY])
        assert told == [(comer.name, "joined"), (leaver.name, why)]
    await comer.end()
    await here.sees(set())
    return {"fails_s": failing, "healed_s": healed, "rosters_s": seen}


def rounded(figures: dict[str, float]) -> str:
    return json.dumps({name: round(value, 3) for name, value in figures.items()})


@pytest.mark.parametrize(
    ("engine", "times", "seconds"),
    [
        pytest.param("nats", 1, 0.5, marks=pytest.mark.journey),
        pytest.param("nats", 5, 4.0, marks=pytest.mark.bars),
        pytest.param("redis", 5, 4.0, marks=pytest.mark.bars),
        pytest.param("nats", 1, 15.0, marks=pytest.mark.bars),
        pytest.param("redis", 1, 15.0, marks=pytest.mark.bars),
    ],
)
async def test_hazard_58_without_the_engine_what_is_local_goes_on_and_all_is_well_soon_after(
    tmp_path: Path, engine: str, times: int, seconds: float
) -> None:
    async with scene(tmp_path, engine) as (here, broker):
        figures = [await outage(here, broker, number, seconds) for number in range(times)]
        print(
            rounded({"slowest_s": here.probe.slowest, **{key: max(one[key] for one in figures) for key in figures[0]}})
        )
        assert here.probe.slowest <= FAILS


@pytest.mark.bars
@pytest.mark.parametrize("engine", ENGINES)
async def test_hazard_58_an_engine_that_comes_and_goes_ten_times_is_news_to_nobody(tmp_path: Path, engine: str) -> None:
    async with scene(tmp_path, engine) as (here, broker):
        began = time.monotonic()
        for number in range(10):
            broker.kill()
            await asyncio.sleep(max(0.0, began + 4 * number + 2 - time.monotonic()))
            back = await broker.start()
            await asyncio.sleep(max(0.0, began + 4 * number + 4 - time.monotonic()))
        healed = await here.probe.until("ack", back, HEALED)
        await here.sees(set())
        assert here.told() == {()}
        assert here.probe.slowest <= FAILS
        print(rounded({"slowest_s": here.probe.slowest, "healed_s": healed}))


@pytest.mark.bars
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("seconds", [3.0, 8.0])
async def test_hazard_58_an_engine_that_hangs_fails_sends_in_time_and_is_news_to_nobody(
    tmp_path: Path, engine: str, seconds: float
) -> None:
    async with scene(tmp_path, engine) as (here, broker):
        with broker.paused() as paused:
            failing = await here.probe.until("backend_error", paused, FAILS)
            await asyncio.sleep(max(0.0, paused + seconds - time.monotonic()))
            assert here.probe.said_since(paused + 0.1) == {"backend_error"}
        resumed = time.monotonic()
        healed = await here.probe.until("ack", resumed, HEALED)
        await here.sees(set())
        assert here.told() == {()}
        assert here.probe.slowest <= FAILS
        print(rounded({"fails_s": failing, "slowest_s": here.probe.slowest, "healed_s": healed}))
