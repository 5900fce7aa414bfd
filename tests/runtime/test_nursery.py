"""Children as a guardian starts them, and what becomes of them when either side goes."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import resource
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest

from orchestrator.runtime import open_files
from orchestrator.runtime.descendants import children_of
from orchestrator.runtime.environment import harmless_environment
from orchestrator.runtime.nursery import Nursery, Program
from orchestrator.runtime.process import ChildProcess, Stream
from tests.runtime.processes import ENVIRONMENT, gone, runs

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")

VARIOUS: Final = "tests.runtime.children.various"
FORKED, SPAWNED = Program(VARIOUS, fork=True, title="writer.1"), Program(VARIOUS)
PLAIN: Final = {"PATH": os.environ["PATH"], "PYTHONPATH": ENVIRONMENT["PYTHONPATH"], "LC_ALL": "C.UTF-8"}
SIGINT, SIGPIPE, SIGXFSZ = (1 << number - 1 for number in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ))


class Told:
    """What a child says, line by line."""

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []
        self.errors: list[str] = []
        self._news = asyncio.Event()

    def __call__(self, stream: Stream, line: bytes) -> None:
        if stream == "stdout":
            self.said.append(json.loads(line))
            self._news.set()
        else:
            self.errors.append(line.decode())

    async def has(self, count: int) -> list[dict[str, Any]]:
        async with asyncio.timeout(20):
            while len(self.said) < count:
                self._news.clear()
                await self._news.wait()
        return self.said


@pytest.fixture
async def nursery() -> AsyncIterator[Nursery]:
    async with nursing() as here:
        yield here


@asynccontextmanager
async def nursing(environ: Mapping[str, str] = ENVIRONMENT) -> AsyncIterator[Nursery]:
    heard: list[bytes] = []
    before = children_of(os.getpid())
    here = Nursery(environ, lambda _stream, line: heard.append(line))
    try:
        yield here
    finally:
        await here.close()
    assert heard == []
    assert children_of(os.getpid()) <= before, "nobody is left, not even as a zombie"


async def start(
    nursery: Nursery, program: Program, told: Told, descriptors: Sequence[int] = (), **environ: str
) -> ChildProcess:
    return await nursery.start(program, told, {**PLAIN, **environ}, descriptors)


async def lived(
    nursery: Nursery, program: Program, descriptors: Sequence[int] = (), **environ: str
) -> tuple[int, Told]:
    """Have a child live to its end; return its exit code and what it told."""
    told = Told()
    async with asyncio.timeout(30):
        child = await start(nursery, program, told, descriptors, **environ)
        code = await child.wait()
        await child.close()
    return code, told


@pytest.mark.parametrize("program", [FORKED, SPAWNED], ids=["forked", "spawned"])
async def test_a_child_has_its_environment_in_full_and_nothing_of_ours(nursery: Nursery, program: Program) -> None:
    odd = {"EMPTY": "", "LINES": "one\ntwo = three\n", "BYTES": os.fsdecode(b"\xff\xfe"), "TZ": "UTC"}
    big = {f"BIG_{number}": "x" * 50_000 for number in range(21)}  # a mebibyte
    code, told = await lived(nursery, program, (), DO="surroundings", **odd, **big)
    assert code == 0, told.errors
    [seen] = told.said
    expected = {**PLAIN, **odd, **big, "DO": "surroundings"}
    assert seen["environ"] == {os.fsencode(name).hex(): digest(value) for name, value in expected.items()}


def digest(value: str) -> str:
    return hashlib.sha256(os.fsencode(value)).hexdigest()


async def test_the_system_shows_nothing_secret_of_a_forked_childs_environment() -> None:
    secret = secrets.token_hex(16)
    environ = {**ENVIRONMENT, "OPENAI_API_KEY": secret, "ORCHESTRATOR_TOKEN": secret}
    async with nursing(environ) as nursery:
        _, told = await lived(nursery, FORKED, DO="surroundings", MY_KEY=secret)
    [seen] = told.said
    assert set(seen["shown"]) == harmless_environment(environ).keys()
    assert not seen["shows_key"]


@pytest.mark.parametrize("program", [FORKED, SPAWNED], ids=["forked", "spawned"])
async def test_a_child_has_no_files_but_its_own_and_those_that_it_is_lent(nursery: Nursery, program: Program) -> None:
    ends = [end for _ in range(3) for end in os.pipe()]
    try:
        _, told = await lived(nursery, program, ends[:2], DO="files")
        assert told.said == [{"files": [0, 1, 2, 3, 4, 5]}]
        _, told = await lived(nursery, program, DO="files")
        assert told.said == [{"files": [0, 1, 2, 3]}]
    finally:
        for end in ends:
            os.close(end)


@pytest.mark.parametrize("program", [FORKED, SPAWNED], ids=["forked", "spawned"])
async def test_a_child_leads_its_session_and_minds_signals_as_any_program(nursery: Nursery, program: Program) -> None:
    _, told = await lived(nursery, program, DO="surroundings")
    [seen] = told.said
    assert seen["pid"] == seen["group"] == seen["session"]
    # What Python ignores everywhere, and what whoever started these tests ignores among the signals without a name.
    assert int(seen["ignored"], 16) & 0x7FFFFFFF == SIGPIPE | SIGXFSZ
    assert int(seen["blocked"], 16) == 0
    assert int(seen["caught"], 16) & 0xFFFFFFFF == SIGINT
    assert seen["argv"] == ["3"]
    assert seen["stdin"] == ""


async def test_a_forked_child_is_listed_under_its_name(nursery: Nursery) -> None:
    _, told = await lived(nursery, FORKED, DO="surroundings")
    assert told.said[0]["named"] == "writer.1"
    assert told.said[0]["words"] == "orchestrator: writer.1"


@pytest.mark.parametrize("program", [FORKED, SPAWNED], ids=["forked", "spawned"])
async def test_its_end_is_told(nursery: Nursery, program: Program) -> None:
    codes = {"return": 7, "exit": 8, "raise": 1, "SIGTERM": -15, "SIGKILL": -9, "SIGHUP": -1}
    for how, code in codes.items():
        ended, told = await lived(nursery, program, DO="end", HOW=how)
        assert ended == code, how
        assert ("RuntimeError: no luck today" in told.errors) == (how == "raise")


async def test_200_children_at_once(nursery: Nursery) -> None:
    ended = await asyncio.gather(*(lived(nursery, FORKED, DO="end", HOW="quit") for _ in range(200)))
    assert [code for code, _ in ended] == [9] * 200


async def test_it_gets_the_limit_on_open_files_that_we_were_started_with(nursery: Nursery) -> None:
    told = Told()
    child = await start(nursery, FORKED, told, DO="wait")
    await told.has(1)
    assert resource.prlimit(child.pid, resource.RLIMIT_NOFILE)[0] == open_files.given()
    child.kill()
    await child.wait()
    await child.close()


@pytest.mark.parametrize("program", [FORKED, SPAWNED], ids=["forked", "spawned"])
async def test_what_a_child_leaves_behind_is_ended_and_what_others_have_is_not(
    nursery: Nursery, program: Program
) -> None:
    other = Told()
    living = await start(nursery, program, other, DO="leave", HOW="wait", ORCHESTRATOR_PEER_ID="writer.1")
    theirs = [line["left"] for line in await other.has(4) if "left" in line]
    code, told = await lived(nursery, program, DO="leave", ORCHESTRATOR_PEER_ID="writer.2")
    assert code == 0
    left = [line["left"] for line in await told.has(3)]
    async with asyncio.timeout(5):
        await asyncio.gather(*map(gone, left))
    assert all(map(runs, theirs))
    living.kill()
    async with asyncio.timeout(5):
        await living.wait()
        await asyncio.gather(*map(gone, theirs))
    await living.close()


async def test_signals_to_the_guardian_change_nothing(nursery: Nursery) -> None:
    told = Told()
    child = await start(nursery, FORKED, told, DO="wait")
    guardian = (await told.has(1))[0]["parent"]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(guardian, number)
    _, other = await lived(nursery, FORKED, DO="surroundings")
    assert other.said[0]["parent"] == guardian
    assert runs(child.pid)
    child.kill()
    assert await child.wait() == -signal.SIGKILL
    await child.close()


async def test_with_a_guardian_that_is_killed_all_goes_and_the_next_child_gets_another(nursery: Nursery) -> None:
    told = Told()
    async with asyncio.timeout(20):
        children = [
            await start(nursery, program, told, DO="leave", HOW="wait", ORCHESTRATOR_PEER_ID="writer")
            for program in (FORKED, SPAWNED)
        ]
        said = await told.has(8)
        left = [line["left"] for line in said if "left" in line]
        guardian = next(line["parent"] for line in said if "parent" in line)
        assert all(map(runs, left))
        os.kill(guardian, signal.SIGKILL)
        began = time.monotonic()
        assert [await child.wait() for child in children] == [-signal.SIGKILL] * 2
        _, other = await lived(nursery, FORKED, DO="surroundings")
        await asyncio.gather(*map(gone, [*left, *(child.pid for child in children)]))
        assert time.monotonic() - began < 5.0
    assert other.said[0]["parent"] not in (guardian, os.getpid())
    for child in children:
        child.kill()  # does nothing, to nobody
        await child.close()


async def test_a_start_that_the_guardian_does_not_live_to_see_is_an_os_error(nursery: Nursery) -> None:
    told = Told()
    child = await start(nursery, FORKED, told, DO="wait")
    guardian = (await told.has(1))[0]["parent"]
    os.kill(guardian, signal.SIGSTOP)
    starting = asyncio.create_task(start(nursery, FORKED, told, DO="wait"))
    await asyncio.sleep(0)
    os.kill(guardian, signal.SIGKILL)
    with pytest.raises(OSError, match=re.escape("the guardian of the run's processes was killed")):
        await starting
    await child.wait()
    await child.close()


async def test_a_guardian_that_was_stopped_goes_on_when_somebody_is_to_be_killed(nursery: Nursery) -> None:
    told = Told()
    child = await start(nursery, FORKED, told, DO="wait")
    os.kill((await told.has(1))[0]["parent"], signal.SIGSTOP)
    child.kill()
    async with asyncio.timeout(20):
        assert await child.wait() == -signal.SIGKILL
    await child.close()
