"""Agents that are programs of their own: started by the run, or by somebody else."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import signal
import stat
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from orchestrator.protocol.tokens import SecretKey, mint
from orchestrator.runtime.user import User, connect
from orchestrator.topology.load import load_topology
from orchestrator.topology.plan import Plan, make_plan
from tests.interop.environments import command
from tests.journeys.running import ROOT, Running, descendants, running, who
from tests.runtime.processes import gone, runs

pytestmark = pytest.mark.journey

KEY = SecretKey("sk_id_journey", f"sk_secret_{secrets.token_hex(32)}")
ENVIRON = {"KEY": f"{KEY.id}:{KEY.secret}"}
DOCUMENT = ROOT / "docs" / "programs.md"
SHOUT = ROOT / "agents" / "shout.py"
TOPOLOGY = """\
version: 1
hub: {key: '${KEY}', token_ttl: TTL}
coordinators:
  speaker: {handler: tests.journeys.shouting:Speaker, workers: [shouter]}
workers:
  shouter: {WORKER, handles: [Shout]}
"""
COMMAND = f"command: ['{sys.executable}', shout.py]"


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """Where the run keeps its token files."""
    directory = tmp_path / "private"
    directory.mkdir(0o700)
    return directory


def topology(directory: Path, worker: str = COMMAND, ttl: str = "15m") -> Path:
    (directory / "shout.py").write_text(SHOUT.read_text(encoding="utf-8"), encoding="utf-8")
    file = directory / "shouting.yaml"
    file.write_text(TOPOLOGY.replace("WORKER", worker).replace("TTL", ttl), encoding="utf-8")
    return file


@asynccontextmanager
async def shouting(file: Path, private: Path, *more: str) -> AsyncIterator[Running]:
    environ = {**ENVIRON, "XDG_RUNTIME_DIR": str(private)}
    async with running(file.name, "--log-level", "debug", *more, directory=file.parent, environ=environ) as run:
        yield run


def kept(directory: Path) -> list[Path]:
    return list(directory.iterdir())


def of_process(pid: int, name: str) -> bytes:
    return Path(f"/proc/{pid}/{name}").read_bytes()


def planned(file: Path) -> Plan:
    return make_plan(load_topology(file, ENVIRON), None)


async def hub_of(run: Running) -> str:
    return str((await run.until(lambda record: who(record) == "hub" and record["event"] == "ready"))["url"])


@asynccontextmanager
async def asking(run: Running, file: Path) -> AsyncIterator[User]:
    token = mint(KEY, planned(file).user("cli").claims("journey", int(time.time()) + 600))
    async with connect(await hub_of(run), token=token) as user:
        yield user


async def started(run: Running, *, after: int = 0) -> int:
    """Wait for the program to be started, and return its pid."""
    return int((await run.until(lambda record: record["event"] == "the program has started", after=after))["pid"])


async def ready_again(run: Running, *, after: int) -> None:
    await run.until(lambda record: who(record) == "shouter" and record["event"] == "ready", after=after)


async def test_a_program_takes_tasks_and_nothing_is_left_of_it(tmp_path: Path, private: Path) -> None:
    file = topology(tmp_path)
    async with shouting(file, private, "--ask", "speaker", "hear me") as run:
        pid = await started(run)
        assert await run.ended() == 0, run.said()
        assert run.answer == "HEAR! ME! \n"
    assert "2 replicas ready in " in run.said()
    assert run.records[-1]["event"].endswith("all ended cleanly")
    assert not runs(pid)
    assert kept(private) == []


@dataclass
class Seen:
    """What could be seen of a run while its program was ready, and what was left when it had ended in peace."""

    url: str
    directory: Path
    """The one in which the token was kept."""
    modes: tuple[int, int]
    """Of that directory, and of the token's file."""
    secret: bytes
    shown: dict[int, dict[str, bytes]]
    """The arguments and the environment of each process."""
    program: int
    code: int
    said: str
    left: list[Path]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    private = tmp_path_factory.mktemp("private")
    async with shouting(topology(tmp_path_factory.mktemp("seen")), private) as run:
        await run.ready()
        [directory] = kept(private)
        [token] = kept(directory)
        modes = stat.S_IMODE(directory.stat().st_mode), stat.S_IMODE(token.stat().st_mode)
        pids = [run.pid, *descendants(run.pid)]
        shown = {pid: {name: of_process(pid, name) for name in ("cmdline", "environ")} for pid in pids}
        url, program, secret = await hub_of(run), await started(run), token.read_bytes()
        run.process.send_signal(signal.SIGINT)
        code = await run.ended()
    return Seen(url, directory, modes, secret, shown, program, code, run.said(), kept(private))


