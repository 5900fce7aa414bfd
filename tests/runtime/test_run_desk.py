"""What a dashboard may ask of a run, over a store that is real and in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

import pytest

from orchestrator.errors import OrchestratorError
from orchestrator.runtime.recent import Recent
from orchestrator.runtime.records import Record, Source
from orchestrator.runtime.run_desk import CHANGES, MAX_PAYLOAD, Reply, RunDesk
from orchestrator.store.opening import MemoryStore
from orchestrator.store.tasks import Failure, NewTask


class Run:
    """Takes what it is told to do."""

    def __init__(self) -> None:
        self.done: list[Any] = []

    async def scale(self, wished: Mapping[str, int]) -> str:
        self.done.append(dict(wished))
        return "scaled"

    async def restart(self, names: Sequence[str], progress: Callable[[str], None]) -> str:
        self.done.append(tuple(names))
        return "restarted"


class Rig:
    def __init__(self, *, keeps: bool = True) -> None:
        self.store, self.run, self.recent = MemoryStore(lambda: 100.0, Random(1)), Run(), Recent()
        self.desk = RunDesk(lambda: self.store if keeps else None, self.run, self.recent)

    async def ask(self, do: str, admin: bool = True, **arguments: Any) -> Any:
        return (await self.desk.answer(do, arguments, admin=admin)).result

    async def put(self, task_id: str, payload: bytes = b'{"topic":"cats"}', attempts: int = 1) -> None:
        new = NewTask(
            id=task_id, queue="researcher", type="Research", payload=payload, caller="lead", max_attempts=attempts
        )
        await self.store.tasks.enqueue([new])

    async def fail(self, retry: bool = True) -> None:
        (leased,) = (await self.store.tasks.claim("researcher", "researcher.1")).tasks
        await self.store.tasks.fail(
            leased.hold, Failure("ValueError", "no cats", ("app.py:3 in research",)), retry=retry
        )


@pytest.fixture
async def rig() -> Rig:
    return Rig()


async def test_tasks_are_listed_in_the_words_that_people_read(rig: Rig) -> None:
    await rig.put("dies")
    await rig.fail()
    await rig.put("retries", attempts=3)
    await rig.fail()
    await rig.put("waits")
    await rig.put("runs")
    await rig.store.tasks.claim("researcher", "researcher.2")
    found = await rig.ask("tasks")
    states = sorted(row["state"] for row in found["tasks"])
    assert states == ["dead", "queued", "retrying", "running"]
    assert found["counts"] == {"queued": 2, "running": 1, "done": 0, "dead": 1, "cancelled": 0}
    (dead,) = (await rig.ask("tasks", states=["dead"]))["tasks"]
    assert (dead["id"], dead["error"], dead["worker"]) == ("dies", "ValueError: no cats", "researcher.1")
    assert [row["id"] for row in (await rig.ask("tasks", states=["retrying"]))["tasks"]] == ["retries"]
    both = await rig.ask("tasks", states=["running", "queued"])
    assert sorted(row["id"] for row in both["tasks"]) == ["runs", "waits"]
    assert [row["id"] for row in (await rig.ask("tasks", text="DIES"))["tasks"]] == ["dies"]


async def test_a_task_is_shown_with_all_of_its_attempts(rig: Rig) -> None:
    await rig.put("dies", attempts=1)
    await rig.fail()
    shown = await rig.ask("task", id="dies")
    assert shown["payload"] == '{\n  "topic": "cats"\n}'
    (attempt,) = shown["attempts"]
    assert attempt["error"] == {"type": "ValueError", "message": "no cats", "frames": ["app.py:3 in research"]}
    assert attempt["outcome"] == "failed"


async def test_a_dead_task_is_due_again_once_retried_and_another_is_not(rig: Rig) -> None:
    await rig.put("dies")
    await rig.fail()
    reply = await rig.desk.answer("retry", {"ids": ["dies"]}, admin=True)
    assert reply == Reply({"retried": 1}, frozenset({"researcher"}))
    with pytest.raises(OrchestratorError, match="only dead tasks are"):
        await rig.ask("retry", ids=["dies"])


async def test_a_task_that_waits_is_cancelled_and_one_that_has_ended_is_not(rig: Rig) -> None:
    await rig.put("waits")
    assert await rig.ask("cancel", ids=["waits"]) == {"cancelled": 1}
    await rig.put("dies")
    await rig.fail()
    with pytest.raises(OrchestratorError, match="it has ended already"):
        await rig.ask("cancel", ids=["dies"])


async def test_payloads_are_shown_whatever_they_are(rig: Rig) -> None:
    await rig.put("odd", b"\xff not json")
    assert (await rig.ask("task", id="odd"))["payload"] == "\\xff not json"
    await rig.put("long", b'"' + b"x" * 2 * MAX_PAYLOAD + b'"')
    assert len((await rig.ask("task", id="long"))["payload"]) < MAX_PAYLOAD + 40


@pytest.mark.parametrize("do", sorted(CHANGES))
async def test_whoever_looks_on_changes_nothing(rig: Rig, do: str) -> None:
    with pytest.raises(OrchestratorError, match="whoever holds the run's key"):
        await rig.ask(do, admin=False, ids=["x"], names=["x"])
    assert rig.run.done == []


async def test_restarts_and_scales(rig: Rig) -> None:
    assert await rig.ask("restart", names=["researcher.1"]) == {"done": "restarted"}
    assert await rig.ask("scale", agent="researcher", replicas=3) == {"done": "scaled"}
    assert rig.run.done == [("researcher.1",), {"researcher": 3}]


async def test_earlier_lines_of_the_log_are_found_by_who_and_how_grave(rig: Rig) -> None:
    for source, level in (("a.1", "info"), ("a.1", "error"), ("b.1", "error")):
        rig.recent.put(Source(source, source[0], 1), Record(1.0, level, f"{source} {level}"))
    found = await rig.ask("log", False, names=["a"], level="warning")
    assert [line["event"] for line in found["log"]] == ["a.1 error"]


@pytest.mark.parametrize(
    ("do", "arguments", "sentence"),
    [
        ("taks", {}, "did you mean 'tasks'"),
        ("tasks", {"states": ["ded"]}, "did you mean 'dead'"),
        ("tasks", {"statess": ["dead"]}, "unknown field"),
        ("task", {}, "missing required field"),
        ("task", {"id": "nowhere"}, "nowhere"),
        ("log", {"level": "loud"}, "there is no level 'loud'"),
        ("scale", {"agent": "a", "replicas": "many"}, "Expected `int`"),
    ],
)
async def test_a_request_that_is_none_is_told_why(rig: Rig, do: str, arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OrchestratorError, match=sentence):
        await rig.ask(do, **arguments)


async def test_a_run_without_a_store_says_so() -> None:
    with pytest.raises(OrchestratorError, match="keeps no tasks"):
        await Rig(keeps=False).ask("tasks")


async def test_a_payload_of_megabytes_is_shown_without_being_laid_out(rig: Rig) -> None:
    await rig.put("huge", b"[" + b"1," * 4_000_000 + b"1]")
    shown = (await rig.ask("task", id="huge"))["payload"]
    assert shown == "[" + ("1," * MAX_PAYLOAD)[: MAX_PAYLOAD - 1] + "… (8,000,003 bytes)"
