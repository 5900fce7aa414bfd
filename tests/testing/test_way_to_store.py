"""The way of one life to the store of a test: what is done while it is whole, and what becomes known while it is cut."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest

from orchestrator.errors import StoreUnavailable
from orchestrator.store.errors import StoreRefused
from orchestrator.store.opening import MemoryStore
from orchestrator.store.port import Leases
from orchestrator.store.tasks import Failure, Hold, NewTask, State, Tasks
from orchestrator.testing import TestHub, virtual
from orchestrator.testing.lives import AgentLife
from orchestrator.testing.store import WayToStore
from tests.testing import store_farm

TASK: Final = NewTask(id="t", queue="q", type="T", payload=b"{}", caller="c")
HOLD: Final = Hold("t", 1, "w")

OF_TASKS: Final[dict[str, Callable[[Tasks], Awaitable[Any]]]] = {
    "enqueue": lambda tasks: tasks.enqueue([TASK]),
    "claim": lambda tasks: tasks.claim("q", "w"),
    "reclaim": lambda tasks: tasks.reclaim("q", "w"),
    "extend": lambda tasks: tasks.extend(HOLD, 9.0),
    "complete": lambda tasks: tasks.complete(HOLD, b"1"),
    "fail": lambda tasks: tasks.fail(HOLD, Failure("E", "e")),
    "release": lambda tasks: tasks.release(HOLD),
    "once": lambda tasks: tasks.once(HOLD, "k"),
    "cancel": lambda tasks: tasks.cancel("t"),
    "result": lambda tasks: tasks.result("t"),
    "outcomes": lambda tasks: tasks.outcomes(["t"]),
    "get": lambda tasks: tasks.get("t"),
    "list": lambda tasks: tasks.list(),
    "dead": lambda tasks: tasks.dead(),
    "retry_dead": lambda tasks: tasks.retry_dead(),
    "purge": lambda tasks: tasks.purge(0.0),
    "sweep": lambda tasks: tasks.sweep(),
    "stats": lambda tasks: tasks.stats(),
}
OF_LEASES: Final[dict[str, Callable[[Leases], Awaitable[Any]]]] = {
    "acquire": lambda leases: leases.acquire("n", "h", 9.0),
    "renew": lambda leases: leases.renew("n", "h", 9.0),
    "release": lambda leases: leases.release("n", "h"),
    "get": lambda leases: leases.get("n"),
}


def store() -> MemoryStore:
    return MemoryStore(asyncio.get_running_loop().time, random.Random(1))


def test_all_that_a_store_can_be_asked_is_asked_here() -> None:
    for port, asked in ((Tasks, OF_TASKS), (Leases, OF_LEASES)):
        assert {name for name in vars(port) if not name.startswith("_") and callable(getattr(port, name))} == set(asked)


@pytest.mark.parametrize("name", OF_TASKS)
async def test_no_request_about_tasks_gets_through_while_the_way_is_cut(name: str) -> None:
    with pytest.raises(StoreUnavailable, match="out of reach"):
        await OF_TASKS[name](WayToStore(store(), cut=True).tasks)


@pytest.mark.parametrize("name", OF_LEASES)
async def test_no_request_about_leases_gets_through_while_the_way_is_cut(name: str) -> None:
    with pytest.raises(StoreUnavailable, match="out of reach"):
        await OF_LEASES[name](WayToStore(store(), cut=True).leases)


async def test_a_request_that_is_cut_off_on_its_way_is_not_done() -> None:
    inner = store()
    way = WayToStore(inner)
    asking = asyncio.create_task(way.tasks.enqueue([TASK]))
    await asyncio.sleep(0)
    way.cut = True
    with pytest.raises(StoreUnavailable):
        await asking
    assert await inner.tasks.list() == ()


async def test_an_answer_that_is_cut_off_on_its_way_is_not_heard_of_what_was_done() -> None:
    inner = store()
    way = WayToStore(inner)
    asking = asyncio.create_task(way.tasks.enqueue([TASK]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not asking.done()
    way.cut = True
    with pytest.raises(StoreUnavailable):
        await asking
    [info] = await inner.tasks.list()
    assert info.state is State.READY


async def test_a_request_that_is_cancelled_on_its_way_is_not_done() -> None:
    inner = store()
    asking = asyncio.create_task(WayToStore(inner).tasks.enqueue([TASK]))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await inner.tasks.list() == ()


async def test_a_way_that_is_whole_again_leads_to_what_was_there() -> None:
    way = WayToStore(store())
    await way.tasks.enqueue([TASK])
    way.cut = True
    way.cut = False
    claimed = await way.tasks.claim("q", "w")
    assert [task.hold.id for task in claimed.tasks] == ["t"]


FARM: Final = """\
version: 1
coordinators:
  boss: {handler: 'app:Boss', workers: [picker]}
workers:
  picker: {handler: 'app:Picker', replicas: 2, tasks: {delivery: at-least-once}}
agents:
  other: {handler: 'app:Other'}
"""


def farm() -> TestHub:
    handlers = {"boss": store_farm.Boss, "picker": store_farm.Picker, "other": store_farm.Other}
    return TestHub(FARM, handlers=handlers)


def way_of(hub: TestHub, peer: str) -> WayToStore | None:
    life = hub._lives[peer]
    assert isinstance(life, AgentLife)
    return life.store


async def enqueued(way: WayToStore, queue: str = "picker") -> None:
    await way.tasks.enqueue([NewTask(id=f"id {queue}", queue=queue, type="Pick", payload=b"{}", caller="boss")])


@virtual
async def test_everybody_has_the_share_of_one_store_that_the_topology_gives() -> None:
    async with farm() as hub:
        boss, picker = way_of(hub, "boss"), way_of(hub, "picker.1")
        assert boss is not None
        assert picker is not None
        assert way_of(hub, "other") is None
        with pytest.raises(StoreRefused):
            await enqueued(boss, "other")
        with pytest.raises(StoreRefused):
            await enqueued(picker)
        with pytest.raises(StoreRefused):
            await picker.tasks.claim("picker", "picker.2")


@virtual
async def test_a_partition_from_the_store_is_one_from_its_tasks_until_it_heals() -> None:
    async with farm() as hub:
        boss = way_of(hub, "boss")
        assert boss is not None
        hub.partition("boss", "store")
        with pytest.raises(StoreUnavailable):
            await enqueued(boss)
        hub.heal()
        await enqueued(boss)


@virtual
async def test_who_is_killed_says_nothing_to_the_store_any_more() -> None:
    async with farm() as hub:
        way = way_of(hub, "picker.1")
        assert way is not None
        await hub.kill("picker.1")
        with pytest.raises(StoreUnavailable):
            await way.tasks.claim("picker", "picker.1")
        await hub.start("picker.1")
        again = way_of(hub, "picker.1")
        assert again is not None
        await again.tasks.claim("picker", "picker.1")


@virtual
async def test_each_block_begins_with_an_empty_store() -> None:
    hub = farm()
    for _ in range(2):
        async with hub:
            assert hub._store is not None
            assert await hub._store.tasks.list() == ()
            await hub._store.tasks.enqueue([TASK])
