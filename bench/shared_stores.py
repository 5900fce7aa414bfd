"""Durable tasks at the stores that machines share, beside the one in a file: what is stored and done per second, and what a
task costs in processor time, ours and the server's. All of them answer when the disk has it."""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

from bench.measuring import cpu_seconds, run
from bench.verdict import tell
from orchestrator.store.attempting import new_task_id
from orchestrator.store.shared import Needs, open_shared_store
from orchestrator.store.sqlite import SqliteStore
from orchestrator.store.tasks import NewTask
from tests.brokers import JETSTREAM, nats_server, valkey_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from orchestrator.store.tasks import Tasks

PAYLOAD: Final = b'{"topic":"' + b"x" * 180 + b'"}'
SYNCED: Final = {"appendonly": "yes", "appendfsync": "always", "auto-aof-rewrite-percentage": "0"}
KINDS: Final = ("sqlite", "redis", "nats")
WHAT: Final = ("stored", "done")


@asynccontextmanager
async def opened(kind: str, folder: Path) -> AsyncIterator[tuple[Tasks, int | None]]:
    """Yield a store, and the process of its server; `None` = it has none."""
    async with AsyncExitStack() as stack:
        if kind == "sqlite":
            store = await stack.enter_async_context(SqliteStore(folder / "tasks.db"))
            yield store.tasks, None
            return
        if kind == "redis":
            broker = stack.enter_context(valkey_server(folder, settings=SYNCED))
        else:
            broker = stack.enter_context(nats_server(folder, config=JETSTREAM.format(folder=folder)))
        shared = open_shared_store(
            broker.url + ("?sync=always" if kind == "nats" else ""), namespace="bench", needs=Needs()
        )
        yield (await stack.enter_async_context(shared)).tasks, broker.pid


def task() -> NewTask:
    return NewTask(id=new_task_id(), queue="helper", type="Research", payload=PAYLOAD, caller="boss")


async def stores(tasks: Tasks, _worker: str) -> None:
    await tasks.enqueue((task(),))


async def does(tasks: Tasks, worker: str) -> None:
    await tasks.enqueue((task(),))
    for leased in (await tasks.claim("helper", worker)).tasks:
        await tasks.complete(leased.hold, b'"done"')


async def turn(
    tasks: Tasks, server: int | None, callers: int, seconds: float, one: Callable[[Tasks, str], Awaitable[None]]
) -> dict[str, float]:
    """Let callers ask for so long, each when it has the answer before; return the rate, and microseconds for each."""
    count = 0
    end = time.perf_counter() + seconds

    async def asks() -> None:
        nonlocal count
        worker = new_task_id()
        while time.perf_counter() < end:
            await one(tasks, worker)
            count += 1

    began, own, theirs = time.perf_counter(), time.process_time(), 0.0 if server is None else cpu_seconds(server) or 0.0
    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(asks())
    took, own = time.perf_counter() - began, time.process_time() - own
    theirs = 0.0 if server is None else (cpu_seconds(server) or 0.0) - theirs
    return {"per_s": count / took, "cpu_us": own / count * 1e6, "server_cpu_us": theirs / count * 1e6}


async def measure(options: argparse.Namespace) -> None:
    found: dict[str, list[dict[str, float]]] = {f"{what}_{kind}": [] for what in WHAT for kind in options.stores}
    for _ in range(options.rounds):
        for kind in options.stores:
            with tempfile.TemporaryDirectory(dir=options.folder) as name:
                async with opened(kind, Path(name)) as (tasks, server):
                    await turn(tasks, server, options.callers, 0.3, does)
                    for what, one in zip(WHAT, (stores, does), strict=True):
                        if what == "done":  # what was only stored is out of the way first
                            await emptied(tasks)
                        found[f"{what}_{kind}"].append(await turn(tasks, server, options.callers, options.seconds, one))
    figures = {
        name: {figure: round(median(each[figure] for each in rounds), 1) for figure in rounds[0]}
        for name, rounds in found.items()
    }
    tell("shared_stores", [], {"callers": options.callers, "cores": os.cpu_count(), **figures})


async def emptied(tasks: Tasks) -> None:
    while claimed := (await tasks.claim("helper", "emptier", limit=256)).tasks:
        await asyncio.gather(*(tasks.complete(leased.hold, b'"done"') for leased in claimed))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="that each turn takes")
    parser.add_argument("--callers", type=int, default=256, help="that ask at the same time")
    parser.add_argument("--stores", nargs="*", choices=KINDS, default=KINDS)
    parser.add_argument("--folder", help="where the files go; the system's temporary folder if not given")
    run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
