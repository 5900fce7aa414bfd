"""Hazard 49: of three hubs one is killed: its peers are elsewhere at once, those that do not return have left, once."""

from __future__ import annotations

import asyncio
import json
import random
from typing import TYPE_CHECKING, Final

import pytest

from tests.journeys.clustering import ENGINES, Change, Hubs, Member, joined

if TYPE_CHECKING:
    from pathlib import Path

NAMES: Final = ("n1", "n2", "n3")
NO_GHOST: Final = 10.0
"""Seconds after which nobody is listed any more who is gone."""
BACK: Final = 5.0


async def members_at(hubs: Hubs, name: str, names: list[str]) -> list[Member]:
    """Have members come to one of the hubs, which will come back to any of them."""
    targets, hubs.split.targets = hubs.split.targets, {name: hubs.split.targets[name]}
    found = [Member(hubs.client(one), one) for one in names]
    await asyncio.gather(*(member.begin("lobby") for member in found))
    hubs.split.targets = targets
    return found


async def kill_one(hubs: Hubs, victim: str, number: int, returning: int, going: int) -> dict[str, float]:
    """Kill a hub with so many peers, and start it anew in the end; return how long what took."""
    others = [name for name in NAMES if name != victim]
    watchers = [Member(hubs.client(f"w{number} {name}", name), f"w{number} {name}") for name in others]
    for watcher in watchers:
        await watcher.begin("lobby")
    back = await members_at(hubs, victim, [f"back {number}.{one}" for one in range(returning)])
    gone = [f"gone {number}.{one}" for one in range(going)]
    leavers = [Member(hubs.client(name, victim), name) for name in gone]
    await asyncio.gather(*(leaver.begin("lobby") for leaver in leavers))
    staying = {one.name for one in (*watchers, *back)}
    await hubs.everywhere("lobby", staying | set(gone), 5.0)
    for watcher in watchers:
        await watcher.until(
            lambda watcher=watcher: watcher.rosters["lobby"] | {watcher.name} == staying | set(gone),  # type: ignore[misc]
            5.0,
        )
        watcher.changes.clear()
    at = await hubs.kill(victim)
    for member in back:
        await member.until(lambda member=member: len(member.connected_at) > 1, BACK)  # type: ignore[misc]
    returned = max(member.connected_at[1] for member in back) - at
    await hubs.everywhere("lobby", staying, NO_GHOST)
    for watcher in watchers:
        await watcher.until(
            lambda watcher=watcher: len(watcher.changes.get("lobby", ())) >= going,  # type: ignore[misc]
            NO_GHOST,
        )
    await asyncio.gather(*(leaver.end() for leaver in leavers))
    await hubs.start(victim)
    await hubs.everywhere("lobby", staying, 5.0)
    told: list[Change] = []
    for watcher in watchers:
        changes = watcher.changes["lobby"]
        assert sorted((change.peer, change.what) for change in changes) == sorted((name, "lost") for name in gone)
        told += changes
    assert returned <= BACK
    last = max(change.at for change in told) - at
    assert last <= NO_GHOST
    await asyncio.gather(*(member.end() for member in (*watchers, *back)))
    await hubs.everywhere("lobby", set(), 10.0)
    return {"back_s": round(returned, 2), "left_s": round(last, 2)}


@pytest.mark.journey
async def test_hazard_49_a_killed_hub_leaves_no_ghost_and_who_is_back_was_never_away(tmp_path: Path) -> None:
    async with joined(tmp_path, "nats", *NAMES) as (hubs, _):
        await kill_one(hubs, "n2", 1, returning=8, going=4)


@pytest.mark.bars
@pytest.mark.parametrize("engine", ENGINES)
async def test_hazard_49_ten_killed_hubs_leave_no_ghost_and_who_is_back_was_never_away(
    tmp_path: Path, engine: str
) -> None:
    rng = random.Random(49)
    async with joined(tmp_path, engine, *NAMES) as (hubs, _):
        figures = [await kill_one(hubs, rng.choice(NAMES), number, 40, 10) for number in range(10)]
    print(json.dumps({"kills": len(figures), **{key: max(one[key] for one in figures) for key in figures[0]}}))
