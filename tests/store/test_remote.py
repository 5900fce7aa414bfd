"""A client of the store's process: what it does about tokens, lost connections and answers that do not come."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.errors import StoreUnavailable
from orchestrator.store.clock import steady_time
from orchestrator.store.errors import StoreRefused
from orchestrator.store.opening import MemoryStore
from orchestrator.store.remote import RemoteStore
from orchestrator.store.sqlite import SqliteStore
from orchestrator.store.tasks import State
from orchestrator.store.wire_answers import Goodbye
from tests.store.gated import Gate, GatedStore
from tests.store.serving import Served, raw, served
from tests.store.task_stores import new


def memory() -> MemoryStore:
    return MemoryStore(steady_time(), random.Random(1))


@pytest.fixture
async def here() -> AsyncIterator[Served]:
    async with served(memory()) as here:
        yield here


# -- tokens


async def test_what_is_told_of_the_store_is_what_it_can(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "s.db") as store, served(store) as here, here.talking("boss.1") as client:
        await client.open()
        assert client.tasks.capabilities == store.tasks.capabilities == client.leases.capabilities


async def test_a_token_of_somebody_else_opens_nothing_and_is_told_why(here: Served) -> None:
    async with here.talking("stranger.1", patience=0.2) as client:
        with pytest.raises(StoreUnavailable, match=r"within 0\.2 s: the token is not of this run"):
            await client.tasks.stats()


async def test_a_refused_token_is_followed_by_a_fresh_one(here: Served) -> None:
    tokens = iter(["stale", "stale", "boss.1", "never"])

    async def token() -> str:
        return next(tokens)

    client = RemoteStore(here.path, token)
    await client.tasks.enqueue([new()])
    await client.close()
    assert here.door.shown == ["stale", "stale", "boss.1"]


async def test_a_token_that_cannot_be_had_now_is_asked_for_again(here: Served) -> None:
    tries = 0

    async def token() -> str:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise ConnectionError("the parent is busy")
        return "boss.1"

    client = RemoteStore(here.path, token)
    await client.tasks.enqueue([new()])
    await client.close()
    assert tries == 3


async def test_a_mistake_of_whoever_gives_tokens_is_told_at_once(here: Served) -> None:
    async def token() -> str:
        raise KeyError("no such token")

    client = RemoteStore(here.path, token)
    with pytest.raises(StoreUnavailable, match="KeyError: 'no such token'"):
        await client.tasks.enqueue([new()])
    await client.close()


async def test_a_token_that_ends_in_the_midst_of_things_is_not_noticed(here: Served) -> None:
    here.door.left |= {"boss.1": 0.05, "helper.1": 0.05}
    seen: list[str] = []
    async with here.talking("boss.1") as boss, here.talking("helper.1") as helper:

        async def does() -> None:
            while len(seen) < 3_000 or here.door.shown.count("helper.1") < 4:
                name = f"t{random.random()}"
                await boss.tasks.enqueue([new(name)])
                for leased in (await helper.tasks.claim("helper", "helper.1", limit=4)).tasks:
                    await helper.tasks.complete(leased.hold, b"1")
                    seen.append(leased.hold.id)

        async with asyncio.timeout(30):
            await asyncio.gather(*(does() for _ in range(20)))
    assert len(seen) == len(set(seen))
    stats = await here.store.tasks.stats()
    assert sum(each.leased for each in stats) == 0


# -- lost connections


async def test_what_had_no_answer_when_the_store_died_is_asked_for_again_and_done_once() -> None:
    gate = Gate()
    async with served(GatedStore(gate, "enqueue", "complete")) as here, here.talking("boss.1") as client:
        asking = [asyncio.create_task(client.tasks.enqueue([new(f"t{number}")])) for number in range(20)]
        await gate.wait_for(20)
        await here.stop(grace=0)
        here.start(memory())
        answers = await asyncio.gather(*asking)
        assert [answer[0].id for answer in answers] == [f"t{number}" for number in range(20)]
        (stats,) = await here.store.tasks.stats()
        assert stats.ready == 20


async def test_a_claim_that_may_have_been_granted_unheard_is_told_and_taken_back() -> None:
    gate = Gate()
    store = GatedStore(gate, "claim")
    async with served(store) as here, here.talking("helper.1") as client:
        await store.tasks.enqueue([new(max_attempts=1)])
        claiming = asyncio.create_task(client.tasks.claim("helper", "helper.1"))
        await gate.wait_for(1)
        await here.stop(grace=0)
        with pytest.raises(StoreUnavailable, match="may have been granted"):
            await claiming
        here.start()
        gate.open()
        assert await client.tasks.reclaim("helper", "helper.1", begun=False) == 1
        (leased,) = (await client.tasks.claim("helper", "helper.1")).tasks
        assert leased.attempt == 1


async def test_a_claim_that_was_not_sent_yet_waits_for_the_store(here: Served) -> None:
    await here.stop()
    async with here.talking("helper.1") as client:
        claiming = asyncio.create_task(client.tasks.claim("helper", "helper.1"))
        await asyncio.sleep(0)
        here.start()
        assert (await claiming).tasks == ()


async def test_a_store_that_ends_well_answers_what_is_under_way_and_the_rest_goes_to_the_next() -> None:
    gate = Gate()
    async with served(GatedStore(gate, "claim")) as here, here.talking("helper.1") as client, raw(here) as end:
        await end.admitted()
        first = asyncio.create_task(client.tasks.claim("helper", "helper.1"))
        await gate.wait_for(1)
        stopping = asyncio.create_task(here.stop())
        assert await end.hear() == Goodbye(0)
        end.writer.close()
        rest = [asyncio.create_task(client.tasks.claim("helper", "helper.1")) for _ in range(3)]
        await asyncio.sleep(0)
        gate.open()
        assert (await first).tasks == ()
        await stopping
        assert gate.reached == 1
        here.start(memory())
        assert [claimed.tasks for claimed in await asyncio.gather(*rest)] == [(), (), ()]


async def test_no_store_at_all_is_told_after_so_long(here: Served, tmp_path: Path) -> None:
    async def token() -> str:
        return "boss.1"

    client = RemoteStore(str(tmp_path / "nowhere"), token, patience=0.1)
    with pytest.raises(StoreUnavailable, match=r"nowhere gave no answer within 0\.1 s: .*No such file"):
        await client.leases.get("x")
    await client.close()


async def test_an_answer_that_does_not_come_is_given_up_and_disturbs_nobody() -> None:
    gate = Gate()
    async with served(GatedStore(gate, "enqueue")) as here, here.talking(patience=0.1) as client:
        with pytest.raises(StoreUnavailable, match=r"gave no answer within 0\.1 s"):
            await client.tasks.enqueue([new()])
        gate.open()
        assert (await client.tasks.get("t1")).info.state is State.READY


async def test_whoever_gives_up_waiting_before_it_was_sent_has_not_asked(here: Served) -> None:
    async with here.talking("boss.1") as client:
        await client.open()
        asking = asyncio.create_task(client.tasks.enqueue([new("given up")]))
        other = asyncio.create_task(client.tasks.enqueue([new("t1")]))
        await asyncio.sleep(0)
        asking.cancel()
        await other
        assert [info.id for info in await here.store.tasks.list()] == ["t1"]


async def test_what_is_too_large_is_told_and_the_others_go_on(here: Served) -> None:
    huge = new("huge", payload=b"x" * (33 * 1_048_576))
    async with here.talking("boss.1") as client:
        await client.open()
        answers = await asyncio.gather(
            client.tasks.enqueue([new("a")]),
            client.tasks.enqueue([huge]),
            client.tasks.enqueue([new("b", type="\ud800")]),
            client.tasks.enqueue([new("c")]),
            return_exceptions=True,
        )
        assert [type(answer) for answer in answers] == [tuple, ValueError, ValueError, tuple]
        assert {info.id for info in await here.store.tasks.list()} == {"a", "c"}


async def test_an_answer_that_is_too_large_is_told(here: Served) -> None:
    async with here.talking() as client:
        for name in "abc":
            await client.tasks.enqueue([new(name)])
            (leased,) = (await client.tasks.claim("helper", "helper.1")).tasks
            await client.tasks.complete(leased.hold, b"x" * (24 * 1_048_576))
        with pytest.raises(ValueError, match="ask for less"):
            await client.tasks.outcomes("abc")
        assert len(await client.tasks.outcomes("ab")) == 2


# -- the end


async def test_a_client_that_is_closed_says_so(here: Served) -> None:
    async with here.talking() as client:
        await client.open()
        await client.close()
        with pytest.raises(StoreUnavailable, match="is closed"):
            await client.tasks.stats()


async def test_closing_waits_for_what_was_asked_for(here: Served) -> None:
    client = here.client("boss.1")
    await client.open()
    asking = [asyncio.create_task(client.tasks.enqueue([new(f"t{number}")])) for number in range(20)]
    await asyncio.sleep(0)
    await client.close()
    assert len(await asyncio.gather(*asking)) == 20


async def test_closing_without_a_store_does_not_wait_for_one(here: Served) -> None:
    await here.stop()
    client = here.client("boss.1", patience=60)
    asking = asyncio.create_task(client.tasks.enqueue([new()]))
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await client.close()
    with pytest.raises(StoreUnavailable, match="was closed before"):
        await asking


# -- idleness


async def test_idle_returns_when_the_last_task_has_ended(here: Served) -> None:
    async with here.talking() as client, asyncio.timeout(10):
        await client.idle()
        await client.tasks.enqueue([new("a"), new("b", delay=600), new("c")])
        idle = asyncio.create_task(client.idle())
        a, c = (leased.hold for leased in (await client.tasks.claim("helper", "helper.1", limit=2)).tasks)
        await client.tasks.complete(a, b"1")
        await client.tasks.cancel("b")
        await client.tasks.stats()
        assert not idle.done()
        await client.tasks.complete(c, b"1")
        await idle


async def test_idle_is_told_of_what_ended_by_itself(here: Served) -> None:
    """Nobody asks for anything meanwhile: the server sweeps when the lease ends."""
    async with here.talking() as client, asyncio.timeout(10):
        await client.tasks.enqueue([new("a", max_attempts=1), new("b", expires=0.2, requires=frozenset({"web"}))])
        await client.tasks.claim("helper", "helper.1", lease=0.1)
        await client.idle()
        assert {info.state for info in await client.tasks.dead()} == {State.DEAD}


async def test_idle_is_for_operators_and_outlives_the_store(here: Served) -> None:
    async with here.talking("boss.1") as client:
        with pytest.raises(StoreRefused, match="until-idle"):
            await client.idle()
    async with here.talking(patience=0.1) as client, asyncio.timeout(10):
        await client.tasks.enqueue([new()])
        idle = asyncio.create_task(client.idle())
        await client.tasks.stats()
        await here.stop(grace=0)
        here.start()
        await here.store.tasks.cancel("t1")
        await idle
