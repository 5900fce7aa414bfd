"""Hazard 63: whatever agents do, nothing outlives the parent of a run, and nothing of a crash loop is left lying about."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from orchestrator.runtime.descendants import children_of, descendants_of
from orchestrator.runtime.operator_client import connected
from orchestrator.runtime.operator_wire import Restart
from tests.journeys.operating import seat_of
from tests.journeys.running import Running, descendants, running
from tests.journeys.unruly import MARK
from tests.runtime.processes import gone

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes through /proc")

TOPOLOGY: Final = """\
version: 1
defaults: {restart: {delay: 10ms, max_delay: 20ms, max_attempts: unlimited}}
coordinators:
  chief: {handler: tests.journeys.unruly:Chief, workers: [worker]}
workers:
  worker: {handler: tests.journeys.unruly:Worker, replicas: 2}
agents:
  deaf: {handler: tests.journeys.unruly:Deaf}
  stuck: {handler: tests.journeys.unruly:Stuck}
  spawned: {handler: tests.journeys.unruly:Deaf, start_method: spawn}
  family:
    command:
      - sh
      - -c
      - "trap '' TERM; setsid tail -f $MARK & (setsid env -i tail -f $MARK &) ; tail -f $MARK"
"""
LOOPING: Final = """\
version: 1
agents:
  crasher:
    handler: tests.journeys.unruly:Crasher
    replicas: 2
    restart: {condition: always, delay: 10ms, max_delay: 20ms, max_attempts: unlimited}
  steady: {handler: tests.journeys.unruly:Deaf}
"""
MOMENTS: Final = ("start", "ready", "tasks", "drain", "crash", "restart")
MOMENT: Final = 0.5
"""Seconds that whoever has ended may wait to be reaped, on a busy machine."""
BAR: Final = 1.0
"""Seconds after the death of the parent when nothing may be left."""


def states() -> dict[int, str]:
    """Return the state of every process."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            found[int(stat.parent.name)] = stat.read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def marked(mark: Path) -> set[int]:
    """Return the processes that have a file open, or its name among their words, but for this one."""
    return {pid for pid, state in states().items() if state != "Z" and pid != os.getpid() and has_mark(pid, str(mark))}


def has_mark(pid: int, mark: str) -> bool:
    process = Path(f"/proc/{pid}")
    try:
        if mark in (process / "cmdline").read_text("utf-8", "replace"):
            return True
        return any(link.readlink() == Path(mark) for link in (process / "fd").iterdir())
    except OSError:
        return False


def describe(pids: Iterable[int]) -> str:
    told = []
    for pid in pids:
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        parent = next(line for line in status.splitlines() if line.startswith("PPid"))
        told.append(f"{pid} {parent} {words}")
    return "\n".join(told)


@asynccontextmanager
async def unruly(folder: Path, topology: str) -> AsyncIterator[tuple[Running, Path]]:
    mark = folder / f"mark-{secrets.token_hex(8)}"
    mark.touch()
    (folder / "unruly.yaml").write_text(topology)
    async with running("unruly.yaml", "--grace", "2", directory=folder, environ={MARK: str(mark)}) as run:
        yield run, mark


async def reach(moment: str, run: Running, folder: Path, chance: random.Random) -> None:
    """Return at some time within the moment."""
    if moment == "start":
        await asyncio.sleep(chance.uniform(0, 1.2))
        return
    await run.ready()
    if moment == "tasks":
        count = chance.randint(1, 20)
        await run.until(lambda record: record["event"] == "done" and record["number"] >= count)
        return
    await run.until(lambda record: record["event"] == "stands still")
    if moment == "drain":
        run.process.send_signal(signal.SIGINT)
        await run.until(lambda record: record["event"].startswith("SIGINT"))
    seen = len(run.records)
    if moment == "crash":
        os.kill(run.pids()["worker.1"], signal.SIGKILL)
        await run.until(lambda record: "is started again" in record["event"], after=seen)
    if moment == "restart":
        begin(folder / "unruly.yaml", Restart((chance.choice(("worker", "stuck", "family")),)))
    await asyncio.sleep(chance.uniform(0, 0.3))


def begin(file: Path, request: Restart) -> None:
    """Ask for something without waiting for it to be done."""
    with connected(seat_of(file)) as connection:
        connection.ask(request)


