"""What every store promises of leases. The same tests run over all adapters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.store.port import Lease
from tests.store.stores import ADAPTERS, Opened, Store

TTL = 10


@pytest.fixture(params=ADAPTERS)
def opened(request: pytest.FixtureRequest) -> Opened:
    return ADAPTERS[request.param]


@pytest.fixture
async def store(opened: Opened) -> AsyncIterator[Store]:
    async with opened() as store:
        yield store


async def acquired(store: Store, name: str = "x", holder: str = "a/1", ttl: float = TTL) -> Lease:
    lease = await store.leases.acquire(name, holder, ttl * store.unit)
    assert lease is not None
    return lease


async def test_a_name_that_nobody_holds_is_acquired(store: Store) -> None:
    lease = await acquired(store)
    assert (lease.name, lease.holder) == ("x", "a/1")
    assert lease.fence > 0
    assert 0 < lease.left <= TTL * store.unit


async def test_a_name_that_is_held_is_not_acquired_by_another(store: Store) -> None:
    await acquired(store)
    assert await store.leases.acquire("x", "b/1", TTL * store.unit) is None


async def test_names_have_nothing_to_do_with_each_other(store: Store) -> None:
    await acquired(store)
    assert (await acquired(store, "y", "b/1")).holder == "b/1"


async def test_its_holder_acquires_it_again_with_the_same_fence_and_all_of_its_time(store: Store) -> None:
    first = await acquired(store)
    await store.advance(6 * store.unit)
    second = await acquired(store)
    assert second.fence == first.fence
    await store.advance(6 * store.unit)
    assert await store.leases.acquire("x", "b/1", store.unit) is None


async def test_a_lease_ends_by_itself_and_not_before_its_time(store: Store) -> None:
    await acquired(store)
    await store.advance(8 * store.unit)
    assert await store.leases.acquire("x", "b/1", TTL * store.unit) is None
    await store.advance(3 * store.unit)
    assert (await acquired(store, holder="b/1")).holder == "b/1"


async def test_a_renewed_lease_lasts_from_then_on_and_keeps_its_fence(store: Store) -> None:
    first = await acquired(store)
    for _ in range(4):
        await store.advance(6 * store.unit)
        renewed = await store.leases.renew("x", "a/1", TTL * store.unit)
        assert renewed is not None
        assert renewed.fence == first.fence


async def test_a_lease_that_has_ended_is_not_renewed_though_nobody_took_it(store: Store) -> None:
    await acquired(store)
    await store.advance(11 * store.unit)
    assert await store.leases.renew("x", "a/1", TTL * store.unit) is None
    assert await store.leases.get("x") is None


async def test_nobody_renews_or_releases_what_another_holds(store: Store) -> None:
    await acquired(store)
    assert await store.leases.renew("x", "b/1", TTL * store.unit) is None
    await store.leases.release("x", "b/1")
    held = await store.leases.get("x")
    assert held is not None
    assert held.holder == "a/1"


async def test_a_released_name_is_free_at_once_and_releasing_it_again_does_nothing(store: Store) -> None:
    await acquired(store)
    await store.leases.release("x", "a/1")
    assert await store.leases.get("x") is None
    assert await store.leases.renew("x", "a/1", TTL * store.unit) is None
    await acquired(store, holder="b/1")
    await store.leases.release("x", "a/1")
    assert (await store.leases.get("x")) is not None


async def test_get_tells_who_holds_a_name_and_for_how_long(store: Store) -> None:
    assert await store.leases.get("x") is None
    lease = await acquired(store)
    await store.advance(4 * store.unit)
    held = await store.leases.get("x")
    assert held is not None
    assert (held.holder, held.fence) == ("a/1", lease.fence)
    assert held.left <= 6 * store.unit


async def test_fences_of_a_name_grow_however_its_leases_end(store: Store) -> None:
    fences = []
    for turn in range(9):
        fences.append((await acquired(store, holder=f"a/{turn}")).fence)
        if turn % 3:
            await store.leases.release("x", f"a/{turn}")
        else:  # as if its holder had crashed
            await store.advance(11 * store.unit)
        await acquired(store, "y", f"b/{turn}")
        await store.leases.release("y", f"b/{turn}")
    assert fences == sorted(set(fences))


@pytest.mark.parametrize("ttl", [0.0, -1.0, float("nan")])
async def test_a_lease_without_a_length_is_refused(store: Store, ttl: float) -> None:
    with pytest.raises(ValueError, match="more than 0 seconds"):
        await store.leases.acquire("x", "a/1", ttl)
    with pytest.raises(ValueError, match="more than 0 seconds"):
        await store.leases.renew("x", "a/1", ttl)
    assert await store.leases.get("x") is None


@pytest.mark.parametrize("name", ["", "with space", "ünï/code", "a" * 1_000, "'; --", "\u0000", "*", "a.b>c"])
async def test_any_text_is_a_name(store: Store, name: str) -> None:
    await acquired(store, name)
    await acquired(store, f"{name}x", "b/1")
    assert await store.leases.acquire(name, "b/1", TTL * store.unit) is None


async def test_of_many_who_ask_at_once_one_holds_the_name(store: Store) -> None:
    asked = [store.leases.acquire("x", f"m/{number}", TTL * store.unit) for number in range(50)]
    granted = [lease for lease in await asyncio.gather(*asked) if lease is not None]
    assert len(granted) == 1
    assert (await store.leases.get("x")) is not None


async def test_ended_leases_are_not_kept_for_ever(store: Store) -> None:
    """And what is still held is, among thousands that ended by themselves."""
    fence = (await acquired(store, "kept", ttl=1_000)).fence
    for number in range(1_500):
        await acquired(store, f"name {number}", ttl=1)
    await store.advance(2 * store.unit)
    for number in range(1_500):
        await acquired(store, f"name {number}", "b/1", ttl=1)
    held = await store.leases.get("kept")
    assert held is not None
    assert held.fence == fence


STEP = st.one_of(
    st.tuples(st.just("acquire"), st.sampled_from("xy"), st.integers(0, 2), st.integers(1, 6)),
    st.tuples(st.just("renew"), st.sampled_from("xy"), st.integers(0, 2), st.integers(1, 6)),
    st.tuples(st.just("release"), st.sampled_from("xy"), st.integers(0, 2), st.just(0)),
    st.tuples(st.just("get"), st.sampled_from("xy"), st.just(0), st.just(0)),
    st.tuples(st.just("advance"), st.just(""), st.just(0), st.integers(1, 4)),
)


@settings(max_examples=200, deadline=None)
@given(adapter=st.sampled_from(sorted(ADAPTERS)), steps=st.lists(STEP, max_size=40))
def test_a_store_does_what_its_model_does(adapter: str, steps: list[tuple[str, str, int, int]]) -> None:
    """The model keeps `(holder, fence, end)` by name. Times are halves off, so that no end is met exactly."""
    asyncio.run(_compared(ADAPTERS[adapter], steps))


async def _compared(opened: Opened, steps: list[tuple[str, str, int, int]]) -> None:
    model: dict[str, tuple[str, int, float]] = {}
    greatest: dict[str, int] = {}
    now = 0.0
    async with opened() as store:
        for action, name, number, length in steps:
            holder = f"m/{number}"
            if action == "advance":
                now += length
                await store.advance(length * store.unit)
                continue
            known = model.get(name)
            if known is not None and known[2] < now:
                del model[name]
                known = None
            ends = now + length + 0.5
            if action == "release":
                await store.leases.release(name, holder)
                if known is not None and known[0] == holder:
                    del model[name]
            elif action == "get":
                lease = await store.leases.get(name)
                assert (lease and (lease.holder, lease.fence)) == (known and known[:2])
            elif action == "renew" or (known is not None and known[0] != holder):
                ask = store.leases.renew if action == "renew" else store.leases.acquire
                lease = await ask(name, holder, (length + 0.5) * store.unit)
                mine = known is not None and known[0] == holder
                assert (lease is not None) == mine
                if mine and known is not None:
                    model[name] = (*known[:2], ends)
            else:
                lease = await store.leases.acquire(name, holder, (length + 0.5) * store.unit)
                assert lease is not None
                if known is None:
                    assert lease.fence > greatest.get(name, 0)
                else:
                    assert lease.fence == known[1]
                greatest[name] = lease.fence
                model[name] = (holder, lease.fence, ends)
