"""This package's client takes its turns in `bench/store_process.py`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bench.brokers import AGENT, KEPT
from bench.lines import order
from bench.store_turn import PAYLOAD, RESULT, in_lanes, take_turns
from orchestrator.hub.serve import run_fast
from orchestrator.store.attempting import new_task_id
from orchestrator.store.remote import RemoteStore
from orchestrator.store.tasks import NewTask

if TYPE_CHECKING:
    from orchestrator.store.tasks import Tasks


def new(queue: str, peer: str, count: int) -> list[NewTask]:
    return [
        NewTask(id=new_task_id(), queue=queue, type="Research", payload=PAYLOAD, caller=AGENT, origin=peer)
        for _ in range(count)
    ]


async def store(tasks: Tasks, peer: str, share: int) -> None:
    await tasks.enqueue(new(KEPT, peer, share))


async def do(tasks: Tasks, peer: str, share: int) -> None:
    """Store so many tasks, take as many, whoever stored them, and complete them."""
    await tasks.enqueue(new(AGENT, peer, share))
    left = share
    while left:
        claimed = (await tasks.claim(AGENT, peer, limit=left)).tasks
        await asyncio.gather(*(tasks.complete(leased.hold, RESULT) for leased in claimed))
        left -= len(claimed)


async def turns() -> None:
    asked = order()

    async def provide() -> str:
        return str(asked["token"])

    remote = RemoteStore(asked["path"], provide, patience=60.0)
    await remote.open()
    tasks, peer = remote.tasks, asked["peer"]
    await take_turns(
        {
            "enqueue": lambda depth, until: in_lanes(lambda share: store(tasks, peer, share), depth, until),
            "end_to_end": lambda depth, until: in_lanes(lambda share: do(tasks, peer, share), depth, until),
        }
    )
    await remote.close()


if __name__ == "__main__":
    run_fast(turns())
