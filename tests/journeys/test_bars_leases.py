"""Workers that are stopped or killed while they hold leases: who is late is refused, and others go on in time
(hazard 60).
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import pytest

from orchestrator.errors import ExitCode
from orchestrator.runtime.leasing import LEASE_SECONDS
from orchestrator.store.opening import store_at
from orchestrator.store.sqlite import SqliteStore
from orchestrator.store.tasks import Ending, Leased, State, TaskHistory
from tests.journeys.ledger import COUNT, GATE, NOTES, Notes
from tests.journeys.running import ROOT, Record, Running, running, who
from tests.journeys.sink import ADDRESS, Sink, sink
from tests.store.serving import Served, served
from tests.store.task_stores import new

SHORT: Final = 0.3
"""Seconds of a lease that somebody sleeps through."""
AT_ONCE: Final = 3.0
"""Seconds until a worker that is started again has taken up what it had."""
REFUSED, GIVEN_UP = "a task was lost before its end", "a task is lost"
"""What a worker logs when the store refuses the end of a task, and when it stops one by itself."""

# -- one worker and a store


@dataclass
class Holder:
    """A worker's process, of which the test is the parent."""

    process: asyncio.subprocess.Process

    async def says(self) -> list[str]:
        assert self.process.stdout is not None
        async with asyncio.timeout(20):
            return (await self.process.stdout.readline()).decode().split()

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")

    async def stop(self) -> None:
        self.process.send_signal(signal.SIGSTOP)
        await asyncio.to_thread(os.waitid, os.P_PID, self.process.pid, os.WSTOPPED)

    def wake(self) -> None:
        self.process.send_signal(signal.SIGCONT)


@asynccontextmanager
async def holding(path: str) -> AsyncIterator[Holder]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.journeys.stopped_holder", path, "helper.1", str(SHORT)),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Holder(process)
    finally:
        process.kill()
        await process.wait()


async def claimed(here: Served) -> Leased:
    """Return the one task as soon as it is due, in the hands of another worker."""
    async with here.talking("helper.2") as other:
        while not (claim := await other.tasks.claim("helper", "helper.2")).tasks:
            assert claim.next_due is not None
            await asyncio.sleep(claim.next_due)
        return claim.tasks[0]


async def lapsed(here: Served, task_id: str) -> None:
    """Wait until the lease is over, and nobody has the task."""
    while (due := await here.store.tasks.sweep()) is not None:
        assert due <= SHORT
        await asyncio.sleep(due)
    assert (await here.store.tasks.get(task_id)).info.state is State.READY


async def sleep_through(here: Served, holder: Holder, task_id: str, meanwhile: Literal["nobody", "has", "did"]) -> None:
    """Have the holder stopped past its lease, and see that its completion is refused."""
    await here.store.tasks.enqueue([new(task_id)])
    holder.go_on()
    said = await holder.says()
    assert said[:2] == ["held", task_id]
    await holder.stop()
    holder.go_on()  # it completes the task as soon as it wakes
    leased = None
    if meanwhile == "nobody":
        await lapsed(here, task_id)
    else:
        leased = await claimed(here)
        if meanwhile == "did":
            await here.store.tasks.complete(leased.hold, b'"in time"')
    holder.wake()
    assert await holder.says() == ["lost", *said[1:]], f"who {meanwhile} it"
    hold = (leased or await claimed(here)).hold
    await here.store.tasks.complete(hold, b'"in time"')
    history = await here.store.tasks.get(task_id)
    assert (history.result, history.info.state) == (b'"in time"', State.DONE)
    assert [attempt.ending for attempt in history.attempts] == [Ending.LAPSED, Ending.DONE]


@pytest.mark.parametrize(
    ("lanes", "times"),
    [
        pytest.param(1, 5, id="5 times", marks=pytest.mark.journey),
        pytest.param(4, 25, id="100 times", marks=pytest.mark.bars),
    ],
)
async def test_who_sleeps_through_its_lease_does_not_complete_its_task(tmp_path: Path, lanes: int, times: int) -> None:
    async def lane(name: str) -> int:
        async with SqliteStore(tmp_path / f"{name}.db") as store, served(store) as here, holding(here.path) as holder:
            for number in range(times):
                meanwhile: Literal["nobody", "has", "did"] = ("did", "has", "nobody")[number % 3]
                await sleep_through(here, holder, f"{name}.{number}", meanwhile)
        return times

    refused = sum(await asyncio.gather(*(lane(f"lane{number}") for number in range(lanes))))
    print(f"{refused} late completions of {lanes * times} were refused")
    assert refused == lanes * times


# -- whole runs

TOPOLOGY: Final = """\
version: 1
store: sqlite:///tasks.db
coordinators:
  chief: {handler: tests.journeys.ledger:Chief, workers: [clerk]}
workers:
  clerk:
    handler: tests.journeys.ledger:Clerk
    replicas: 2
    concurrency: 100
    restart: {condition: %(restart)s, delay: 200ms}
    tasks: {delivery: at-least-once, timeout: 10m, backoff: {delay: 50ms, max_delay: 100ms}}
"""


