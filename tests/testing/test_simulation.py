"""`simulate` for topologies of others: what it sees, what it says, and that it says the same every time."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from orchestrator import Task, Workers, agent, task
from orchestrator.errors import ConnectionProblem, DispatchError, TopologyError
from orchestrator.testing import Simulation, SimulationFailed, simulate
from orchestrator.testing.simulation_faults import Crash, Cut, Gone, HalfOpen, HubCrash, Schedule, SlowReader
from orchestrator.testing.simulation_hub import World
from tests.runtime.traced import tracing
from tests.testing.simulation_scenes import Scenes

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "simulation.md").read_text(encoding="utf-8")

TOPOLOGY = """
version: 1
coordinators:
  boss: {handler: app:Boss, workers: [helper]}
workers:
  helper: {handler: app:Helper, replicas: 2}
"""


class Shout(Task[str]):
    word: str


class Twice(Task[str]):
    word: str


@agent
class Boss:
    workers: Workers

    @task
    async def twice(self, job: Twice) -> str:
        return 2 * await self.workers.run(Shout(word=job.word), timeout=120)


@agent
class Helper:
    @task(idempotent=True)
    async def shout(self, job: Shout) -> str:
        await asyncio.sleep(random.random())
        return job.word.upper()


HANDLERS: dict[str, type] = {"boss": Boss, "helper": Helper}


async def asking(world: World) -> None:
    for word in ("a", "b", "c"):
        with suppress(DispatchError, ConnectionProblem):
            await world.run("boss", Twice(word=word), timeout=150)
        await world.advance(8)


def shouting(**options: object) -> Simulation:
    return Simulation(TOPOLOGY, asking, handlers=HANDLERS, **options)  # type: ignore[arg-type]


# -- the same every time


def test_the_same_seed_is_the_same_day_to_the_last_byte() -> None:
    for seed in range(6):
        first, again = shouting().run(seed), simulate(TOPOLOGY, asking, handlers=HANDLERS, seed=seed)
        assert first.trace == again.trace
        assert (first.digest, first.schedule) == (again.digest, again.schedule)
    assert shouting().run(1).digest != shouting().run(2).digest


@pytest.mark.parametrize("hash_seed", ["1", pytest.param("2", marks=pytest.mark.bars)])
def test_another_process_lives_the_same_day(hash_seed: str) -> None:
    seeds = (4, 5, 7)  # mishaps of all kinds, streams, and connections that are renewed
    code = (
        f"from tests.testing.simulation_scenes import Scenes; s = Scenes(); print(*[s.run(n).digest for n in {seeds}])"
    )
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    here = Scenes()
    assert done.stdout.split() == [here.run(seed).digest for seed in seeds]


def test_whoever_traces_lives_the_same_day() -> None:
    untraced = shouting().run(4)
    with tracing() as spans:
        assert shouting().run(4).digest == untraced.digest
    assert spans.all == ()


def test_what_others_draw_goes_on_undisturbed() -> None:
    random.seed(7)
    undisturbed = (random.random(), random.random())
    random.seed(7)
    first = random.random()
    shouting().run(3)
    assert (first, random.random()) == undisturbed


# -- mishaps happen


@pytest.mark.parametrize(
    ("mishap", "said"),
    [
        (Cut(0.0, "helper.1"), '{"type":"subscribe","channel":"pools/helper"'),
        (Crash(1.0, "helper.1"), '{"type":"subscribe","channel":"pools/helper"'),
        (HubCrash(1.0, silent=False), '{"type":"subscribe","channel":"pools/helper"'),
        (HubCrash(1.0, silent=True), '{"type":"subscribe","channel":"pools/helper"'),
        (HalfOpen(40.0, "helper.1"), '{"type":"subscribe","channel":"pools/helper"'),
        (SlowReader(90.0, "helper.1"), '{"type":"subscribe","channel":"pools/helper"'),
    ],
    ids=repr,
)
def test_whoever_was_lost_is_back_afterwards(mishap: Cut, said: str) -> None:
    done = shouting().run(0, ((10.0, mishap),))
    late = [line for line in done.trace if float(line.split()[0]) > 10 and line.split()[1] == "helper.1"]
    assert any(said in line for line in late)


def test_whoever_is_gone_stays_away_and_the_others_do_its_work() -> None:
    done = shouting().run(0, ((1.0, Gone(0.0, "helper.1")), (2.0, Cut(0.0, "boss"))))
    assert (done.calls, done.failed) == (6, 0)
    assert not [line for line in done.trace if float(line.split()[0]) > 3 and line.split()[1] == "helper.1"]


# -- failures


def too_many_starts(world: World) -> str | None:
    starts = world.start_of("helper.1")
    return f"helper.1 was started {starts} times" if starts > 1 else None


def test_a_failure_tells_all_that_is_needed_for_seeing_it_again() -> None:
    simulation = shouting(always=[too_many_starts])
    schedule: Schedule = (
        (1.0, Cut(0.0, "boss")),
        (4.0, Crash(0.5, "helper.1")),
        (6.0, HubCrash(0.5, silent=False)),
        (9.0, Crash(0.5, "helper.1")),
    )
    with pytest.raises(SimulationFailed) as caught:
        simulation.run(11, schedule)
    failed = caught.value
    assert failed.violation.invariant == "too_many_starts"
    assert failed.shortest == ((4.0, Crash(0.5, "helper.1")),)
    text = str(failed)
    assert text.startswith(f"seed 11, {failed.violation.at:.3f} virtual seconds")
    assert "too_many_starts: helper.1 was started 2 times" in text
    assert "1 of its 4 mishaps" in text
    assert "    (4.0, Crash(lasting=0.5, peer='helper.1')),\n" in text
    assert "seed=11" in text
    with pytest.raises(SimulationFailed) as again:
        simulation.run(11, schedule)
    assert str(again.value) == text
    with pytest.raises(SimulationFailed) as shorter:
        simulation.run(11, failed.shortest)
    assert shorter.value.violation.invariant == "too_many_starts"


def test_an_assertion_is_an_invariant_too() -> None:
    def nobody_is_lost(world: World) -> str | None:
        assert set(world.running) == {"boss", "helper.1", "helper.2"}, "somebody is lost"
        return None

    shouting(at_rest=[nobody_is_lost]).run(0, ((3.0, Crash(1.0, "boss")),))
    with pytest.raises(SimulationFailed, match="nobody_is_lost: somebody is lost"):
        shouting(at_rest=[nobody_is_lost]).run(0, ((3.0, Gone(0.0, "boss")),))


async def waits_for_ever(world: World) -> None:
    await asyncio.get_running_loop().create_future()


async def gives_up(world: World) -> None:
    raise LookupError("no such thing")


@pytest.mark.parametrize(
    ("workload", "said"),
    [
        (waits_for_ever, "the workload ends: it still waits after"),
        (gives_up, "the workload ends: it raised LookupError: no such thing"),
    ],
)
def test_a_workload_that_does_not_end_by_itself_is_a_failure(workload: object, said: str) -> None:
    with pytest.raises(SimulationFailed, match=said):
        Simulation(TOPOLOGY, workload, handlers=HANDLERS).run(0, ())  # type: ignore[arg-type]


def test_an_agent_that_does_not_come_back_is_a_failure() -> None:
    begun: list[int] = []

    class Weak(Helper):
        def setup(self) -> None:
            begun.append(1)
            if len(begun) > 2:
                raise ValueError("not again")

    with pytest.raises(SimulationFailed, match=r"agents start: helper\.2: ValueError: not again"):
        Simulation(TOPOLOGY, asking, handlers={**HANDLERS, "helper": Weak}).run(0, ((1.0, Crash(1.0, "helper.2")),))


def test_mistakes_in_the_topology_are_told_as_everywhere() -> None:
    with pytest.raises(TopologyError, match="helpr"):
        simulate(TOPOLOGY.replace("[helper]", "[helpr]"), asking, handlers=HANDLERS)


@pytest.mark.parametrize("name", ["dispatch", "team", "presence", "stream"])
def test_the_topologies_that_are_shipped_stand_bad_days(name: str) -> None:
    questions = {"dispatch": ("boss", "4 7"), "team": ("foreman", "roof"), "presence": ("doorkeeper", "guest")}
    agent_name, question = questions.get(name, ("teller", "a tale"))

    async def asked(world: World) -> None:
        for _ in range(3):
            with suppress(DispatchError, ConnectionProblem):
                await world.ask(agent_name, question, timeout=100)
            await world.advance(5)

    simulation = Simulation(ROOT / "topologies" / f"{name}.yaml", asked)
    for seed in range(5):
        assert simulation.run(seed).calls >= 3


# -- the document


@pytest.mark.parametrize(
    "kind",
    ["Cut", "Crash", "Restart", "Gone", "HalfOpen", "SlowReader", "Late", "Lossy", "Parted", "NoStore", "HubCrash"],
)
def test_every_mishap_is_documented(kind: str) -> None:
    assert f"`{kind}(" in DOCUMENT
