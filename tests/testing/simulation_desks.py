"""The second topology that our own simulations run: a team that shares a map and claims items, by messages or by leases."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import field
from typing import Any

from orchestrator import Context, Task, Team, agent, task
from orchestrator.errors import ClaimLost, OrchestratorError
from orchestrator.testing.simulation_hub import World

DESK = """
version: 1
{store}
agents:
  clerk: {{handler: app:Clerk, replicas: 3, concurrency: 20}}
teams:
  desk: {{members: [clerk], claims: {{consistency: {consistency}, ttl: 6s}}}}
users:
  guest: {{asks: [clerk]}}
"""
BEST_EFFORT = DESK.format(store="", consistency="best-effort")
STRONG = DESK.format(store="store: 'memory:'", consistency="strong")


class Hold(Task[str]):
    """Claim an item, and keep it for so many seconds."""

    item: str
    seconds: float


class Write(Task[str]):
    """Write to the shared map: to a key of one's own, and to one that everybody writes to."""

    number: int


@agent
class Clerk:
    desk: Team
    wrote: dict[str, int] = field(default_factory=dict)
    """Under keys that nobody else writes to."""

    @task(idempotent=True)
    async def hold(self, job: Hold) -> str:
        try:
            async with self.desk.claim(job.item) as claim:
                if claim is None:
                    return "somebody else has it"
                await asyncio.sleep(job.seconds)
        except ClaimLost:
            return "lost"
        return "held"

    @task(idempotent=True)
    async def write(self, job: Write, ctx: Context) -> str:
        mine = f"{ctx.task_id}.{ctx.attempt}"
        self.desk.state[mine] = self.wrote[mine] = job.number
        self.desk.state[f"shared/{job.number % 3}"] = mine
        if job.number % 5 == 0:
            self.desk.state.pop(f"shared/{job.number % 2}", None)
        return mine


async def divide(world: World) -> None:
    """Have items claimed and keys written for half a minute."""
    dice = random.Random(world.seed)
    async with world.user("guest", "carol") as carol:
        await asyncio.gather(*(_asked(carol, dice, number) for number in range(dice.randint(10, 24))))


async def _asked(user: Any, dice: random.Random, number: int) -> None:
    claims, item, seconds = dice.random() < 0.7, f"item {dice.randrange(2)}", dice.choice((0.0, 1.0, 20.0))
    await asyncio.sleep(dice.choice((1.0, 5.0, 15.0, 25.0)) + dice.random() * dice.choice((0.0, 0.1, 5.0)))
    with suppress(OrchestratorError):
        await user.run("clerk", Hold(item=item, seconds=seconds) if claims else Write(number=number), timeout=150)


def nothing_written_is_lost(world: World) -> str | None:
    """What a clerk that is still the same wrote under keys of its own, all of them have."""
    for peer in world.running:
        clerk: Clerk = world.agent(peer)
        for other in world.running:
            there = world.agent(other).desk.state
            missing = [key for key, value in clerk.wrote.items() if there.get(key) != value]
            if missing:
                return f"{other} lacks {missing[0]!r}, which {peer} wrote"
    return None
