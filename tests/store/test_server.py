"""The store's server: who gets in, what it does about those who do not keep to the rules, and a file that fails."""

from __future__ import annotations

import logging
import os
import random
import struct
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from orchestrator.errors import StoreUnavailable
from orchestrator.store import server, server_connection
from orchestrator.store.clock import steady_time
from orchestrator.store.errors import StoreFull
from orchestrator.store.opening import MemoryStore
from orchestrator.store.sqlite import SqliteStore
from orchestrator.store.wire import MAX_FRAME, frames_of
from orchestrator.store.wire_answers import Goodbye, NotAdmitted, Refusal, Welcome
from orchestrator.store.wire_requests import Enqueue, Get, Hello, Stats
from tests.store.gated import Gate, GatedStore
from tests.store.serving import Served, raw, served
from tests.store.task_stores import new


@pytest.fixture
async def here() -> AsyncIterator[Served]:
    async with served(MemoryStore(steady_time(), random.Random(1))) as here:
        yield here


async def works(here: Served) -> bool:
    async with here.talking() as client:
        await client.tasks.stats()
    return True


# -- who gets in


async def test_a_token_that_is_not_welcome_is_told_so_and_the_connection_is_closed(here: Served) -> None:
    async with raw(here) as end:
        end.say(Hello(1, "stranger"))
        assert await end.hear() == NotAdmitted("the token is not of this run")
        assert await end.hear() is None


async def test_another_version_is_told_so(here: Served) -> None:
    async with raw(here) as end:
        end.say(Hello(2, "operator"))
        answer = await end.hear()
        assert isinstance(answer, NotAdmitted)
        assert "version 1, and not 2" in answer.sentence


async def test_whoever_shows_no_token_is_closed(here: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_connection, "ADMISSION_SECONDS", 0.05)
    async with raw(here) as end:
        assert await end.hear() is None


async def test_another_user_is_turned_away(here: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    stranger = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: stranger)
    async with raw(here) as end:
        assert await end.hear() == NotAdmitted("the store belongs to another user")


async def test_more_connections_than_there_may_be_are_turned_away(
    here: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 1)
    async with raw(here) as first, raw(here) as second:
        await first.admitted()
        answer = await second.hear()
        assert isinstance(answer, NotAdmitted)
        assert "as many connections as it may" in answer.sentence


# -- who does not keep to the rules

HELLO = bytes(next(frames_of([Hello(1, "operator")], MAX_FRAME, lambda _message, _problem: None)))
GARBAGE = [
    b"GET / HTTP/1.1\r\n\r\n",
    struct.pack(">I", 65_537),
    struct.pack(">I", 3) + b"\x91\x91\x00",
    bytes(next(frames_of([Stats(1)], MAX_FRAME, lambda _message, _problem: None))),
    HELLO + struct.pack(">I", MAX_FRAME + 1),
    HELLO + struct.pack(">I", 1) + b"\xc1",
    HELLO + struct.pack(">I", 1) + b"\x01",
    HELLO + HELLO,
]


@pytest.mark.parametrize("data", GARBAGE)
async def test_what_is_no_request_ends_its_connection_and_no_other(here: Served, data: bytes) -> None:
    async with raw(here) as end:
        end.writer.write(data)
        heard = await end.hear()
        assert isinstance(heard, Welcome | None)
        if heard is not None:
            assert await end.hear() is None
    assert await works(here)


async def test_a_request_that_cannot_be_read_is_refused_and_the_next_is_done(here: Served) -> None:
    async with raw(here) as end:
        await end.admitted()
        end.say(Enqueue(1, (new("a"),)), [11, 2, "helper", "helper.1", [], "one", 30.0], Get(3, "a", None))
        heard = {message.number: message for message in [await end.hear() for _ in range(3)]}
        assert isinstance(heard[2], Refusal)
        assert heard[2].value[0] == "ValueError"
        assert heard[3].value.info.id == "a"


async def test_no_more_is_begun_than_may_be_under_way() -> None:
    gate = Gate()
    async with served(GatedStore(gate, "get")) as here, raw(here) as end:
        await here.store.tasks.enqueue([new()])
        await end.admitted()
        end.say(*(Get(number, "t1", None) for number in range(1, 1_001)))
        await gate.wait_for(server_connection.MAX_UNDER_WAY)
        assert await works(here)
        assert gate.reached == server_connection.MAX_UNDER_WAY
        gate.open()
        assert {(await end.hear()).number for _ in range(1_000)} == set(range(1, 1_001))


