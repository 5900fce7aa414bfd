"""Programs on the stock JavaScript SDK that know the oldest frames alone, among the agents of real runs."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import signal
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from orchestrator.runtime.user import User, connect
from tests.interop.environments import JAVASCRIPT, ROOT, command
from tests.journeys.running import Record, Running, descendants, running, who
from tests.runtime.processes import gone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

pytestmark = [pytest.mark.journey, pytest.mark.asyncio(loop_scope="module")]

ENVIRON = {"KEY": f"sk_id_guide:sk_secret_{secrets.token_hex(32)}"}
GUIDE = JAVASCRIPT / "guide"
SAFETY = 20.0
PATIENCE_MS = "600"
"""Milliseconds after which the programs' coordinator hands a task to the next worker."""
DISPATCHING = {"WORKERS": "clerk.1 clerk.2", "PATIENCE_MS": PATIENCE_MS}
CREW = """\
version: 1
hub: {key: '${KEY}', listen: '127.0.0.1:0'}
defaults:
  restart: {delay: 100ms}
coordinators:
  editor: {handler: tests.interop.guide_agents:Editor, workers: [scribe, clerk, freelancer, mortal]}
  inside:
    handles: [Edit]
    command: [NODE, GUIDE/coordinator.mjs]
    workers: [clerk]
    scopes: {subscribe: [results]}
    environment: {WORKERS: clerk.1 clerk.2, PATIENCE_MS: 'PATIENCE'}
  outside: {external: true, handles: [Edit], workers: [clerk], scopes: {subscribe: [results]}}
workers:
  scribe: {command: [NODE, GUIDE/worker.mjs], handles: [Draft, Summarize], replicas: 2}
  mortal: {command: [NODE, GUIDE/worker.mjs], handles: [Gamble], restart: {condition: never}}
  freelancer: {external: true, handles: [Errand]}
  clerk: {handler: tests.interop.guide_agents:Clerk, replicas: 2}
agents:
  teller: {handler: tests.interop.guide_agents:Teller}
  storyteller: {command: [NODE, GUIDE/agent.mjs], handles: [Tell]}
users:
  reader: {asks: [editor, inside, outside, teller, storyteller]}
  guest: {asks: [teller]}
"""
JOURNEY = """\
version: 1
hub: {key: '${KEY}', listen: '127.0.0.1:0'}
coordinators:
  editor: {handler: tests.interop.guide_agents:Editor, workers: [scribe, clerk]}
  inside:
    command: [NODE, GUIDE/coordinator.mjs]
    handles: [Edit]
    workers: [scribe, clerk]
    scopes: {subscribe: [results]}
    environment: {WORKERS: scribe clerk, PATIENCE_MS: '10000'}
workers:
  scribe: {command: [NODE, GUIDE/worker.mjs], handles: [Summarize]}
  clerk: {handler: tests.interop.guide_agents:Clerk}
users:
  reader: {asks: [inside, editor]}
"""


@dataclass
class Crew:
    """A run of a topology, and what its users and the programs outside it need."""

    run: Running
    file: Path
    url: str
    tokens: dict[str, Path] = field(default_factory=dict)
    """Of the programs that are users, which come one after the other."""

    async def here(self, *programs: str) -> None:
        """Wait until everybody is there. Programs that take no tasks are not seen at the hub, but say so themselves."""
        await self.run.ready()
        for name in programs:
            await self.run.until(lambda record, name=name: record["event"] == "here" and who(record) == name)  # type: ignore[misc]

    @property
    def private(self) -> Path:
        """Where the run keeps the tokens of its programs."""
        return self.file.parent / "private"

    @asynccontextmanager
    async def connected(self, user: str) -> AsyncIterator[User]:
        token = (await token_file(self.file, user, "--sub", secrets.token_hex(4))).read_text(encoding="ascii")
        async with connect(self.url, token=token.strip()) as connected:
            yield connected

    async def asked_in_javascript(self, user: str, agent: str, prompt: str) -> tuple[int, str, str]:
        """Have a program put a question; return its exit code, the answer that it wrote and what it said of errors."""
        if user not in self.tokens:
            self.tokens[user] = await token_file(self.file, user, "--sub", "program")
        environ = self.outside(user, self.tokens[user])
        return await ended(await started(node(), str(GUIDE / "user.mjs"), agent, prompt, environ=environ))

    def outside(self, name: str, token: Path) -> dict[str, str]:
        """Return the environment of a program that the run does not start."""
        found = {"URL": self.url, "TOKEN_FILE": str(token), "PEER_ID": name}
        return {**os.environ, **DISPATCHING, **{f"ORCHESTRATOR_{key}": value for key, value in found.items()}}

    def pipe(self) -> Path:
        """Make a named pipe: the first who is asked to hold it waits until somebody writes into it."""
        path = self.file.parent / f"pipe-{secrets.token_hex(4)}"
        os.mkfifo(path)
        return path

    async def holders(self, count: int, after: int) -> dict[str, int]:
        """Wait until so many agents hold a pipe; return their pids."""
        held: dict[str, int] = {}

        def enough(record: Record) -> bool:
            if found := re.fullmatch(r"holding (\d+)", record["event"]):
                held[who(record)] = int(found[1])
            return len(held) == count

        await self.run.until(enough, after=after, seconds=SAFETY)
        return held


