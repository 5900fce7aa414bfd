"""Several processes at one store in NATS, each with a picture of its own: no task is in two hands, and nothing is missed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack

import pytest

from orchestrator.errors import StoreUnavailable
from orchestrator.store.errors import LeaseLost, UnknownTask
from orchestrator.store.nats import NatsStore
from orchestrator.store.nats_writer import LARGEST_BATCH, Write, Writer
from orchestrator.store.tasks import NewTask, State
from tests.store.nats_stores import opened
from tests.store.task_stores import Clock, new

Stores = list[NatsStore]
MANY = 2 * LARGEST_BATCH + 10


@pytest.fixture
async def stores(request: pytest.FixtureRequest) -> AsyncIterator[Stores]:
    clock = Clock()
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(opened(clock, namespace=f"shared by {request.node.name}"[:64]))
            for _ in range(4)
        ]


async def test_all_who_claim_at_once_get_each_task_once(stores: Stores) -> None:
    names = {f"t{number}" for number in range(300)}
    await stores[0].tasks.enqueue([new(name) for name in sorted(names)])
    taken: list[str] = []

    async def worker(store: NatsStore, number: int) -> None:
        while claimed := (await store.tasks.claim("helper", f"helper.{number}", limit=3)).tasks:
            for leased in claimed:
                taken.append(leased.hold.id)
                await store.tasks.complete(leased.hold, b"1")

    await asyncio.gather(*(worker(store, number) for number in range(3) for store in stores))
    rest = await stores[0].tasks.claim("helper", "helper.0", limit=300)
    assert sorted([*taken, *(leased.hold.id for leased in rest.tasks)]) == sorted(names)


async def test_what_one_has_stored_another_claims_at_once_and_in_order(stores: Stores) -> None:
    first, second, *_ = stores
    for turn in range(20):
        await first.tasks.enqueue([new(f"low{turn}"), new(f"high{turn}", priority=1)])
        claimed = await second.tasks.claim("helper", "helper.1", limit=2)
        assert [leased.hold.id for leased in claimed.tasks] == [f"high{turn}", f"low{turn}"]


async def test_what_one_has_cancelled_another_does_not_complete(stores: Stores) -> None:
    caller, worker, *_ = stores
    await caller.tasks.enqueue([new()])
    (leased,) = (await worker.tasks.claim("helper", "helper.1")).tasks
    assert await caller.tasks.cancel("t1") is State.CANCELLED
    with pytest.raises(LeaseLost, match="cancelled"):
        await worker.tasks.complete(leased.hold, b"1")


async def test_whoever_counts_sees_what_others_did(stores: Stores) -> None:
    caller, worker, looking, _ = stores
    for number in range(3):
        await caller.tasks.enqueue([new(f"t{number}")])
        (leased,) = (await worker.tasks.claim("helper", "helper.1")).tasks
        await worker.tasks.complete(leased.hold, b"1")
        assert [(each.done, each.open) for each in await looking.tasks.stats()] == [(number + 1, 0)]
    assert await caller.tasks.purge(0) == 3
    assert await looking.tasks.stats() == ()


async def test_namespaces_have_nothing_to_do_with_each_other(stores: Stores) -> None:
    await stores[0].tasks.enqueue([new()])
    assert await stores[0].leases.acquire("x", "a/1", 10) is not None
    async with opened() as other:
        assert await other.tasks.list() == ()
        assert (await other.tasks.claim("helper", "helper.1")).tasks == ()
        assert await other.leases.acquire("x", "b/1", 10) is not None


async def test_who_begins_late_passes_over_what_has_ended_and_over_nothing_else() -> None:
    clock, name = Clock(), "a long life"
    async with opened(clock, namespace=name) as store:
        await store.tasks.enqueue([new("old", delay=5)])
        await store.tasks.enqueue([new(f"t{number}") for number in range(MANY)])
        for _ in range(3):
            claimed = await store.tasks.claim("helper", "helper.1", limit=500)
            await asyncio.gather(*(store.tasks.complete(leased.hold, b"1") for leased in claimed.tasks))
        await store.tasks.claim("helper", "helper.1", limit=1, lease=60)
        async with opened(clock, namespace=name) as late:
            rest = await late.tasks.claim("helper", "helper.2", limit=1_000)
            assert [leased.hold.id for leased in rest.tasks] == [f"t{number}" for number in range(1_501, MANY)]
            clock.now += 5
            assert [each.hold.id for each in (await late.tasks.claim("helper", "helper.2")).tasks] == ["old"]
            await asyncio.gather(*(late.tasks.complete(leased.hold, b"1") for leased in rest.tasks))
            for turn in range(2):
                await late.tasks.enqueue([new(f"more{turn}.{number}") for number in range(400)])
                claimed = await late.tasks.claim("helper", "helper.2", limit=400)
                await asyncio.gather(*(late.tasks.complete(leased.hold, b"1") for leased in claimed.tasks))
            await late.tasks.claim("helper", "helper.2")
        async with opened(clock, namespace=name) as last:
            clock.now += 60
            again = await last.tasks.claim("helper", "helper.3", limit=5)
            assert sorted(leased.hold.id for leased in again.tasks) == ["old", "t1500"]
            assert last.tasks._queue("helper")._follower.delivered < MANY


# -- requests that do not fit into one batch


class Dying(Writer):
    """Writes the first batch of a request, and is gone."""

    async def write(self, writes: Sequence[Write]) -> int | None:
        if len(writes) > 1 and self.written:
            raise StoreUnavailable("it is gone")
        self.written = True
        return await super().write(writes)

    written = False


async def half_stored(store: NatsStore, tasks: Sequence[NewTask]) -> None:
    writer = Dying(store._engine)
    store.tasks._enqueuer._writer = writer
    with pytest.raises(StoreUnavailable):
        await store.tasks.enqueue(tasks)
    await writer.close()


async def test_of_a_large_request_that_was_broken_off_there_is_nothing(stores: Stores) -> None:
    dying, other, *_ = stores
    await half_stored(dying, [new(f"t{number}") for number in range(MANY)])
    assert (await other.tasks.claim("helper", "helper.1", limit=10)).tasks == ()
    assert await other.tasks.list() == ()
    with pytest.raises(UnknownTask):
        await other.tasks.get("t0")


async def test_a_large_request_that_was_broken_off_is_stored_when_it_is_repeated(stores: Stores) -> None:
    dying, other, worker, _ = stores
    tasks = [new(f"t{number}") for number in range(MANY)]
    await half_stored(dying, tasks)
    assert all(each.fresh for each in await other.tasks.enqueue(tasks))
    assert not any(each.fresh for each in await worker.tasks.enqueue(tasks[-3:]))
    (stats,) = await worker.tasks.stats()
    assert stats.ready == MANY
    claimed = await worker.tasks.claim("helper", "helper.1", limit=5)
    assert [leased.hold.id for leased in claimed.tasks] == [f"t{number}" for number in range(5)]
