"""Tasks that were acknowledged, while everybody who has to do with them is killed, again and again: each ends, once
(hazards 51 and 61).
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import signal
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

from orchestrator.errors import ExitCode
from orchestrator.store.opening import Store, store_at
from orchestrator.store.tasks import MAX_OUTCOMES, Ending, State, TaskHistory
from tests.journeys.ledger import COUNT, NOTES, Notes
from tests.journeys.running import Record, Running, descendants, running, who
from tests.journeys.sink import ADDRESS, Sink, sink
from tests.runtime.processes import gone, runs

TOPOLOGY: Final = """\
version: 1
store: sqlite:///tasks.db
defaults: {restart: {delay: 50ms, max_delay: 100ms, max_attempts: unlimited}}
coordinators:
  chief: {handler: tests.journeys.ledger:Chief, workers: [clerk]}
workers:
  clerk:
    handler: tests.journeys.ledger:Clerk
    replicas: 3
    concurrency: 24
    tasks: {delivery: at-least-once, max_attempts: 1000, backoff: {delay: 50ms, max_delay: 200ms}}
"""
KINDS: Final = ("worker", "coordinator", "hub", "store", "parent")
STUCK: Final = 60.0
"""Seconds without which nothing may stand still: a lease, a look, and a start of everything on a busy machine."""
GONE: Final = 2.0
"""Seconds from the death of a parent to that of all that it started."""


@dataclass
class Kill:
    kind: str
    peer: str
    at: float
    """Unix seconds, like those in the store."""


@dataclass
class Killing:
    """One topology, which is run again whenever its parent was killed."""

    folder: Path
    environ: dict[str, str]
    kills: list[Kill] = field(default_factory=list)
    runs: int = 0
    slowest_end: float = 0.0
    """Seconds from the death of a parent to the end of the last process under it."""
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    _dead: set[int] = field(default_factory=set)

    async def start(self) -> None:
        self.run = await self._stack.enter_async_context(
            running("topology.yaml", directory=self.folder, environ=self.environ)
        )
        self.runs += 1

    async def kill(self, kind: str, chance: random.Random) -> None:
        if kind == "parent":
            await self._kill_parent()
            return
        peer = {"coordinator": "chief", "worker": f"clerk.{chance.randint(1, 3)}"}.get(kind, kind)
        pid = await self._alive(peer)
        self._dead.add(pid)
        self.kills.append(Kill(kind, peer, time.time()))
        os.kill(pid, signal.SIGKILL)

    async def _alive(self, peer: str) -> int:
        """Return the pid of a process once it is ready, again if need be."""

        def fits(record: Record) -> bool:
            return who(record) == peer and record["event"] == "ready" and record["pid"] not in self._dead

        return int((await self.run.until(fits, seconds=STUCK))["pid"])

    async def _kill_parent(self) -> None:
        below = descendants(self.run.pid)
        self.kills.append(Kill("parent", "", time.time()))
        began = time.monotonic()
        self.run.process.kill()
        try:
            async with asyncio.timeout(GONE):
                await asyncio.gather(*map(gone, below))
        except TimeoutError:
            left = [pid for pid in below if runs(pid)]
            raise AssertionError(f"of {below} there were {left} left {GONE:g} s after their parent's death") from None
        self.slowest_end = max(self.slowest_end, time.monotonic() - began)
        await self.run.ended()
        self._dead.clear()
        await self.start()

    async def finished(self) -> Running:
        """Return the last run after it was ended in peace, once all is done."""
        await self.run.until(lambda record: record["event"] == "all is entered", seconds=2 * STUCK)
        self.run.process.send_signal(signal.SIGINT)
        assert await self.run.ended() == ExitCode.DONE, self.run.said()
        return self.run

    async def close(self) -> None:
        await self._stack.aclose()


@asynccontextmanager
async def killing(folder: Path, environ: dict[str, str]) -> AsyncIterator[Killing]:
    here = Killing(folder, environ)
    try:
        await here.start()
        yield here
    finally:
        await here.close()


def dealt(count: int, chance: random.Random) -> Iterator[str]:
    """Deal kinds of victims, all of them in each round: neither hub nor store dies so often in one run that it is given up."""
    for _ in range(0, count, len(KINDS)):
        yield from chance.sample(KINDS, len(KINDS))


async def kill_some(here: Killing, sink: Sink, tasks: int, kills: int, chance: random.Random) -> None:
    """Kill when so many effects were had: at random, and so now and then twice in a moment."""
    moments = sorted(chance.randrange(tasks) for _ in range(kills))
    for number, (moment, kind) in enumerate(zip(moments, dealt(kills, chance), strict=True)):
        try:
            await sink.until(lambda moment=moment: len(sink.booked) >= moment, STUCK)  # type: ignore[misc]
        except TimeoutError:
            raise AssertionError(
                f"after {number} kills, {here.kills[-3:]}, only {len(sink.booked)} of {moment} effects:\n{here.run.said()}"
            ) from None
        await here.kill(kind, chance)


@pytest.fixture
def place() -> Iterator[Path]:
    """Where the sockets of these runs lie, and nothing else."""
    with tempfile.TemporaryDirectory(prefix="o-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.mark.parametrize(
    ("seed", "tasks", "kills"),
    [
        pytest.param(1, 600, 5, id="5 kills", marks=pytest.mark.journey),
        pytest.param(secrets.randbits(32), 100_000, 200, id="200 kills", marks=pytest.mark.bars),
    ],
)
async def test_whoever_is_killed_each_acknowledged_task_ends_once(
    tmp_path: Path, place: Path, seed: int, tasks: int, kills: int
) -> None:
    print(f"seed {seed}")
    chance, notes = random.Random(seed), tmp_path / "notes"
    (tmp_path / "topology.yaml").write_text(TOPOLOGY)
    began = time.monotonic()
    async with sink() as (books, address):
        books.open("door")
        environ = {ADDRESS: address, NOTES: str(notes), COUNT: str(tasks), "XDG_RUNTIME_DIR": str(place)}
        async with killing(tmp_path, environ) as here:
            await kill_some(here, books, tasks, kills, chance)
            last = await here.finished()
    took = time.monotonic() - began
    print(f"{tasks:,} tasks in {took:.1f} s, {tasks / took:.0f} a second; {here.runs} runs; refused: {books.refused}")
    print(
        f"kills: {Counter(kill.kind for kill in here.kills)}; slowest end of all under a parent {here.slowest_end:.2f} s"
    )
    assert not [record for record in last.records if record.get("level") == "error"], last.said()
    check(Notes.read(notes), books, tasks)
    assert_empty(place)
    store = store_at("sqlite:///tasks.db", tmp_path)
    try:
        await check_store(store, Notes.read(notes), tasks, here.kills)
    finally:
        await store.close()


def check(notes: Notes, books: Sink, tasks: int) -> None:
    assert notes.other == []
    assert notes.stored.keys() == set(range(tasks))
    assert notes.done == {number: f"{number} is entered" for number in range(tasks)}, "each was answered for"
    assert books.booked == {f"entry {number}": notes.stored[number] for number in range(tasks)}, "each effect was had"


def assert_empty(place: Path) -> None:
    assert list(place.iterdir()) == [], "those that were killed have left nothing either"


async def check_store(store: Store, notes: Notes, tasks: int, kills: list[Kill]) -> None:
    [queue] = await store.tasks.stats()
    assert (queue.queue, queue.done, queue.open + queue.dead + queue.cancelled) == ("clerk", tasks, 0)
    ids = list(notes.stored.values())
    again: list[str] = []
    for at in range(0, tasks, MAX_OUTCOMES):
        asked = ids[at : at + MAX_OUTCOMES]
        outcomes = await store.tasks.outcomes(asked)
        assert [outcomes[task_id].state for task_id in asked] == [State.DONE] * len(asked)  # type: ignore[union-attr]
        again += [task_id for task_id, outcome in outcomes.items() if outcome is not None and outcome.attempt > 1]
    histories = [await store.tasks.get(task_id) for task_id in again]
    endings = Counter(attempt.ending for history in histories for attempt in history.attempts)
    for history in histories:
        assert [attempt.number for attempt in history.attempts] == list(range(1, history.info.attempt + 1))
        assert [attempt.ending is Ending.DONE for attempt in history.attempts[-2:]] == [False, True]
    most = max((history.info.attempt for history in histories), default=1)
    print(f"{len(again)} were begun again, at most {most} times: {endings}")
    print(f"slowest redelivery {max(redeliveries(histories, kills), default=0.0):.2f} s")


def redeliveries(histories: Iterable[TaskHistory], kills: list[Kill]) -> Iterator[float]:
    """Tell for attempts that lapsed how many seconds after the death of their worker the next began."""
    for history in histories:
        for lapsed, following in pairwise(history.attempts):
            deaths = [
                kill.at
                for kill in kills
                if kill.peer in ("", lapsed.worker)
                and kill.kind != "coordinator"
                and lapsed.began <= kill.at <= following.began
            ]
            if lapsed.ending is Ending.LAPSED and deaths:
                yield following.began - deaths[0]
