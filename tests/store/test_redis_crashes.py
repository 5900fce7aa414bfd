"""A server of Redis that is killed and started again, many times: its answers have an order, and nothing is forgotten."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from orchestrator.errors import LeaseLost, StoreUnavailable
from orchestrator.store.redis import RedisStore, redis_store
from orchestrator.store.shared import Needs
from orchestrator.store.tasks import State
from tests.brokers import Broker, start_valkey
from tests.store.asking import Recorder, ask_on
from tests.store.linearizable import violations
from tests.store.redis_stores import DURABLE
from tests.store.task_stores import new

pytestmark = pytest.mark.bars
OPERATIONS, CLIENTS, KILLS = 20_000, 12, 6
TASKS = 3_000


@asynccontextmanager
async def clients(port: int, count: int) -> AsyncIterator[list[RedisStore]]:
    """Yield stores that know nothing of each other, as those of as many processes."""
    async with AsyncExitStack() as stack:
        stores = []
        for _ in range(count):
            store = redis_store(f"redis://127.0.0.1:{port}", namespace="crashes", needs=Needs())
            stack.push_async_callback(store.close)
            stores.append(store)
        yield stores


class Progress:
    """How far the clients have come, for those who wait for that."""

    def __init__(self) -> None:
        self.count = 0
        self._news = asyncio.Event()

    def step(self) -> None:
        self.count += 1
        self._news.set()

    async def reached(self, count: int) -> None:
        while self.count < count:
            self._news.clear()
            await self._news.wait()


async def until_answered(ask: Callable[[], Awaitable[object]]) -> None:
    while True:
        try:
            await ask()
        except StoreUnavailable:
            await asyncio.sleep(0.02)  # as somebody who asks again would
        else:
            return


async def kill_at(server: Broker, progress: Progress, marks: list[int], folder: Path) -> Broker:
    """Kill the server each time the clients have come so far, and start it again on its file."""
    for mark in marks:
        await progress.reached(mark)
        server.kill()
        server = await asyncio.to_thread(start_valkey, folder, server.port, DURABLE)
    return server


async def with_crashes(folder: Path, total: int, work: Callable[[list[RedisStore], Progress], Awaitable[None]]) -> None:
    server = start_valkey(folder, 0, DURABLE)
    progress = Progress()
    marks = [total * (number + 1) // (KILLS + 1) for number in range(KILLS)]
    async with asyncio.timeout(600), clients(server.port, CLIENTS) as stores:
        killing = asyncio.create_task(kill_at(server, progress, marks, folder))
        try:
            await work(stores, progress)
        finally:
            server = await killing
            await asyncio.gather(*(store.close() for store in stores))
            server.kill()


async def test_what_is_answered_while_the_server_crashes_has_an_order(tmp_path: Path) -> None:
    recorder = Recorder()

    async def asks(stores: list[RedisStore], progress: Progress) -> None:
        def go_on() -> bool:
            while progress.count < recorder.answered:
                progress.step()
            return recorder.answered < OPERATIONS

        async with asyncio.TaskGroup() as group:
            for number, store in enumerate(stores):
                group.create_task(ask_on(recorder, store.leases, f"c{number}", random.Random(number), go_on))

    await with_crashes(tmp_path, OPERATIONS, asks)
    assert recorder.answered >= OPERATIONS
    assert recorder.unanswered >= KILLS
    assert violations(recorder.history) == []


async def test_every_task_that_was_accepted_is_done_and_ends_once(tmp_path: Path) -> None:
    accepted: set[str] = set()
    ended: list[str] = []

    async def stores_tasks(store: RedisStore, name: str) -> None:
        for number in range(TASKS // CLIENTS):
            task = new(f"{name}.{number}", payload=name.encode() * 30)
            await until_answered(partial(store.tasks.enqueue, [task]))
            accepted.add(task.id)

    async def does_tasks(store: RedisStore, worker: str, progress: Progress) -> None:
        while progress.count < TASKS // CLIENTS * CLIENTS:
            try:
                claimed = await store.tasks.claim("helper", worker, limit=4, lease=1.0)
            except StoreUnavailable:
                await asyncio.sleep(0.02)
                continue
            for leased in claimed.tasks:
                try:
                    await until_answered(partial(store.tasks.complete, leased.hold, b"1"))
                except LeaseLost:
                    continue
                ended.append(leased.hold.id)
                progress.step()
            if not claimed.tasks:
                await asyncio.sleep(0.02)

    async def works(stores: list[RedisStore], progress: Progress) -> None:
        async with asyncio.TaskGroup() as group:
            for number, store in enumerate(stores):
                group.create_task(stores_tasks(store, f"c{number}"))
                group.create_task(does_tasks(store, f"helper.{number}", progress))
        done = await stores[0].tasks.list(states={State.DONE}, limit=2 * TASKS)
        assert {info.id for info in done} == accepted

    await with_crashes(tmp_path, TASKS // CLIENTS * CLIENTS, works)
    assert sorted(ended) == sorted(accepted)
