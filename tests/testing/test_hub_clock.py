"""The event loop whose clock jumps, and stands still while anything happens."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from orchestrator.testing import FakeClock, virtual


@virtual
async def test_timers_fire_in_their_order_and_take_no_time() -> None:
    loop = asyncio.get_running_loop()
    fired: list[float] = []
    before, really = loop.time(), time.monotonic()
    for delay in (3600.0, 60.0, 600.0):
        loop.call_later(delay, fired.append, delay)
    await asyncio.sleep(3600.5)
    assert fired == [60.0, 600.0, 3600.0]
    assert loop.time() == pytest.approx(before + 3600.5)
    assert time.monotonic() - really < 30


@virtual
async def test_code_takes_no_time() -> None:
    before = asyncio.get_running_loop().time()
    time.sleep(0.02)  # noqa: ASYNC251 - that this is not seen is the fact
    await asyncio.sleep(0)
    assert asyncio.get_running_loop().time() == before


@virtual
async def test_time_stands_still_while_a_thread_works() -> None:
    loop = asyncio.get_running_loop()
    before, go = loop.time(), threading.Event()

    def work() -> float:
        loop.call_soon_threadsafe(go.set)
        assert go.wait(10)
        return loop.time()

    async with asyncio.timeout(0.001):
        assert await asyncio.to_thread(work) == before


@virtual
async def test_a_thread_whose_caller_is_cancelled_holds_nobody_up() -> None:
    free = threading.Event()
    working = asyncio.ensure_future(asyncio.to_thread(free.wait, 10))
    await asyncio.sleep(0)
    working.cancel()
    before = asyncio.get_running_loop().time()
    await asyncio.sleep(60)
    assert asyncio.get_running_loop().time() == before + 60
    free.set()


@virtual
async def test_a_thread_that_gives_no_sign_is_passed_over() -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, FakeClock)
    loop.patience = 0.05
    free = threading.Event()
    working = asyncio.ensure_future(asyncio.to_thread(free.wait, 30))
    await asyncio.sleep(60)
    assert not working.done()
    free.set()
    working.cancel()


def test_a_wait_that_nothing_can_end_is_an_error() -> None:
    class Impatient(FakeClock):
        patience = 0.05

    async def wait() -> None:
        await asyncio.get_running_loop().create_future()

    with asyncio.Runner(loop_factory=Impatient) as runner:
        with pytest.raises(RuntimeError, match="nothing is left that could happen"):
            runner.run(wait())


def test_a_run_has_a_limit_of_virtual_seconds() -> None:
    async def tick() -> None:
        for _ in range(1_000):
            await asyncio.sleep(1)

    with pytest.raises(TimeoutError, match="not come to its end within 600 virtual seconds"):
        FakeClock.run(tick(), limit=600)


def test_a_timeout_of_the_test_itself_stays_what_it_is() -> None:
    async def late() -> None:
        async with asyncio.timeout(1):
            await asyncio.sleep(2)

    with pytest.raises(TimeoutError) as raised:
        FakeClock.run(late())
    assert "virtual" not in str(raised.value)


def test_a_failure_that_nobody_waits_for_is_raised() -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await asyncio.sleep(1)

    with pytest.raises(RuntimeError) as raised:
        FakeClock.run(main())
    assert isinstance(raised.value.__cause__, ZeroDivisionError)


def test_arguments_and_results_pass() -> None:
    @virtual
    async def doubled(number: int, *, plus: int = 0) -> int:
        await asyncio.sleep(number)
        return 2 * number + plus

    assert doubled(4, plus=1) == 9
    assert doubled.__name__ == "doubled"