@dataclass
class World:
    run: Running
    books: Sink
    folder: Path

    async def held(self, count: int) -> int:
        """Let one clerk in, and return its pid once it has had the effects of all tasks, and waits with them."""
        await self.books.until(lambda: len(self.books.arrivals.get("door", [])) == 2, 30)
        self.books.open("door", 1)
        await self.books.until(lambda: len(self.books.arrivals.get("end", [])) == count, 30)
        [pid] = {arrival.pid for arrival in self.books.arrivals["end"]}
        assert len(self.books.booked) == count
        return pid

    def other(self) -> str:
        """Name the clerk that was not let in first."""
        first = self.peer(self.books.arrivals["end"][0].pid)
        return "clerk.1" if first == "clerk.2" else "clerk.2"

    def peer(self, pid: int) -> str:
        return next(who(record) for record in self.run.with_event("ready") if record["pid"] == pid)

    async def finished(self, code: ExitCode = ExitCode.DONE) -> list[TaskHistory]:
        """End the run once all is done, and return what the store knows of each task."""
        await self.run.until(lambda record: record["event"] == "all is entered", seconds=60)
        self.run.process.send_signal(signal.SIGINT)
        assert await self.run.ended() == code
        notes = Notes.read(self.folder / "notes")
        assert notes.other == []
        store = store_at("sqlite:///tasks.db", self.folder)
        try:
            return [await store.tasks.get(task_id) for task_id in notes.stored.values()]
        finally:
            await store.close()


@pytest.fixture
def place() -> Iterator[Path]:
    """Where the sockets of these runs lie, and nothing else."""
    with tempfile.TemporaryDirectory(prefix="o-", dir="/tmp") as folder:
        yield Path(folder)


@asynccontextmanager
async def world(folder: Path, place: Path, count: int, *, restart: str = "on-failure") -> AsyncIterator[World]:
    """So many tasks, all in the hands of whoever is let in first, and each waiting at the gate ``end``."""
    (folder / "topology.yaml").write_text(TOPOLOGY % {"restart": restart})
    async with sink() as (books, address):
        environ = {ADDRESS: address, NOTES: str(folder / "notes"), COUNT: str(count), GATE: "end"}
        environ["XDG_RUNTIME_DIR"] = str(place)
        async with running("topology.yaml", directory=folder, environ=environ) as run:
            yield World(run, books, folder)


@pytest.mark.bars
async def test_a_worker_that_is_stopped_past_its_leases_ends_none_of_its_tasks(tmp_path: Path, place: Path) -> None:
    count = 100
    async with world(tmp_path, place, count) as here:
        pid = await here.held(count)
        os.kill(pid, signal.SIGSTOP)
        stopped = time.monotonic()
        here.books.open("end")  # it ends all of them as soon as it wakes
        here.books.open("door")
        await here.run.until(lambda record: record["event"] == "all is entered", seconds=LEASE_SECONDS + 20)
        slept = time.monotonic() - stopped
        os.kill(pid, signal.SIGCONT)
        await here.run.until(lambda _: len(refusals(here)) >= count)
        histories = await here.finished()
        first = here.peer(pid)
    refused = refusals(here)
    print(
        f"stopped for {slept:.1f} s; {dict(Counter(record['event'] for record in refused))}; the sink refused {dict(here.books.refused)}"
    )
    assert len({record["task_id"] for record in refused}) == len(refused) == count
    assert len(here.books.booked) == count
    assert here.books.refused == {"again": count}
    for history in histories:
        lapsed, done = history.attempts
        assert (lapsed.worker, lapsed.ending, done.ending) == (first, Ending.LAPSED, Ending.DONE)
        assert done.worker != first


def refusals(here: World) -> list[Record]:
    """Return what was said by whoever was told, or knew by its own clock, that a task was not its own any more."""
    return [record for record in here.run.records if record["event"] in (REFUSED, GIVEN_UP)]


@pytest.mark.bars
@pytest.mark.parametrize("count", [1, 20])
async def test_what_a_killed_worker_had_begins_elsewhere_when_its_leases_end(
    tmp_path: Path, place: Path, count: int
) -> None:
    async with world(tmp_path, place, count, restart="never") as here:
        waits = await waits_after_a_kill(here, count)
        assert {arrival.pid for arrival in here.books.arrivals["end"][count:]} == {here.run.pids()[here.other()]}
        await here.finished(ExitCode.FAILED)  # a worker is gone for good
    print(f"begun elsewhere {min(waits):.2f} to {max(waits):.2f} s after the kill")
    assert max(waits) <= LEASE_SECONDS + 1


@pytest.mark.journey
async def test_a_worker_that_is_started_again_takes_up_at_once_what_it_had(tmp_path: Path, place: Path) -> None:
    async with world(tmp_path, place, 10) as here:
        waits = await waits_after_a_kill(here, 10)
        histories = await here.finished()
    print(f"begun again {min(waits):.2f} to {max(waits):.2f} s after the kill")
    assert max(waits) <= AT_ONCE
    assert {len(history.attempts) for history in histories} == {2}


async def waits_after_a_kill(here: World, count: int) -> list[float]:
    """Kill the worker that has all tasks, and return after how many seconds each was begun again."""
    pid = await here.held(count)
    here.books.open("door")
    await here.run.ready()  # the other one has nothing to do
    at = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    began = here.books.arrivals["end"]
    await here.books.until(lambda: len(began) == 2 * count, LEASE_SECONDS + 20)
    assert {(arrival.item, arrival.attempt) for arrival in began[count:]} == {(item, 2) for item in range(count)}
    here.books.open("end")
    return [arrival.at - at for arrival in began[count:]]
