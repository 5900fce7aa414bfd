"""Hazards 51 and 55 on three hubs: they are restarted fifty times, and killed a hundred times, under load."""

from __future__ import annotations

import asyncio
import json
import random
import time
from typing import TYPE_CHECKING, Any, Final

import pytest

from bench.verdict import percentile
from orchestrator.hub import key_file
from tests.journeys.clustering import ENGINES, Hubs, Member, Ring, joined
from tests.journeys.test_bars_hub_kills import HALLS, MEMBERS, PROBED, ROOMS, Crowds, crowds, members, reaches

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.bars

NAMES: Final = ("n1", "n2", "n3")
KILLS: Final = 100
SEEN_WITHIN: Final = 10.0
"""Seconds after a kill."""


@pytest.mark.parametrize("engine", ENGINES)
async def test_hazard_55_fifty_restarts_of_three_hubs_lose_double_and_reorder_nothing(
    tmp_path: Path, engine: str
) -> None:
    slowest = 0.0
    async with joined(tmp_path, engine, *NAMES) as (hubs, _):
        ring = Ring([Member(hubs.client(f"m{number}"), f"m{number}") for number in range(9)], (1, 2, 4), 0.002)
        await ring.begin()
        for number in range(50):
            await ring.moves(5, 30.0)
            slowest = max(slowest, await hubs.drain(NAMES[number % 3]))
            await hubs.start(NAMES[number % 3])
        await ring.moves(5, 30.0)
        await ring.finish()
        moved = sum(len(member.connected_at) - 1 for member in ring.members)
        problems = sum((member.problems for member in ring.members[1:]), ring.members[0].problems)
        print(json.dumps({"slowest_s": round(slowest, 2), "acked": ring.acked, "moved": moved, **problems}))
        assert ring.faults() == []
        assert slowest <= 15.0
        assert moved >= 50
        await ring.end()


class Journey:
    """What is true of a crowd after each kill of one of its hubs."""

    def __init__(self, hubs: Hubs, rng: random.Random) -> None:
        self.hubs, self._rng = hubs, rng
        self.kills = 0
        self.seen_after: list[float] = []
        self._probe = 0
        self._killed_at = 0.0

    async def kill(self) -> None:
        self.hubs.assert_healthy()
        name = self._rng.choice(NAMES)
        self._killed_at = await self.hubs.kill(name)
        self.kills += 1
        await self.hubs.start(name)

    async def check(self, crowd: Crowds) -> None:
        wanted = await crowd.merged("settle")
        settled = max(time.monotonic(), self._killed_at)
        truth = {channel: {name for name, texts in wanted.items() if channel in texts} for channel in (*ROOMS, *HALLS)}
        expected = {
            name: {text: sorted(truth.get(text, set()) - {name}) for text in texts} for name, texts in wanted.items()
        }
        for answer in await crowd.ask("see", expected, 0.0):
            self.seen_after.append(answer["at"] - self._killed_at)
        for channel, peers in truth.items():
            await self.hubs.everywhere(channel, peers, SEEN_WITHIN)
        self.seen_after.append(time.monotonic() - settled)
        await self._check_subscriptions(crowd, wanted)

    async def _check_subscriptions(self, crowd: Crowds, wanted: dict[str, list[str]]) -> None:
        """Send messages on a channel of each kind, at any hub, until no hub that was killed is counted any more: as many
        get them as should, and those who should."""
        expected: dict[str, list[str]] = {}
        for channel in PROBED:
            hearers = [name for name, texts in wanted.items() if any(reaches(text, channel) for text in texts)]
            subscribed = sum(reaches(text, channel) for texts in wanted.values() for text in texts)
            delivered = -1
            while not len(hearers) <= delivered <= subscribed:  # at other hubs, subscriptions are counted
                late = delivered >= 0 and time.monotonic() > self._killed_at + SEEN_WITHIN
                assert not late, (channel, delivered, subscribed, hearers)
                self._probe += 1
                probe = f"probe {self._probe}"
                path = f"channels/{channel}/publish"
                published = await self.hubs.ask(self._rng.choice(NAMES), "POST", path, {"data": probe})
                delivered = published["delivered"]
                for name in hearers:
                    expected.setdefault(name, []).append(probe)
        assert await crowd.merged("hear", expected) == {}

    async def check_talk(self, crowd: Crowds) -> dict[str, Any]:
        """After one number more on each flow, everybody has heard the last one of each, and no gap on the way."""
        told = await crowd.ask("finish")
        said = {name: flows for part in told for name, flows in part["said"].items()}
        expected: dict[str, dict[str, int]] = {name: {} for name in said}
        for sender, flows in said.items():
            for flow, number in flows.items():
                if flow[0] == "@":
                    expected[flow[1:]][sender] = number
                    continue
                for member in crowd.everybody:
                    if member["name"] != sender and any(reaches(text, flow) for text in member["fixed"]):
                        expected[member["name"]][f"{sender} {flow}"] = number
        await crowd.ask("have_heard", expected)
        directs = sum(number for flows in said.values() for flow, number in flows.items() if flow[0] == "@")
        gaps = [gap for part in told for gap in part["gaps"]]
        figures = {
            "kills": self.kills,
            "rosters_p50_s": round(percentile(self.seen_after, 0.5), 2),
            "rosters_max_s": round(max(self.seen_after), 2),
            "acked_directs": directs,
            "acked": sum(number for flows in said.values() for number in flows.values()),
            "directs": [gap for gap in gaps if not any(flow in gap for flow in (*ROOMS, "desk/"))],
            "published": [gap for gap in gaps if any(flow in gap for flow in (*ROOMS, "desk/"))],
            "problems": [part["problems"] for part in told],
        }
        print(json.dumps(figures))
        return figures


@pytest.mark.parametrize("engine", ENGINES)
async def test_hazard_51_a_hundred_kills_of_three_hubs_leave_no_acked_direct_unknown(
    tmp_path: Path, engine: str
) -> None:
    rng = random.Random(51)
    keys = tmp_path / "keys.yaml"
    with key_file.changed(keys) as content:
        content.secret_keys.append(key_file.SecretEntry("sk_id_kills", "sk_secret_" + "k" * 32, rate="unlimited"))
    async with joined(tmp_path, engine, *NAMES) as (hubs, _):
        journey = Journey(hubs, rng)
        everybody = [{**member, "repeats": True} for member in members(51, keys)]
        async with crowds(hubs.url, everybody, 0.3) as crowd:
            await crowd.ask("begin")
            while journey.kills < KILLS:
                await crowd.ask("go")
                for _ in range(min(rng.randint(1, 10), KILLS - journey.kills)):
                    await asyncio.sleep(rng.uniform(0.0, 1.0))  # a kill comes at any moment
                    await journey.kill()
                async with asyncio.timeout(60):
                    await journey.check(crowd)
            await crowd.ask("go")
            async with asyncio.timeout(60):
                await crowd.ask("settle")
                figures = await journey.check_talk(crowd)
            await crowd.ask("end")
    assert figures["directs"] == []
    assert figures["rosters_max_s"] <= SEEN_WITHIN
    assert figures["acked"] > 10 * MEMBERS * journey.kills