async def kill_parent(run: Running, mark: Path, bar: float) -> tuple[float, int]:
    """Kill it, and return how many seconds later the last process ended, and how many there were."""
    seen = {*descendants(run.pid), *marked(mark)}
    ends: dict[int, float] = {}

    async def end(pid: int) -> None:
        await gone(pid)
        ends[pid] = time.monotonic()

    run.process.kill()
    began = time.monotonic()
    left = seen
    try:
        async with asyncio.timeout(max(bar, 5.0)):
            while left:
                await asyncio.gather(*map(end, left))
                left = marked(mark)
                seen = seen | left
    except TimeoutError:
        raise AssertionError(f"long after the parent's death there were:\n{describe(seen - ends.keys())}") from None
    took = max(ends.values(), default=began) - began  # it may have had none yet
    late = {pid: round(at - began, 2) for pid, at in ends.items() if at - began > bar}
    assert not late, f"these ended so many seconds after their parent: {late}"
    return took, len(seen)


@pytest.mark.parametrize(
    ("seed", "times", "bar"),
    [
        # Beside other tests the machine may be busy with everything else for a while.
        pytest.param(secrets.randbits(32), 5, 2 * BAR, id="5 times", marks=pytest.mark.journey),
        pytest.param(secrets.randbits(32), 100, BAR, id="100 times", marks=pytest.mark.bars),
    ],
)
async def test_nothing_outlives_a_parent_that_is_killed_at_any_moment(
    tmp_path: Path, seed: int, times: int, bar: float
) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    deck = [moment for _ in range(0, times, len(MOMENTS)) for moment in chance.sample(MOMENTS, len(MOMENTS))]
    slowest: dict[str, float] = Counter()  # type: ignore[assignment]
    most = 0
    for moment in deck[:times]:
        async with unruly(tmp_path, TOPOLOGY) as (run, mark):
            await reach(moment, run, tmp_path, chance)
            took, count = await kill_parent(run, mark, bar)
            most = max(most, count)
            slowest[moment] = max(slowest[moment], took)
            await run.ended()
    print(f"up to {most} processes; slowest end in seconds:", {name: round(took, 2) for name, took in slowest.items()})


class Looks:
    """What is seen of a crash loop, each time that somebody is started again."""

    def __init__(self, run: Running, mark: Path) -> None:
        self._run, self._mark = run, str(mark)
        self._zombies: dict[int, float] = {}
        """When each was first seen."""
        self.sizes: list[tuple[int, int, int]] = []
        """Processes of the run; files that its parent has open; those of the guardian."""

    def look(self) -> None:
        below, kinds, now = descendants_of(self._run.pid), states(), time.monotonic()
        zombies = {pid for pid in below if kinds.get(pid) == "Z"}
        self._zombies = {pid: self._zombies.get(pid, now) for pid in zombies}
        stale = [pid for pid, since in self._zombies.items() if now - since > MOMENT]
        assert not stale, f"for more than {MOMENT:g} s these have been zombies:\n{describe(stale)}"
        [guardian] = guardians(self._run.pid)
        self.sizes.append((len(below - zombies), files(self._run.pid), files(guardian)))


def guardians(pid: int) -> list[int]:
    return [
        child
        for child in children_of(pid)
        if b"orchestrator.runtime.guardian" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


def files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@pytest.mark.parametrize(
    "seconds",
    [
        pytest.param(2.5, id="2.5 s", marks=pytest.mark.journey),
        pytest.param(300, id="5 minutes", marks=pytest.mark.bars),
    ],
)
async def test_a_crash_loop_leaves_neither_zombies_nor_orphans_nor_open_files(tmp_path: Path, seconds: float) -> None:
    async with unruly(tmp_path, LOOPING) as (run, mark):
        await run.until(lambda record: record["event"] == "ready" and record.get("peer") == "steady")
        looks, until = Looks(run, mark), time.monotonic() + seconds
        while time.monotonic() < until:
            seen = len(run.records)
            await run.until(lambda record: "is started again" in record["event"], after=seen)
            looks.look()
        known = marked(mark)
        run.process.send_signal(signal.SIGINT)
        await run.ended()
        async with asyncio.timeout(BAR):
            await asyncio.gather(*map(gone, known))
        assert not marked(mark)
    sizes = looks.sizes
    print(f"{len(sizes)} crashes; processes, files of the parent, files of the guardian: {sizes[0]} … {sizes[-1]}")
    most = [max(column) for column in zip(*sizes, strict=True)]
    print("most of each:", most)
    early = [max(column) for column in zip(*sizes[: len(sizes) // 4], strict=True)]
    late = [max(column) for column in zip(*sizes[-len(sizes) // 4 :], strict=True)]
    assert all(after <= before + 8 for before, after in zip(early, late, strict=True)), (early, late)
