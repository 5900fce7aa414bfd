"""Durable tasks in one process: how many are stored and done per second, and what a claim costs in a long queue."""

from __future__ import annotations

import argparse
import asyncio
import random
import sqlite3
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

from bench.verdict import Bar, percentile, tell
from orchestrator.store.attempting import new_task_id
from orchestrator.store.sqlite import SqliteStore
from orchestrator.store.sqlite_claim import ClaimAsked, claim
from orchestrator.store.sqlite_enqueue import enqueue
from orchestrator.store.sqlite_file import StoreFile
from orchestrator.store.sqlite_ledger import Ledger
from orchestrator.store.tasks import NewTask

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

PAYLOAD: Final = b'{"topic":"' + b"x" * 180 + b'"}'
QUEUED: Final = (1_000, 100_000, 1_000_000)


def task(*, random_id: bool = False) -> NewTask:
    task_id = random.randbytes(16).hex() if random_id else new_task_id()
    return NewTask(id=task_id, queue="helper", type="Research", payload=PAYLOAD, caller="boss")


async def divided(total: int, callers: int, one: Callable[[int], Coroutine[None, None, None]]) -> float:
    """Let callers share `total` tasks, and return how many of them were done per second."""
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(one(total // callers))
    return total // callers * callers / (time.perf_counter() - began)


async def throughput(folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Each caller waits for every answer before it asks again, as if it were alone."""
    async with SqliteStore(folder / "throughput.db") as store:
        tasks = store.tasks

        async def stores(share: int) -> None:
            for _ in range(share):
                await tasks.enqueue((task(random_id=options.random_ids),))

        async def stores_many(share: int) -> None:
            for _ in range(share // 16):
                await tasks.enqueue([task(random_id=options.random_ids) for _ in range(16)])

        async def does(share: int) -> None:
            worker = new_task_id()
            for _ in range(share):
                await tasks.enqueue((task(random_id=options.random_ids),))
                (leased,) = (await tasks.claim("helper", worker)).tasks
                await tasks.complete(leased.hold, b'"done"')

        async def empties(share: int) -> None:
            worker = new_task_id()
            for _ in range(0, share, 16):
                for leased in (await tasks.claim("helper", worker, limit=16)).tasks:
                    await tasks.complete(leased.hold, b'"done"')

        found = {"enqueue_per_s": await divided(options.tasks, options.callers, stores)}
        found["empty_per_s"] = await divided(options.tasks, options.callers, empties)
        found["end_to_end_per_s"] = await divided(options.tasks // 2, options.callers, does)
        found["enqueue_16_per_s"] = await divided(options.tasks, options.callers, stores_many)
        return found


def queue_of(folder: Path, queued: int) -> tuple[StoreFile, Ledger]:
    file = StoreFile(folder / f"claims{queued}.db")
    ledger = Ledger(file.connection(), random.Random(1))
    for first in range(0, queued, 1_000):
        ledger.begin(1.0)
        enqueue(ledger, [[task() for _ in range(min(1_000, queued - first))]])
        ledger.commit()
    return file, ledger


def claim_costs(folder: Path, lengths: Sequence[int], rounds: int) -> dict[int, dict[str, float]]:
    """Return microseconds that a claim of one task takes, without the wait for the disk that they all have in common.

    The queues take turns, so that whatever else the machine does is the same for all.
    """
    queues = {queued: queue_of(folder, queued) for queued in lengths}
    costs: dict[int, list[float]] = {queued: [] for queued in lengths}
    for _, ledger in queues.values():
        ledger.execute("PRAGMA synchronous = OFF")
    for _ in range(rounds):
        for queued, (_, ledger) in queues.items():
            began = time.perf_counter()
            ledger.begin(2.0)
            (claimed,) = claim(ledger, [ClaimAsked("helper", "helper.1", frozenset(), 1, 30.0)], "")
            ledger.commit()
            costs[queued].append(time.perf_counter() - began)
            assert len(claimed.tasks) == 1
    found = {}
    for queued, (file, _) in queues.items():
        file.close()
        took = {"median_us": median(costs[queued]) * 1e6, "p99_us": percentile(costs[queued], 0.99) * 1e6}
        found[queued] = {**took, "reopen_s": reopening(file.path)}
    return found


def reopening(path: Path) -> float:
    """Return how many seconds it takes to look a file through and to have it ready."""
    began = time.perf_counter()
    file = StoreFile(path)
    file.connection()
    took = time.perf_counter() - began
    file.close()
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--callers", type=int, default=512, help="that ask at the same time")
    parser.add_argument("--rounds", type=int, default=900, help="claims at each length of the queue")
    parser.add_argument("--queued", type=int, nargs="*", default=QUEUED, help="lengths of the queue")
    parser.add_argument("--random-ids", action="store_true", help="ids that do not ascend with time")
    parser.add_argument("--folder", type=Path, help="where the files go; the system's temporary folder if not given")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        found = asyncio.run(throughput(folder, options)) if options.tasks else {}
        costs = claim_costs(folder, options.queued, options.rounds)
    bars = []
    if found:
        bars += [
            Bar("enqueue_per_s", found["enqueue_per_s"], ">=", 20_000),
            Bar("end_to_end_per_s", found["end_to_end_per_s"], ">=", 8_000),
        ]
    if len(costs) > 1:
        medians = [cost["median_us"] for cost in costs.values()]
        bars.append(Bar("claim_dearest_to_cheapest_queue", max(medians) / min(medians), "<=", 1.2))
    tell("task_store", bars, {**found, "claim": costs, "sqlite": sqlite3.sqlite_version})


if __name__ == "__main__":
    main()
