"""How long a newcomer takes to catch up with the state of its team, in real time; everybody is in one process."""

from __future__ import annotations

import argparse
import asyncio
import time
from dataclasses import field

from bench.verdict import Bar, tell
from orchestrator import Team, agent
from orchestrator.testing import TestHub

TOPOLOGY = """
version: 1
agents:
  member: {handler: "app:Member", replicas: 3}
teams:
  desk: {members: [member]}
"""


@agent
class Member:
    desk: Team
    seconds: float = field(default=0.0, init=False)
    """From the first line of `setup`, before anything was asked, to being caught up."""

    async def setup(self) -> None:
        began = time.perf_counter()
        await self.desk.state.synced()
        self.seconds = time.perf_counter() - began


async def caught_up(keys: int) -> float:
    """Return how long a newcomer took for so many keys."""
    async with TestHub(TOPOLOGY, handlers={"member": Member}, only=["member.1", "member.2"]) as hub:
        state, other = (hub.agent(peer).desk.state for peer in ("member.1", "member.2"))
        arriving = other.changes()
        for number in range(keys):
            state[f"items/{number:06}"] = {"owner": f"member.{number % 3}", "done": False, "seconds": number / 7}
        while len(other) < keys:
            await anext(arriving)
        await hub.start("member.3")
        newcomer = hub.agent("member.3")
        assert dict(newcomer.desk.state) == dict(state)
        return float(newcomer.seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    seconds = [round(asyncio.run(caught_up(given.keys)), 3) for _ in range(given.runs)]
    tell("team_state", [Bar("newcomer_s", max(seconds), "<=", 1.0)], {"keys": given.keys, "seconds": seconds})


if __name__ == "__main__":
    main()
