"""`orchestrator tasks`: the list, which store it is of, and words that do not go together."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from orchestrator.cli.main import main
from orchestrator.errors import ExitCode
from orchestrator.store.sqlite_lock import FileLock
from orchestrator.store.tasks import Tasks
from tests.brokers import needs_client
from tests.cli.task_files import each_state, fill, new, objects, refused, run, topology


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A topology whose store has a task in each state."""
    fill(tmp_path / "tasks.db", each_state)
    return topology(tmp_path)


LISTED = """\
ID                STATE         QUEUE       TYPE      ATTEMPT  WORKER        AGE  LAST ERROR
task-later-1      ready in 23h  researcher  Research  0/5      -             0s
task-cancelled-1  cancelled     researcher  Research  0/5      -             0s
task-ready-1      ready         researcher  Research  0/5      -             0s
task-leased-1     leased        researcher  Research  1/5      researcher.1  0s
task-done-1       done          researcher  Research  1/5      researcher.1  0s
task-dead-1       dead          researcher  Research  1/5      researcher.1  0s   ValueError: no such page
1 ready, 1 later, 1 leased, 1 done, 1 dead, 1 cancelled
"""


def test_tasks_are_listed_the_last_first_and_counted(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.cli.tasks_text.age", lambda seconds: "23h" if seconds > 3600 else "0s")
    assert run(capsys, file) == LISTED


def test_the_file_may_be_named_by_an_option(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert objects(run(capsys, "-f", file, "--json")) == objects(run(capsys, file, "--json"))


@pytest.mark.parametrize(
    ("given", "states"),
    [
        (["--state", "dead"], ["dead"]),
        (["--state", "ready"], ["ready", "ready"]),
        (["--state", "leased,done"], ["leased", "done"]),
        (["--state", "done", "--state", "leased"], ["leased", "done"]),
    ],
)
def test_states_are_chosen(file: Path, capsys: pytest.CaptureFixture[str], given: list[str], states: list[str]) -> None:
    assert [found["state"] for found in objects(run(capsys, file, "--json", *given))] == states


def test_a_queue_is_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def two_queues(tasks: Tasks) -> None:
        await tasks.enqueue([new("task-1"), new("task-2", queue="writer")])

    fill(tmp_path / "tasks.db", two_queues)
    found = run(capsys, topology(tmp_path), "--queue", "writer")
    assert [line.partition(" ")[0] for line in found.splitlines()] == ["ID", "task-2", "1"]
    assert found.endswith("\n1 ready\n")


def test_a_queue_that_nobody_has_is_told_with_the_nearest(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = f"orchestrator: {file}: there is no agent 'reseacher' (did you mean 'researcher'?)\n"
    run(capsys, file, "--queue", "reseacher", code=ExitCode.USAGE, said=said)


def test_of_more_than_the_limit_the_others_are_counted(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = run(capsys, file, "--limit", "2", "--state", "ready,done,dead").splitlines()
    assert [line.partition(" ")[0] for line in lines[:3]] == ["ID", "task-later-1", "task-ready-1"]
    assert lines[3] == "… and 2 more (--limit 4)"


def test_programs_get_all_tasks_unless_they_say_a_limit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = [f"task-{number:05}" for number in range(2_500)]

    async def many(tasks: Tasks) -> None:
        await tasks.enqueue([new(task_id) for task_id in ids])

    fill(tmp_path / "tasks.db", many)
    file = topology(tmp_path)
    assert [found["id"] for found in objects(run(capsys, file, "--json"))] == ids[::-1]
    assert [found["id"] for found in objects(run(capsys, file, "--json", "--limit", "1001"))] == ids[:-1002:-1]
    assert len(run(capsys, file).splitlines()) == 53


def test_programs_get_every_key(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = objects(run(capsys, file, "--json", "--state", "dead"))
    assert found.pop("stored") <= found.pop("since")
    assert found == {
        "id": "task-dead-1",
        "queue": "researcher",
        "type": "Research",
        "caller": "editor",
        "origin": "",
        "state": "dead",
        "attempt": 1,
        "max_attempts": 5,
        "priority": 0,
        "requires": [],
        "key": None,
        "worker": "researcher.1",
        "failure": {
            "type": "ValueError",
            "message": "no such page\nlook elsewhere",
            "frames": ["agents/newsroom.py:41 in research"],
        },
    }


def test_an_empty_store_has_no_tasks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def nothing(tasks: Tasks) -> None:
        assert await tasks.stats() == ()

    fill(tmp_path / "tasks.db", nothing)
    assert run(capsys, topology(tmp_path)) == "no tasks\n"


# -- which store


def test_handlers_are_not_imported(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.with_name("app.py").write_text("raise RuntimeError('imported')")
    assert "task-done-1" in run(capsys, file)


def test_a_store_is_named_by_itself(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = f"sqlite:///{file.with_name('tasks.db')}"
    assert objects(run(capsys, "--store", store, "--json")) == objects(run(capsys, file, "--json"))


def test_an_at_least_once_topology_without_a_store_has_one_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = topology(tmp_path)
    file.write_text(file.read_text().replace('store: "sqlite:///tasks.db"\n', ""))
    fill(tmp_path / ".orchestrator" / "news.db", each_state)
    assert "task-done-1" in run(capsys, file)


def test_a_file_that_is_not_there_has_no_tasks_and_is_not_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = topology(tmp_path, "sqlite:///deep/tasks.db")
    said = f"there are no tasks yet: {tmp_path / 'deep' / 'tasks.db'} does not exist\n"
    assert run(capsys, file, said=said) == ""
    assert run(capsys, file, "--json", said=said) == ""
    assert run(capsys, "purge", file, "--older", "7d", said=said) == ""
    assert run(capsys, "retry", file, "--dead", said=said) == ""
    for command in ("show", "retry", "cancel"):
        assert run(capsys, command, file, "task-done-1", code=ExitCode.FAILED, said=said) == ""
    assert [path.name for path in tmp_path.iterdir()] == ["news.yaml"]


def test_a_log_without_its_file_is_no_empty_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tasks.db-wal").write_bytes(b"what was not moved into the file yet")
    run(capsys, topology(tmp_path), code=ExitCode.FAILED, said=None)
    assert not (tmp_path / "tasks.db").exists()


def test_a_store_in_memory_lives_in_a_run_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = topology(tmp_path, "memory:")
    said = (
        f"orchestrator: {file}: its store is 'memory:', which lives only while `orchestrator run` does, and no run of it "
        "is alive. Tasks that outlive a run want a file: 'store: sqlite:///tasks.db'\n"
    )
    run(capsys, file, code=ExitCode.FAILED, said=said)
    run(capsys, "--store", "memory:", code=ExitCode.FAILED, said=None)


def test_a_topology_that_keeps_nothing_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "plain.yaml"
    file.write_text("version: 1\nagents: {clock: {handler: app:Clock}}\n")
    said = (
        f"orchestrator: {file}: nothing in it keeps tasks; those of a worker with 'tasks: {{delivery: at-least-once}}' "
        "are kept until they are done\n"
    )
    run(capsys, file, code=ExitCode.USAGE, said=said)


def test_an_engine_that_is_away_is_named_without_its_password(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    needs_client("redis", "redis")
    file = topology(tmp_path, "redis://:hunter2@127.0.0.1:1/0")
    assert main(["tasks", str(file)]) == ExitCode.UNREACHABLE
    said = capsys.readouterr().err
    assert said.startswith("orchestrator: the store redis://127.0.0.1:1/0 cannot be reached")
    assert "hunter2" not in said


def test_an_engine_is_not_looked_into_without_a_topology(capsys: pytest.CaptureFixture[str]) -> None:
    said = (
        "orchestrator: --store: what an engine keeps for several machines is told apart by topologies; name the file of one, "
        "with 'store:' in it\n"
    )
    run(capsys, "--store", "nats://127.0.0.1", code=ExitCode.USAGE, said=said)


def test_an_address_that_names_no_file_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    said = "orchestrator: --store: 'tasks.db' names no file: write 'sqlite:///tasks.db', or 'sqlite:////var/lib/tasks.db'\n"
    run(capsys, "--store", "tasks.db", code=ExitCode.USAGE, said=said)


def test_a_file_that_another_process_has_is_told(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.cli.tasks_store._LOCKED", 0.0)
    store = file.with_name("tasks.db")
    lock = FileLock(store)
    lock.take()
    try:
        said = f"orchestrator: the store {store} is used by process {os.getpid()} already; "
        assert main_says(capsys, file) == (
            f"{said}that is no run of {file}: name the topology that it runs, or wait until it has ended\n"
        )
        assert main_says(capsys, "--store", f"sqlite:///{store}") == (
            f"{said}if that is a run, name its topology in place of --store, and the run is asked\n"
        )
    finally:
        lock.give_back()


def test_a_file_that_is_let_go_of_in_time_is_waited_for(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = FileLock(file.with_name("tasks.db"))
    lock.take()
    timer = threading.Timer(0.2, lock.give_back)
    timer.start()
    try:
        assert "task-done-1" in run(capsys, file)
    finally:
        timer.join()


def test_a_damaged_file_is_told(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = file.with_name("tasks.db")
    store.write_bytes(b"no database" * 1000)
    assert main_says(capsys, file).startswith(f"orchestrator: the store {store} ")


def main_says(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    assert main(["tasks", *map(str, words)]) == ExitCode.FAILED
    return capsys.readouterr().err


# -- words that do not go together


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("", "name a topology file: FILE, or -f FILE; or a store by itself: --store sqlite:///tasks.db"),
        ("show", "name a topology file: FILE, or -f FILE; or a store by itself: --store sqlite:///tasks.db"),
        ("show task-dead-1", "name a task by its ID; 'task-dead-1' was taken for the topology, which comes first"),
        ("t.yaml retry", "name a task by its ID; 't.yaml' was taken for the topology, which comes first"),
        ("show -f t.yaml", "name a task by its ID"),
        ("show t.yaml a-task b-task", "one task is shown at a time"),
        ("shw", "there is no file 'shw', nor such a command (did you mean 'show'?)"),
        ("t.yaml --store sqlite:///x", "--store names a store by itself; leave the topology out"),
        ("t.yaml --state ded", "argument --state: there is no state 'ded' (did you mean 'dead'?)"),
        ("t.yaml --state dead,x", "argument --state: there is no state 'x'; there are ready, leased, done, dead, cancelled"),
        ("t.yaml --limit 0", "argument --limit: '0' is no whole number of at least 1"),
        ("t.yaml --lmit 5", "unrecognized arguments: --lmit 5 (did you mean '--limit'?)"),
        ("t.yaml u.yaml", "unrecognized arguments: u.yaml"),
        ("t.yaml --watch show a-task", "unrecognized arguments: show a-task"),
        ("-f t.yaml --watch show a-task", "--watch is for the list of tasks, not for 'show'"),
        ("-f t.yaml --queue q purge --older 7d", "--queue is for the list of tasks, not for 'purge'"),
        ("retry t.yaml a-task --dead", "either IDs or --dead, which means all of them"),
        ("retry t.yaml a-task --queue q", "--queue goes with --dead"),
        ("purge t.yaml", "the following arguments are required: --older"),
        ("purge t.yaml --older soon", "argument --older: 'soon' is no time such as 7d, 12h or 30m"),
        ("purge t.yaml --older 9999d", "argument --older: '9999d' is longer than 3650d"),
        ("purge t.yaml --older 7d --state ready", "only what has ended is purged: done, dead or cancelled, and not ready"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_told(words: str, why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, *words.split()) == why


@pytest.mark.parametrize("command", ["", "show", "retry", "cancel", "purge"])
def test_each_command_has_a_help_of_its_own(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["tasks", *command.split(), "--help"])
    assert ended.value.code == ExitCode.DONE
    assert capsys.readouterr().out.startswith(f"usage: orchestrator tasks {command or '[FILE]'} ")
