"""One process for one file; what is wrong with the file has a name, and passes without a restart."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import StoreUnavailable
from orchestrator.store.errors import StoreFailing, StoreFull, StoreLocked, StoreReadOnly, StoreTooNew
from orchestrator.store.sqlite import SqliteStore
from orchestrator.store.sqlite_attempts import complete, extend
from orchestrator.store.sqlite_claim import ANY_READY, PICK, ClaimAsked, claim
from orchestrator.store.sqlite_enqueue import enqueue
from orchestrator.store.sqlite_file import StoreFile
from orchestrator.store.sqlite_reading import COUNTS
from orchestrator.store.sqlite_schema import STEPS, VERSION, migrate
from orchestrator.store.sqlite_upkeep import NEXT_DUE, OVERDUE_IN_LANE
from orchestrator.store.sqlite_writer import TOGETHER, Writer
from tests.store.task_stores import Clock, new

HOLDER = """
import asyncio, sys
from pathlib import Path
from orchestrator.store.sqlite import SqliteStore

async def main():
    async with SqliteStore(Path(sys.argv[1])):
        print("open", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def claims(ledger: Any, asked: list[ClaimAsked]) -> list[Any]:
    return list(claim(ledger, asked, "tasks.db"))


def files_in(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


# -- one process


async def test_a_second_process_is_told_who_has_the_file_and_has_it_when_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    holder = await asyncio.create_subprocess_exec(sys.executable, "-c", HOLDER, path, stdout=asyncio.subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert await holder.stdout.readline() == b"open\n"
        with pytest.raises(StoreLocked, match=f"process {holder.pid} ") as refused:
            async with SqliteStore(path):
                pass
        assert refused.value.pid == holder.pid
        assert str(path) in str(refused.value)
    finally:
        holder.kill()
        await holder.communicate()
    async with SqliteStore(path):
        pass


async def test_a_file_is_opened_once_in_one_process_too(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "s.db"):
        (tmp_path / "link.db").symlink_to(tmp_path / "s.db")
        with pytest.raises(StoreLocked, match=f"process {os.getpid()} "):
            async with SqliteStore(tmp_path / "link.db"):
                pass


async def test_nobody_else_may_read_what_is_in_the_files(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "new" / "s.db") as store:
        await store.tasks.enqueue([new()])
        files = list((tmp_path / "new").iterdir())
        assert len(files) == 4
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
        assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


async def test_a_store_that_was_closed_is_one_file_with_everything_in_it(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "s.db") as store:
        await store.tasks.enqueue([new()])
    assert files_in(tmp_path) == ["s.db", "s.db.lock"]


async def test_what_was_asked_for_before_closing_is_done(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "s.db")
    asked = [asyncio.ensure_future(store.tasks.enqueue([new(f"t{number}")])) for number in range(600)]
    await asyncio.sleep(0)
    await store.close()
    assert all(task.done() and not task.exception() for task in asked)
    async with SqliteStore(tmp_path / "s.db") as again:
        (stats,) = await again.tasks.stats()
        assert stats.ready == 600


async def test_a_store_that_is_closed_says_so(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "s.db") as store:
        pass
    for asked in (store.tasks.enqueue([new()]), store.tasks.get("t1"), store.leases.get("x")):
        with pytest.raises(StoreUnavailable, match="is closed"):
            await asked


async def test_more_requests_than_may_wait_are_all_answered(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "s.db") as store:
        await asyncio.gather(*(store.tasks.enqueue([new(f"t{number}")]) for number in range(9_000)))
        (stats,) = await store.tasks.stats()
        assert stats.ready == 9_000


async def transactions(store: SqliteStore) -> int:
    found: int = await store.read(lambda connection: connection.execute("SELECT commits FROM meta").fetchone()[0])
    return found


async def test_those_who_ask_at_the_same_time_share_a_transaction(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "s.db") as store:
        await asyncio.gather(*(store.tasks.enqueue([new(f"t{number}")]) for number in range(2_000)))
        assert 2_000 / TOGETHER <= await transactions(store) < 200


async def test_asking_for_what_is_not_there_writes_nothing(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "s.db") as store:
        await store.tasks.enqueue([new(delay=10)])
        before = await transactions(store)
        assert (await store.tasks.claim("helper", "helper.1")).tasks == ()
        await store.tasks.sweep()
        await store.tasks.stats()
        assert await store.leases.renew("x", "a/1", 5) is None
        assert await transactions(store) == before


async def test_whoever_gives_up_waiting_disturbs_nobody(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "s.db") as store:
        asked = [asyncio.ensure_future(store.tasks.enqueue([new(f"t{number}")])) for number in range(900)]
        await asyncio.sleep(0)
        given_up = asked[::3]
        for each in given_up:
            each.cancel()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(isinstance(answer, asyncio.CancelledError) for answer in answers) == len(given_up)
        there = {info.id for info in await store.tasks.list(limit=1_000)}
        assert there >= {f"t{number}" for number in range(900) if number % 3}


# -- what is wrong with the file


async def test_a_file_that_another_program_locks_is_reported_and_used_when_it_is_free(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "s.db") as store:
        other = sqlite3.connect(tmp_path / "s.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreLocked, match="is locked by a program"):
            await store.tasks.enqueue([new()])
        other.close()
        await store.tasks.enqueue([new()])


async def test_a_folder_that_cannot_be_is_reported_and_used_when_it_can(tmp_path: Path) -> None:
    (tmp_path / "folder").write_text("in the way")
    store = SqliteStore(tmp_path / "folder" / "s.db")
    with pytest.raises(StoreUnavailable, match=r"folder/s\.db") as told:
        await store.open()
    assert isinstance(told.value, StoreReadOnly | StoreFailing)
    (tmp_path / "folder").unlink()
    await store.tasks.enqueue([new()])
    await store.close()


async def test_a_file_of_a_later_version_is_not_touched(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "s.db"):
        pass
    other = sqlite3.connect(tmp_path / "s.db")
    other.execute(f"PRAGMA user_version = {VERSION + 1}")
    other.close()
    with pytest.raises(StoreTooNew, match=f"version {VERSION + 1}"):
        async with SqliteStore(tmp_path / "s.db"):
            pass


async def test_a_file_with_no_room_refuses_new_tasks_and_lets_others_end(tmp_path: Path) -> None:
    file = StoreFile(tmp_path / "s.db")
    writer = Writer(file, (enqueue, extend, complete, claims), Clock(), random.Random(1))
    (pages,) = file.connection().execute("PRAGMA page_count").fetchone()
    file.connection().execute(f"PRAGMA max_page_count = {pages + 20}")
    stored = 0
    with pytest.raises(StoreFull, match=r"s\.db has no room"):
        for stored in range(1_000):
            await writer.ask(enqueue, (new(f"t{stored}", payload=b"x" * 1_000),))
    claimed = await writer.ask(claims, ClaimAsked("helper", "helper.1", frozenset(), 1, 30.0))
    hold = claimed.tasks[0].hold
    huge = [new("u1", payload=b"x" * 100_000)]
    answers = await asyncio.gather(
        writer.ask(enqueue, huge), writer.ask(complete, (hold, b"1")), writer.ask(enqueue, huge), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [StoreFull, type(None), StoreFull]
    file.connection().execute("PRAGMA max_page_count = 100000")
    assert (await writer.ask(enqueue, huge))[0].fresh
    (count,) = file.connection().execute("SELECT count(*) FROM bodies").fetchone()
    assert count == stored + 1
    await writer.close()


async def test_a_request_that_cannot_be_done_does_not_take_the_others_with_it(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "s.db") as store:
        answers = await asyncio.gather(
            store.tasks.enqueue([new("a")]),
            store.tasks.enqueue([new("b", type="\ud800")]),
            store.tasks.enqueue([new("c")]),
            return_exceptions=True,
        )
        assert isinstance(answers[1], UnicodeEncodeError)
        assert [info.id for info in await store.tasks.list()] == ["c", "a"]


# -- what is in the file


def test_a_file_of_an_earlier_version_is_brought_up_to_date_with_what_is_in_it(tmp_path: Path) -> None:
    file = StoreFile(tmp_path / "s.db")
    connection = file.connection()
    connection.execute("INSERT INTO lanes (queue, requires) VALUES ('helper', '[]')")
    migrate(connection, VERSION, (*STEPS, ("ALTER TABLE lanes ADD COLUMN note TEXT", "UPDATE lanes SET note = 'x'")))
    assert connection.execute("SELECT queue, note FROM lanes").fetchall() == [("helper", "x")]
    assert connection.execute("PRAGMA user_version").fetchone() == (VERSION + 1,)
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, VERSION + 1, (*STEPS, (), ("DELETE FROM lanes", "INSERT INTO nowhere VALUES (1)")))
    assert connection.execute("SELECT count(*) FROM lanes").fetchone() == (1,)
    assert connection.execute("PRAGMA user_version").fetchone() == (VERSION + 1,)
    file.close()


def plan(statement: str, folder: Path) -> list[str]:
    file = StoreFile(folder / "s.db")
    steps = file.connection().execute(f"EXPLAIN QUERY PLAN {statement}", (1,) * statement.count("?")).fetchall()
    file.close()
    return [step[3] for step in steps]


@pytest.mark.parametrize("statement", [PICK, ANY_READY, NEXT_DUE, OVERDUE_IN_LANE])
def test_a_claim_looks_at_no_more_than_it_returns(statement: str, tmp_path: Path) -> None:
    """What would make a long queue slow: reading a table from end to end, or sorting."""
    steps = plan(statement, tmp_path)
    assert all(step.startswith("SEARCH") for step in steps), steps


@pytest.mark.parametrize("statement", COUNTS)
def test_tasks_are_counted_without_looking_at_each(statement: str, tmp_path: Path) -> None:
    assert "COVERING INDEX" in plan(statement, tmp_path)[0]


def test_the_disk_is_waited_for_at_each_transaction(tmp_path: Path) -> None:
    file = StoreFile(tmp_path / "s.db")
    assert file.connection().execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert file.connection().execute("PRAGMA synchronous").fetchone() == (2,)
    file.close()


async def test_time_goes_on_after_the_clock_was_ahead_and_put_right(tmp_path: Path) -> None:
    now = 1_000_000.0
    async with SqliteStore(tmp_path / "tasks.db", clock=lambda: now + 3_600) as store:
        await store.tasks.enqueue([new("t1")])
        await store.tasks.claim("helper", "helper.1", lease=30)
    async with SqliteStore(tmp_path / "tasks.db", clock=lambda: now) as store:
        assert (await store.tasks.claim("helper", "helper.2")).next_due == pytest.approx(30)
        now += 30
        (leased,) = (await store.tasks.claim("helper", "helper.2")).tasks
        assert leased.attempt == 2
