"""A run reads its files again: what is different is applied, and nothing else is touched."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import signal
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from orchestrator.protocol.tokens import SecretKey, mint
from orchestrator.runtime.user import connect
from orchestrator.topology.load import load_topology
from orchestrator.topology.plan import make_plan
from tests.journeys.operating import command, pids, view
from tests.journeys.running import Running, running, who

pytestmark = pytest.mark.journey

KEY: Final = SecretKey("sk_id_reload", f"sk_secret_{secrets.token_hex(32)}")
ENVIRON: Final = {"DESK_KEY": f"{KEY.id}:{KEY.secret}"}
TOPOLOGY: Final = """\
version: 1
hub: {key: '${DESK_KEY}'}
coordinators:
  boss: {handler: bosses:Boss, workers: [worker]}
workers:
  worker: {handler: workers:Worker, replicas: 2}
agents:
  idler: {handler: idlers:Idler}
  other: {handler: idlers:Idler}
"""
BOSSES: Final = """\
from collections.abc import AsyncIterator

from jobs import Ask, Job
from orchestrator import Workers, agent, task


@agent
class Boss:
    workers: Workers

    @task
    async def ask(self, ask: Ask) -> AsyncIterator[str]:
        async for reply in self.workers.map([Job(number=number) for number in range(int(ask.prompt))]):
            yield f"{reply}\\n"
"""
JOBS: Final = """\
from orchestrator import StreamTask, Task


class Ask(StreamTask[str]):
    prompt: str


class Job(Task[str]):
    number: int
"""
WORKERS: Final = """\
import asyncio
import os

from jobs import Job
from orchestrator import agent, task

WORD = "old"


@agent
class Worker:
    @task
    async def work(self, job: Job) -> str:
        await asyncio.sleep(0.02)
        return f"{WORD} {os.getpid()}"
"""
IDLERS: Final = """\
from orchestrator import agent, every


@agent
class Idler:
    @every("1h")
    async def idle(self) -> None:
        pass
