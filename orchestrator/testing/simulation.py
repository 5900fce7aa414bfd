"""`simulate`: a topology, its agents and a workload through a bad day that a seed decides, in virtual time."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from orchestrator.errors import OrchestratorError
from orchestrator.runtime.tracing import untraced
from orchestrator.testing.clock import FakeClock
from orchestrator.testing.simulation_faults import KINDS, draw, shown
from orchestrator.testing.simulation_hub import Prepared, World
from orchestrator.testing.simulation_invariants import stopped, tasks_hold
from orchestrator.testing.simulation_rest import (
    QUIET,
    end_holds,
    engines_rest,
    hub_holds,
    presence_holds,
    timers,
)
from orchestrator.testing.simulation_shrink import shrink
from orchestrator.testing.simulation_teams import claims_hold, states_hold

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import ModuleType

    from orchestrator.testing.lives import StandIn
    from orchestrator.testing.simulation_faults import Mishap, Schedule
    from orchestrator.testing.simulation_record import Record, Violation

Workload: TypeAlias = "Callable[[World], Coroutine[Any, Any, None]]"
"""Asks agents, as users do, and returns when it has had its answers."""
Invariant: TypeAlias = "Callable[[World], str | None]"
"""Says what is wrong, in a sentence, or returns `None`; an `AssertionError` says it, too."""

PATIENCE: Final = 4_000.0
"""Virtual seconds for which a workload may wait in all: more than the hour that an answer may take."""
LOOK: Final = 1.0
"""Virtual seconds between two looks at the invariants that always hold."""


class SimulationFailed(AssertionError):
    """An invariant was violated. The text says all that is needed for seeing it again."""

    def __init__(self, seed: int, violation: Violation, schedule: Schedule, shortest: Schedule, last: str) -> None:
        self.seed, self.violation, self.schedule, self.shortest, self.last = seed, violation, schedule, shortest, last
        """`shortest` is what is left of the schedule when all that does not matter is left out."""
        super().__init__(seed, violation.invariant)

    def __str__(self) -> str:
        violation = self.violation
        part = f"{len(self.shortest)} of its {len(self.schedule)} mishaps" if self.schedule else "it needs no mishap"
        return (
            f"seed {self.seed}, {violation.at:.3f} virtual seconds after the workload began: "
            f"{violation.invariant}: {violation.sentence}\n"
            f"the shortest part of its schedule that still fails is {part}:\n"
            f"{shown(self.shortest)}"
            f"run it again with simulate(..., seed={self.seed}, schedule=schedule), "
            f"or the whole day with simulate(..., seed={self.seed})\n"
            f"what was said last, with that schedule:\n{self.last}"
        )


@dataclass(frozen=True, slots=True)
class Simulated:
    """What became of one seed for which every invariant has held."""

    seed: int
    schedule: Schedule
    digest: str
    """A hash of `trace`: the same for the same seed, topology and code, in every process."""
    trace: tuple[str, ...] = field(repr=False)
    """All that was said to the hub and how each task ended: virtual seconds, who, and what."""
    calls: int
    """Tasks and streams that somebody asked for."""
    failed: int
    """Those of them that ended in an error."""


class Simulation:
    """A topology and a workload that are read once and run with many seeds."""

    def __init__(
        self,
        topology: str | Path | Sequence[Path],
        workload: Workload,
        *,
        handlers: Mapping[str, type | ModuleType] | None = None,
        stand_ins: Mapping[str, StandIn] | None = None,
        environ: Mapping[str, str] | None = None,
        profiles: Sequence[str] = (),
        always: Sequence[Invariant] = (),
        at_rest: Sequence[Invariant] = (),
        kinds: Sequence[type[Mishap]] = KINDS,
        most: int = 6,
        duration: float = 40.0,
        latency: float = 0.001,
        jitter: float = 0.02,
    ) -> None:
        """`topology` to `profiles` are as of `TestHub`.

        - `always` is looked at every virtual second, `at_rest` when the workload has ended, all mishaps are over and
          two and a half minutes have passed.
        - At most `most` mishaps of these `kinds` happen, and all are over `duration` seconds after the workload began.
        """
        self._topology, self._workload = topology, workload
        self._options: dict[str, Any] = {
            "handlers": handlers,
            "stand_ins": stand_ins,
            "environ": environ,
            "profiles": profiles,
            "latency": latency,
            "jitter": jitter,
        }
        self._always, self._at_rest = tuple(always), tuple(at_rest)
        self._kinds, self._most, self._duration = tuple(kinds), most, duration
        self._prepared: Prepared | None = None

    def schedule(self, seed: int) -> Schedule:
        """Return what goes wrong under a seed, without running it."""
        scene = self._ready().scene
        return draw(seed, scene, duration=self._duration, most=self._most, kinds=self._kinds)

    def run(self, seed: int, schedule: Schedule | None = None, *, shrinks: bool = True) -> Simulated:
        """Run one seed; `schedule` goes wrong instead of what the seed says.

        `shrinks`: a schedule that fails is run again, some sixty times at most, for its shortest part that does.

        Raises `SimulationFailed`, `TopologyError` or `HandlerError`.
        """
        planned = self.schedule(seed) if schedule is None else schedule
        record = self._once(seed, planned)
        if record.violation is None:
            failed = sum(
                call.finished is not None and call.finished.error is not None for call in record.calls.values()
            )
            return Simulated(seed, planned, record.digest, tuple(record.trace), len(record.calls), failed)
        violation, last = record.violation, record.tail()

        def fails(candidate: Schedule) -> bool:
            nonlocal last
            again = self._once(seed, candidate)
            if again.violation is None or again.violation.invariant != violation.invariant:
                return False
            last = again.tail()
            return True

        shortest = shrink(planned, fails) if shrinks else planned
        raise SimulationFailed(seed, violation, planned, shortest, last)

    def _ready(self) -> Prepared:
        if self._prepared is None:

            async def read() -> Prepared:
                return World(None, self._topology, seed=0, **self._options).prepare()

            self._prepared = FakeClock.run(read())
        return self._prepared

    def _once(self, seed: int, schedule: Schedule) -> Record:
        """Run to the end, or to the first violation."""
        prepared, before = self._ready(), random.getstate()
        random.seed(f"{seed}/handlers")  # what handlers draw by themselves is the seed's, too
        try:
            return FakeClock.run(self._main(prepared, seed, schedule), limit=float("inf"))
        finally:
            random.setstate(before)

    async def _main(self, prepared: Prepared, seed: int, schedule: Schedule) -> Record:
        before = timers(asyncio.get_running_loop())
        world = World(prepared, self._topology, seed=seed, **self._options)
        record = world.record
        try:
            # The ids of spans are drawn, so that whoever traces would live another day than who does not.
            with untraced():
                async with world, world.watchers():
                    world.begin()
                    await self._day(world, schedule)
        except OrchestratorError as error:
            record.violate("everybody starts and ends", f"{type(error).__name__}: {error}")
        except Exception as fault:  # noqa: BLE001 - what the hub or a life raised where nobody waited for it
            record.violate("everybody starts and ends", f"{type(fault).__name__}: {fault}")
        if record.violation is None:
            await asyncio.sleep(0)
            told(record, end_holds(world, world.clients))
            for timer in [timer for timer in timers(asyncio.get_running_loop()) if timer not in before]:
                record.violate("nothing is left over", f"a timer is left after the end: {timer}")
        return record

    async def _day(self, world: World, schedule: Schedule) -> None:
        """Let the storm and the workload happen, then rest, and look at the invariants."""
        record = world.record
        async with _Running(world.storm(schedule), "storm") as storm, _Running(self._worked(world), "workload") as work:
            ends = world.elapsed() + self._duration + PATIENCE
            while not (storm.done() and work.done()):
                if await self._passes(world, LOOK, storm, work) or world.elapsed() > ends:
                    break
            if not world.stopped.is_set() and not work.done():
                waiting = ", ".join(call.named for call in record.open_calls()) or "no task: for something of its own"
                record.violate("the workload ends", f"it still waits after {world.elapsed():g} s, for {waiting}")
        if world.stopped.is_set():
            return
        rested = world.elapsed() + QUIET
        while world.elapsed() < rested:
            if await self._passes(world, min(10.0, rested - world.elapsed())):
                return
        told(record, tasks_hold(world, schedule))
        told(record, stopped(world, schedule))
        told(record, claims_hold(world, schedule))
        for facts in (presence_holds, states_hold, hub_holds, engines_rest):
            told(record, facts(world))
        for refusal in world.refused:
            record.violate("scopes suffice", f"the hub refused {refusal}")
        self._look(world, self._at_rest)

    async def _worked(self, world: World) -> None:
        try:
            await self._workload(world)
        except Exception as error:  # noqa: BLE001 - the workload is the user's
            world.record.violate("the workload ends", f"it raised {type(error).__name__}: {error}")

    async def _passes(self, world: World, seconds: float, *work: asyncio.Task[None]) -> bool:
        """Let time pass until then, until all `work` is done or something is wrong; tell whether it is."""
        stop = asyncio.ensure_future(world.stopped.wait())
        try:
            waiting = [task for task in work if not task.done()]
            await asyncio.wait([stop, *waiting], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
        self._look(world, self._always)
        return world.stopped.is_set()

    def _look(self, world: World, invariants: Sequence[Invariant]) -> None:
        for invariant in invariants:
            try:
                wrong = invariant(world)
            except AssertionError as error:
                wrong = str(error) or "it is not so"
            if wrong is not None:
                world.record.violate(getattr(invariant, "__name__", repr(invariant)), wrong)


def simulate(
    topology: str | Path | Sequence[Path],
    workload: Workload,
    *,
    seed: int = 0,
    schedule: Schedule | None = None,
    **options: Any,
) -> Simulated:
    """Run a topology and a workload through the bad day of one seed; the same seed, the same day.

    `options` are those of `Simulation`, which runs many seeds faster. Raises `SimulationFailed`.
    """
    return Simulation(topology, workload, **options).run(seed, schedule)


def told(record: Record, facts: Iterator[tuple[str, str]]) -> None:
    for invariant, sentence in facts:
        record.violate(invariant, sentence)


class _Running:
    """A task for as long as a block runs."""

    def __init__(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self._work, self._name = work, name

    async def __aenter__(self) -> asyncio.Task[None]:
        self._task = asyncio.create_task(self._work, name=self._name)
        return self._task

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.result()
