"""What both sides of `bench/peers.py` do to be measured, with nothing but Python's own library."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypedDict

from bench.verdict import percentile

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

TEXT = "x" * 64
"""Goes there and back beside a number."""


class Timing(TypedDict):
    """One turn, as the one who waited saw it: `seconds` for all of it, and milliseconds for single round trips."""

    seconds: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    wrong: int
    """Answers that were not those expected."""


async def ask_many(ask: Callable[[int], Awaitable[int]], count: int, window: int) -> Timing:
    """Ask with the numbers below `count`, of which each is the answer, `window` at a time."""
    numbers, wrong = iter(range(count)), 0
    times: list[float] = []

    async def one_after_another() -> None:
        nonlocal wrong
        for number in numbers:
            asked = time.perf_counter()
            wrong += await ask(number) != number
            times.append(time.perf_counter() - asked)

    began = time.perf_counter()
    await asyncio.gather(*(one_after_another() for _ in range(window)))
    seconds = time.perf_counter() - began
    p50, p95, p99 = (percentile(times, share) * 1e3 for share in (0.5, 0.95, 0.99))
    return Timing(seconds=seconds, p50_ms=p50, p95_ms=p95, p99_ms=p99, wrong=wrong)


def words(tokens: int) -> list[str]:
    """Return what a language model might say."""
    return [f"token{number} " for number in range(tokens)]