def node() -> str:
    """Skips the test where there is none."""
    return command("javascript")[0]


async def token_file(topology: Path, name: str, *options: str) -> Path:
    """Keep what `orchestrator token` prints, as whoever starts a program elsewhere does."""
    arguments = ("-m", "orchestrator", "token", str(topology), name, *options)
    environ = {**os.environ, **ENVIRON, "PYTHONPATH": str(ROOT)}
    file = topology.with_name(f"{name}-{secrets.token_hex(4)}.token")
    file.touch(0o600)
    with file.open("wb") as kept:
        process = await asyncio.create_subprocess_exec(sys.executable, *arguments, env=environ, stdout=kept)
        assert await process.wait() == 0
    return file


async def started(*words: str, environ: Mapping[str, str]) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(*words, env=environ, stdout=pipe, stderr=pipe)


async def ended(process: asyncio.subprocess.Process) -> tuple[int, str, str]:
    try:
        async with asyncio.timeout(SAFETY):
            said, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, said.decode(), errors.decode()


@asynccontextmanager
async def elsewhere(program: str, environ: Mapping[str, str]) -> AsyncIterator[None]:
    """Run a program that the run does not start, from when it says that it is there."""
    process = await started(node(), str(GUIDE / program), environ=environ)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(SAFETY):
            assert await process.stdout.readline() == b"here\n"
        yield
        assert process.returncode is None, f"{program} has ended by itself"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


async def release(pipe: Path) -> None:
    """Let whoever holds a pipe go on."""
    await asyncio.to_thread(Path(f"{pipe}.taken").write_bytes, b"")


def topology(directory: Path, text: str) -> Path:
    file = directory / "crew.yaml"
    for name, value in {"NODE": node(), "GUIDE": str(GUIDE), "PATIENCE'": f"{PATIENCE_MS}'"}.items():
        text = text.replace(name, value)
    file.write_text(text, encoding="utf-8")
    return file


