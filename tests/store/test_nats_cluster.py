"""A cluster of three servers: what it answers is in order whichever of them is away, and nothing is answered by fewer than two."""

from __future__ import annotations

import asyncio
import random
import subprocess
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypeVar

import pytest

from orchestrator.errors import LeaseLost, StoreUnavailable
from orchestrator.store.nats import NatsStore, nats_store
from orchestrator.store.shared import Needs
from tests.brokers import Broker, nats_cluster, needs_client
from tests.store.asking import Recorder, ask_on
from tests.store.linearizable import violations
from tests.store.task_stores import new

T = TypeVar("T")
pytestmark = pytest.mark.bars
OPERATIONS = 20_000
TASKS = 1_000


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[Broker]]:
    needs_client("nats", "nats-py")
    with nats_cluster(tmp_path, jetstream=True) as servers:
        yield servers


def store(servers: list[Broker], first: int = 0) -> NatsStore:
    """Return a store that prefers one of the servers."""
    order = [*servers[first:], *servers[:first]]
    address = "nats://" + ",".join(server.url.partition("//")[2] for server in order)
    return nats_store(address, namespace="cluster", needs=Needs())


async def opened(stack: AsyncExitStack, made: NatsStore) -> NatsStore:
    """Open a store as soon as the cluster has found a leader."""
    stack.push_async_callback(made.close)
    async with asyncio.timeout(30):
        while True:
            try:
                await made.open()
            except StoreUnavailable:
                await asyncio.sleep(0.2)  # the servers tell nobody when they have agreed
            else:
                return made


async def disturb(servers: list[Broker], rng: random.Random, is_over: Callable[[], bool]) -> None:
    """Have one server at a time be away for a while: stopped in the middle of what it does, or killed and started again."""
    while not is_over():
        server = rng.choice(servers)
        if rng.random() < 0.7:
            server.pause()
            await asyncio.sleep(rng.uniform(1, 6))
            server.resume()
        else:
            server.kill()
            await asyncio.sleep(rng.uniform(0, 2))
            again(server)
        await asyncio.sleep(rng.uniform(2, 5))


def again(server: Broker) -> None:
    """Start a server that was killed, on the same folder."""
    server.process = subprocess.Popen(
        server.process.args, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


async def test_what_is_answered_while_servers_come_and_go_has_an_order(servers: list[Broker]) -> None:
    rng, recorder = random.Random(11), Recorder()

    def go_on() -> bool:
        return recorder.answered < OPERATIONS

    async with AsyncExitStack() as stack, asyncio.timeout(900):
        stores = [await opened(stack, store(servers, number % 3)) for number in range(6)]
        disturbing = asyncio.create_task(disturb(servers, rng, lambda: not go_on()))
        async with asyncio.TaskGroup() as group:
            for number, each in enumerate(stores * 4):
                client = random.Random(number)
                group.create_task(ask_on(recorder, each.leases, f"c{number}", client, go_on))
        await disturbing
    assert violations(recorder.history) == []
    assert recorder.unanswered < OPERATIONS / 10


async def answered(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until there is an answer."""
    while True:
        try:
            return await ask()
        except StoreUnavailable:
            await asyncio.sleep(0.1)  # the servers tell nobody when they have agreed


async def work(store: NatsStore, worker: str, is_over: Callable[[], bool], done: Counter[str]) -> None:
    while not is_over():
        try:
            claimed = await store.tasks.claim("helper", worker, limit=5, lease=20)
        except StoreUnavailable:
            await answered(lambda: store.tasks.reclaim("helper", worker, begun=False))
            continue
        for leased in claimed.tasks:
            try:
                await answered(lambda hold=leased.hold: store.tasks.complete(hold, hold.worker.encode()))  # type: ignore[misc]
            except LeaseLost:
                continue
            done[leased.hold.id] += 1
        if not claimed.tasks:
            await asyncio.sleep(0.1)  # between two questions, as where no message says that there is something


async def test_each_task_ends_once_while_servers_come_and_go(servers: list[Broker]) -> None:
    done: Counter[str] = Counter()

    def is_over() -> bool:
        return len(done) >= TASKS

    async with AsyncExitStack() as stack, asyncio.timeout(600):
        stores = [await opened(stack, store(servers, number % 3)) for number in range(6)]
        disturbing = asyncio.create_task(disturb(servers, random.Random(5), is_over))
        async with asyncio.TaskGroup() as group:
            for number in range(1, 6):
                group.create_task(work(stores[number], f"helper.{number}", is_over, done))
            for number in range(TASKS):
                task = new(f"t{number}", key=f"k{number}")
                await answered(lambda task=task: stores[0].tasks.enqueue([task]))  # type: ignore[misc]
        await disturbing
        (stats,) = await answered(stores[0].tasks.stats)
    assert (stats.done, stats.open, stats.dead) == (TASKS, 0, 0)
    assert set(done.values()) == {1}


async def test_one_server_of_three_answers_nothing_of_claims(servers: list[Broker]) -> None:
    async with AsyncExitStack() as stack:
        alone = await opened(stack, store(servers))
        lease = await alone.leases.acquire("x", "a/1", 600)
        assert lease is not None
        for other in servers[1:]:
            other.pause()
        asked = (
            alone.leases.get("x"),
            alone.leases.acquire("x", "b/1", 5),
            alone.leases.acquire("y", "b/1", 5),
            alone.leases.renew("x", "a/1", 600),
            alone.tasks.enqueue([new()]),
        )
        answers = await asyncio.gather(*asked, return_exceptions=True)
        for other in servers[1:]:
            other.resume()
        assert [type(each) for each in answers] == [StoreUnavailable] * len(asked)
        async with asyncio.timeout(60):
            held = await answered(lambda: alone.leases.get("x"))
        assert held is not None
        assert (held.holder, held.fence) == ("a/1", lease.fence)
