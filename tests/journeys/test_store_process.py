"""The store of a run: a process that is started where it is needed, comes back when it is killed, and leaves nothing."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, Final, cast

import pytest

from orchestrator.errors import ExitCode
from orchestrator.protocol.tokens import SecretKey, mint
from orchestrator.runtime.store_seat import StoreSeat
from orchestrator.runtime.store_seat import running as seats
from orchestrator.runtime.user import User, connect
from orchestrator.store.opening import store_at
from orchestrator.store.remote import RemoteStore
from orchestrator.store.tasks import NewTask
from orchestrator.topology.handlers import HandlerReport
from orchestrator.topology.load import load_topology
from orchestrator.topology.plan import make_plan
from tests.journeys.running import Running, descendants, running, who
from tests.runtime.processes import gone

pytestmark = pytest.mark.journey

KEY: Final = SecretKey("sk_id_journey", f"sk_secret_{secrets.token_hex(32)}")
ENVIRON: Final = {"CREW_KEY": f"{KEY.id}:{KEY.secret}"}

TOPOLOGY: Final = """\
version: 1
hub: {key: "${CREW_KEY}"}
store: sqlite:///crew.db
agents:
  member: {handler: "crew:Member", replicas: 2}
teams:
  crew: {members: [member]}
"""

HANDLER: Final = '''\
"""A team whose members hold what they are told to, until a gate opens."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from orchestrator import StreamTask, Team, agent, task


class Hold(StreamTask[str]):
    prompt: str


@agent
class Member:
    crew: Team

    @task
    async def hold(self, ask: Hold) -> AsyncIterator[str]:
        item, _, gate = ask.prompt.partition(" until ")
        async with self.crew.claim(item) as claim:
            if claim is None:
                yield "taken"
                return
            yield f"fence {claim.fence}"
            if gate:
                await asyncio.to_thread(Path(gate).read_text)
        yield " and given back"
