"""Whatever is done in whatever order, a store on Redis gives the answers of the one in memory, but for its fences."""

from __future__ import annotations

import asyncio
import random
import re
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.store.memory_tasks import MemoryTasks
from orchestrator.store.tasks import Failure, Hold, State, Tasks
from tests.store.redis_stores import opened
from tests.store.task_stores import Clock, new
from tests.store.test_tasks_model import answer, steps

Story = list[tuple[str, dict[str, Any]]]


class Halfway(random.Random):
    """Every pause is half of what it may be, however many numbers a store draws for it."""

    def random(self) -> float:
        return 0.5


class Asked:
    """One of the two stores: what it answers, with the places of its fences, in the order of their use, for the fences."""

    def __init__(self, tasks: Tasks) -> None:
        self.tasks = tasks
        self._holds: list[Hold] = []
        self._fences: dict[str, str] = {}

    async def answer(self, kind: str, asked: dict[str, Any]) -> str:
        told = await answer(self.tasks, kind, asked, self._holds)
        if kind == "claim":
            self._holds += [leased.hold for leased in told.tasks]
            for leased in told.tasks:
                self._fences[str(leased.hold.fence)] = f"#{len(self._fences)}"
        return self.told(told)

    def told(self, told: object) -> str:
        text = re.sub(r"(?<=frozenset\(\{)[^}]*", _in_order, repr(told))
        return re.sub(r"(?<=fence=)\d+|(?<=LeaseLost\('t\d', )\d+", self._place, text)

    def _place(self, fence: re.Match[str]) -> str:
        return self._fences.get(fence[0], fence[0])


def _in_order(items: re.Match[str]) -> str:
    """A set shows its items in an order of their hashes and of its making."""
    return ", ".join(sorted(items[0].split(", ")))


async def compared(story: Story) -> None:
    clock = Clock()
    memory = Asked(MemoryTasks(clock, Halfway()))
    async with opened(clock, rng=Halfway()) as store:
        other = Asked(store.tasks)
        for kind, asked in story:
            if kind == "wait":
                clock.now += asked["seconds"]
                continue
            expected = await memory.answer(kind, asked)
            assert await other.answer(kind, asked) == expected, (kind, asked)
        assert other.told(await store.tasks.list()) == memory.told(await memory.tasks.list())
        for info in await memory.tasks.list():
            assert other.told(await store.tasks.get(info.id)) == memory.told(await memory.tasks.get(info.id))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(steps(), min_size=5, max_size=40))
def test_a_store_on_redis_answers_as_the_one_in_memory(story: Story) -> None:
    asyncio.run(compared(story))


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@settings(max_examples=40, deadline=None)
@given(queue=TEXT, caller=TEXT, key=TEXT, needs=st.frozensets(TEXT, max_size=3), payload=st.binary(), also=TEXT)
def test_whatever_text_a_task_is_made_of_comes_back(
    queue: str, caller: str, key: str, needs: frozenset[str], payload: bytes, also: str
) -> None:
    task = new(f"t{key}", queue=queue, caller=caller, type=also, key=key, requires=needs, payload=payload, origin=also)

    async def told() -> None:
        async with opened() as store:
            assert (await store.tasks.enqueue([task]))[0].fresh
            (info,) = await store.tasks.list(queue=queue, caller=caller)
            assert (info.id, info.queue, info.caller, info.key, info.requires) == (task.id, queue, caller, key, needs)
            (stats,) = await store.tasks.stats()
            assert (stats.queue, stats.ready) == (queue, 1)
            assert needs == frozenset() or not (await store.tasks.claim(queue, "w")).tasks
            (leased,) = (await store.tasks.claim(queue, "w", [*needs, also])).tasks
            assert (leased.hold.id, leased.type, leased.payload, leased.key) == (task.id, also, payload, key)
            assert (await store.tasks.once(leased.hold, also)).first
            failed = await store.tasks.fail(leased.hold, Failure(also, key, (caller,)), retry=False)
            assert failed.state is State.DEAD
            assert (await store.tasks.dead())[0].failure == Failure(also, key, (caller,))
            assert await store.tasks.purge(0) == 1

    asyncio.run(told())
