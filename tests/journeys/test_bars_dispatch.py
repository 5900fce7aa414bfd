"""Workers that are killed while they hold tasks, again and again: each call ends, and nothing is done twice."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from orchestrator import connect
from orchestrator.protocol.tokens import SecretKey, mint
from orchestrator.topology.load import load_topology
from orchestrator.topology.plan import make_plan
from tests.journeys.killed_desk import Drive, End
from tests.journeys.running import Record, Running, running, who

if TYPE_CHECKING:
    from orchestrator.topology.handlers import HandlerReport

TOPOLOGY = """\
version: 1
hub: {key: "${DESK_KEY}"}
defaults: {restart: {delay: 50ms, max_delay: 100ms, max_attempts: unlimited}}
coordinators:
  boss: {handler: tests.journeys.killed_desk:Boss, workers: [holder]}
workers:
  holder: {handler: tests.journeys.killed_desk:Holder, replicas: 4, concurrency: 2}
"""
KEY = SecretKey("sk_id_journey", f"sk_secret_{secrets.token_hex(32)}")
WITHIN = 2.0
"""Seconds from the death of a worker to the end of each at-most-once call that it held."""


@dataclass
class Kill:
    peer: str
    pid: int
    at: float
    """Seconds of the machine's monotonic clock: the kernel closes its socket, and the hub sees that, a moment later."""


@dataclass
class Journal:
    """What the workers wrote down."""

    begun: dict[int, list[int]] = field(default_factory=dict)
    """For each number, the pids that began it."""
    done: dict[int, list[int]] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path) -> Journal:
        journal = cls()
        for line in file.read_text().splitlines():
            what, _, number, pid, _ = line.split()
            (journal.begun if what == "begun" else journal.done).setdefault(int(number), []).append(int(pid))
        return journal


async def kill_some(run: Running, count: int, chance: random.Random) -> list[Kill]:
    """Kill workers at random moments, each some time after it was ready."""
    kills: list[Kill] = []
    dead: set[int] = set()
    for _ in range(count):
        await asyncio.sleep(chance.uniform(0.0, 1.2))
        peer = f"holder.{chance.randint(1, 4)}"
        pid = await alive(run, peer, dead)
        dead.add(pid)
        kills.append(Kill(peer, pid, time.monotonic()))
        os.kill(pid, signal.SIGKILL)
    return kills


async def alive(run: Running, peer: str, dead: set[int]) -> int:
    """Return the pid of a worker once it is ready, again if need be."""

    def again(record: Record) -> bool:
        return who(record) == peer and record["event"] == "ready" and record["pid"] not in dead

    return int((await run.until(again))["pid"])


@pytest.mark.parametrize(
    ("seed", "count"),
    [
        pytest.param(1, 5, id="5 kills", marks=pytest.mark.bars),
        pytest.param(secrets.randbits(32), 100, id="100 kills", marks=pytest.mark.bars),
    ],
)
async def test_whoever_is_killed_each_call_ends_and_nothing_is_done_twice(
    tmp_path: Path, seed: int, count: int
) -> None:
    print(f"seed {seed}")
    topology, journal = tmp_path / "desk.yaml", tmp_path / "journal"
    topology.write_text(TOPOLOGY)
    environ = {"DESK_KEY": f"{KEY.id}:{KEY.secret}", "DESK_JOURNAL": str(journal)}
    ends: list[End] = []
    async with running(topology.name, directory=tmp_path, environ=environ) as run:
        await run.ready()
        hub = next(record for record in run.with_event("ready") if who(record) == "hub")
        plan = make_plan(load_topology(topology, environ), cast("dict[str, HandlerReport]", None))
        token = mint(KEY, plan.user("cli").claims("journey", int(time.time()) + 3_600))
        async with connect(hub["url"], token=token) as user:

            async def drive() -> None:
                asked = Drive(seed=seed, until=str(tmp_path / "over"))
                async for end in user.stream("boss", asked, timeout=20 + 5 * count):
                    ends.append(end)

            async with asyncio.TaskGroup() as group:
                group.create_task(drive())
                kills = await kill_some(run, count, random.Random(seed))
                await asyncio.sleep(WITHIN)
                (tmp_path / "over").touch()
        assert not [record for record in run.records if record.get("peer") == "boss" and record["level"] == "error"]
    check(ends, kills, Journal.read(journal))


def check(ends: list[End], kills: list[Kill], journal: Journal) -> None:
    by_number = {end.number: end for end in ends}
    outcomes = Counter((end.kind, end.outcome) for end in ends)
    print(outcomes)
    assert sorted(by_number) == list(range(len(ends))), "each call ended, once"
    assert {outcome for kind, outcome in outcomes if kind == "safe"} == {"done"}
    assert {outcome for kind, outcome in outcomes if kind == "once"} <= {"done", "WorkerLost"}
    deaths = {kill.pid: kill for kill in kills}
    longest = 0.0
    for number, end in by_number.items():
        if end.kind == "safe":
            continue
        pids = journal.begun.get(number, [])
        assert len(pids) <= 1, f"{number} was begun by {pids}"
        if end.outcome == "done":
            assert journal.done[number] == pids
            continue
        peers = [kill for kill in kills if kill.peer == end.worker and kill.at < end.at]
        assert peers, f"{end} lost {end.worker}, which was not killed before"
        longest = max(longest, end.at - (deaths[pids[0]] if pids else peers[-1]).at)
    print(f"{len(ends)} calls, the longest until WorkerLost {longest:.2f} s")
    assert longest <= WITHIN
