from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from orchestrator.runtime.control import Drain
from orchestrator.runtime.environment import child_environment
from orchestrator.runtime.process import MAX_LINE, ChildProcess, Stream
from tests.runtime.processes import ENVIRONMENT, gone, runs, spawn

CHILD = "tests.runtime.children.simple"


class Ear(list[tuple[Stream, bytes]]):
    """Keeps every line, and tells when the first has come."""

    def __init__(self) -> None:
        super().__init__()
        self.first: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def __call__(self, stream: Stream, line: bytes) -> None:
        self.append((stream, line))
        if not self.first.done():
            self.first.set_result(line)


async def spawned(do: str, ear: Ear) -> ChildProcess:
    return await spawn(CHILD, ear, {**ENVIRONMENT, "DO": do})


async def ended(do: str) -> tuple[int, Ear]:
    ear = Ear()
    async with asyncio.timeout(20):
        child = await spawned(do, ear)
        code = await child.wait()
        await child.close()
    return code, ear


async def test_each_stream_is_heard_line_by_line_also_without_a_last_newline() -> None:
    code, ear = await ended("lines")
    assert code == 0
    assert [line for stream, line in ear if stream == "stdout"] == [b"one", b"no end"]
    assert [line for stream, line in ear if stream == "stderr"] == [b"two"]


async def test_a_long_line_arrives_whole_in_pieces_of_bounded_length() -> None:
    _, ear = await ended("long_line")
    *pieces, last = [line for _, line in ear]
    assert b"".join(pieces) == b"x" * 200_000
    assert max(map(len, pieces)) <= MAX_LINE
    assert last == b"short"


async def test_a_flood_of_lines_is_heard_in_full_and_does_not_hold_up_the_loop() -> None:
    longest, running = 0.0, True
    loop = asyncio.get_running_loop()

    async def measure() -> None:
        nonlocal longest
        while running:
            before = loop.time()
            await asyncio.sleep(0)
            longest = max(longest, loop.time() - before)

    measuring = asyncio.create_task(measure())
    _, ear = await ended("flood")
    running = False
    await measuring
    assert len(ear) == 200_000
    assert longest < 1.0


async def test_its_standard_input_is_empty() -> None:
    assert (await ended("stdin"))[1] == [("stdout", b"''")]


@pytest.mark.skipif(sys.platform != "linux", reason="lists open files through /proc")
async def test_it_leads_its_own_session_and_holds_no_file_but_its_own() -> None:
    _, ear = await ended("where")
    pid, group, session = ear[0][1].split()
    assert pid == group == session
    listing = 1  # the descriptor with which it listed its descriptors
    extra = set(eval(ear[1][1])) - {0, 1, 2}
    assert int(ear[2][1]) in extra
    assert len(extra) <= 2 + listing  # its control socket, and what watches it


async def test_it_ends_with_its_exit_code_or_signal() -> None:
    ear = Ear()
    child = await spawned("polite", ear)
    async with asyncio.timeout(10):
        await ear.first
        assert runs(child.pid)
        os.kill(child.pid, signal.SIGTERM)
        assert await child.wait() == -signal.SIGTERM
    await child.close()
    assert not runs(child.pid)


async def test_killing_it_kills_what_it_started_and_what_ignores_requests() -> None:
    ear = Ear()
    child = await spawned("deaf", ear)
    async with asyncio.timeout(10):
        pids = list(map(int, (await ear.first).split()[1:]))
        assert child.pid in pids
        child.kill()
        assert await child.wait() == -signal.SIGKILL
        for pid in pids:
            await gone(pid)
    await child.close()
    child.kill()  # once more does no harm


async def test_what_it_leaves_in_its_group_is_killed_when_it_has_ended() -> None:
    code, ear = await ended("group")
    assert code == 0
    async with asyncio.timeout(5):
        await gone(int(ear[0][1]))


async def test_what_is_said_to_a_child_that_is_gone_is_lost_without_an_error() -> None:
    ear = Ear()
    child = await spawned("lines", ear)
    assert await child.wait() == 0
    child.control.send(Drain(1.0))
    assert [message async for message in child.control] == []
    await child.close()


async def test_a_program_that_cannot_be_started_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        await spawn(CHILD, Ear(), ENVIRONMENT, [987_654])


def test_a_child_inherits_everything_but_settings_of_ours_and_what_secrets_came_from() -> None:
    inherited = {"PATH": "/bin", "HUB_KEY": "secret", "ORCHESTRATOR_TOKEN": "x", "OPENAI_API_KEY": "k", "MODEL": "big"}
    assert child_environment(inherited, {"HUB_KEY"}, {"MODEL": "small"}) == {
        "PATH": "/bin",
        "OPENAI_API_KEY": "k",
        "MODEL": "small",
    }


def test_a_child_that_inherits_nothing_still_finds_its_programs_and_its_language() -> None:
    inherited = {"PATH": "/bin", "LC_ALL": "C.UTF-8", "OPENAI_API_KEY": "k"}
    assert child_environment(inherited, (), {"A": "b"}, inherit=False) == {
        "PATH": "/bin",
        "LC_ALL": "C.UTF-8",
        "A": "b",
    }
