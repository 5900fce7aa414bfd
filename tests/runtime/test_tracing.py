"""What a record of a handler says about the task that it works on."""

from __future__ import annotations

from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from orchestrator import Task, agent, task
from orchestrator.runtime.tracing import read_traceparent
from tests.runtime.in_memory import skipping
from tests.runtime.test_workload import offer, one

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize(
    ("traceparent", "trace_id"),
    [
        (f"00-{TRACE}-00f067aa0ba902b7-01", TRACE),
        (f"cc-{TRACE}-00f067aa0ba902b7-01-what-comes-later", TRACE),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", None),
        (f"00-{TRACE.upper()}-00f067aa0ba902b7-01", None),
        (f"00-{TRACE}-01", None),
        ("", None),
        (None, None),
    ],
)
def test_a_trace_is_named_by_its_id(traceparent: str | None, trace_id: str | None) -> None:
    ids = read_traceparent(traceparent)
    assert (None if ids is None else ids.trace_id) == trace_id


@given(st.text(max_size=80) | st.text("0123456789abcdef-", min_size=50, max_size=60))
def test_whatever_a_text_is_reading_it_raises_nothing(text: str) -> None:
    ids = read_traceparent(text)
    if ids is not None:
        assert text.startswith(f"{text[:2]}-{ids.trace_id}-{ids.span_id}-{ids.flags}")


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 255), st.integers(0, 254))
def test_every_good_one_is_read(trace: int, span: int, flags: int, version: int) -> None:
    text = f"{version:02x}-{trace:032x}-{span:016x}-{flags:02x}"
    assert read_traceparent(text) == (f"{trace:032x}", f"{span:016x}", f"{flags:02x}")
    assert (read_traceparent(f"{text}-more") is None) == (version == 0)


class Look(Task[dict[str, Any]]):
    """What each record that is logged now holds besides."""


@agent
class Looker:
    @task
    async def look(self, job: Look) -> dict[str, Any]:
        return structlog.contextvars.get_contextvars()


@skipping
async def test_whatever_is_logged_in_a_task_names_it_and_its_trace() -> None:
    around, _, boss = await one(Looker)
    await boss.publish("tasks/helper", replace(offer("t1", Look()), traceparent=f"00-{TRACE}-00f067aa0ba902b7-01"))
    assert (await around.hub.heard("task-result", taskId="t1")).data["result"] == {"task_id": "t1", "trace_id": TRACE}
    await boss.publish("tasks/helper", offer("t2", Look()))
    assert (await around.hub.heard("task-result", taskId="t2")).data["result"] == {"task_id": "t2"}
    await around.close()
