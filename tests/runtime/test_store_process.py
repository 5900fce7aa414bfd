"""The store's process: started on a socket of its parent's, killed and started again, and gone with its parent."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from orchestrator.errors import StoreUnavailable
from orchestrator.protocol.tokens import Claims, SecretKey, mint
from orchestrator.runtime.control import AccessChanged, Drain, Ending, Ready, StoreSpec
from orchestrator.runtime.guardian_wire import LENT
from orchestrator.runtime.process import ChildProcess
from orchestrator.store.errors import StoreRefused
from orchestrator.store.remote import RemoteStore
from orchestrator.store.sqlite import SqliteStore
from orchestrator.topology.store_access import Access
from tests.runtime.processes import ENVIRONMENT, spawn
from tests.store.task_stores import new

KEY = SecretKey("sk_id_run", "sk_secret_" + "r" * 32, rate="unlimited")
OTHER = SecretKey("sk_id_run", "sk_secret_" + "o" * 32, rate="unlimited")
OPERATOR = "canary-operator-secret"
ACCESS = {"boss": Access("boss", queues=("helper",)), "helper.1": Access("helper", claims=True)}


def signed(sub: str, key: SecretKey = KEY, *, left: float = 600) -> str:
    return mint(key, Claims(sub=sub, exp=int(time.time() + left)))


class Parent:
    """What supervises the store: it owns the socket, and starts a process on it as often as it is asked to."""

    def __init__(self, listening: socket.socket, path: str, folder: Path) -> None:
        self.listening, self.path, self.folder = listening, path, folder
        self.lines: list[bytes] = []
        self.heard = asyncio.Event()
        self._children: list[ChildProcess] = []

    async def spawned(self, address: str = "sqlite:///s.db") -> ChildProcess:
        number = self.listening.fileno()
        child = await spawn("orchestrator.runtime.store", lambda _, line: self._hear(line), ENVIRONMENT, [number])
        self._children.append(child)
        child.control.send(StoreSpec(LENT, address, str(self.folder), (KEY,), OPERATOR, ACCESS))
        return child

    def _hear(self, line: bytes) -> None:
        self.lines.append(line)
        self.heard.set()

    async def started(self, address: str = "sqlite:///s.db") -> ChildProcess:
        child = await self.spawned(address)
        assert isinstance(await anext(aiter(child.control)), Ready)
        return child

    async def close(self) -> None:
        for child in self._children:
            child.kill()
            await child.wait()
            await child.close()

    @asynccontextmanager
    async def talking(self, token: str, *, patience: float = 10.0) -> AsyncIterator[RemoteStore]:
        async def fresh() -> str:
            return token

        client = RemoteStore(self.path, fresh, patience=patience)
        try:
            yield client
        finally:
            await client.close()


@pytest.fixture
async def parent(tmp_path: Path) -> AsyncIterator[Parent]:
    with tempfile.TemporaryDirectory(prefix="store") as folder, socket.socket(socket.AF_UNIX) as listening:
        path = str(Path(folder) / "store.sock")
        listening.bind(path)
        listening.listen(100)
        parent = Parent(listening, path, tmp_path)
        try:
            async with asyncio.timeout(60):
                yield parent
        finally:
            await parent.close()
        with socket.socket(socket.AF_UNIX) as end:
            end.connect(path)  # it is the parent's, whatever became of its children


async def test_a_task_goes_from_its_caller_to_its_worker_and_back(parent: Parent) -> None:
    await parent.started()
    async with parent.talking(signed("boss")) as boss, parent.talking(signed("helper.1")) as helper:
        await boss.tasks.enqueue([new()])
        (leased,) = (await helper.tasks.claim("helper", "helper.1")).tasks
        assert leased.origin == "boss"
        await helper.tasks.complete(leased.hold, b"1")
        outcome = await boss.tasks.result("t1")
        assert outcome is not None
        assert outcome.result == b"1"
    async with parent.talking(OPERATOR) as operator:
        await operator.idle()
        (stats,) = await operator.tasks.stats()
        assert stats.done == 1


UNWELCOME = {
    "forged": (signed("boss", OTHER), "not of this run"),
    "expired": (signed("boss", left=-5), "has expired"),
    "of nobody": (signed("writer.1"), "writer.1 has no share in the store"),
    "nearly": (OPERATOR[:-1], "not of this run"),
    "empty": ("", "not of this run"),
    "no ascii": ("\u00e9" * 30, "not of this run"),
}


async def test_a_token_that_is_not_good_opens_nothing(parent: Parent) -> None:
    await parent.started("memory:")

    async def refused(token: str) -> str:
        async with parent.talking(token, patience=1.0) as client:
            with pytest.raises(StoreUnavailable) as caught:
                await client.tasks.stats()
        return str(caught.value)

    said = await asyncio.gather(*(refused(token) for token, _ in UNWELCOME.values()))
    for (which, (_, told)), sentence in zip(UNWELCOME.items(), said, strict=True):
        assert told in sentence, which


async def test_a_peer_is_no_operator(parent: Parent) -> None:
    await parent.started("memory:")
    async with parent.talking(signed("boss")) as boss:
        with pytest.raises(StoreRefused):
            await boss.tasks.stats()


async def test_who_comes_while_it_runs_is_admitted_and_who_goes_is_not_any_more(parent: Parent) -> None:
    child = await parent.started("memory:")
    async with (
        parent.talking(signed("boss")) as boss,
        parent.talking(signed("helper.1"), patience=0.5) as first,
        parent.talking(signed("helper.2")) as second,
        parent.talking(OPERATOR) as operator,
    ):
        await boss.tasks.enqueue([new("t1"), new("t2")])
        (leased,) = (await first.tasks.claim("helper", "helper.1")).tasks
        await operator.tasks.stats()
        child.control.send(AccessChanged({"boss": ACCESS["boss"], "helper.2": Access("helper", claims=True)}))
        (other,) = (await second.tasks.claim("helper", "helper.2")).tasks
        with pytest.raises(StoreUnavailable, match=r"helper\.1 has no share in the store"):
            await first.tasks.complete(leased.hold, b"1")
        await second.tasks.complete(other.hold, b"2")
        assert (await boss.tasks.result(other.hold.id)) is not None
        (stats,) = await operator.tasks.stats()
        assert (stats.done, stats.open) == (1, 1)


async def test_who_may_do_something_else_by_now_does_that_and_notices_nothing(parent: Parent) -> None:
    child = await parent.started("memory:")
    async with parent.talking(signed("boss")) as boss:
        with pytest.raises(StoreRefused):
            await boss.tasks.enqueue([new("t1", queue="writer")])
        child.control.send(AccessChanged({"boss": Access("boss", queues=("helper", "writer"))}))
        async with parent.talking(OPERATOR) as operator:
            while not (await operator.tasks.stats()):
                with suppress(StoreRefused):  # until it has heard of it
                    await boss.tasks.enqueue([new("t1", queue="writer")])


async def test_a_store_that_is_killed_and_started_again_loses_nothing_and_is_waited_for(parent: Parent) -> None:
    child = await parent.started()
    async with parent.talking(signed("boss")) as boss:
        await boss.tasks.enqueue([new("before")])
        os.kill(child.pid, signal.SIGKILL)
        await child.wait()
        asking = [asyncio.create_task(boss.tasks.enqueue([new(f"t{number}")])) for number in range(50)]
        await parent.started()
        assert {answer[0].id for answer in await asyncio.gather(*asking)} == {f"t{number}" for number in range(50)}
        assert await boss.tasks.result("before") is None


async def test_a_drain_ends_it_well_with_everything_in_one_file(parent: Parent) -> None:
    child = await parent.started()
    async with parent.talking(signed("boss")) as boss:
        await boss.tasks.enqueue([new()])
        child.control.send(Drain(5.0))
        assert await child.wait() == 0
    assert sorted(path.name for path in parent.folder.iterdir()) == ["s.db", "s.db.lock"]


@pytest.mark.parametrize("times", [3, pytest.param(50, marks=pytest.mark.bars)])
async def test_hazard_55_while_it_is_drained_and_started_again_nothing_that_was_acknowledged_is_lost(
    parent: Parent, times: int
) -> None:
    acknowledged: list[str] = []

    async def put(boss: RemoteStore) -> None:
        while True:
            name = f"t{len(acknowledged):06}"
            await boss.tasks.enqueue([new(name)])
            acknowledged.append(name)

    child = await parent.started()
    async with parent.talking(signed("boss")) as boss:
        putting = asyncio.create_task(put(boss))
        for _ in range(times):
            before, began = len(acknowledged), time.monotonic()
            child.control.send(Drain(5.0))
            assert await child.wait() == 0
            assert time.monotonic() - began < 15
            child = await parent.started()
            while len(acknowledged) == before:
                await asyncio.sleep(0)
                if putting.done():
                    putting.result()
        putting.cancel()
        await asyncio.gather(putting, return_exceptions=True)
    async with parent.talking(OPERATOR) as operator:
        outcomes = [
            await operator.tasks.outcomes(acknowledged[at : at + 1_000]) for at in range(0, len(acknowledged), 1_000)
        ]
    assert sum(map(len, outcomes)) == len(acknowledged)


async def test_a_parent_that_is_gone_ends_it(parent: Parent) -> None:
    child = await parent.started()
    async with parent.talking(signed("boss")) as boss:
        await boss.tasks.enqueue([new()])
        await child.control.close()
        assert await child.wait() == 0


@pytest.mark.bars
async def test_a_file_that_another_process_keeps_ends_it_with_whose_that_is(parent: Parent) -> None:
    async with SqliteStore(parent.folder / "s.db"):
        child = await parent.spawned()
        ending = await anext(aiter(child.control))
        assert isinstance(ending, Ending)
        assert f"is used by process {os.getpid()}" in ending.sentence
        assert await child.wait() == 1


async def test_a_file_that_another_process_has_for_a_moment_is_waited_for(parent: Parent) -> None:
    async with SqliteStore(parent.folder / "s.db"):
        child = await parent.spawned()
        await parent.heard.wait()
        assert b"waiting for it" in parent.lines[0]
    assert isinstance(await anext(aiter(child.control)), Ready)


async def test_an_address_of_nothing_is_told(parent: Parent) -> None:
    child = await parent.spawned("sqlite:///")
    ending = await anext(aiter(child.control))
    assert isinstance(ending, Ending)
    assert "names no file" in ending.sentence
    assert await child.wait() == 1


async def test_a_file_that_cannot_be_is_told_to_those_who_ask_until_it_can(parent: Parent) -> None:
    (parent.folder / "in").write_text("")
    await parent.started("sqlite:///in/s.db")
    async with parent.talking(signed("boss")) as boss:
        with pytest.raises(StoreUnavailable, match=r"in/s\.db could not be opened"):
            await boss.tasks.enqueue([new()])
        (parent.folder / "in").unlink()
        assert (await boss.tasks.enqueue([new()]))[0].fresh


async def test_no_secret_is_in_what_it_writes_or_shows(parent: Parent) -> None:
    child = await parent.started("memory:")
    async with parent.talking(OPERATOR) as operator, parent.talking("wrong", patience=0.1) as wrong:
        await operator.tasks.stats()
        with pytest.raises(StoreUnavailable):
            await wrong.tasks.stats()
    proc = Path("/proc") / str(child.pid)
    for name in ("cmdline", "environ"):
        assert OPERATOR.encode() not in (proc / name).read_bytes()
    child.control.send(Drain(5.0))
    await child.wait()
    assert not any(OPERATOR.encode() in line or KEY.secret.encode() in line for line in parent.lines)


async def test_tasks_that_nobody_takes_any_more_are_told_at_the_start(parent: Parent) -> None:
    async with SqliteStore(parent.folder / "s.db") as store:
        await store.tasks.enqueue([new("t1", queue="renamed"), new("t2", queue="helper")])
    await parent.started()
    told = b"1 task(s) wait for 'renamed', which is no at-least-once worker of this topology"
    while not any(told in line for line in parent.lines):
        parent.heard.clear()
        await parent.heard.wait()
    assert not any(b"'helper'" in line for line in parent.lines)
