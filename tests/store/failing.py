"""A program whose disk refuses to write beyond some point, and what its store makes of that.

The limit on the size of files does it: the system answers as it does for a disk that is broken, not for one that is full.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from pathlib import Path

from orchestrator.store.errors import StoreFileProblem
from orchestrator.store.sqlite import SqliteStore
from tests.store.task_stores import new

LIMIT = 400_000


async def main() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    stored: list[str] = []
    refusals: list[str] = []
    async with SqliteStore(Path(sys.argv[1])) as store:
        await store.tasks.enqueue([new("first")])
        resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, most))
        while len(refusals) < 3:
            try:
                await store.tasks.enqueue([new(f"t{len(stored)}", payload=b"x" * 5_000)])
            except StoreFileProblem as error:
                refusals.append(f"{type(error).__name__}: {error}")
            else:
                stored.append(f"t{len(stored)}")
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        await store.tasks.enqueue([new("last")])
    async with SqliteStore(Path(sys.argv[1])) as store:
        there = {info.id for info in await store.tasks.list(limit=10_000)}
    lost = sorted({"first", "last", *stored} - there)
    print(json.dumps({"refusals": refusals, "stored": len(stored), "lost": lost}))


if __name__ == "__main__":
    asyncio.run(main())