def test_no_token_is_in_arguments_or_environments_and_its_file_is_private(seen: Seen) -> None:
    assert seen.modes == (0o700, 0o600)
    # The run, its guardian, its hub, the coordinator, the process that stands for the program, the program.
    assert len(seen.shown) == 6
    for files in seen.shown.values():
        for text in files.values():
            assert seen.secret not in text
    assert seen.code == 0, seen.said
    assert seen.secret.decode() not in seen.said
    assert seen.left == []


def test_a_program_finds_its_place_in_its_environment_and_no_secret(seen: Seen) -> None:
    lines = seen.shown[seen.program]["environ"].decode().split("\0")
    found = dict(line.split("=", 1) for line in lines if line)
    assert {name: value for name, value in found.items() if name.startswith("ORCHESTRATOR_")} == {
        "ORCHESTRATOR_URL": seen.url,
        "ORCHESTRATOR_PEER_ID": "shouter",
        "ORCHESTRATOR_TOKEN_FILE": str(seen.directory / "token"),
    }
    assert "KEY" not in found


@pytest.mark.bars
async def test_a_program_goes_on_when_its_token_is_renewed(tmp_path: Path, private: Path) -> None:
    """The first three tokens are over when the question is put; the client of the program has read others since."""
    file = topology(tmp_path, ttl="4s")
    async with shouting(file, private) as run, asking(run, file) as user:
        await run.ready()
        await run.until(lambda _: len(run.with_event("a fresh token is in its file")) >= 4)
        assert await user.ask("speaker", "still there") == "STILL! THERE! "
        assert len(run.with_event("the program has started")) == 1
        assert "has ended" not in run.said()


@pytest.mark.bars
async def test_a_killed_program_is_started_again(tmp_path: Path, private: Path) -> None:
    file = topology(tmp_path)
    async with shouting(file, private) as run, asking(run, file) as user:
        await run.ready()
        seen = len(run.records)
        killed = await started(run)
        os.kill(killed, signal.SIGKILL)
        said = await run.until(lambda record: "is started again" in record["event"], after=seen)
        assert said["event"].startswith("exit 137: the program was killed by SIGKILL: it is started again in ")
        await ready_again(run, after=seen)
        assert await started(run, after=seen) != killed
        assert await user.ask("speaker", "again") == "AGAIN! "
        assert len(kept(private)) == 1


@pytest.mark.bars
async def test_a_program_ends_with_the_process_that_stands_for_it(tmp_path: Path, private: Path) -> None:
    async with shouting(topology(tmp_path), private) as run:
        await run.ready()
        seen, program = len(run.records), await started(run)
        os.kill(run.pids()["shouter"], signal.SIGKILL)
        await gone(program)
        await ready_again(run, after=seen)
        assert len(kept(private)) == 1


@pytest.mark.bars
async def test_a_killed_run_leaves_neither_a_program_nor_its_token(tmp_path: Path, private: Path) -> None:
    async with shouting(topology(tmp_path), private) as run:
        await run.ready()
        pids = descendants(run.pid)
        run.process.kill()
        async with asyncio.timeout(5):
            for pid in pids:
                await gone(pid)
    assert kept(private) == []


@pytest.mark.bars
@pytest.mark.bars
async def test_a_program_that_ignores_sigterm_is_killed_when_its_grace_is_over(tmp_path: Path, private: Path) -> None:
    file = topology(tmp_path, "command: [sh, stubborn.sh]")
    (tmp_path / "stubborn.sh").write_text("trap '' TERM\necho deaf\nsleep 600 & wait\nsleep 600\n", encoding="utf-8")
    async with shouting(file, private, "--grace", "1") as run:
        await run.until(lambda record: record["event"] == "deaf" and who(record) == "shouter")
        pids = descendants(run.pid)
        run.process.send_signal(signal.SIGINT)
        assert await run.ended() == 1, run.said()
    assert "shouter ended with exit 137: the program was killed by SIGKILL" in run.records[-1]["event"]
    for pid in pids:
        await gone(pid)
    assert kept(private) == []


