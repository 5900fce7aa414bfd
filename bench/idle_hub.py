"""An idle topology of ten agents on a TestHub: how long 1,000 virtual seconds take."""

from __future__ import annotations

import argparse
import cProfile
import pstats
import sys
import time
from typing import Final

from bench.verdict import Bar, percentile, tell
from orchestrator import Task, Team, Workers, agent, task
from orchestrator.testing import FakeClock, TestHub

TOPOLOGY: Final = """
version: 1
coordinators:
  boss: {handler: app:Boss, workers: [helper]}
workers:
  helper: {handler: app:Helper, replicas: 7}
agents:
  member: {handler: app:Member, replicas: 2}
teams:
  desk: {members: [boss, member]}
presence:
  lobby: {members: [boss, helper, member], watchers: [member]}
"""


class Shout(Task[str]):
    word: str


@agent
class Boss:
    workers: Workers
    desk: Team

    @task
    async def shout(self, job: Shout) -> str:
        return await self.workers.run(job)


@agent
class Helper:
    @task(idempotent=True)
    async def shout(self, job: Shout) -> str:
        return job.word.upper()


@agent
class Member:
    desk: Team


async def idle(seconds: float) -> dict[str, float]:
    """Return the real seconds that each part has taken."""
    began = time.perf_counter()
    async with TestHub(TOPOLOGY, handlers={"boss": Boss, "helper": Helper, "member": Member}) as hub:
        entered = time.perf_counter()
        await hub.advance(seconds)
        idled = time.perf_counter()
        assert await hub.run("boss", Shout(word="hi")) == "HI"
        asked = time.perf_counter()
    return {
        "enter_s": entered - began,
        "idle_s": idled - entered,
        "task_s": asked - idled,
        "leave_s": time.perf_counter() - asked,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1_000.0, help="virtual seconds")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--profile", action="store_true", help="show where the time goes")
    arguments = parser.parse_args()
    profile = cProfile.Profile()
    if arguments.profile:
        profile.enable()
    runs = [FakeClock.run(idle(arguments.seconds)) for _ in range(arguments.runs)]
    if arguments.profile:
        profile.disable()
        pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(25)
    medians = {name: percentile([run[name] for run in runs], 0.5) for name in runs[0]}
    slowest = max(run["idle_s"] for run in runs)
    figures = {f"{name}_median": round(value, 4) for name, value in medians.items()}
    tell(
        "idle_hub",
        [Bar("real seconds of the slowest run", slowest, "<=", 1.0)],
        {"virtual_s": arguments.seconds, "runs": arguments.runs, **figures},
    )


if __name__ == "__main__":
    main()
