"""A program that fills a small file system of its own with tasks, makes it read-only, and tells what came of it.

It is run in a mount namespace of its own, so that nobody else ever sees that file system.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from orchestrator.store.errors import StoreFileProblem, StoreFull
from orchestrator.store.sqlite import SqliteStore
from tests.store.task_stores import new

BALLAST = 1_048_576


async def fill(store: SqliteStore, name: str) -> tuple[list[str], str]:
    """Store tasks until there is no room; return those that were acknowledged, and what was said then."""
    stored: list[str] = []
    while True:
        tasks = [new(f"{name}{len(stored) + n}", payload=os.urandom(900)) for n in range(8)]
        try:
            answers = await asyncio.gather(*(store.tasks.enqueue([task]) for task in tasks))
        except StoreFull as error:
            return stored, str(error)
        stored += [answer[0].id for answer in answers]


async def told(store: SqliteStore) -> str:
    try:
        await store.tasks.enqueue([new("probe")])
    except StoreFileProblem as error:
        return f"{type(error).__name__}: {error}"
    return "stored"


async def story(folder: Path) -> dict[str, Any]:
    ballast = folder / "ballast"
    ballast.write_bytes(os.urandom(BALLAST))
    found: dict[str, Any] = {}
    async with SqliteStore(folder / "s.db") as store:
        first, found["full"] = await fill(store, "a")
        found["again"] = await told(store)
        found["readable"] = len((await store.tasks.get(first[-1])).payload)
        ballast.unlink()
        found["freed"] = await told(store)
        second, _ = await fill(store, "b")
        found["stored"] = [len(first), len(second)]
        seen = {info.id for info in await store.tasks.list(limit=100_000)}
        found["lost_while_open"] = sorted({*first, *second} - seen)
    async with SqliteStore(folder / "s.db") as store:
        seen = {info.id for info in await store.tasks.list(limit=100_000)}
        found["lost_after"] = sorted({*first, *second} - seen)
    return found


def mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


async def read_only(folder: Path) -> dict[str, Any]:
    mount("-o", "remount,ro", str(folder))
    store = SqliteStore(folder / "other.db")
    found = {"read_only": await told(store)}
    mount("-o", "remount,rw,size=8m", str(folder))
    found["writable"] = await told(store)
    await store.close()
    return found


def main() -> None:
    folder = Path(sys.argv[1])
    mount("-t", "tmpfs", "-o", "size=4m", "none", str(folder))
    print(json.dumps(asyncio.run(story(folder)) | asyncio.run(read_only(folder))))


if __name__ == "__main__":
    main()
