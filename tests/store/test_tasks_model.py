"""Whatever is done in whatever order: no task is lost, none is in two hands, and every store gives the same answers."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from orchestrator.store.errors import LeaseLost
from orchestrator.store.memory_tasks import MemoryTasks
from orchestrator.store.sqlite import SqliteStore
from orchestrator.store.tasks import FINAL, Backoff, Failure, Hold, State, Tasks
from tests.store.task_stores import Clock, new

T = TypeVar("T")
NEEDS = [frozenset[str](), frozenset({"web"}), frozenset({"web", "pdf"})]


def now(question: Awaitable[T]) -> T:
    """Return the answer of a store that never waits for anything."""
    try:
        question.__await__().__next__()
    except StopIteration as done:
        answer: T = done.value
        return answer
    raise AssertionError("the store in memory waited for something")


@dataclass(slots=True)
class Known:
    """What the model knows of one task."""

    priority: int
    order: int
    requires: frozenset[str]
    due: float
    max_attempts: int
    state: State = State.READY
    hold: Hold | None = None
    ends: float = 0.0
    attempts: int = 0


class Life(RuleBasedStateMachine):
    """The store in memory beside a model that looks at every task each time."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.tasks = MemoryTasks(self.clock, random.Random(1))
        self.known: dict[str, Known] = {}
        self.holds: list[Hold] = []
        self.fence = 0

    def lapse(self) -> None:
        for known in self.known.values():
            if known.state is State.LEASED and known.ends <= self.clock.now:
                known.state = State.DEAD if known.attempts >= known.max_attempts else State.READY
                known.due = self.clock.now

    @rule(
        priority=st.integers(-1, 1),
        requires=st.sampled_from(NEEDS),
        delay=st.sampled_from([0, 0, 3]),
        most=st.integers(1, 3),
    )
    def enqueue(self, priority: int, requires: frozenset[str], delay: float, most: int) -> None:
        order = len(self.known)
        task = new(f"t{order}", priority=priority, requires=requires, delay=delay, max_attempts=most)
        (stored,) = now(self.tasks.enqueue([task]))
        assert stored.fresh
        self.known[task.id] = Known(priority, order, requires, self.clock.now + delay, most)

    @rule(able=st.sampled_from(NEEDS), limit=st.integers(1, 3), worker=st.sampled_from("ab"))
    def claim(self, able: frozenset[str], limit: int, worker: str) -> None:
        self.lapse()
        may = [known for known in self.known.values() if known.state is State.READY and known.requires <= able]
        due = sorted(
            (known for known in may if known.due <= self.clock.now), key=lambda one: (-one.priority, one.order)
        )
        claimed = now(self.tasks.claim("helper", worker, able, limit=limit, lease=5))
        assert [leased.hold.id for leased in claimed.tasks] == [f"t{known.order}" for known in due[:limit]]
        for leased in claimed.tasks:
            assert leased.hold.fence > self.fence
            self.fence = leased.hold.fence
            known = self.known[leased.hold.id]
            known.state, known.hold, known.ends = State.LEASED, leased.hold, self.clock.now + 5
            known.attempts += 1
            assert leased.attempt == known.attempts
            self.holds.append(leased.hold)
        self.check_next_due(able, claimed.next_due)

    def check_next_due(self, able: frozenset[str], next_due: float | None) -> None:
        times = [
            known.ends if known.state is State.LEASED else known.due
            for known in self.known.values()
            if known.state not in FINAL and known.requires <= able
        ]
        assert next_due == (max(min(times) - self.clock.now, 0) if times else None)

    @precondition(lambda self: self.holds)
    @rule(data=st.data(), word=st.sampled_from(["extend", "complete", "fail", "release"]))
    def say(self, data: st.DataObject, word: str) -> None:
        self.lapse()
        hold = data.draw(st.sampled_from(self.holds))
        known = self.known[hold.id]
        held = known.state is State.LEASED and known.hold == hold
        before = now(self.tasks.get(hold.id))
        try:
            self.tell(word, hold)
        except LeaseLost:
            assert not held
        else:
            if held:
                self.follow(word, known)
        if not held:
            assert now(self.tasks.get(hold.id)) == before

    def tell(self, word: str, hold: Hold) -> None:
        if word == "extend":
            now(self.tasks.extend(hold, 5))
        elif word == "complete":
            now(self.tasks.complete(hold, b"1"))
        elif word == "fail":
            now(self.tasks.fail(hold, Failure("E", "m")))
        else:
            now(self.tasks.release(hold))

    def follow(self, word: str, known: Known) -> None:
        if word == "extend":
            known.ends = self.clock.now + 5
        elif word == "complete":
            known.state = State.DONE
        elif word == "fail" and known.attempts >= known.max_attempts:
            known.state = State.DEAD
        else:
            known.state = State.READY
            known.due = now(self.tasks.get(f"t{known.order}")).info.since
            known.attempts -= word == "release"

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self.lapse()
        task_id = data.draw(st.sampled_from(sorted(self.known)))
        known = self.known[task_id]
        if known.state not in FINAL:
            known.state = State.CANCELLED
        assert now(self.tasks.cancel(task_id)) is known.state

    @rule(seconds=st.sampled_from([1, 2, 5]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @invariant()
    def every_task_is_where_the_model_has_it(self) -> None:
        self.lapse()
        assert {info.id: info.state for info in now(self.tasks.list(limit=1_000))} == {
            task_id: known.state for task_id, known in self.known.items()
        }


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


# -- every store gives the same answers

Step = Callable[[Tasks, list[Hold]], Awaitable[Any]]


@st.composite
def steps(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    kind = draw(st.sampled_from(["enqueue", "enqueue", "claim", "claim", "say", "cancel", "wait", "other"]))
    if kind == "enqueue":
        task: dict[str, Any] = {"task_id": f"t{draw(st.integers(0, 9))}", "priority": draw(st.integers(0, 1))}
        task |= {"key": draw(st.sampled_from([None, None, "k"])), "requires": draw(st.sampled_from(NEEDS))}
        task |= {"delay": draw(st.sampled_from([0, 0, 2])), "expires": draw(st.sampled_from([None, None, 1, 4]))}
        task |= {"max_attempts": draw(st.integers(1, 3)), "backoff": Backoff(1, 3)}
        return kind, task
    if kind == "claim":
        return kind, {"capabilities": draw(st.sampled_from(NEEDS)), "limit": draw(st.integers(1, 3))}
    if kind == "say":
        words = st.sampled_from(["extend", "complete", "fail", "give_up", "release", "once"])
        return kind, {"word": draw(words), "hold": draw(st.integers(0, 30))}
    if kind == "cancel":
        return kind, {"task_id": f"t{draw(st.integers(0, 9))}"}
    if kind == "wait":
        return kind, {"seconds": draw(st.sampled_from([0.5, 1, 3]))}
    return kind, {"word": draw(st.sampled_from(["sweep", "stats", "list", "dead", "retry_dead", "purge"]))}


def said(tasks: Tasks, word: str, hold: Hold) -> Awaitable[Any]:
    if word == "extend":
        return tasks.extend(hold, 3)
    if word == "complete":
        return tasks.complete(hold, b"1")
    if word in ("fail", "give_up"):
        return tasks.fail(hold, Failure("E", "m", ("f",)), retry=word == "fail")
    return tasks.release(hold) if word == "release" else tasks.once(hold, "effect")


async def answer(tasks: Tasks, kind: str, asked: dict[str, Any], holds: list[Hold]) -> Any:
    try:
        if kind == "enqueue":
            return await tasks.enqueue([new(**asked)])
        if kind == "claim":
            return await tasks.claim("helper", "helper.1", lease=3, **asked)
        if kind == "say":
            hold = holds[asked["hold"] % len(holds)] if holds else Hold("t0", 1, "helper.1")
            return await said(tasks, asked["word"], hold)
        if kind == "cancel":
            return await tasks.cancel(**asked), await tasks.get(**asked)
        if asked["word"] == "purge":
            return await tasks.purge(1)
        return await getattr(tasks, asked["word"])()
    except Exception as error:  # noqa: BLE001  # an error is an answer as well
        return repr(error)


async def compared(story: list[tuple[str, dict[str, Any]]], folder: Path) -> None:
    clock, holds = Clock(), list[Hold]()
    memory = MemoryTasks(clock, random.Random(1))
    async with SqliteStore(folder / "tasks.db", clock=clock, rng=random.Random(1)) as store:
        for kind, asked in story:
            if kind == "wait":
                clock.now += asked["seconds"]
                continue
            expected = await answer(memory, kind, asked, holds)
            assert await answer(store.tasks, kind, asked, holds) == expected, (kind, asked)
            if kind == "claim":
                holds += [leased.hold for leased in expected.tasks]
        assert await store.tasks.list() == await memory.list()
        for info in await memory.list():
            assert await store.tasks.get(info.id) == await memory.get(info.id)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(steps(), min_size=5, max_size=40))
def test_both_stores_answer_alike(story: list[tuple[str, dict[str, Any]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(compared(story, Path(folder)))