'''


@pytest.fixture
def topology(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "gate")
    (tmp_path / "crew.py").write_text(HANDLER)
    file = tmp_path / "crew.yaml"
    file.write_text(TOPOLOGY)
    return file


@pytest.fixture
def place() -> Iterator[Path]:
    """Where the sockets of these runs lie, and nothing else."""
    with tempfile.TemporaryDirectory(prefix="o-", dir="/tmp") as folder:
        yield Path(folder)


def started(topology: Path, place: Path, *arguments: str) -> Any:
    environ = {**ENVIRON, "XDG_RUNTIME_DIR": str(place)}
    return running(topology.name, *arguments, directory=topology.parent, environ=environ)


@asynccontextmanager
async def asking(run: Running, topology: Path) -> AsyncIterator[User]:
    """Connect as the built-in user, with a token made like those of `--ask`."""
    hub = next(record for record in run.with_event("ready") if who(record) == "hub")
    plan = make_plan(load_topology(topology, ENVIRON), cast("dict[str, HandlerReport]", None))
    token = mint(KEY, plan.user("cli").claims("journey", int(time.time()) + 600))
    async with connect(hub["url"], token=token) as user:
        yield user


@asynccontextmanager
async def crew(topology: Path, place: Path) -> AsyncIterator[tuple[Running, User]]:
    async with started(topology, place) as run:
        await run.ready()
        async with asking(run, topology) as user:
            yield run, user


async def killed(run: Running) -> int:
    """Kill the store, and return its pid once another one is ready."""
    pid, seen = run.pids()["store"], len(run.records)
    os.kill(pid, signal.SIGKILL)
    await run.until(lambda record: record["event"] == "ready" and who(record) == "store", after=seen)
    assert run.pids()["store"] != pid
    return pid


async def open_gate(topology: Path) -> None:
    """Let the block go on that reads, or is about to read, from the gate."""
    await asyncio.to_thread((topology.parent / "gate").write_text, "go")


def left_in(folder: Path, pattern: str = "*") -> list[str]:
    return sorted(path.name for path in folder.glob(pattern))


def shown_to_others(pids: list[int]) -> bytes:
    """Return what everybody on the machine may read of processes, and what their user may."""
    return b"".join(Path(f"/proc/{pid}/{what}").read_bytes() for pid in pids for what in ("cmdline", "environ"))


def seat_of(topology: Path, place: Path) -> StoreSeat:
    [seat] = seats(topology, {"XDG_RUNTIME_DIR": str(place)})
    return seat


@asynccontextmanager
async def operating(seat: StoreSeat) -> AsyncIterator[RemoteStore]:
    async def secret() -> str:
        return seat.operator

    store = RemoteStore(seat.path, secret)
    try:
        yield store
    finally:
        await store.close()


# -- claims


@pytest.mark.bars
async def test_members_in_processes_of_their_own_share_no_claim(topology: Path, place: Path) -> None:
    async with crew(topology, place) as (_, user):
        async with aclosing(cast("Any", user.stream("member.1", f"crate until {topology.parent}/gate"))) as answer:
            assert await anext(answer) == "fence 1"
            assert await user.ask("member.2", "crate") == "taken"
            assert await user.ask("member.2", "sack") == "fence 2 and given back"
            await open_gate(topology)
            assert await anext(answer) == " and given back"
        assert await user.ask("member.2", "crate") == "fence 3 and given back"


@pytest.mark.bars
async def test_a_claim_outlives_the_store_that_granted_it(topology: Path, place: Path) -> None:
    async with crew(topology, place) as (run, user):
        async with aclosing(cast("Any", user.stream("member.1", f"crate until {topology.parent}/gate"))) as answer:
            assert await anext(answer) == "fence 1"
            await killed(run)
            assert await user.ask("member.2", "crate") == "taken"
            await open_gate(topology)
            assert await anext(answer) == " and given back"
        assert await user.ask("member.2", "crate") == "fence 2 and given back"


@pytest.mark.bars
async def test_who_asks_while_the_store_is_away_waits_for_it(topology: Path, place: Path) -> None:
    async with crew(topology, place) as (run, user):
        os.kill(run.pids()["store"], signal.SIGKILL)
        assert await user.ask("member.1", "crate") == "fence 1 and given back"


@pytest.mark.bars
@pytest.mark.bars
async def test_fences_grow_from_run_to_run(topology: Path, place: Path) -> None:
    for fence in (1, 2):
        async with crew(topology, place) as (_, user):
            assert await user.ask("member.1", "crate") == f"fence {fence} and given back"


# -- its process


@pytest.mark.bars
async def test_nothing_of_it_is_left_after_a_run_in_which_it_was_killed(topology: Path, place: Path) -> None:
    async with started(topology, place) as run:
        await run.ready()
        await killed(run)
        pids = descendants(run.pid)
        assert len(left_in(place)) == 1
        run.process.send_signal(signal.SIGINT)
        assert await run.ended() == ExitCode.DONE
    assert left_in(place) == []
    assert left_in(topology.parent, "crew.db*") == ["crew.db", "crew.db.lock"]
    for pid in pids:
        await gone(pid)


@pytest.mark.bars
async def test_it_ends_with_a_run_that_is_killed_and_does_not_stand_in_the_next_ones_way(
    topology: Path, place: Path
) -> None:
    async with started(topology, place) as first:
        await first.ready()
        store = first.pids()["store"]
        first.process.kill()
        async with asyncio.timeout(5):
            await gone(store)
    async with started(topology, place) as second:
        await second.ready()
        assert seat_of(topology, place).pid == second.pid
        assert len(left_in(place)) == 1


@pytest.fixture
def storeless(topology: Path) -> Path:
    topology.write_text(TOPOLOGY.replace("members: [member]", "members: [member], claims: {consistency: best-effort}"))
    return topology


async def test_a_run_without_need_has_none(storeless: Path, place: Path) -> None:
    async with started(storeless, place) as run:
        await run.ready()
        assert "store" not in run.pids()
        assert left_in(place) == []


@pytest.mark.bars
async def test_a_second_run_on_the_same_file_is_refused_with_whose_it_is(topology: Path, place: Path) -> None:
    async with started(topology, place) as first:
        await first.ready()
        other = topology.with_name("other.yaml")  # of one topology no second run would come so far
        shutil.copy(topology, other)
        async with started(other, place) as second:
            assert await second.ended() == ExitCode.FAILED
        [said] = [record["event"] for record in second.records if record["event"].startswith("has failed for good")]
        assert said == (
            f"has failed for good: the store {topology.parent}/crew.db is used by process {first.pids()['store']} already; "
            "stop that process, or give this one another file"
        )
        assert seat_of(topology, place).pid == first.pid


async def test_the_operators_secret_is_in_no_log_no_arguments_and_no_environment(topology: Path, place: Path) -> None:
    async with started(topology, place, "--log-level", "debug") as run:
        await run.ready()
        secret = seat_of(topology, place).operator
        shown = shown_to_others([run.pid, *descendants(run.pid)])
    assert secret.encode() not in shown
    assert secret not in run.said()


# -- `--until-idle`

GHOST: Final = "ghost"
"""A queue from which nobody takes anything."""


async def stored(topology: Path, *, count: int = 1, **how: Any) -> None:
    """Put tasks for nobody into the file, which no run has open."""
    store = store_at("sqlite:///crew.db", topology.parent)
    tasks = [
        NewTask(id=f"t{number}", queue=GHOST, type="T", payload=b"{}", caller="x", **how) for number in range(count)
    ]
    await store.tasks.enqueue(tasks)
    await store.close()


def said_at_the_end(run: Running) -> list[str]:
    return [record["event"] for record in run.records if record["event"].startswith("nothing is left to do")]


async def test_a_run_until_idle_ends_at_once_when_there_is_nothing_to_do(topology: Path, place: Path) -> None:
    async with started(topology, place, "--until-idle") as run:
        assert await run.ended() == ExitCode.DONE
    assert said_at_the_end(run) == ["nothing is left to do in the store · 0 tasks done"]


@pytest.mark.bars
async def test_questions_go_first(topology: Path, place: Path) -> None:
    async with started(topology, place, "--until-idle", "--ask", "member.1", "crate") as run:
        assert await run.ended() == ExitCode.DONE
    assert run.answer == "fence 1 and given back\n"
    assert said_at_the_end(run) == ["nothing is left to do in the store · 0 tasks done"]


@pytest.mark.bars
@pytest.mark.bars
async def test_it_waits_for_tasks_that_may_still_be_done_over_the_death_of_the_store(
    topology: Path, place: Path
) -> None:
    await stored(topology, count=3)
    async with started(topology, place, "--until-idle") as run:
        await run.ready()
        await killed(run)
        async with operating(seat_of(topology, place)) as store:
            for number in range(3):
                assert not said_at_the_end(run)
                await store.tasks.cancel(f"t{number}")
        assert await run.ended() == ExitCode.DONE
    assert said_at_the_end(run) == ["nothing is left to do in the store · 3 tasks cancelled"]


@pytest.mark.bars
async def test_tasks_that_die_meanwhile_make_it_fail(topology: Path, place: Path) -> None:
    await stored(topology, expires=5.0)
    async with started(topology, place, "--until-idle") as run:
        assert await run.ended() == ExitCode.FAILED
    assert said_at_the_end(run) == ["nothing is left to do in the store · 1 task dead"]
    (told,) = [record["event"] for record in run.records if "died" in record["event"]]
    assert told == f"1 task died: `orchestrator tasks {topology.name} --state dead` says of what"


@pytest.mark.bars
async def test_what_died_before_is_not_held_against_it(topology: Path, place: Path) -> None:
    await stored(topology, expires=0.0)
    async with started(topology, place) as run:
        await run.ready()
        async with operating(seat_of(topology, place)) as store:
            assert [task.id for task in await store.tasks.dead()] == ["t0"]
    async with started(topology, place, "--until-idle") as run:
        assert await run.ended() == ExitCode.DONE
    assert said_at_the_end(run) == ["nothing is left to do in the store · 0 tasks done"]


@pytest.mark.bars
async def test_a_signal_ends_the_wait(topology: Path, place: Path) -> None:
    await stored(topology)
    async with started(topology, place, "--until-idle") as run:
        await run.ready()
        run.process.send_signal(signal.SIGINT)
        assert await run.ended() == ExitCode.INTERRUPTED


@pytest.mark.bars
async def test_the_wait_has_a_limit_if_it_is_given_one(topology: Path, place: Path) -> None:
    await stored(topology)
    async with started(topology, place, "--until-idle", "--timeout", "4") as run:
        assert await run.ended() == ExitCode.TIMED_OUT
    assert run.with_event("tasks are still open: they were not done within 4 s")


FARM: Final = """\
version: 1
coordinators:
  boss: {handler: "farm:Boss", workers: [picker]}
workers:
  picker: {handler: "farm:Picker", replicas: 2, tasks: {delivery: at-least-once}}
"""

FARM_HANDLERS: Final = '''\
"""A boss that does not wait for what it hands out."""

