"""The stock client of NATS takes its turns in `bench/store_process.py` on JetStream; run by an environment of its own.

What is stored goes in atomic batches, of which each is acknowledged once: with an acknowledgement for every message the
server syncs its file for every message, and is ten times slower.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import nats
import uvloop
from nats.js import api

from bench.lines import order
from bench.store_turn import PAYLOAD, RESULT, in_lanes, take_turns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

KEPT, WORK, RESULTS, WORKERS = "kept", "work", "results", "workers"
LONGEST_BATCH = 1_000
PATIENCE = 60.0
ID, NUMBER, LAST = api.Header.BATCH_ID.value, api.Header.BATCH_SEQUENCE.value, api.Header.BATCH_COMMIT.value


class Client:
    def __init__(self, connection: Any, name: str) -> None:
        self._connection, self._name = connection, name
        self._batches = 0

    async def make_streams(self) -> None:
        stream = self._connection.jetstream()
        for name in (KEPT, WORK, RESULTS):
            await stream.add_stream(name=name, subjects=[name], storage=api.StorageType.FILE, allow_atomic=True)
        await stream.add_consumer(
            WORK, durable_name=WORKERS, ack_policy=api.AckPolicy.EXPLICIT, max_ack_pending=-1, ack_wait=PATIENCE
        )

    async def enqueue(self, depth: int, until: float) -> int:
        return await in_lanes(lambda share: self._stored(KEPT, PAYLOAD, share), depth, until)

    async def end_to_end(self, depth: int, until: float) -> int:
        stream = self._connection.jetstream()
        idle = [
            await stream.pull_subscribe_bind(WORKERS, WORK, pending_msgs_limit=-1, pending_bytes_limit=-1)
            for _ in range(2)
        ]

        async def do(share: int) -> None:
            work = idle.pop()
            await self._do(work, share)
            idle.append(work)

        done = await in_lanes(do, depth, until)
        await self._connection.flush()
        for work in idle:
            await work.unsubscribe()
        return done

    async def _do(self, work: Any, share: int) -> None:
        """Results are acknowledged; that their tasks are done is told, and nobody waits for that."""
        await self._stored(WORK, PAYLOAD, share)
        while share:
            tasks = await work.fetch(share, timeout=PATIENCE)
            await self._stored(RESULTS, RESULT, len(tasks))
            for task in tasks:
                await task.ack()
            share -= len(tasks)

    async def _stored(self, subject: str, data: bytes, count: int) -> None:
        while count:
            size = min(count, LONGEST_BATCH)
            self._batches += 1
            batch = f"{self._name}-{self._batches}"
            for number in range(1, size):
                await self._connection.publish(subject, data, headers={ID: batch, NUMBER: str(number)})
            last = {ID: batch, NUMBER: str(size), LAST: "1"}
            answer = await self._connection.request(subject, data, timeout=PATIENCE, headers=last)
            if "error" in (told := json.loads(answer.data)):
                raise RuntimeError(f"a batch was refused: {told['error']}")
            count -= size


async def turns() -> None:
    asked = order()
    connection = await nats.connect(asked["url"], pending_size=64 * 2**20)
    client = Client(connection, asked["name"])
    if asked["first"]:
        await client.make_streams()
    ways: dict[str, Callable[[int, float], Awaitable[int]]]
    ways = {"enqueue": client.enqueue, "end_to_end": client.end_to_end}
    await take_turns(ways)
    await connection.close()


if __name__ == "__main__":
    uvloop.run(turns())
