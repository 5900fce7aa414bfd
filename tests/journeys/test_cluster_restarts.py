"""Three hubs joined by an engine are restarted one after the other, while tasks, streams and messages flow through them."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, cast

import pytest

from orchestrator.errors import ExitCode
from orchestrator.protocol.tokens import SecretKey, mint
from orchestrator.runtime.user import connect
from orchestrator.store.opening import store_at
from orchestrator.topology.load import load_topology
from orchestrator.topology.plan import make_plan
from tests.journeys.clustering import ENGINES, QUICK, Hubs, Member, Ring, joined
from tests.journeys.ledger import COUNT, NOTES, Notes
from tests.journeys.running import running
from tests.journeys.sink import ADDRESS, Sink, sink
from tests.journeys.telling import Tell

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from orchestrator.runtime.user import User
    from orchestrator.topology.handlers import HandlerReport

TOPOLOGY: Final = """\
version: 1
hub: {key: "${PART_KEY}"}
store: sqlite:///tasks.db
coordinators:
  caller: {handler: tests.journeys.steady:Caller, workers: [keeper, sender]}
workers:
  keeper:
    handler: tests.journeys.steady:Keeper
    replicas: "${REPLICAS}"
    concurrency: 4
    tasks: {delivery: at-least-once}
  sender: {handler: tests.journeys.steady:Sender, replicas: "${REPLICAS}", concurrency: 4}
agents:
  teller: {handler: tests.journeys.telling:Teller, replicas: "${REPLICAS}", concurrency: 8}
"""
KEY: Final = "sk_id_test:sk_secret_" + "k" * 32
"""That of the hubs of these tests."""
NAMES: Final = ("n1", "n2", "n3")
PATIENCE: Final = 30.0
UNSENT: Final = ("WorkerLost", "NoWorkerAvailable")
"""What callers hear of tasks that are kept nowhere, when a hub ends while they are on their way, or all workers move."""


class Listeners:
    """Users who have agents tell them numbers, again and again, and see to it that none is missing."""

    def __init__(self, count: int) -> None:
        self.whole = 0
        self.faults: list[str] = []
        self._count = count
        self._enough = asyncio.Event()

    async def begin(self, user: User) -> None:
        self._asking = [asyncio.create_task(self._ask(user)) for _ in range(self._count)]

    async def _ask(self, user: User) -> None:
        while not self._enough.is_set():
            told: list[int] = []
            try:
                async for number in user.stream("teller", Tell(count=100), wait=PATIENCE):
                    told.append(number)  # what came before an error counts too
            except Exception as error:  # noqa: BLE001  # whatever a user sees is what the test looks for
                self.faults.append(f"{type(error).__name__}: {error}, after {len(told)}")
            if told != list(range(100)):
                self.faults.append(f"{len(told)} of 100 numbers: {told}")
            self.whole += 1

    async def end(self) -> None:
        self._enough.set()
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*self._asking)


def user_token(topology: Path, environ: dict[str, str]) -> str:
    """Return a token for whoever asks the agents of a topology."""
    plan = make_plan(load_topology(topology, environ), cast("dict[str, HandlerReport]", None))
    key = SecretKey.parse(KEY, rate="unlimited")
    return mint(key, plan.user("cli").claims("user", int(time.time()) + 3_600))


@asynccontextmanager
async def working(folder: Path, hubs: Hubs, variables: dict[str, str]) -> AsyncIterator[Sink]:
    """Have 50 tasks a second flow, half of them durable, until the block ends; then all of them are looked at."""
    (folder / "steady.yaml").write_text(TOPOLOGY)
    async with sink() as (books, address):
        environ = {**variables, ADDRESS: address, NOTES: str(folder / "notes"), COUNT: "10"}
        async with running("steady.yaml", "--hub", hubs.url, directory=folder, environ=environ) as run:
            await run.ready()
            await books.until(lambda: len(books.booked) >= 10, PATIENCE)
            yield books
            (folder / "enough").touch()
            end = await run.until(lambda record: record["event"] == "all is called", seconds=PATIENCE)
            run.process.send_signal(signal.SIGTERM)
            assert await run.ended() == ExitCode.DONE, run.said()
    notes = Notes.read(folder / "notes")
    kept, called = set(range(0, end["count"], 2)), set(range(end["count"]))
    missed = {int(line.split()[1]) for line in notes.other}
    assert all(any(f" {why}: " in line for why in UNSENT) for line in notes.other), notes.other
    assert not missed & kept
    assert notes.done.keys() == called - missed
    booked = {int(key.removeprefix("task ")) for key in books.booked}
    assert booked - missed == called - missed
    assert books.refused == {}
    store = store_at("sqlite:///tasks.db", folder)
    try:
        [queue] = await store.tasks.stats()
        assert (queue.queue, queue.done, queue.open + queue.dead + queue.cancelled) == (
            "keeper",
            len(kept),
            0,
        )
    finally:
        await store.close()


async def restarted_one_by_one(folder: Path, engine: str, restarts: int, replicas: int) -> dict[str, float]:
    variables = {"PART_KEY": KEY, "REPLICAS": str(replicas)}
    async with joined(folder, engine, *NAMES) as (hubs, _), working(folder, hubs, variables) as books:
        ring = Ring([Member(hubs.client(f"m{number}"), f"m{number}") for number in range(6)], pace=0.01)
        await ring.begin()
        token = user_token(folder / "steady.yaml", variables)
        listeners = Listeners(4)
        drains = []
        async with connect(hubs.url, token=token, reconnect=QUICK) as user:
            await listeners.begin(user)
            await ring.moves(1, PATIENCE)
            for number in range(restarts):
                seen, name = len(books.booked), NAMES[number % 3]
                drains.append(await hubs.drain(name))
                await hubs.start(name)
                await ring.moves(3, PATIENCE)
                await books.until(lambda seen=seen: len(books.booked) > seen + 10, PATIENCE)  # type: ignore[misc]
            await listeners.end()
        await ring.finish()
        assert ring.faults() == []
        assert listeners.faults == []
        moved = sum(len(member.connected_at) - 1 for member in ring.members)
        assert moved > 0
        await ring.end()
        return {
            "restarts": restarts,
            "slowest_drain_s": round(max(drains), 2),
            "messages": ring.acked,
            "reconnects": moved,
            "streams": listeners.whole,
            "tasks": len(books.booked),
        }


@pytest.mark.journey
async def test_two_restarts_lose_double_and_reorder_nothing(tmp_path: Path) -> None:
    assert (await restarted_one_by_one(tmp_path, "nats", 2, 1))["slowest_drain_s"] < 15.0


@pytest.mark.bars
@pytest.mark.parametrize("engine", ENGINES)
async def test_ten_restarts_lose_double_and_reorder_nothing(tmp_path: Path, engine: str) -> None:
    figures = await restarted_one_by_one(tmp_path, engine, 10, 3)
    print(json.dumps(figures))
    assert figures["slowest_drain_s"] < 15.0