async def test_whoever_does_not_read_is_not_answered_on_and_holds_up_nobody() -> None:
    gate = Gate()
    gate.open()
    async with served(GatedStore(gate, "get")) as here, raw(here) as end:
        await here.store.tasks.enqueue([new(payload=b"x" * 100_000)])
        await end.admitted()
        end.transport.pause_reading()
        for number in range(1, 1_001):
            end.say(Get(number, "t1", None))
        assert await works(here)
        assert await works(here)
        assert gate.reached < 900
        end.transport.resume_reading()
        assert {(await end.hear()).number for _ in range(1_000)} == set(range(1, 1_001))


async def test_whoever_leaves_too_much_unread_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_connection, "MAX_UNREAD", 8 * 1_048_576)
    gate = Gate()
    async with served(GatedStore(gate, "get")) as here, raw(here) as end:
        await here.store.tasks.enqueue([new(payload=b"x" * 100_000)])
        await end.admitted()
        end.transport.pause_reading()
        end.say(*(Get(number, "t1", None) for number in range(1, 201)))
        await gate.wait_for(200)
        gate.open()
        assert await works(here)
        end.transport.resume_reading()
        heard = 0
        while await end.hear() is not None:
            heard += 1
        assert heard < 200


async def test_whoever_does_not_leave_after_the_goodbye_is_cut_off(
    here: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_connection, "PARTING_SECONDS", 0.05)
    here.door.left["boss.1"] = 0.05
    async with raw(here) as end:
        await end.admitted("boss.1")
        assert await end.hear() == Goodbye(0)
        end.say(Enqueue(1, (new(),)))
        assert await end.hear() is None
    assert await here.store.tasks.list() == ()


# -- what is wrong with the store


def said(caplog: pytest.LogCaptureFixture) -> Sequence[str]:
    return [record.getMessage() for record in caplog.records if record.name == "tests.store"]


async def test_a_full_disk_is_a_typed_answer_until_there_is_room_and_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tests.store")
    async with SqliteStore(tmp_path / "s.db") as store, served(store) as here, here.talking("boss.1") as client:
        file = store._file.connection()
        (pages,) = file.execute("PRAGMA page_count").fetchone()
        file.execute(f"PRAGMA max_page_count = {pages + 20}")
        acknowledged = 0
        with pytest.raises(StoreFull, match=r"s\.db has no room to grow; free space"):
            for acknowledged in range(1_000):
                await client.tasks.enqueue([new(f"t{acknowledged}", payload=b"x" * 1_000)])
        for _ in range(3):
            with pytest.raises(StoreFull):
                await client.tasks.enqueue([new("more", payload=b"x" * 100_000)])
        assert (await client.tasks.get("t0")).payload == b"x" * 1_000
        file.execute("PRAGMA max_page_count = 100000")
        assert (await client.tasks.enqueue([new("more", payload=b"x" * 100_000)]))[0].fresh
        (stats,) = await store.tasks.stats()
        assert stats.ready == acknowledged + 1
    assert [message.partition(";")[0] for message in said(caplog)] == [
        f"the store {tmp_path / 's.db'} has no room to grow",
        "the store works again",
    ]


async def test_a_folder_that_cannot_be_is_told_and_the_server_goes_on_when_it_can(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = SqliteStore(tmp_path / "file" / "s.db")
    async with served(store) as here, here.talking("boss.1") as client:
        for ask in (client.open(), client.tasks.enqueue([new()])):
            with pytest.raises(StoreUnavailable, match=r"s\.db could not be opened"):
                await ask
        (tmp_path / "file").unlink()
        assert (await client.tasks.enqueue([new()]))[0].fresh
    await store.close()


async def test_what_nobody_expected_is_logged_and_told_to_whoever_asked(
    here: Served, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(**_: object) -> object:
        raise KeyError("internal")

    here.store.tasks.dead = broken  # type: ignore[method-assign, assignment]
    async with here.talking() as client:
        with pytest.raises(StoreUnavailable, match="failed at dead: KeyError; see its log"):
            await client.tasks.dead()
    assert "Dead of the operator failed" in said(caplog)
    assert await works(here)
