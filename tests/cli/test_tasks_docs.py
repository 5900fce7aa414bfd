"""What docs/commands.md and docs/store.md say of tasks is so."""

from __future__ import annotations

import argparse
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.main import main
from orchestrator.cli.tasks import _listing
from orchestrator.cli.tasks_listing import shown
from orchestrator.errors import ExitCode
from orchestrator.store import errors
from orchestrator.store.errors import StoreFileProblem
from orchestrator.store.tasks import Failure, QueueStats, State, TaskInfo, Tasks
from tests.cli.task_files import each_state, fill, new, objects, run, topology
from tests.cli.test_tasks_text import NOW, info

DOCS = Path(__file__).parents[2] / "docs"
COMMANDS = (DOCS / "commands.md").read_text(encoding="utf-8").partition("\n## Look after: tasks\n")[2]
STORE = (DOCS / "store.md").read_text(encoding="utf-8")


def test_the_list_is_printed_as_shown() -> None:
    def research(number: int, state: State, attempt: int, worker: int, seconds: float, **more: Any) -> TaskInfo:
        given = {"queue": "researcher", "type": "Research", "state": state, "attempt": attempt, **more}
        return info(f"bees-{number}", worker=f"researcher.{worker}", stored=NOW - seconds, **given)

    infos = [
        research(404, State.READY, 1, 2, 200, since=NOW + 12),
        research(403, State.LEASED, 1, 1, 200),
        research(402, State.DEAD, 5, 2, 4 * 3600, failure=Failure("ValueError", "no such page")),
        research(401, State.DONE, 2, 1, 2 * 86_400),
    ]
    stats = [QueueStats("researcher", ready=3, later=1, leased=1, done=240, dead=2, cancelled=0)]
    [fence] = re.findall(
        r"^```console\n\$ orchestrator tasks topology\.yaml --limit 4\n(.*?)^```$", COMMANDS, re.MULTILINE | re.DOTALL
    )
    assert fence.splitlines() == shown(infos, stats, [], None, NOW, None)


def test_every_option_of_the_list_is_described() -> None:
    parser = argparse.ArgumentParser()
    _listing(parser)
    own = {"--state", "--queue", "--limit", "--json", "--watch", "--store"}
    options = {option for action in parser._actions for option in action.option_strings}
    assert own <= options
    assert own - {"--store"} == set(re.findall(r"^\| `(--[a-z]+)", COMMANDS, re.MULTILINE))
    assert "`--store sqlite:///tasks.db`" in COMMANDS


def test_every_key_of_the_json_is_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path / "tasks.db", each_state)
    file = topology(tmp_path)
    (listed,) = objects(run(capsys, file, "--json", "--state", "dead"))
    described = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", COMMANDS.partition("The JSON of a task")[2], re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(described))) == set(listed)
    (found,) = objects(run(capsys, "show", file, "task-dead-1", "--json"))
    for name in {*found, *found["attempts"][0], *found["failure"]}:
        assert f"`{name}`" in COMMANDS


def test_every_state_and_every_error_is_described() -> None:
    assert re.findall(r"^\| `([a-z]+)` \|", STORE.partition("## States")[2], re.MULTILINE) == [str(s) for s in State]
    problems = [
        name
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, StoreFileProblem) and kind is not StoreFileProblem
    ]
    assert re.findall(r"^\| `(Store\w+)` \|", STORE, re.MULTILINE) == problems


def test_a_backup_of_a_store_in_use_is_restored_as_described(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, copy = tmp_path / "tasks.db", tmp_path / "copy.db"

    async def back_up(tasks: Tasks) -> None:
        await tasks.enqueue([new("task-1")])
        with closing(sqlite3.connect(store)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        await tasks.enqueue([new("task-2")])

    fill(store, back_up)
    file = topology(tmp_path)
    assert [found["id"] for found in objects(run(capsys, "--store", f"sqlite:///{copy}", "--json"))] == ["task-1"]
    shutil.copy(copy, store)
    assert main(["tasks", str(file)]) == ExitCode.FAILED
    assert "it is an older copy" in capsys.readouterr().err
    for end in ("-wal", "-shm", ".lock"):
        store.with_name(store.name + end).unlink(missing_ok=True)
    assert [found["id"] for found in objects(run(capsys, file, "--json"))] == ["task-1"]