@pytest.mark.bars
async def test_a_program_that_is_killed_by_a_second_signal_leaves_no_token(tmp_path: Path, private: Path) -> None:
    file = topology(tmp_path, "command: [sh, -c, 'trap \"\" TERM; echo deaf; sleep 600 & wait; sleep 600']")
    async with shouting(file, private) as run:
        await run.until(lambda record: record["event"] == "deaf" and who(record) == "shouter")
        for said in ("SIGINT: ending in peace", "SIGINT again: killing what still runs"):
            run.process.send_signal(signal.SIGINT)
            await run.until(lambda record, said=said: record["event"] == said)  # type: ignore[misc]
        assert await run.ended() == 130, run.said()
    assert kept(private) == []


@pytest.mark.bars
async def test_a_program_that_is_not_there_is_said_and_never_tried_again(tmp_path: Path, private: Path) -> None:
    file = topology(tmp_path, "command: [./missing, x]")
    async with shouting(file, private, "--ask", "speaker", "hello") as run:
        assert await run.ended() == 3, run.said()
    said = [record["event"] for record in run.records if who(record) == "shouter"]
    assert said[-1] == "has failed for good: there is no program './missing' beside the topology"
    assert "again in" not in run.said()


@pytest.mark.bars
async def test_the_program_of_the_document_takes_tasks(tmp_path: Path, private: Path) -> None:
    """On the stock JavaScript SDK, as the document shows it."""
    node, program = command("javascript")
    [shown] = re.findall(r"^```javascript\n(.*?)^```$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (tmp_path / "shout.mjs").write_text(shown, encoding="utf-8")
    (tmp_path / "node_modules").symlink_to(Path(program).with_name("node_modules"))
    file = topology(tmp_path, f"command: ['{node}', shout.mjs]")
    async with shouting(file, private, "--ask", "speaker", "in another language") as run:
        assert await run.ended() == 0, run.said()
        assert run.answer == "IN! ANOTHER! LANGUAGE! \n"
    assert run.records[-1]["event"].endswith("all ended cleanly")


async def test_an_external_agent_is_awaited_and_takes_tasks(tmp_path: Path, private: Path) -> None:
    """The question is put only when the program is there, which somebody else starts, with a token of the shared key."""
    file = topology(tmp_path, "external: true")
    [place] = planned(file).replicas_of("shouter")
    async with shouting(file, private, "--ask", "speaker", "from outside") as run:
        said = await run.until(lambda record: "still awaited" in record["event"])
        assert said["event"].startswith("'shouter' is started elsewhere and still awaited at ws://localhost:")
        assert said["event"].endswith("`orchestrator token shouting.yaml AGENT [--replica N]` makes a token")
        token = tmp_path / "token"
        token.touch(0o600)
        token.write_text(mint(KEY, place.claims(exp=int(time.time()) + 600, instance="elsewhere")), encoding="ascii")
        environ = {"ORCHESTRATOR_URL": await hub_of(run), "ORCHESTRATOR_TOKEN_FILE": str(token)}
        program = await asyncio.create_subprocess_exec(sys.executable, SHOUT, env={**os.environ, **environ})
        try:
            assert await run.ended() == 0, run.said()
            assert run.answer == "FROM! OUTSIDE! \n"
        finally:
            program.terminate()
            assert await program.wait() == 0
    assert "2 replicas ready in " in run.said()
    assert "ran 1 replica, beside 1 elsewhere, for " in run.records[-1]["event"]


@pytest.mark.bars
async def test_a_run_does_not_wait_for_external_agents_to_end(tmp_path: Path, private: Path) -> None:
    file = topology(tmp_path, "external: true")
    async with shouting(file, private) as run:
        await run.until(lambda record: record["event"] == "ready" and who(record) == "speaker")
        run.process.send_signal(signal.SIGINT)
        assert await run.ended() == 0, run.said()
    assert run.records[-1]["event"].endswith("all ended cleanly")