@asynccontextmanager
async def working(file: Path) -> AsyncIterator[Crew]:
    private = file.parent / "private"
    private.mkdir(0o700)
    environ = {**ENVIRON, "XDG_RUNTIME_DIR": str(private)}
    async with running(file.name, directory=file.parent, environ=environ) as run:
        ready = await run.until(lambda record: who(record) == "hub" and record["event"] == "ready")
        yield Crew(run, file, ready["url"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def crew(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Crew]:
    file = topology(tmp_path_factory.mktemp("crew"), CREW)
    async with AsyncExitStack() as stack:
        freelancer, outside = await asyncio.gather(token_file(file, "freelancer"), token_file(file, "outside"))
        crew = await stack.enter_async_context(working(file))
        await stack.enter_async_context(elsewhere("worker.mjs", crew.outside("freelancer", freelancer)))
        await stack.enter_async_context(elsewhere("coordinator.mjs", crew.outside("outside", outside)))
        await crew.here("inside", "storyteller")
        yield crew


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def connection(crew: Crew) -> AsyncIterator[User]:
    async with crew.connected("reader") as user:
        yield user


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lost(crew: Crew, connection: User) -> AsyncIterator[asyncio.Task[list[str]]]:
    """What becomes of a task whose program is killed and not started again. To be sure of it takes seconds."""
    pipe, seen = crew.pipe(), len(crew.run.records)
    answering = asyncio.create_task(asked(connection, "editor", f"Gamble 20 hold {pipe}"))
    os.kill((await crew.holders(1, seen))["mortal"], signal.SIGKILL)
    yield answering
    answering.cancel()
    await asyncio.gather(answering, return_exceptions=True)


@pytest.fixture
def reader(connection: User, lost: object) -> User:
    """One of ours, who may ask everybody who answers. That task ends while the first tests run."""
    return connection


async def asked(user: User, agent: str, prompt: str) -> list[str]:
    """Return the lines of an answer."""
    return (await user.ask(agent, prompt, timeout=SAFETY)).splitlines()


# -- their workers, our coordinator


async def test_programs_do_the_tasks_of_our_coordinator(reader: User) -> None:
    answer = await asked(reader, "editor", "Draft 10 " + "\n".join(f"number {number}" for number in range(20)))
    assert sorted(line.partition(": ")[2] for line in answer) == sorted(f"NUMBER {number}" for number in range(20))
    assert {line.partition(": ")[0] for line in answer} == {"scribe.1", "scribe.2"}


async def test_a_program_that_somebody_else_starts_does_tasks(reader: User) -> None:
    assert await asked(reader, "editor", "Errand 10 from outside") == ["freelancer: FROM OUTSIDE"]


async def test_programs_and_handlers_share_the_tasks_of_one_type(crew: Crew, reader: User) -> None:
    """Each holds one of the first four; the fifth is done by the one that is let go."""
    pipes, seen = [crew.pipe() for _ in range(4)], len(crew.run.records)
    prompts = "\n".join([*(f"hold {pipe}" for pipe in pipes), "the fifth"])
    answering = asyncio.create_task(asked(reader, "editor", f"Summarize 10 {prompts}"))
    assert set(await crew.holders(4, seen)) == {"scribe.1", "scribe.2", "clerk.1", "clerk.2"}
    for pipe in pipes:
        await release(pipe)
    answer = await answering
    assert sorted(line for line in answer if line.endswith("held")) == [
        "clerk: held",
        "clerk: held",
        "scribe.1: held",
        "scribe.2: held",
    ]
    assert sum(line.endswith(": THE FIFTH") for line in answer) == 1


async def test_a_task_of_a_program_that_is_killed_ends_by_its_deadline_and_the_next_one_is_done(
    crew: Crew, reader: User
) -> None:
    """It is started again under its name, and then only the deadline can tell that the task is not among what it does."""
    pipe, seen = crew.pipe(), len(crew.run.records)
    answering = asyncio.create_task(asked(reader, "editor", f"Draft 1.5 hold {pipe}"))
    [(name, pid)] = (await crew.holders(1, seen)).items()
    os.kill(pid, signal.SIGKILL)
    [error] = await answering
    assert error.startswith("TaskTimeout: ")
    assert name in error
    await crew.run.until(lambda record: who(record) == name and record["event"] == "ready", after=seen)
    assert len(await asked(reader, "editor", "Draft 10 one\ntwo\nthree\nfour")) == 4


@pytest.mark.bars
async def test_a_task_of_a_program_that_is_gone_for_good_is_lost_before_its_deadline(
    lost: asyncio.Task[list[str]], reader: User
) -> None:
    [error] = await lost
    assert error.startswith("WorkerLost: ")
    assert "mortal" in error
    [error] = await asked(reader, "editor", "Gamble 20 again")
    assert error.startswith("NoWorkerAvailable: ")


async def test_a_failure_that_ends_a_program_ends_its_task_too(crew: Crew, reader: User) -> None:
    """Nothing in the oldest frames says that a task has failed: what is thrown ends the program."""
    seen = len(crew.run.records)
    [error] = await asked(reader, "editor", "Draft 1.5 fail")
    assert error.startswith("TaskTimeout: ")
    said = await crew.run.until(lambda record: "is started again" in record["event"], after=seen)
    assert said["event"].startswith("exit 1: it is started again in ")
    await crew.run.until(lambda record: who(record) == who(said) and record["event"] == "ready", after=seen)


# -- their coordinators, our workers

coordinators = pytest.mark.parametrize("coordinator", ["inside", "outside"])


@coordinators
async def test_our_workers_do_the_tasks_of_a_program(reader: User, coordinator: str) -> None:
    assert await asked(reader, coordinator, "one\ntwo\nthree") == ["ONE by clerk", "TWO by clerk", "THREE by clerk"]


@coordinators
async def test_a_late_result_of_our_worker_does_a_program_no_harm(crew: Crew, reader: User, coordinator: str) -> None:
    """The task goes to the next worker, and the first one comes back to it when nobody waits any more."""
    pipe = crew.pipe()
    assert await asked(reader, coordinator, f"hold {pipe}") == ["at once by clerk"]
    await release(pipe)
    assert await asked(reader, coordinator, "one\ntwo") == ["ONE by clerk", "TWO by clerk"]


async def test_what_our_worker_raises_does_not_hang_a_program(reader: User) -> None:
    assert await asked(reader, "outside", "fail this\nthat") == ["nobody did fail this", "THAT by clerk"]


async def test_a_program_is_told_of_a_failure_in_a_frame_that_it_may_pass_over(crew: Crew, reader: User) -> None:
    seen = len(crew.run.records)
    answering = asyncio.create_task(asked(reader, "inside", "fail this\nthat"))
    said = await crew.run.until(lambda record: '"type":"task-error"' in record["event"], after=seen)
    assert who(said) == "inside"
    heard = json.loads(said["event"].partition(": ")[2])
    assert (heard["error"]["type"], heard["error"]["message"]) == ("RuntimeError", "cannot do this")
    assert await answering == ["nobody did fail this", "THAT by clerk"]


@coordinators
async def test_a_task_that_comes_again_under_its_id_is_done_once_and_answered_again(
    crew: Crew, reader: User, coordinator: str
) -> None:
    """The frame comes twice while the task is under way, and once more afterwards."""
    pipe, seen = crew.pipe(), len(crew.run.records)
    answering = asyncio.create_task(asked(reader, coordinator, f"twice hold {pipe}"))
    await crew.holders(1, seen)
    await release(pipe)
    assert await answering == ["held and held"]
    begun = [record["prompt"] for record in crew.run.records[seen:] if "prompt" in record]
    assert begun.count(f"hold {pipe}") == 1  # beside what was logged late of an earlier question


# -- users


async def test_a_user_that_never_acknowledges_gets_a_thousand_chunks_in_order_each_once(crew: Crew) -> None:
    code, answer, errors = await crew.asked_in_javascript("reader", "teller", "1000")
    assert (code, errors) == (0, "")
    assert answer == "".join(f"{number} " for number in range(1_000))


async def test_a_user_may_not_ask_whom_its_token_does_not_name(crew: Crew) -> None:
    code, answer, errors = await crew.asked_in_javascript("guest", "editor", "hello")
    assert (code, answer) == (1, "")
    assert errors.startswith("editor was not asked: action_not_permitted: ")


@pytest.mark.parametrize("form", ["numbered", "named", "bare"])
async def test_our_user_reads_the_chunks_of_a_program(reader: User, form: str) -> None:
    answer = await reader.ask("storyteller", f"{form} 100", timeout=3)
    assert answer == "".join(f"{number} " for number in range(100))


# -- all of them together


async def test_programs_and_handlers_work_together_and_nothing_is_left_of_them(tmp_path: Path) -> None:
    async with working(topology(tmp_path, JOURNEY)) as crew:
        await crew.here("inside")
        answer = await crew.asked_in_javascript("reader", "inside", "one\ntwo\nthree")
        assert answer == (0, "ONE by scribe\nTWO by clerk\nTHREE by scribe\n", "")
        code, answered, errors = await crew.asked_in_javascript("reader", "editor", "Summarize 10 four\nfive")
        assert (code, errors) == (0, "")
        assert {line.partition(": ")[2] for line in answered.splitlines()} == {"FOUR", "FIVE"}
        processes = descendants(crew.run.pid)
        assert len(processes) == 8  # the guardian, the hub, two handlers, and two programs with what stands for each
        crew.run.process.send_signal(signal.SIGINT)
        assert await crew.run.ended() == 0, crew.run.said()
        assert crew.run.records[-1]["event"].endswith("all ended cleanly")
        assert [record for record in crew.run.records if record["level"] in ("warning", "error")] == []
    async with asyncio.timeout(SAFETY):
        for pid in processes:
            await gone(pid)
    assert list(crew.private.iterdir()) == []
