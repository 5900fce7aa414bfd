"""`Team.state` over a hub: every member reads what any of them wrote, whatever happens to their connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import field
from random import Random
from typing import Any

import pytest
from pydantic import BaseModel

from orchestrator import Task, Team, agent, task
from orchestrator.runtime.user import User
from orchestrator.testing import TestHub, virtual

TOPOLOGY = """
version: 1
agents:
  member: {handler: "app:Member", replicas: 5}
  program: {external: true}
teams:
  desk: {members: [member, program]}
"""
PEERS = [f"member.{number}" for number in range(1, 6)]
BAR_SECONDS = 2.0


class Put(Task[int]):
    key: str
    value: int


class Place(BaseModel):
    row: int


@agent
class Member:
    desk: Team
    begun: list[dict[str, Any]] = field(default_factory=list, init=False)

    async def setup(self) -> None:
        await self.desk.state.synced()
        self.begun.append(dict(self.desk.state))

    @task
    def put(self, job: Put) -> int:
        """In a thread."""
        self.desk.state[job.key] = job.value
        return len(self.desk.state)


def hub_of(only: list[str] = PEERS, **more: Any) -> TestHub:
    return TestHub(TOPOLOGY, handlers={"member": Member}, only=only, **more)


def states(hub: TestHub, *peers: str) -> list[dict[str, Any]]:
    return [dict(sorted(hub.agent(peer).desk.state.items())) for peer in peers or PEERS]


def agreed(hub: TestHub) -> bool:
    first, *others = states(hub)
    return all(other == first for other in others)


async def converged(hub: TestHub) -> float:
    began = hub.now
    while not agreed(hub):
        await hub.advance(0.01)
    return hub.now - began


@virtual
async def test_what_one_writes_all_read() -> None:
    async with hub_of() as hub:
        hub.agent("member.1").desk.state["a"] = {"x": [1]}
        await hub.advance(0.05)
        assert states(hub) == [{"a": {"x": [1]}}] * 5
        del hub.agent("member.4").desk.state["a"]
        hub.agent("member.2").desk.state["b"] = Place(row=3)
        await hub.advance(0.05)
        assert states(hub) == [{"b": {"row": 3}}] * 5
        assert hub.agent("member.5").desk.state.read("b", Place) == Place(row=3)
        assert hub.refused == []


@virtual
async def test_a_plain_handler_writes_from_its_thread() -> None:
    async with hub_of() as hub:
        assert await hub.run("member.2", Put(key="k", value=7)) == 1
        await hub.advance(0.05)
        assert states(hub) == [{"k": 7}] * 5


@virtual
async def test_a_newcomer_has_caught_up_when_synced_returns() -> None:
    async with hub_of(PEERS[:4]) as hub:
        for number in range(2_000):
            hub.agent("member.1").desk.state[f"k{number}"] = number
        await hub.advance(3.0)
        await hub.start("member.5")
        assert len(hub.agent("member.5").begun[0]) == 2_000
        assert agreed(hub)


@virtual
async def test_one_that_was_killed_comes_back_to_the_same_state_and_writes_on() -> None:
    async with hub_of() as hub:
        for number in range(5):
            hub.agent("member.3").desk.state["k"] = number
        await hub.advance(1.0)
        await hub.kill("member.3")
        await hub.start("member.3")
        hub.agent("member.3").desk.state["k"] = "again"
        await hub.advance(0.1)
        assert states(hub) == [{"k": "again"}] * 5


@virtual
async def test_what_is_written_without_a_connection_is_told_after_the_reconnect() -> None:
    async with hub_of() as hub:
        hub.drop("member.1")
        await hub.advance(0.01)
        state = hub.agent("member.1").desk.state
        state["away"] = True
        hub.agent("member.2").desk.state["here"] = True
        await hub.advance(0.05)
        assert state.get("here") is None
        await state.synced()
        assert await converged(hub) < BAR_SECONDS
        assert states(hub)[0] == {"away": True, "here": True}


@virtual
async def test_changes_are_told_to_whoever_reads_them() -> None:
    async with hub_of() as hub:
        seen: list[tuple[str, object, str, bool]] = []
        changes = hub.agent("member.1").desk.state.changes()
        hub.agent("member.2").desk.state["k"] = [1]
        await hub.advance(0.05)
        del hub.agent("member.1").desk.state["k"]
        async for change in changes:
            seen.append((change.key, change.value, change.by, change.deleted))
            if change.deleted:
                break
        assert seen == [("k", [1], "member.2", False), ("k", None, "member.1", True)]


@virtual
async def test_a_program_that_knows_of_no_state_is_left_in_peace() -> None:
    heard: list[Any] = []

    async def play(user: User, inbox: AsyncIterator[Any]) -> None:
        async with user.subscribe("teams/desk/state") as messages:
            async for message in messages:
                heard.append(message.data["type"])
                await user.publish("teams/desk/state", {"type": "claim", "itemId": "x"})

    async with hub_of([*PEERS, "program"], stand_ins={"program": play}) as hub:
        hub.agent("member.1").desk.state["k"] = 1
        await hub.advance(5.0)
        assert states(hub) == [{"k": 1}] * 5
        assert "state" in heard


@virtual
async def test_one_who_is_no_member_is_not_answered_and_changes_nothing() -> None:
    async with hub_of() as hub, hub.user() as user:
        hub.agent("member.1").desk.state["secret"] = 1
        page = {
            "type": "state-page",
            "channel": "teams/desk/state",
            "root": "0",
            "entries": [["evil", 9, "member.2", 1]],
        }
        sync = {"type": "state-sync", "channel": "teams/desk/state", "root": "0"}
        async with user.directs() as directs:
            await user.send("member.1", page)
            await user.send("member.1", sync)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(5.0):
                    await anext(directs)
        assert states(hub) == [{"secret": 1}] * 5


async def partitions(times: int, seed: int) -> float:
    """Part the team again and again at random, and return how long it took at most until it agreed after it healed."""
    rng, slowest = Random(seed), 0.0
    async with hub_of(seed=seed, jitter=0.005) as hub:
        for _ in range(times):
            side = set(rng.sample(PEERS, rng.randint(1, 4)))
            for a in side:
                for b in set(PEERS) - side:
                    hub.partition(a, b)
            for _ in range(rng.randint(1, 12)):
                state = hub.agent(rng.choice(PEERS)).desk.state
                key = rng.choice("abcdefgh")
                if key in state and rng.random() < 0.3:
                    del state[key]
                else:
                    state[key] = rng.random()
                await hub.advance(rng.choice([0.0, 0.01, 0.3, 3.0]))
            hub.heal()
            slowest = max(slowest, await converged(hub))
            await hub.advance(rng.choice([0.0, 5.0]))
            assert agreed(hub)
    return slowest


@virtual
async def test_after_a_partition_the_team_agrees_within_two_seconds() -> None:
    assert await partitions(10, 1) <= BAR_SECONDS


@pytest.mark.bars
@pytest.mark.parametrize("seed", range(4))
def test_after_a_hundred_partitions_the_team_agrees_within_two_seconds(seed: int) -> None:
    @virtual
    async def run() -> None:
        assert await partitions(100, seed) <= BAR_SECONDS

    run()
