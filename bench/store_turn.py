"""Turns of one client in the comparison of stores: it stores tasks, or stores and does them, for so many seconds.

The library is the caller's; everything that is measured is here, so that it is the same for all.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import TYPE_CHECKING

from bench.lines import say

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

PAYLOAD = b'{"topic":"' + b"x" * 188 + b'"}'
RESULT = b'"' + b"y" * 18 + b'"'
LANES = 2
"""Among which the tasks that are under way are divided, so that some are on their way while others are written."""


async def take_turns(ways: Mapping[str, Callable[[int, float], Awaitable[int]]]) -> None:
    """Do what each line of the input asks for; a way is told how many tasks to have under way and when to begin no more,
    by the monotonic clock, and returns how many were acknowledged."""
    loop = asyncio.get_running_loop()
    say(ready=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        turn = json.loads(line)
        await asyncio.sleep(max(turn["at"] - time.monotonic(), 0.0))
        cpu = -time.process_time()
        done = await ways[turn["do"]](turn["depth"], turn["at"] + turn["seconds"])
        cpu += time.process_time()
        say(done=done, cpu=cpu, ended=time.monotonic())


async def in_lanes(one: Callable[[int], Awaitable[None]], depth: int, until: float) -> int:
    """Call `one` with its share of `depth` in each lane, again and again, and return how many tasks that made."""
    share = depth // LANES

    async def lane() -> int:
        done = 0
        while time.monotonic() < until:
            await one(share)
            done += share
        return done

    return sum(await asyncio.gather(*(lane() for _ in range(LANES))))
