"""`orchestrator tasks retry`, `cancel` and `purge`: what they change, and what they leave alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import ExitCode
from orchestrator.store.tasks import Tasks
from tests.cli.task_files import BROKEN, each_state, fill, new, objects, run, topology


@pytest.fixture
def file(tmp_path: Path) -> Path:
    fill(tmp_path / "tasks.db", each_state)
    return topology(tmp_path)


def states(capsys: pytest.CaptureFixture[str], file: Path) -> dict[str, str]:
    return {found["id"]: found["state"] for found in objects(run(capsys, file, "--json"))}


def test_a_dead_task_is_retried_with_all_its_attempts(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "retry", file, "task-dead-1") == "task-dead-1 is due again\n"
    (found,) = objects(run(capsys, "show", file, "task-dead-1", "--json"))
    assert (found["state"], found["attempt"], len(found["attempts"])) == ("ready", 0, 1)


def test_what_is_not_dead_is_not_retried_and_the_others_are(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = (
        "orchestrator: task-done-1 is done; only dead tasks are retried\n"
        "orchestrator: task-ready-1 is not ended yet; only dead tasks are retried\n"
    )
    words = ["retry", str(file), "task-done-1", "task-dead-1", "task-ready-1"]
    assert run(capsys, *words, code=ExitCode.FAILED, said=said) == "task-dead-1 is due again\n"
    assert states(capsys, file)["task-done-1"] == "done"


def test_all_dead_tasks_are_retried_or_those_of_a_queue(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def two_queues(tasks: Tasks) -> None:
        await tasks.enqueue([new("task-1"), new("task-2", queue="writer"), new("task-3", queue="writer")])
        for queue in ("researcher", "writer"):
            for leased in (await tasks.claim(queue, f"{queue}.1", limit=2)).tasks:
                await tasks.fail(leased.hold, BROKEN, retry=False)

    fill(tmp_path / "tasks.db", two_queues)
    file = topology(tmp_path)
    assert run(capsys, "retry", "--dead", "--queue", "writer", file) == "2 tasks are due again\n"
    assert states(capsys, file) == {"task-3": "ready", "task-2": "ready", "task-1": "dead"}
    assert run(capsys, "retry", file, "--dead") == "1 task is due again\n"
    assert run(capsys, "retry", file, "--dead") == "0 tasks are due again\n"


def test_tasks_are_cancelled_while_they_have_not_ended(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = "task-ready-1 is cancelled\ntask-leased-1 is cancelled\n"
    assert run(capsys, "cancel", file, "task-ready-1", "task-lea") == printed
    said = "orchestrator: task-done-1 is done already, and stays so\n"
    assert run(capsys, "cancel", "task-done-1", "-f", file, code=ExitCode.FAILED, said=said) == ""
    found = states(capsys, file)
    assert [found[name] for name in ("task-ready-1", "task-leased-1", "task-done-1")] == ["cancelled"] * 2 + ["done"]


@pytest.mark.parametrize("command", ["retry", "cancel"])
def test_an_id_that_is_not_there_keeps_the_others_as_they_are(
    command: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = states(capsys, file)
    run(capsys, command, file, "task-dead-1", "task-ready-1", "elsewhere", code=ExitCode.FAILED, said=None)
    assert states(capsys, file) == before


def test_ids_stand_on_both_sides_of_an_option(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = run(capsys, "cancel", "task-ready-1", "-f", file, "task-later-1")
    assert printed == "task-ready-1 is cancelled\ntask-later-1 is cancelled\n"


def test_what_ended_long_enough_ago_is_forgotten(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "purge", file, "--older", "7d") == "0 tasks are forgotten\n"
    assert run(capsys, "purge", file, "--older", "0s", "--state", "dead") == "1 task is forgotten\n"
    assert "task-dead-1" not in states(capsys, file)
    assert run(capsys, "purge", "--older", "0s", file) == "2 tasks are forgotten\n"
    assert set(states(capsys, file)) == {"task-ready-1", "task-later-1", "task-leased-1"}


@pytest.mark.parametrize(("text", "seconds"), [("7d", 604_800), ("1.5d", 129_600), ("12h", 43_200), ("90s", 90)])
def test_an_age_may_be_given_in_days(text: str, seconds: float) -> None:
    from orchestrator.cli.tasks import _age

    assert _age(text) == seconds