"""
NOTHING: Final = "nothing has changed"


@dataclass
class Place:
    """A topology with its code, and the run of it."""

    folder: Path
    run: Running

    @property
    def file(self) -> Path:
        return self.folder / "desk.yaml"

    def edit(self, old: str, new: str, name: str = "desk.yaml") -> None:
        text = (self.folder / name).read_text()
        assert old in text
        (self.folder / name).write_text(text.replace(old, new))

    async def reloaded(self) -> str:
        """Send a SIGHUP, and return what the run says of it."""
        seen = len(self.run.records)
        self.run.process.send_signal(signal.SIGHUP)
        return await self.said(seen)

    async def said(self, after: int) -> str:
        ends = ("applied: ", "applied in part: ", "the files are read again: nothing was changed")
        record = await self.run.until(lambda record: record["event"].startswith(ends), after=after)
        return str(record["event"]).removeprefix("applied: ")

    async def answers(self, jobs: int) -> set[str]:
        """Return who answered when the boss was asked for so many jobs: a word and a pid each."""
        url = next(record["url"] for record in self.run.with_event("ready") if who(record) == "hub")
        plan = make_plan(load_topology(self.file, ENVIRON), None)
        token = mint(KEY, plan.user("cli").claims("journey", int(time.time()) + 600))
        async with connect(url, token=token) as user:
            return {*(await user.ask("boss", str(jobs))).split("\n")} - {""}

    async def answered_by(self, peers: Mapping[str, int], word: str = "old") -> None:
        """Wait until all of these have answered, and nobody else."""
        answers: set[str] = set()
        wished = {f"{word} {pid}" for peer, pid in peers.items() if peer.startswith("worker")}
        async with asyncio.timeout(20):
            while answers < wished:
                answers |= await self.answers(12)
        assert answers == wished


@asynccontextmanager
async def desk(folder: Path, *more: str, topology: str = TOPOLOGY) -> AsyncIterator[Place]:
    sources = {"bosses.py": BOSSES, "jobs.py": JOBS, "workers.py": WORKERS, "idlers.py": IDLERS, "desk.yaml": topology}
    for name, text in sources.items():
        (folder / name).write_text(text)
    async with running("desk.yaml", "--grace", "5", *more, directory=folder, environ=ENVIRON) as run:
        await run.until(lambda record: "ready in" in record["event"] or "are ready" in record["event"])
        yield Place(folder, run)


async def test_with_another_number_of_replicas_every_other_process_is_the_same(tmp_path: Path) -> None:
    async with desk(tmp_path) as place:
        before = await pids(place.file)
        place.edit("replicas: 2", "replicas: 4")
        assert await place.reloaded() == "adds worker.3, worker.4"
        after = await pids(place.file)
        assert {peer: pid for peer, pid in after.items() if peer in before} == before
        assert after.keys() - before.keys() == {"worker.3", "worker.4"}
        await place.answered_by(after)
        place.edit("replicas: 4", "replicas: 1")
        assert await command("reload", folder=tmp_path) == (0, "ends worker.2, worker.3, worker.4\n")
        assert await place.reloaded() == NOTHING
        await gone_from(place, {"worker.2", "worker.3", "worker.4"})
        assert await pids(place.file) == {peer: pid for peer, pid in before.items() if peer != "worker.2"}
        await place.answered_by({"worker.1": before["worker.1"]})


async def gone_from(place: Place, peers: set[str]) -> None:
    """Wait until a run has nothing more of these: they take a moment to end."""
    async with asyncio.timeout(10):
        while peers & {replica.peer for replica in (await view(place.file)).replicas}:
            continue  # that was a question to the run, and its answer


BROKEN: Final = (
    ("desk.yaml", "replicas: 2", "replicas: many", r"desk\.yaml:6:\d+: workers\.worker\.replicas"),
    ("desk.yaml", "workers: [worker]", "workers: [wroker]", r"desk\.yaml:4:\d+: .*'wroker'.*'worker'"),
    ("desk.yaml", "bosses:Boss", "bosses:Bos", r"desk\.yaml:4:\d+: .*Bos"),
    ("desk.yaml", "version: 1", "version: [", r"desk\.yaml:\d"),
    ("workers.py", 'WORD = "old"', 'WORD = "old', r"desk\.yaml:6:\d+: .*workers\.py.*line 7"),
)


async def test_with_a_broken_file_nothing_changes_and_the_log_says_where(tmp_path: Path) -> None:
    async with desk(tmp_path) as place:
        before = await pids(place.file)
        for name, old, new, said in BROKEN:
            place.edit(old, new, name)
            seen = len(place.run.records)
            assert "nothing was changed" in await place.reloaded()
            record = await place.run.until(
                lambda record: record["level"] == "error" and "are read again" not in record["event"], after=seen
            )
            assert re.search(said, record["event"], re.DOTALL), record["event"]
            place.edit(new, old, name)
        assert await pids(place.file) == before
        (tmp_path / "workers.py").write_text(WORKERS)
        await place.answered_by(before)


@pytest.mark.bars
async def test_changed_code_restarts_those_who_have_imported_it(tmp_path: Path) -> None:
    async with desk(tmp_path) as place:
        before = await pids(place.file)
        place.edit('"old"', '"new"', "workers.py")
        said = await place.reloaded()
        assert said == "restarts worker.1, worker.2 with its code as it is now"
        after = await pids(place.file)
        assert {peer for peer in after if after[peer] != before[peer]} == {"worker.1", "worker.2"}
        await place.answered_by(after, "new")
        place.edit("number: int", "number: int = 0", "jobs.py")
        assert await place.reloaded() == "restarts boss, worker.1, worker.2 with its code as it is now"
        last = await pids(place.file)
        assert {peer for peer in last if last[peer] != after[peer]} == {"boss", "worker.1", "worker.2"}
        assert await place.reloaded() == NOTHING


@pytest.mark.bars
async def test_changed_scopes_restart_their_agent_and_a_changed_policy_or_hub_nobody(tmp_path: Path) -> None:
    async with desk(tmp_path) as place:
        before = await pids(place.file)
        place.edit("idler: {handler: idlers:Idler}", "idler: {handler: idlers:Idler, scopes: {publish: [news]}}")
        assert await place.reloaded() == "restarts idler"
        after = await pids(place.file)
        assert {peer for peer in after if after[peer] != before[peer]} == {"idler"}
        place.edit("other: {handler: idlers:Idler}", "other: {handler: idlers:Idler, restart: {condition: never}}")
        assert await place.reloaded() == "changes the restart policy of other"
        place.edit("hub: {", "hub: {listen: '127.0.0.1:54321', ")
        place.edit("replicas: 2", "replicas: 3")
        assert "54321" in await place.reloaded(), "what a run cannot become is said, and nothing is done"
        assert await pids(place.file) == after


async def test_watch_does_it_when_a_file_changes(tmp_path: Path) -> None:
    pytest.importorskip("watchfiles", exc_type=ImportError)
    async with desk(tmp_path, "--watch") as place:
        before = await pids(place.file)
        seen = len(place.run.records)
        place.edit("replicas: 2", "replicas: 3")
        assert await place.said(seen) == "adds worker.3"
        seen = len(place.run.records)
        place.edit('"old"', '"new"', "workers.py")
        assert await place.said(seen) == "restarts worker.1, worker.2, worker.3 with its code as it is now"
        after = await pids(place.file)
        assert {peer for peer in before if after[peer] == before[peer]} == {"(hub)", "boss", "idler", "other"}
        await place.answered_by(after, "new")


@pytest.mark.bars
async def test_who_has_failed_for_good_comes_back_when_its_code_was_mended(tmp_path: Path) -> None:
    """The file is in order when it is read, and its agent fails all the same when it sets up."""
    broken = IDLERS.replace(
        "    @every", "    async def setup(self) -> None:\n        raise ValueError('no')\n\n    @every"
    )
    (tmp_path / "broken.py").write_text(broken)
    poor = "  poor: {handler: 'broken:Idler', restart: {max_attempts: 1, delay: 10ms}}\n"
    async with desk(tmp_path, topology=TOPOLOGY + poor) as place:
        await place.run.until(lambda record: "has failed for good" in record["event"] and who(record) == "poor")
        before = await pids(place.file)
        (tmp_path / "broken.py").write_text(IDLERS)
        assert await place.reloaded() == "restarts poor with its code as it is now"
        after = await pids(place.file)
        assert after.keys() - before.keys() == {"poor"}
        assert {peer: pid for peer, pid in after.items() if peer in before} == before
        assert (await view(place.file)).ready


async def test_one_that_never_gets_ready_is_in_nobodys_way_and_comes_when_it_is_mended(tmp_path: Path) -> None:
    """Neither of another change, nor of the files that mend it, nor of its own removal."""
    hanging = IDLERS.replace(
        "    @every", "    async def setup(self) -> None:\n        await HANG\n\n    @every"
    ).replace("\n\n@agent", "\nimport asyncio\n\nHANG = asyncio.Event().wait()\n\n@agent", 1)
    async with desk(tmp_path) as place:
        place.edit(IDLERS, hanging, "idlers.py")
        seen = len(place.run.records)
        place.run.process.send_signal(signal.SIGHUP)
        await place.run.until(lambda record: record["event"].startswith("the files are read again"), after=seen)
        await place.run.until(lambda record: record["event"] == "ready" and who(record) == "hub")
        code, said = await command("scale", "desk.yaml", "worker=3", folder=tmp_path)
        assert (code, said) == (0, "adds worker.3\n")
        code, said = await command("restart", "desk.yaml", "worker.1", folder=tmp_path)
        assert (code, said) == (0, "restarted worker.1\n")
        (tmp_path / "idlers.py").write_text(IDLERS)
        assert "restarts idler, other" in await place.reloaded()
        assert {row.state for row in (await view(place.file)).replicas} == {"ready"}


@pytest.mark.bars
async def test_an_import_that_hangs_does_not_hold_up_the_end(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    os.mkfifo(begun)
    hangs = f"open({str(begun)!r}, 'w').close()\nimport time\ntime.sleep(600)"
    async with desk(tmp_path) as place:
        place.edit('WORD = "old"', hangs, "workers.py")
        place.run.process.send_signal(signal.SIGHUP)
        await asyncio.to_thread(begun.read_text)
        began = time.monotonic()
        place.run.process.send_signal(signal.SIGINT)
        assert await place.run.ended() == 0
        assert time.monotonic() - began < 5.0
