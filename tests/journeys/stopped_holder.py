"""A worker without a run: it holds a task of a store, waits for a word, and tells what came of completing the task.

``python -m tests.journeys.stopped_holder SOCKET WORKER LEASE``; it says ``held ID`` or what ``complete`` came to, and is told
to go on by a line.
"""

from __future__ import annotations

import asyncio
import sys

from orchestrator.store.errors import LeaseLost
from orchestrator.store.remote import RemoteStore


async def main(path: str, worker: str, lease: float) -> None:
    async def token() -> str:
        return worker

    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    store = RemoteStore(path, token)
    while await lines.readline():  # there is a task
        [leased] = (await store.tasks.claim("helper", worker, lease=lease)).tasks
        print("held", leased.hold.id, leased.hold.fence, flush=True)
        await lines.readline()
        try:
            await store.tasks.complete(leased.hold, b'"late"')
        except LeaseLost as lost:
            print("lost", lost.task_id, lost.fence, flush=True)
        else:
            print("completed", leased.hold.id, leased.hold.fence, flush=True)
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
