"""The server on a run's socket: what commands are answered, what they may not do, and that they are never in its way."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import ExitCode
from orchestrator.runtime import operator
from orchestrator.runtime.operator_wire import (
    MAX_REQUEST,
    VERSION,
    Done,
    Hello,
    LogLine,
    Logs,
    Missed,
    Progress,
    Ps,
    Refused,
    Reload,
    Restart,
    RunView,
    Scale,
    Stop,
    line_of,
    read_answer,
)
from orchestrator.runtime.records import Record, Source
from orchestrator.runtime.run_seat import OwnSeat
from tests.runtime.operated import TableRun, served

SECONDS = 10


class Command:
    """One connection, written and read by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, seat: OwnSeat, *requests: Any, limit: int = 1 << 24) -> Command:
        """Connect, and say hello and what is given; about `limit` bytes are read before they are asked for."""
        command = cls(*await asyncio.open_unix_connection(seat.path, limit=limit))
        command.writer.write(b"".join(map(line_of, (Hello(VERSION), *requests))))
        assert await command.next() == Hello(VERSION, os.getpid())
        return command

    async def next(self) -> Any:
        """Return the next answer, `None` = the connection has ended."""
        async with asyncio.timeout(SECONDS):
            line = await self.reader.readline()
        return read_answer(line) if line else None

    async def rest(self) -> list[Any]:
        found = []
        while (answer := await self.next()) is not None:
            found.append(answer)
        return found

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


async def answers(seat: OwnSeat, request: Any) -> list[Any]:
    command = await Command.to(seat, request)
    found = await command.rest()
    await command.close()
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "farm.yaml"


@pytest.fixture
async def run() -> TableRun:
    return TableRun({"editor": 1, "researcher": 2})


async def test_a_view_is_given(file: Path, run: TableRun) -> None:
    async with served(file, run) as seat:
        [view] = await answers(seat, Ps())
        assert view == run.view()
        assert isinstance(view, RunView)


async def test_changes_are_answered_with_a_sentence(file: Path, run: TableRun) -> None:
    async with served(file, run) as seat:
        assert await answers(seat, Scale({"researcher": 5})) == [Done("researcher: 5")]
        assert run.replicas["researcher"] == 5
        assert await answers(seat, Restart(("editor", "researcher.2"))) == [
            Progress("editor: restarting"),
            Progress("researcher.2: restarting"),
            Done("2 restarted"),
        ]
        assert await answers(seat, Reload()) == [Done("1 replica was added")]


async def test_what_cannot_be_done_is_refused_with_the_runs_sentence(file: Path, run: TableRun) -> None:
    async with served(file, run) as seat:
        [refused] = await answers(seat, Scale({"reseacher": 5}))
        assert refused == Refused(
            "there is no agent or replica 'reseacher' in this run (did you mean 'researcher'?)", ExitCode.USAGE
        )
        await answers(seat, Reload())
        assert await answers(seat, Reload()) == [
            Refused("farm.yaml:3:1: it cannot be read; nothing was changed", ExitCode.FAILED)
        ]


