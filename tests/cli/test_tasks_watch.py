"""`orchestrator tasks --watch`: what is shown anew, in which form, and how it ends."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli.tasks_views import Changes
from orchestrator.errors import ExitCode
from orchestrator.store.tasks import State, Tasks
from tests.cli.task_files import fill, new, objects, topology
from tests.cli.test_tasks_text import info

SECONDS = 30
"""A safety net alone."""


@contextmanager
def watching(*words: str | Path, out: int = subprocess.PIPE) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "orchestrator", "tasks", *map(str, words), "--watch"]
    process = subprocess.Popen(command, stdout=out, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


async def one_more(tasks: Tasks) -> None:
    await tasks.enqueue([new(f"task-{len(await tasks.list()) + 1}")])


async def first_done(tasks: Tasks) -> None:
    (leased,) = (await tasks.claim("researcher", "researcher.1")).tasks
    await tasks.complete(leased.hold, b"3")


def line_of(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.readline()


def test_programs_get_a_line_for_each_change(tmp_path: Path) -> None:
    store = tmp_path / "tasks.db"
    fill(store, one_more)
    with watching(topology(tmp_path), "--json") as process:
        (first,) = objects(line_of(process.stdout))
        fill(store, one_more)
        (second,) = objects(line_of(process.stdout))
        fill(store, first_done)
        (third,) = objects(line_of(process.stdout))
        process.send_signal(signal.SIGINT)
        rest, said = process.communicate(timeout=SECONDS)
    assert [(each["id"], each["state"]) for each in (first, second, third)] == [
        ("task-1", "ready"),
        ("task-2", "ready"),
        ("task-1", "done"),
    ]
    assert (rest, said, process.returncode) == ("", "", ExitCode.DONE)


def test_a_state_is_told_when_a_task_comes_into_it(tmp_path: Path) -> None:
    store = tmp_path / "tasks.db"
    for work in (one_more, first_done, one_more, one_more):
        fill(store, work)
    with watching("--store", f"sqlite:///{store}", "--json", "--state", "done") as process:
        (before,) = objects(line_of(process.stdout))
        fill(store, first_done)
        (found,) = objects(line_of(process.stdout))
    assert (before["id"], found["id"]) == ("task-1", "task-2")


def test_elsewhere_than_on_a_terminal_one_listing_follows_another(tmp_path: Path) -> None:
    file = topology(tmp_path)
    with watching(file) as process:
        assert line_of(process.stdout) == f"there are no tasks yet: {tmp_path / 'tasks.db'} does not exist\n"
        fill(tmp_path / "tasks.db", one_more)
        listed = [line_of(process.stdout) for _ in range(4)]
        process.send_signal(signal.SIGTERM)
        rest, said = process.communicate(timeout=SECONDS)
    assert [line[:6] for line in listed] == ["\n", "ID    ", "task-1", "1 read"]
    assert (rest, said, process.returncode) == ("", "", ExitCode.TERMINATED)


def test_what_is_wrong_with_the_file_is_told_until_it_has_passed(tmp_path: Path) -> None:
    store = tmp_path / "tasks.db"
    fill(store, one_more)
    good = store.read_bytes()
    with watching(topology(tmp_path)) as process:
        listed = [line_of(process.stdout) for _ in range(3)]
        store.write_bytes(b"no database" * 1_000)
        damaged = [line_of(process.stdout) for _ in range(5)]
        store.write_bytes(good)
        again = [line_of(process.stdout) for _ in range(4)]
    assert (damaged[0], damaged[2][:6], damaged[3]) == ("\n", "task-1", "1 ready\n")
    assert damaged[4].startswith(f"the store {store} is damaged")
    assert (again[0], again[2][:6], again[3]) == ("\n", listed[1][:6], listed[2])


def test_a_terminal_is_as_it_was_after_it(tmp_path: Path) -> None:
    store = tmp_path / "tasks.db"
    fill(store, one_more)
    terminal, inside = pty.openpty()
    try:
        termios.tcsetwinsize(inside, (24, 60))
        before = termios.tcgetattr(inside)
        with watching(topology(tmp_path), out=inside) as process:
            shown = read_until(terminal, "1 ready")
            assert shown.startswith("\x1b[?1049h\x1b[?25l\x1b[HID ")
            fill(store, one_more)
            again = read_until(terminal, "2 ready")
            assert "\x1b[H" in again
            assert "task-2" in again
            process.send_signal(signal.SIGINT)
            assert process.wait(SECONDS) == ExitCode.DONE
            end = read_until(terminal, "2 ready")
            assert end.partition("\x1b[?25h\x1b[?1049l")[2].startswith("ID ")
        assert termios.tcgetattr(inside) == before
        lines = [line for line in (shown + again + end).replace("\x1b", "\n").splitlines() if line.startswith("task-")]
        assert lines and all(len(line) <= 60 for line in lines)
    finally:
        os.close(terminal)
        os.close(inside)


def read_until(terminal: int, text: str) -> str:
    found = b""
    while text.encode() not in found:
        found += os.read(terminal, 65_536)
    return found.decode()


# -- which changes are told


SNAPSHOTS = st.lists(
    st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.sampled_from(list(State)), st.integers(0, 2)))
)


@given(SNAPSHOTS)
def test_whoever_reads_the_changes_knows_how_things_are(snapshots: list[dict[str, tuple[State, int]]]) -> None:
    changes, known = Changes(), dict[str, tuple[State, int]]()
    for snapshot in snapshots:
        infos = [info(name, state=state, attempt=attempt) for name, (state, attempt) in snapshot.items()]
        for told in changes.told(infos):
            assert known.get(told.id) != (told.state, told.attempt) or told.state in (
                State.DONE,
                State.DEAD,
                State.CANCELLED,
            )
            known[told.id] = (told.state, told.attempt)
        assert all(known[name] == found for name, found in snapshot.items())


@given(SNAPSHOTS, st.sets(st.sampled_from(list(State)), min_size=1))
def test_of_states_that_are_not_asked_for_nothing_is_told(
    snapshots: list[dict[str, tuple[State, int]]], states: set[State]
) -> None:
    some, everything = Changes(states), Changes()
    for snapshot in snapshots:
        infos = [info(name, state=state, attempt=attempt) for name, (state, attempt) in snapshot.items()]
        assert some.told(infos) == [told for told in everything.told(infos) if told.state in states]


def test_a_task_that_is_no_longer_listed_is_followed_until_it_ends() -> None:
    changes = Changes()
    changes.told([info("a"), info("b", state=State.DONE), info("c", state=State.LEASED)])
    assert changes.before([info("c")]) == ["a"]
    changes.told([info("c"), info("d")])
    assert changes.before([info("d")]) == ["a", "c"]
    assert [each.id for each in changes.told([info("a", state=State.DONE), info("d")])] == ["a"]
    assert changes.before([info("d")]) == ["c"]


def test_of_those_that_are_no_longer_listed_the_last_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.cli.tasks_views.OPEN", 2)
    changes = Changes()
    changes.told([info(f"task-{number}") for number in range(9)])
    changes.told([])
    assert changes.before([]) == ["task-7", "task-8"]
