"""After a loss of power everything that was acknowledged is there; of any other damage the store says so (hazard
62).
"""

from __future__ import annotations

import random
import sqlite3
from itertools import pairwise
from pathlib import Path

import pytest

from orchestrator.store.errors import StoreDamaged, UnknownTask
from orchestrator.store.sqlite import SqliteStore
from orchestrator.store.sqlite_problems import said_by_sqlite
from tests.store.recording import Moment, bad_copies, check_all_there, power_losses, record
from tests.store.task_stores import Clock, new

COUNTS = [60, pytest.param(1_000, marks=pytest.mark.bars)]


@pytest.fixture
async def moments(tmp_path: Path) -> list[Moment]:
    recorded = await record(tmp_path, 120)
    assert len({moment.file for moment in recorded}) > 5, "the log was never moved into the file"
    return recorded


@pytest.mark.parametrize("count", COUNTS)
def test_a_loss_of_power_loses_nothing_that_was_acknowledged(moments: list[Moment], count: int, tmp_path: Path) -> None:
    for number, moment in enumerate(power_losses(moments, count, random.Random(1))):
        folder = tmp_path / str(number)
        folder.mkdir()
        check_all_there(moment, folder)


@pytest.mark.parametrize("count", COUNTS)
def test_a_bad_copy_holds_everything_or_is_reported(moments: list[Moment], count: int, tmp_path: Path) -> None:
    reported = 0
    for number, moment in enumerate(bad_copies(moments, count, random.Random(2))):
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            check_all_there(moment, folder)
        except StoreDamaged as error:
            assert str(folder) in str(error)
            reported += 1
        except sqlite3.Error as error:
            assert isinstance(said_by_sqlite(error, folder), StoreDamaged)
            reported += 1
    assert 0 < reported < count


def test_a_log_that_is_missing_is_reported(moments: list[Moment], tmp_path: Path) -> None:
    moment = next(after for before, after in pairwise(moments[10:]) if before.file == after.file)
    with pytest.raises(StoreDamaged, match=r"-wal is lost"):
        check_all_there(moment.changed(log=b""), tmp_path)


def test_a_file_that_is_gone_while_its_log_is_there_is_reported(moments: list[Moment], tmp_path: Path) -> None:
    with pytest.raises(StoreDamaged, match=r"is gone or empty, while its -wal is still there"):
        check_all_there(moments[-1].changed(file=b""), tmp_path)


async def test_a_file_that_was_emptied_is_reported(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "s.db", clock=Clock()) as store:
        await store.tasks.enqueue([new()])
    (tmp_path / "s.db").write_bytes(b"")
    with pytest.raises(StoreDamaged, match=r"is empty"):
        async with SqliteStore(tmp_path / "s.db", clock=Clock()):
            pass


async def test_a_file_of_something_else_is_left_as_it_is(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "s.db")
    other.execute("CREATE TABLE music (title)")
    other.close()
    before = (tmp_path / "s.db").read_bytes()
    with pytest.raises(StoreDamaged, match=r"something else"):
        async with SqliteStore(tmp_path / "s.db", clock=Clock()):
            pass
    assert (tmp_path / "s.db").read_bytes() == before


async def test_damage_is_told_until_the_file_is_repaired_without_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    async with SqliteStore(path, clock=Clock()) as store:
        await store.tasks.enqueue([new()])
    good = path.read_bytes()
    path.write_bytes(b"rubbish" * 1_000)
    store = SqliteStore(path, clock=Clock())
    for _ in range(2):
        with pytest.raises(StoreDamaged, match=r"s\.db"):
            await store.tasks.claim("helper", "helper.1")
        with pytest.raises(StoreDamaged):
            await store.tasks.get("t1")
    path.write_bytes(good)
    assert (await store.tasks.get("t1")).payload == b"{}"
    await store.close()


async def test_a_payload_that_was_changed_is_given_to_nobody(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    async with SqliteStore(path, clock=Clock()) as store:
        await store.tasks.enqueue([new("bad", payload=b"to be found"), new("good")])
    path.write_bytes(path.read_bytes().replace(b"to be found", b"to be fouNd"))
    async with SqliteStore(path, clock=Clock()) as store:
        (leased,) = (await store.tasks.claim("helper", "helper.1", limit=2)).tasks
        assert leased.hold.id == "good"
        (dead,) = await store.tasks.dead()
        assert dead.failure is not None
        assert dead.failure.type == "StoreDamaged"
        with pytest.raises(StoreDamaged, match="bad"):
            await store.tasks.get("bad")


async def test_a_file_that_is_removed_while_it_is_used_is_reported_and_not_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    async with SqliteStore(path, clock=Clock()) as store:
        await store.tasks.enqueue([new()])
        path.rename(tmp_path / "moved.db")
        (tmp_path / "s.db-wal").rename(tmp_path / "moved.db-wal")
        for _ in range(2):
            with pytest.raises(StoreDamaged, match=r"removed"):
                await store.tasks.enqueue([new("t2")])
        assert not path.exists()
        (tmp_path / "moved.db").rename(path)
        if (tmp_path / "moved.db-wal").exists():
            (tmp_path / "moved.db-wal").rename(tmp_path / "s.db-wal")
        await store.tasks.get("t1")
        with pytest.raises(UnknownTask):
            await store.tasks.get("t2")
