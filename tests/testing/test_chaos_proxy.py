"""The proxy on real sockets: what it does by hand, and each of its faults."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from orchestrator.testing import (
    Bandwidth,
    ChaosProxy,
    Down,
    Fault,
    Latency,
    LimitData,
    ProxyEvent,
    Reset,
    Slicer,
    SlowClose,
    Timeout,
)
from tests.testing.far_end import SAFETY, FarEnd, Wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from orchestrator.testing.chaos_log import What
    from orchestrator.testing.faults import Direction

WAYS: tuple[Direction, ...] = ("upstream", "downstream")
LARGE = random.Random(5).randbytes(3_000_000)


def on_both_loops(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    @functools.wraps(test)
    def run() -> None:
        async def whole() -> None:
            await test()

        asyncio.run(whole())
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(whole())

    del run.__wrapped__  # pytest would see a coroutine
    return run


@contextlib.asynccontextmanager
async def between(*faults: Fault, **how: Any) -> AsyncIterator[tuple[ChaosProxy, FarEnd]]:
    async with FarEnd() as far, ChaosProxy(far.target, faults=faults, **how) as proxy:
        yield proxy, far


async def pair(proxy: ChaosProxy, far: FarEnd, way: Direction = "upstream") -> tuple[Wire, Wire]:
    """Return the two ends of a new connection: the one that sends this way, and the one that receives."""
    near = await far.dial(proxy.port)
    other = await far.caller()
    return (near, other) if way == "upstream" else (other, near)


def happened(what: What, since: int = 0) -> Callable[[ProxyEvent], bool]:
    return lambda event: event.what == what and event.number > since


async def seen(proxy: ChaosProxy, what: What, after: ProxyEvent | None = None) -> ProxyEvent:
    async with asyncio.timeout(SAFETY):
        return await proxy.seen(happened(what), after=after)


# -- passing


@on_both_loops
async def test_bytes_pass_both_ways_at_once_and_unchanged() -> None:
    async with between() as (proxy, far):
        near, other = await pair(proxy, far)
        near.say(LARGE)
        other.say(LARGE[::-1])
        got, back = await asyncio.gather(other.hear(len(LARGE)), near.hear(len(LARGE)))
        assert got == LARGE
        assert back == LARGE[::-1]


@on_both_loops
async def test_the_end_of_one_stream_leaves_the_other_open() -> None:
    async with between() as (proxy, far):
        near, other = await pair(proxy, far)
        near.say(b"question")
        near.end_stream()
        assert await other.rest() == b"question"
        other.say(b"answer")
        other.end_stream()
        assert await near.rest() == b"answer"
        await proxy.wait_for(open_connections=0)


@pytest.mark.parametrize("way", WAYS)
async def test_a_reset_passes_as_a_reset_behind_what_came_before_it(way: Direction) -> None:
    async with between() as (proxy, far):
        sender, receiver = await pair(proxy, far, way)
        sender.say(b"last words")
        assert await receiver.hear(10) == b"last words"
        sender.reset()
        assert await receiver.is_reset() == b""
        assert (await seen(proxy, "reset")).connection == 1


async def test_a_hub_that_is_not_there_resets_whoever_connects() -> None:
    async with between() as (proxy, far):
        far.stop()
        await far.is_reset_at_once(proxy.port)
        assert (await seen(proxy, "unreachable")).detail == "Connection refused"


@pytest.mark.parametrize("way", WAYS)
async def test_much_that_is_held_back_waits_with_the_sender_and_arrives_whole(way: Direction) -> None:
    """That no more than 64 KiB wait in the proxy itself is in the tests of its lanes."""
    async with between() as (proxy, far):
        sender, receiver = await pair(proxy, far, way)
        proxy.partition()
        sender.say(LARGE)
        proxy.heal()
        assert await receiver.hear(len(LARGE)) == LARGE


# -- by hand


@on_both_loops
async def test_cut_resets_both_sides_of_every_connection_at_once() -> None:
    async with between() as (proxy, far):
        ends = [*await pair(proxy, far), *await pair(proxy, far)]
        assert proxy.open_connections == 2
        proxy.cut()
        assert proxy.open_connections == 0
        for end in ends:
            assert await end.is_reset() == b""


@on_both_loops
async def test_close_all_ends_streams_orderly_also_with_bytes_under_way() -> None:
    async with between() as (proxy, far):
        near, other = await pair(proxy, far)
        proxy.close_all()
        near.say(b"too late")
        assert (await near.rest(), await other.rest()) == (b"", b"")
        near.close()
        other.close()


@on_both_loops
async def test_refusing_and_accepting_again_keeps_the_port_and_the_open_connections() -> None:
    async with between() as (proxy, far):
        near, other = await pair(proxy, far)
        for _ in range(3):
            proxy.refuse()
            with pytest.raises(ConnectionRefusedError):
                await far.dial(proxy.port)
            proxy.accept()
            await pair(proxy, far)
        near.say(b"still here")
        assert await other.hear(10) == b"still here"
        assert (proxy.accepted, proxy.open_connections) == (4, 4)


async def test_accept_and_close_ends_each_connection_before_the_hub_hears_of_it() -> None:
    async with between() as (proxy, far):
        proxy.accept_and_close()
        assert await (await far.dial(proxy.port)).rest() == b""
        proxy.accept_and_close(reset=True)
        await far.is_reset_at_once(proxy.port)
        assert (proxy.accepted, far.callers.qsize()) == (2, 0)
        proxy.accept()
        await pair(proxy, far)


@on_both_loops
async def test_a_partition_holds_back_bytes_and_ends_and_a_heal_loses_none() -> None:
    async with between() as (proxy, far):
        near, other = await pair(proxy, far)
        proxy.partition()
        near.say(b"up")
        near.end_stream()
        other.say(b"down")
        newcomer = await far.dial(proxy.port)
        newcomer.say(b"new")
        await proxy.wait_for(accepted=2)
        proxy.heal()
        healed = await seen(proxy, "healed")
        assert (await other.rest(), await near.hear(4)) == (b"up", b"down")
        assert await (await far.caller()).hear(3) == b"new"
        assert not [event for event in proxy.events if event.what == "passed" and event.number < healed.number]
        dialled = [event for event in proxy.events if event.what == "connected" and event.connection == 2]
        assert [event.number > healed.number for event in dialled] == [True]


async def test_leaving_the_proxy_resets_what_is_left_and_leaves_no_task() -> None:
    before = asyncio.all_tasks()
    async with FarEnd() as far:
        async with ChaosProxy(far.target, faults=[Latency(60.0)]) as proxy:
            near, other = await pair(proxy, far)
            near.say(b"never")
            near.end_stream()
            half_closed, _ = await pair(proxy, far)
            proxy.close_all()
            assert await half_closed.rest() == b""
            third, _ = await pair(proxy, far)
        assert [task for task in asyncio.all_tasks() - before if "orchestrator" in repr(task)] == []
        assert await third.is_reset() == b""
        with pytest.raises(ConnectionRefusedError):
            await far.dial(proxy.port)
        del other


# -- faults


@on_both_loops
async def test_latency_delays_what_goes_one_way() -> None:
    async with between(Latency(0.05, direction="upstream")) as (proxy, far):
        near, other = await pair(proxy, far)
        clock = asyncio.get_running_loop().time
        began = clock()
        other.say(b"at once")
        assert await near.hear(7) == b"at once"
        near.say(b"later")
        assert await other.hear(5) == b"later"
        assert clock() >= began + 0.05
        ways = [(event.direction, event.time >= began + 0.05) for event in proxy.events if event.what == "passed"]
        assert ways[1:] == [("upstream", True)]


async def test_latency_that_is_removed_lets_go_of_what_is_under_way() -> None:
    async with between() as (proxy, far):
        near, other = await pair(proxy, far)
        with proxy.fault(Latency(3_600.0)):
            near.say(b"hello")
        assert await other.hear(5) == b"hello"


@on_both_loops
async def test_down_refuses_and_comes_back_on_the_same_port() -> None:
    async with between() as (proxy, far):
        near, other = await pair(proxy, far)
        with proxy.fault(Down()):
            assert (await near.is_reset(), await other.is_reset()) == (b"", b"")
            with pytest.raises(ConnectionRefusedError):
                await far.dial(proxy.port)
        await pair(proxy, far)


async def test_down_closes_or_resets_what_it_accepts() -> None:
    async with between() as (proxy, far):
        near, other = await pair(proxy, far)
        with proxy.fault(Down("close")):
            assert (await near.rest(), await other.rest()) == (b"", b"")
            assert await (await far.dial(proxy.port)).rest() == b""
        with proxy.fault(Down("reset")):
            await far.is_reset_at_once(proxy.port)
        await pair(proxy, far)


@pytest.mark.parametrize("way", WAYS)
async def test_bandwidth_bounds_the_bytes_of_a_second(way: Direction) -> None:
    async with between(Bandwidth(20_000, direction=way)) as (proxy, far):
        sender, receiver = await pair(proxy, far, way)
        began = asyncio.get_running_loop().time()
        sender.say(b"x" * 2_000)
        await receiver.hear(2_000)
        passed = [event for event in proxy.events if event.what == "passed"]
        assert max(event.size for event in passed) <= 400
        assert passed[-1].time >= began + 0.079


@pytest.mark.parametrize("way", WAYS)
async def test_slow_close_delays_the_end_alone(way: Direction) -> None:
    async with between(SlowClose(0.05, direction=way)) as (proxy, far):
        sender, receiver = await pair(proxy, far, way)
        sender.say(b"bye")
        assert await receiver.hear(3) == b"bye"
        began = asyncio.get_running_loop().time()
        sender.end_stream()
        assert await receiver.rest() == b""
        assert (await seen(proxy, "eof")).time >= began + 0.05


async def test_timeout_without_an_end_holds_back_until_it_is_removed() -> None:
    async with between() as (proxy, far):
        near, other = await pair(proxy, far)
        fault = Timeout(direction="upstream")
        proxy.add(fault)
        near.say(b"held")
        other.say(b"back")
        assert await near.hear(4) == b"back"
        proxy.remove(fault)
        assert await other.hear(4) == b"held"
        removed = await seen(proxy, "removed")
        upstream = [event for event in proxy.events if event.what == "passed" and event.direction == "upstream"]
        assert [event.number > removed.number for event in upstream] == [True]


@on_both_loops
async def test_timeout_closes_in_the_end() -> None:
    async with between(Timeout(0.03)) as (proxy, far):
        near, other = await pair(proxy, far)
        near.say(b"lost")
        assert (await near.rest(), await other.rest()) == (b"", b"")
        closed, accepted = await seen(proxy, "closed"), await seen(proxy, "accepted")
        assert closed.time >= accepted.time + 0.03


async def test_reset_comes_after_its_time_and_until_then_everything_passes() -> None:
    async with between() as (proxy, far):
        near, other = await pair(proxy, far)
        proxy.add(Reset(0.03))
        added = await seen(proxy, "added")
        assert (await near.is_reset(), await other.is_reset()) == (b"", b"")
        assert (await seen(proxy, "reset")).time >= added.time + 0.03
    async with between(Reset()) as (proxy, far):
        await far.is_reset_at_once(proxy.port)


@pytest.mark.parametrize("delay", [0.0, 0.001])
async def test_the_slicer_cuts_into_pieces_and_changes_nothing(delay: float) -> None:
    async with between(Slicer(10, variation=4, delay=delay), seed=3) as (proxy, far):
        near, other = await pair(proxy, far)
        near.say(LARGE[:1_000])
        assert await other.hear(1_000) == LARGE[:1_000]
        sizes = [event.size for event in proxy.events if event.what == "passed"]
        assert sum(sizes) == 1_000
        assert set(sizes[:-1]) <= set(range(6, 15))
        assert len(set(sizes)) > 3


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("after", [0, 1, 7, 19, 20])
@pytest.mark.parametrize("reset", [False, True])
async def test_limit_data_lets_so_many_bytes_through_and_ends(way: Direction, after: int, reset: bool) -> None:
    async with between(LimitData(after, reset=reset, direction=way)) as (proxy, far):
        if after == 0 and reset and way == "upstream":
            await far.is_reset_at_once(proxy.port)
            return
        near = await far.dial(proxy.port)
        if after == 0 and way == "upstream":
            assert await near.rest() == b""
            return
        other = await far.caller()
        sender, receiver = (near, other) if way == "upstream" else (other, near)
        sender.say(b"0123456789abcdefghij")
        assert await (receiver.is_reset() if reset else receiver.rest()) == b"0123456789abcdefghij"[:after]
        assert await (sender.is_reset() if reset else sender.rest()) == b""


async def test_limit_data_counts_from_when_it_was_added_and_for_so_many_connections() -> None:
    async with between() as (proxy, far):
        first, other = await pair(proxy, far)
        first.say(b"before")
        await other.hear(6)
        proxy.add(LimitData(3, reset=True, connections=2))
        second, second_other = await pair(proxy, far)
        third, third_other = await pair(proxy, far)
        for sender, receiver, got in ((first, other, b"abc"), (second, second_other, b"abc")):
            sender.say(b"abcdef")
            assert await receiver.is_reset() == got
        third.say(b"abcdef")
        assert await third_other.hear(6) == b"abcdef"


# -- chance and time


async def test_the_same_seed_chooses_the_same_connections() -> None:
    chosen = []
    for seed in (1, 1, 2):
        async with between(Down("reset", toxicity=0.5), seed=seed) as (proxy, far):
            for _ in range(24):
                with contextlib.suppress(ConnectionResetError):
                    await far.dial(proxy.port)
            await proxy.wait_for(accepted=24)
            chosen.append([event.connection for event in proxy.events if event.what == "reset"])
    assert chosen[0] == chosen[1] != chosen[2]
    assert 0 < len(chosen[0]) < 24


async def test_a_schedule_acts_at_its_times() -> None:
    fault = LimitData(5, connections=1)
    plan = [
        (0.02, ChaosProxy.refuse),
        (0.04, ChaosProxy.accept),
        (0.06, fault),
        (0.08, lambda proxy: proxy.remove(fault)),
    ]
    before = asyncio.get_running_loop().time()
    async with between(schedule=plan) as (proxy, _):
        proxy.at(0.1, Latency(1.0), lasting=0.02)
        first = await seen(proxy, "removed")
        await seen(proxy, "removed", first)
        facts = [(event.what, event.time) for event in proxy.events]
        assert [what for what, _ in facts] == ["refusing", "accepting", "added", "removed", "added", "removed"]
        for (_, time), due in zip(facts, (0.02, 0.04, 0.06, 0.08, 0.1, 0.12), strict=True):
            assert time - before >= due - 0.001, "late on a busy machine, but never early"


async def test_what_a_scheduled_action_raises_is_raised_in_the_end() -> None:
    with pytest.raises(ValueError, match=r"Reset\(.*\) is not in force; what is: none"):
        async with between(schedule=[(0.0, lambda proxy: proxy.remove(Reset()))]) as (proxy, _):
            proxy.at(0.0, ChaosProxy.cut)
            proxy.at(0.0, ChaosProxy.refuse)
            await seen(proxy, "refusing")


# -- the log


async def test_events_are_kept_up_to_a_number_and_can_be_waited_for() -> None:
    async with between(log_size=3) as (proxy, far):
        waiting = asyncio.create_task(proxy.seen(lambda event: event.what == "passed" and event.size == 5))
        near, other = await pair(proxy, far)
        near.say(b"hello")
        event = await waiting
        assert (event.connection, event.direction, event.detail) == (1, "upstream", "")
        assert await proxy.seen(happened("passed")) is event
        later = asyncio.create_task(proxy.seen(happened("passed"), after=event))
        await other.hear(5)
        other.say(b"you")
        assert (await later).direction == "downstream"
        assert [kept.what for kept in proxy.events] == ["connected", "passed", "passed"]


async def test_whoever_waits_when_the_proxy_closes_is_told_and_so_is_whoever_asks_nonsense() -> None:
    async with between() as (proxy, far):
        waiting = asyncio.create_task(proxy.wait_for(accepted=2))
        nonsense = asyncio.create_task(proxy.seen(lambda event: bool(1 / 0)))
        await pair(proxy, far)
        with pytest.raises(ZeroDivisionError):
            await nonsense
    with pytest.raises(RuntimeError, match="the proxy was closed before that happened"):
        await waiting
    with pytest.raises(RuntimeError, match="nothing more will happen"):
        await proxy.wait_for(accepted=2)


# -- what cannot be meant


async def test_a_proxy_is_entered_once_and_has_a_url_from_then_on() -> None:
    proxy = ChaosProxy("ws://localhost:7700")
    with pytest.raises(RuntimeError, match="no port yet"):
        _ = proxy.url
    assert repr(proxy) == "<ChaosProxy not open for ws://localhost:7700: accept, 0 open>"
    async with proxy:
        assert proxy.url == f"ws://127.0.0.1:{proxy.port}"
    with pytest.raises(RuntimeError, match="entered once"):
        await proxy.__aenter__()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda: ChaosProxy("http://localhost:1"), "the scheme is wss, or ws"),
        (lambda: ChaosProxy("ws://example.org"), "without TLS only localhost"),
        (lambda: ChaosProxy("localhost:1").remove(Reset()), "what is: none"),
        (lambda: ChaosProxy("localhost:1").at(-1, Reset()), "seconds is a number of seconds of at least 0, not -1"),
        (lambda: ChaosProxy("localhost:1").at(1, ChaosProxy.cut, lasting=1), "only a fault or a rule can be lasting"),
    ],
)
def test_a_proxy_says_what_it_cannot_do(wrong: Callable[[], object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        wrong()


def test_only_faults_and_rules_are_added() -> None:
    with pytest.raises(TypeError, match="a fault or a frame rule"):
        ChaosProxy("localhost:1").add("latency")  # type: ignore[arg-type]
