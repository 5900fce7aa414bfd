"""A replica does with the store what its topology needs, as itself, and nothing else; in one process or over a socket."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any, TypeAlias

import pytest

from orchestrator.store.confined import ConfinedStore
from orchestrator.store.errors import LeaseLost, StoreRefused, TaskExists, UnknownTask
from orchestrator.store.opening import MemoryStore, Store
from orchestrator.store.tasks import Failure, Hold, State
from tests.store.serving import ACCESS, served
from tests.store.task_stores import Clock, new

As: TypeAlias = Callable[[str], Store]
"""Gives the store as one peer has it."""


@pytest.fixture
def whole() -> MemoryStore:
    return MemoryStore(Clock(), random.Random(1))


@pytest.fixture(params=["here", "over a socket"])
async def as_peer(request: pytest.FixtureRequest, whole: MemoryStore) -> AsyncIterator[As]:
    async with AsyncExitStack() as stack:
        if request.param == "here":
            yield lambda peer: ConfinedStore(whole, peer, ACCESS[peer])
        else:
            here = await stack.enter_async_context(served(whole))
            clients = {peer: await stack.enter_async_context(here.talking(peer)) for peer in ACCESS}
            yield clients.__getitem__


async def stored(as_peer: As, task_id: str = "t1", **more: Any) -> None:
    await as_peer("boss.1").tasks.enqueue([new(task_id, **more)])


async def held(as_peer: As, worker: str = "helper.1") -> Hold:
    await stored(as_peer)
    (leased,) = (await as_peer(worker).tasks.claim("helper", worker)).tasks
    return leased.hold


async def test_what_a_replica_needs_it_may_do(as_peer: As) -> None:
    boss, helper = as_peer("boss.1").tasks, as_peer("helper.1").tasks
    await as_peer("boss.1").open()
    await boss.enqueue([new(name) for name in "abcd"])
    a, b, c, d = (each.hold for each in (await helper.claim("helper", "helper.1", limit=4)).tasks)
    await helper.extend(a, 60)
    assert (await helper.once(a, "charge")).first
    await helper.complete(a, b"1")
    await helper.fail(b, Failure("E", "m"), retry=False)
    await helper.release(c)
    assert await helper.reclaim("helper", "helper.1", held=[d.id]) == 0
    assert await boss.cancel("d") is State.CANCELLED
    assert (await boss.get("a")).result == b"1"
    assert await boss.result("c") is None
    assert [*await boss.outcomes("abcd", caller="boss")] == ["a", "b", "c", "d"]
    leases = as_peer("boss.1").leases
    assert await leases.acquire("teams/desk/claims/x", "boss.1/7", 5) is not None
    assert await leases.renew("teams/desk/claims/x", "boss.1/7", 5) is not None
    assert await leases.get("teams/desk/claims/x") is not None
    await leases.release("teams/desk/claims/x", "boss.1/7")


async def test_a_task_comes_from_whoever_stored_it_whatever_it_says(as_peer: As) -> None:
    await stored(as_peer, origin="chief.1")
    (leased,) = (await as_peer("helper.1").tasks.claim("helper", "helper.1")).tasks
    assert leased.origin == "boss.1"


HOLD = Hold("t1", 1, "helper.1")
FORBIDDEN: list[tuple[str, str, Callable[[Store], Coroutine[Any, Any, Any]]]] = [
    ("boss.1", "'writer'.*coordinators.boss.workers", lambda s: s.tasks.enqueue([new("a"), new("b", queue="writer")])),
    ("boss.1", "'chief'", lambda s: s.tasks.enqueue([new(caller="chief")])),
    ("helper.1", "'helper'", lambda s: s.tasks.enqueue([new(caller="helper")])),
    ("boss.1", "'chief'", lambda s: s.tasks.cancel("t1", caller="chief")),
    ("boss.1", "'chief'", lambda s: s.tasks.result("t1", caller="chief")),
    ("boss.1", "'chief'", lambda s: s.tasks.outcomes(["t1"], caller="chief")),
    ("boss.1", "'chief'", lambda s: s.tasks.get("t1", caller="chief")),
    ("boss.1", "delivery", lambda s: s.tasks.claim("helper", "helper.1")),
    ("boss.1", "delivery", lambda s: s.tasks.claim("boss", "boss.1")),
    ("helper.1", "'writer'", lambda s: s.tasks.claim("writer", "helper.1")),
    ("helper.1", "as 'helper.2'", lambda s: s.tasks.claim("helper", "helper.2")),
    ("boss.1", "delivery", lambda s: s.tasks.reclaim("helper", "helper.1")),
    ("helper.1", "'writer'", lambda s: s.tasks.reclaim("writer", "helper.1")),
    ("helper.1", "as 'helper.2'", lambda s: s.tasks.reclaim("helper", "helper.2")),
    ("boss.1", "delivery", lambda s: s.tasks.extend(HOLD, 5)),
    ("boss.1", "delivery", lambda s: s.tasks.complete(HOLD, b"")),
    ("boss.1", "delivery", lambda s: s.tasks.fail(HOLD, Failure("E", "m"))),
    ("boss.1", "delivery", lambda s: s.tasks.release(HOLD)),
    ("boss.1", "delivery", lambda s: s.tasks.once(HOLD, "k")),
    ("boss.1", "orchestrator tasks", lambda s: s.tasks.list()),
    ("boss.1", "orchestrator tasks", lambda s: s.tasks.dead()),
    ("boss.1", "orchestrator tasks", lambda s: s.tasks.retry_dead()),
    ("boss.1", "orchestrator tasks", lambda s: s.tasks.purge(0)),
    ("boss.1", "orchestrator tasks", lambda s: s.tasks.sweep()),
    ("boss.1", "orchestrator tasks", lambda s: s.tasks.stats()),
    ("boss.1", "'desk'", lambda s: s.leases.acquire("teams/other/claims/x", "boss.1/7", 5)),
    ("boss.1", "'desk'", lambda s: s.leases.acquire("teams/desk", "boss.1/7", 5)),
    ("boss.1", "as 'chief.1/7'", lambda s: s.leases.acquire("teams/desk/claims/x", "chief.1/7", 5)),
    ("boss.1", "as 'boss.12'", lambda s: s.leases.acquire("teams/desk/claims/x", "boss.12", 5)),
    ("boss.1", "as 'chief.1/7'", lambda s: s.leases.renew("teams/desk/claims/x", "chief.1/7", 5)),
    ("boss.1", "'desk'", lambda s: s.leases.renew("x", "boss.1/7", 5)),
    ("boss.1", "as 'chief.1/7'", lambda s: s.leases.release("teams/desk/claims/x", "chief.1/7")),
    ("boss.1", "'desk'", lambda s: s.leases.release("x", "boss.1/7")),
    ("boss.1", "'desk'", lambda s: s.leases.get("x")),
    ("helper.1", "none", lambda s: s.leases.get("teams/desk/claims/x")),
]


@pytest.mark.parametrize(("peer", "told", "deed"), FORBIDDEN)
async def test_anything_else_is_refused_with_what_would_allow_it(
    as_peer: As, whole: MemoryStore, peer: str, told: str, deed: Callable[[Store], Coroutine[Any, Any, Any]]
) -> None:
    with pytest.raises(StoreRefused, match=rf"^{peer} may not .*{told}"):
        await deed(as_peer(peer))
    assert await whole.tasks.list() == ()
    assert await whole.leases.get("teams/desk/claims/x") is None


async def test_tasks_of_others_are_unknown(as_peer: As) -> None:
    await stored(as_peer)
    chief = as_peer("chief.1").tasks
    with pytest.raises(UnknownTask):
        await chief.cancel("t1")
    with pytest.raises(UnknownTask):
        await chief.result("t1")
    with pytest.raises(UnknownTask):
        await chief.get("t1")
    assert await chief.outcomes(["t1"]) == {}
    with pytest.raises(TaskExists):
        await chief.enqueue([new("t1", caller="chief")])


@pytest.mark.parametrize(
    "say",
    [
        lambda tasks, hold: tasks.extend(hold, 5),
        lambda tasks, hold: tasks.complete(hold, b"stolen"),
        lambda tasks, hold: tasks.fail(hold, Failure("E", "m")),
        lambda tasks, hold: tasks.release(hold),
        lambda tasks, hold: tasks.once(hold, "k"),
    ],
)
async def test_what_another_replica_holds_is_lost_to_whoever_names_it(
    as_peer: As, say: Callable[[Any, Hold], Coroutine[Any, Any, Any]]
) -> None:
    hold = await held(as_peer)
    other = as_peer("helper.2").tasks
    with pytest.raises(LeaseLost):
        await say(other, hold)
    with pytest.raises(LeaseLost):
        await say(other, Hold(hold.id, hold.fence, "helper.2"))
    await as_peer("helper.1").tasks.complete(hold, b"mine")


async def test_closing_it_leaves_the_store_to_the_others(whole: MemoryStore) -> None:
    one, other = (ConfinedStore(whole, peer, ACCESS[peer]) for peer in ("boss.1", "helper.1"))
    await one.close()
    assert (await other.tasks.claim("helper", "helper.1")).tasks == ()
