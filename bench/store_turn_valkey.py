"""The stock client of Redis, with its fast parser, takes its turns in `bench/store_process.py` on Valkey; run by an
environment of its own.

It waits for one pipeline at a time, and blocks: nothing else is to be done by its process.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import redis

from bench.lines import order
from bench.store_turn import PAYLOAD, RESULT, take_turns

KEPT, WORK, GROUP, RESULTS = "kept", "work", "workers", "results"
FIELDS = {b"d": PAYLOAD}


async def store(client: Any, depth: int, until: float) -> int:
    done = 0
    while time.monotonic() < until:
        pipeline = client.pipeline(transaction=False)
        for _ in range(depth):
            pipeline.xadd(KEPT, FIELDS)
        done += len(pipeline.execute())
    return done


async def do(client: Any, name: str, depth: int, until: float) -> int:
    """In one round trip: what was read is acknowledged with its results, as many are added, and as many are read."""
    done, going_on = 0, True
    ids: list[bytes] = []
    while going_on or ids:
        going_on = time.monotonic() < until
        pipeline = client.pipeline(transaction=False)
        if ids:
            pipeline.xack(WORK, GROUP, *ids)
            pipeline.hset(RESULTS, mapping=dict.fromkeys(ids, RESULT))
        if going_on:
            for _ in range(depth):
                pipeline.xadd(WORK, FIELDS)
            pipeline.xreadgroup(GROUP, name, {WORK: ">"}, count=depth)
        answers = pipeline.execute()
        done += answers[0] if ids else 0
        ids = entries(answers[-1]) if going_on else []
    return done


def entries(answer: Any) -> list[bytes]:
    """Return the ids of what was read, in either version of the protocol."""
    streams = answer.values() if isinstance(answer, dict) else [found for _, found in answer]
    ids: list[bytes] = []
    for found in streams:
        batches = [found] if found and isinstance(found[0], tuple) else found
        ids += [entry[0] for batch in batches for entry in batch]
    return ids


async def turns() -> None:
    asked = order()
    client = redis.Redis(unix_socket_path=asked["path"], socket_timeout=60)
    try:
        client.xgroup_create(WORK, GROUP, mkstream=True)
    except redis.ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise
    await take_turns(
        {
            "enqueue": lambda depth, until: store(client, depth, until),
            "end_to_end": lambda depth, until: do(client, asked["name"], depth, until),
        }
    )
    client.close()


if __name__ == "__main__":
    asyncio.run(turns())
