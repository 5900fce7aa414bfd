"""`orchestrator tasks` while a run is alive: its store is asked over the socket, as an operator."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

import pytest

from orchestrator.cli.main import main
from orchestrator.errors import ExitCode
from orchestrator.runtime.store_seat import seated
from orchestrator.store.opening import MemoryStore
from orchestrator.store.server import StoreServer
from orchestrator.store.server_connection import OPERATOR, Caller, TokenUnwelcome
from tests.cli.task_files import TOPOLOGY, each_state, fill, new, objects, run, topology

T = TypeVar("T")
HANDLERS = """
from orchestrator import Context, Task, Workers, agent, task

class Research(Task[str]):
    topic: str

@agent
class Editor:
    workers: Workers

@agent
class Researcher:
    @task
    async def research(self, job: Research, ctx: Context) -> str:
        return job.topic
"""
SECONDS = 30
"""A safety net alone."""


class Served:
    """A store in memory that is served as a run serves it, in a loop of its own."""

    def __init__(self, loop: asyncio.AbstractEventLoop, store: MemoryStore) -> None:
        self._loop, self.store = loop, store

    def do(self, work: Callable[[MemoryStore], Coroutine[Any, Any, T]]) -> T:
        return asyncio.run_coroutine_threadsafe(work(self.store), self._loop).result(SECONDS)


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder for the sockets of one test."""
    with tempfile.TemporaryDirectory(prefix="o-", dir="/tmp") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield


@pytest.fixture
def file(tmp_path: Path, place: None) -> Path:
    return topology(tmp_path, "memory:")


@contextmanager
def served(file: Path) -> Iterator[Served]:
    """Serve a store for a topology, as a run does."""
    up: SimpleQueue[tuple[asyncio.AbstractEventLoop, MemoryStore, asyncio.Event]] = SimpleQueue()
    with seated(file, os.environ) as (seat, listening):

        def admit(token: str) -> Caller:
            if token != seat.operator:
                raise TokenUnwelcome("this is not the operator's secret")
            return OPERATOR

        async def serve() -> None:
            store, stop = MemoryStore(time.time, random.Random(1)), asyncio.Event()
            up.put((asyncio.get_running_loop(), store, stop))
            await StoreServer(store, admit, logging.getLogger("store")).serve(listening, stop)

        thread = threading.Thread(target=lambda: asyncio.run(serve()))
        thread.start()
        loop, store, stop = up.get(timeout=SECONDS)
        try:
            yield Served(loop, store)
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join(SECONDS)