async def test_a_mistake_of_the_run_ends_one_command_alone_and_tells_no_secret(
    file: Path, run: TableRun, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(file, run) as seat:
        run.reloads = 2
        [refused] = await answers(seat, Reload())
        assert "sk_secret" not in refused.sentence
        assert "a command could not be answered" in caplog.text
        assert await answers(seat, Ps()) == [run.view()]


async def test_a_change_that_takes_long_is_not_in_the_way_of_another(file: Path, run: TableRun) -> None:
    async with served(file, run) as seat:
        run.slow.clear()
        first = await Command.to(seat, Restart(("editor",)))
        assert await first.next() == Progress("editor: restarting")
        second = await Command.to(seat, Scale({"editor": 3}))
        assert await second.rest() == [Done("editor: 3")]
        run.slow.set()
        assert await first.rest() == [Done("1 restarted")]
        await first.close()
        await second.close()


async def test_commands_that_have_left_are_in_nobodys_way(file: Path, run: TableRun) -> None:
    async with served(file, run) as seat:
        run.slow.clear()
        for _ in range(operator.MAX_CONNECTIONS + operator.RESERVED):
            leaver = await Command.to(seat, Restart(("editor",)))
            await leaver.next()
            await leaver.close()
        assert isinstance((await answers(seat, Ps()))[-1], RunView)
        run.slow.set()


async def test_what_was_asked_for_is_done_even_if_whoever_asked_has_left(file: Path, run: TableRun) -> None:
    async with served(file, run) as seat:
        run.slow.clear()
        leaver = await Command.to(seat, Restart(("editor",)))
        assert await leaver.next() == Progress("editor: restarting")
        await leaver.close()
        run.slow.set()
        assert await answers(seat, Scale({"editor": 2})) != []
        assert run.restarts == {"editor": 1}


async def test_whoever_stops_a_run_is_answered_by_the_end_of_it(file: Path, run: TableRun) -> None:
    async with served(file, run) as seat:
        command = await Command.to(seat, Stop(2.5))
        assert await command.next() == Progress("it is ending")
        assert run.ended.is_set()
        assert run.grace == 2.5
        waiting = asyncio.create_task(command.next())
        assert await answers(seat, Ps()) == [run.view()]  # a run that ends is still looked at
        assert not waiting.done()
    assert await waiting is None
    await command.close()


async def test_a_command_that_comes_when_the_run_ends_is_left_without_an_answer(file: Path, run: TableRun) -> None:
    async with served(file, run) as seat:
        assert await answers(seat, Ps()) == [run.view()]
        ends = [socket.socket(socket.AF_UNIX) for _ in range(20)]
        for end in ends:
            end.connect(seat.path)  # no turn of the loop between this and the end
    for end in ends:
        with end, contextlib.suppress(ConnectionResetError):
            end.settimeout(SECONDS)
            while end.recv(65_536):
                continue


@pytest.mark.parametrize("turns", range(8))
async def test_a_run_that_ends_as_soon_as_it_is_served_leaves_no_command_waiting(
    turns: int, file: Path, run: TableRun
) -> None:
    with socket.socket(socket.AF_UNIX) as end:
        async with served(file, run) as seat:
            end.connect(seat.path)
            for _ in range(turns):
                await asyncio.sleep(0)
        for _ in range(8):  # what the loop has begun with the connection by now, it ends
            await asyncio.sleep(0)
        end.settimeout(SECONDS)
        with contextlib.suppress(ConnectionResetError):
            while end.recv(65_536):
                continue


# -- the log


async def test_the_last_lines_are_shown_in_their_order(file: Path, run: TableRun) -> None:
    async with served(file, run) as seat:
        for number in range(10):
            run.says("editor", f"e{number}")
            run.says("researcher", f"r{number}", number=2)
        *lines, done = await answers(seat, Logs(lines=4))
        assert [line.event for line in lines] == ["e8", "r8", "e9", "r9"]
        assert done == Done()
        *lines, _ = await answers(seat, Logs(("researcher",), 2))
        assert [(line.source, line.event) for line in lines] == [("researcher.2", "r8"), ("researcher.2", "r9")]
        *lines, _ = await answers(seat, Logs(("editor.1", "(hub)"), 1_000))
        assert len(lines) == 10


async def test_whose_lines_there_are_none_is_told(file: Path, run: TableRun) -> None:
    async with served(file, run) as seat:
        [refused] = await answers(seat, Logs(("editr",), 1))
        assert refused.sentence == "there is no agent or replica 'editr' in this run (did you mean 'editor'?)"
        assert await answers(seat, Logs(("researcher.1",), 1)) == [Done()]  # it has said nothing yet


async def test_a_follower_gets_what_was_said_and_then_what_is(file: Path, run: TableRun) -> None:
    async with served(file, run) as seat:
        run.says("editor", "before")
        command = await Command.to(seat, Logs(lines=5, follow=True))
        assert (await command.next()).event == "before"
        for number in range(3):
            run.says("researcher", f"after {number}")
            assert (await command.next()).event == f"after {number}"
        await command.close()


async def test_a_follower_is_given_the_last_words_of_a_run(file: Path, run: TableRun) -> None:
    async with served(file, run) as seat:
        command = await Command.to(seat, Logs(follow=True))
        run.says("editor", "first")
        assert (await command.next()).event == "first"
        run.says("editor", "goodbye")
    assert [answer.event for answer in await command.rest()] == ["goodbye"]
    await command.close()


async def test_a_follower_that_does_not_read_holds_up_nobody_and_is_told_what_it_missed(
    file: Path, run: TableRun
) -> None:
    async with served(file, run) as seat:
        command = await Command.to(seat, Logs(follow=True), limit=65_536)
        run.says("editor", "begin")
        assert (await command.next()).event == "begin"
        text = "x" * 10_000
        for number in range(5_000):
            run.says("editor", f"{number} {text}")
            if number % 100 == 0:
                assert await answers(seat, Ps()) == [run.view()]
        run.says("editor", "end")
        read, missed = 0, 0
        while True:
            match await command.next():
                case Missed(count=count):
                    missed += count
                case LogLine(event="end"):
                    break
                case LogLine():
                    read += 1
        assert read + missed == 5_000
        assert missed > 3_000
        await command.close()


async def test_followers_that_have_left_are_followers_no_more(file: Path, run: TableRun) -> None:
    async with served(file, run) as seat:
        for _ in range(operator.MAX_CONNECTIONS + 5):
            command = await Command.to(seat, Logs(follow=True))
            await command.close()
            assert await answers(seat, Ps()) == [run.view()]
        assert len(run.recent._followers) <= 1


async def test_whatever_a_record_holds_it_is_passed_on(file: Path, run: TableRun) -> None:
    async with served(file, run) as seat:
        run.recent.put(
            Source("editor.1", "editor", 1), Record(0.0, "info", "odd \udc80", {"thing": object(), "n": 2**90})
        )
        line, _ = await answers(seat, Logs(lines=1))
        assert line.event == "odd \\udc80"
        assert line.fields["n"] == str(2**90)


# -- those that do not keep to the rules


async def raw(seat: OwnSeat, data: bytes) -> list[Any]:
    reader, writer = await asyncio.open_unix_connection(seat.path, limit=1 << 24)
    writer.write(data)
    command = Command(reader, writer)
    found = await command.rest()
    await command.close()
    return found[1:]  # after its hello


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b'{"type":"hello","version":2}\n', "speak different versions, 1 and 2"),
        (b'{"type":"ps"}\n', "that is no message for a run"),
        (line_of(Hello(VERSION)) + b'{"type":"pss"}\n', "Invalid value 'pss'"),
        (line_of(Hello(VERSION)) + b"x" * (MAX_REQUEST + 10) + b"\n", f"exceeds {MAX_REQUEST} bytes"),
        (line_of(Hello(VERSION)) + b'{"type":"scale","wished":{"a":-1}}\n', "0 to 10000 replicas of 'a', not -1"),
        (line_of(Hello(VERSION)) + b'{"type":"stop","grace":-1}\n', "a grace is 0 to 86400 seconds"),
        (b"GET / HTTP/1.1\r\n\r\n", "that is no message for a run"),
    ],
)
async def test_what_is_no_request_is_refused(data: bytes, says: str, file: Path, run: TableRun) -> None:
    async with served(file, run) as seat:
        [refused] = await raw(seat, data)
        assert says in refused.sentence
        assert refused.exit_code == ExitCode.USAGE
        assert not run.ended.is_set()