from orchestrator import Task, Workers, agent, task


class Pick(Task[str]):
    prompt: str


class Harvest(Task[str]):
    prompt: str


@agent
class Boss:
    workers: Workers

    @task
    async def harvest(self, ask: Harvest) -> str:
        for number in range(int(ask.prompt)):
            await self.workers.submit(Pick(prompt=str(number)))
        return "handed out"


@agent
class Picker:
    @task
    async def pick(self, ask: Pick) -> str:
        if ask.prompt == "13":
            raise ValueError("rotten")
        return f"picked {ask.prompt}"
'''


@pytest.fixture
def farm(tmp_path: Path) -> Path:
    (tmp_path / "farm.py").write_text(FARM_HANDLERS)
    file = tmp_path / "farm.yaml"
    file.write_text(FARM)
    return file


async def test_all_that_was_handed_out_is_done_before_the_run_ends(farm: Path, place: Path) -> None:
    async with started(farm, place, "--ask", "boss", "10", "--until-idle") as run:
        assert await run.ended() == ExitCode.DONE
    assert said_at_the_end(run) == ["nothing is left to do in the store · 10 tasks done"]
    assert left_in(farm.parent / ".orchestrator") == ["farm.db", "farm.db.lock"]


@pytest.fixture
def strict(farm: Path) -> Path:
    """A farm on which nothing is tried twice."""
    farm.write_text(FARM.replace("at-least-once}", "at-least-once, max_attempts: 1}"))
    return farm


@pytest.mark.bars
@pytest.mark.bars
async def test_what_fails_is_told_beside_what_is_done(strict: Path, place: Path) -> None:
    async with started(strict, place, "--ask", "boss", "20", "--until-idle") as run:
        assert await run.ended() == ExitCode.FAILED
    assert said_at_the_end(run) == ["nothing is left to do in the store · 19 tasks done, 1 dead"]