def test_the_store_of_a_run_is_listed(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with served(file) as store:
        store.do(lambda store: each_state(store.tasks))
        assert run(capsys, file).endswith("\n1 ready, 1 later, 1 leased, 1 done, 1 dead, 1 cancelled\n")
        assert [found["id"] for found in objects(run(capsys, file, "--json", "--state", "dead"))] == ["task-dead-1"]
        assert "  1  researcher.1  " in run(capsys, "show", file, "task-dea")


def test_the_store_of_a_run_is_changed(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with served(file) as store:
        store.do(lambda store: each_state(store.tasks))
        assert run(capsys, "retry", file, "task-dead-1") == "task-dead-1 is due again\n"
        assert run(capsys, "cancel", file, "task-dead-1") == "task-dead-1 is cancelled\n"
        assert run(capsys, "purge", file, "--older", "0s", "--state", "done") == "1 task is forgotten\n"
        found = {info.id: str(info.state) for info in store.do(lambda store: store.tasks.list())}
    assert found["task-dead-1"] == "cancelled"
    assert "task-done-1" not in found


def test_an_unknown_task_is_told_as_elsewhere(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = "orchestrator: there is no task elsewhere: it was never stored, or has been purged\n"
    with served(file):
        run(capsys, "show", file, "elsewhere", code=ExitCode.FAILED, said=said)


def test_a_file_is_left_to_the_run_that_is_alive(
    tmp_path: Path, place: None, capsys: pytest.CaptureFixture[str]
) -> None:
    file = topology(tmp_path)
    with served(file) as store:
        store.do(lambda store: store.tasks.enqueue([new("task-1")]))
        assert [found["id"] for found in objects(run(capsys, file, "--json"))] == ["task-1"]
    assert not (tmp_path / "tasks.db").exists()


def test_several_runs_are_told_with_their_processes(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pid = os.getpid()
    said = (
        f"orchestrator: {file}: 2 runs of it are alive, processes {pid} and {pid}; each has a 'memory:' store of its own; "
        "stop all but one\n"
    )
    with served(file), served(file):
        run(capsys, file, code=ExitCode.USAGE, said=said)


@pytest.mark.bars
def test_a_run_is_watched_until_it_ends(file: Path) -> None:
    with served(file) as store:
        command = [sys.executable, "-m", "orchestrator", "tasks", str(file), "--watch", "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                found = []
                store.do(lambda store: store.tasks.enqueue([new("task-1")]))
                found += objects(process.stdout.readline())
                (leased,) = store.do(lambda store: store.tasks.claim("researcher", "researcher.1")).tasks
                found += objects(process.stdout.readline())
                store.do(lambda store: store.tasks.complete(leased.hold, b"1"))
                found += objects(process.stdout.readline())
                process.send_signal(signal.SIGINT)
                rest, said = process.communicate(timeout=SECONDS)
            finally:
                process.kill()
    assert [(each["id"], each["state"]) for each in found] == [
        ("task-1", "ready"),
        ("task-1", "leased"),
        ("task-1", "done"),
    ]
    assert (rest, said, process.returncode) == ("", "", ExitCode.DONE)


def test_watching_a_store_in_memory_ends_with_its_run(file: Path) -> None:
    with ExitStack() as stack:
        store = stack.enter_context(served(file))
        store.do(lambda store: store.tasks.enqueue([new("task-1")]))
        command = [sys.executable, "-m", "orchestrator", "tasks", str(file), "--watch"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                while process.stdout.readline() != "1 ready\n":
                    pass
                stack.close()
                _, said = process.communicate(timeout=SECONDS)
            finally:
                process.kill()
    assert process.returncode == ExitCode.FAILED
    assert said.startswith(f"orchestrator: {file}: its store is 'memory:', which lives only while")


@pytest.mark.bars
def test_tasks_that_are_no_longer_listed_are_told_when_they_end(file: Path) -> None:
    with served(file) as store:
        command = [sys.executable, "-m", "orchestrator", "tasks", str(file), "--watch", "--json", "--limit", "1"]
        store.do(lambda store: store.tasks.enqueue([new("task-1")]))
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                (first,) = objects(process.stdout.readline())
                store.do(lambda store: store.tasks.enqueue([new("task-2")]))
                (second,) = objects(process.stdout.readline())
                store.do(lambda store: store.tasks.cancel("task-1"))
                (third,) = objects(process.stdout.readline())
            finally:
                process.kill()
    assert [(each["id"], each["state"]) for each in (first, second, third)] == [
        ("task-1", "ready"),
        ("task-2", "ready"),
        ("task-1", "cancelled"),
    ]


@pytest.mark.journey
@pytest.mark.bars
def test_a_run_is_asked_while_it_has_the_file(tmp_path: Path, place: None, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "news.yaml"
    file.write_text(TOPOLOGY)
    (tmp_path / "app.py").write_text(HANDLERS)
    fill(tmp_path / "tasks.db", each_state)
    command = [sys.executable, "-m", "orchestrator", "run", str(file), "--log", "json"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            while "replicas ready" not in (line := process.stderr.readline()):
                assert line, "the run has ended"
            said = f"orchestrator: the store {tmp_path / 'tasks.db'} is used by process "
            assert main(["tasks", "--store", f"sqlite:///{tmp_path / 'tasks.db'}"]) == ExitCode.FAILED
            assert capsys.readouterr().err.startswith(said)
            assert run(capsys, "cancel", file, "task-later-1") == "task-later-1 is cancelled\n"
            (found,) = objects(run(capsys, "show", file, "task-dead-1", "--json"))
            assert found["failure"]["frames"] == ["agents/newsroom.py:41 in research"]
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=SECONDS)
        finally:
            process.kill()
    states = {found["id"]: found["state"] for found in objects(run(capsys, file, "--json"))}
    assert states["task-later-1"] == "cancelled"