async def test_a_command_that_says_nothing_is_closed(
    file: Path, run: TableRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operator, "FIRST_REQUEST", 0.05)
    async with served(file, run) as seat:
        [refused] = await raw(seat, b"")
        assert refused.sentence == "no request came within 0.05 s"


async def test_more_commands_than_are_answered_at_a_time_are_refused(file: Path, run: TableRun) -> None:
    async with served(file, run) as seat:
        followers = [await Command.to(seat, Logs(follow=True)) for _ in range(operator.MAX_CONNECTIONS)]
        run.says("editor", "hello")
        for follower in followers:
            assert (await follower.next()).event == "hello"
        over = await Command.to(seat, Logs(follow=True))
        [refused] = await over.rest()
        assert refused.sentence.startswith(f"{operator.MAX_CONNECTIONS} commands are being answered already")
        assert isinstance((await answers(seat, Ps()))[-1], RunView), "whoever looks is answered all the same"
        await followers[0].close()
        for command in (*followers[1:], over):
            await command.close()


STRANGER = """
import os, socket, sys
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
end = socket.socket(socket.AF_UNIX)
end.connect(sys.argv[1])
try:
    end.sendall(sys.argv[2].encode())
except BrokenPipeError:
    pass
with end.makefile("rb") as lines:
    print(lines.readline().decode(), end="")
"""


def open_to_all(folder: str, path: str) -> None:
    Path(folder).chmod(0o755)
    Path(path).parent.chmod(0o755)
    Path(path).chmod(0o666)


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="only root can become somebody else")
async def test_a_process_of_another_user_is_turned_away_even_if_it_gets_in(run: TableRun) -> None:
    with tempfile.TemporaryDirectory(prefix="o-", dir="/tmp") as folder:
        async with served(Path(folder) / "farm.yaml", run) as seat:
            open_to_all(folder, seat.path)
            wish = (line_of(Hello(VERSION)) + line_of(Stop())).decode()
            command = [sys.executable, "-I", "-c", STRANGER, seat.path, wish]
            done = await asyncio.to_thread(
                subprocess.run, command, cwd="/", capture_output=True, text=True, check=False, timeout=SECONDS
            )
            assert done.returncode == 0, done.stderr
            [refused] = map(read_answer, done.stdout.encode().splitlines())
            assert refused == Refused("this run belongs to user 0, and takes nothing from user 65534")
            assert not run.ended.is_set()
