"""Whatever is done in whatever order, a store in NATS gives the answers of the one in memory, but for its fences."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.store.memory_tasks import MemoryTasks
from tests.store.nats_stores import opened
from tests.store.task_stores import Clock
from tests.store.test_redis_model import Asked, Halfway, Story
from tests.store.test_tasks_model import steps


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
def test_a_store_in_nats_answers_as_the_one_in_memory(story: Story) -> None:
    asyncio.run(compared([lasting(*step) for step in story]))


def lasting(kind: str, asked: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Have no task expire: that one behind others has is found out when somebody comes upon it, in NATS later than elsewhere.

    The contract's own tests say what becomes of those that expire.
    """
    return kind, {**asked, "expires": None} if kind == "enqueue" else asked
