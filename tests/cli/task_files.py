"""Stores in files for the command line to look at, and topologies that use them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.main import main
from orchestrator.errors import ExitCode
from orchestrator.store.sqlite import SqliteStore
from orchestrator.store.tasks import Failure, NewTask, Tasks

TOPOLOGY = """\
version: 1
name: news
store: sqlite:///tasks.db
coordinators:
  editor: {handler: "app:Editor", workers: [researcher]}
workers:
  researcher: {handler: "app:Researcher", tasks: {delivery: at-least-once}}
"""
BROKEN = Failure("ValueError", "no such page\nlook elsewhere", ("agents/newsroom.py:41 in research",))


def topology(folder: Path, store: str = "sqlite:///tasks.db") -> Path:
    path = folder / "news.yaml"
    path.write_text(TOPOLOGY.replace("sqlite:///tasks.db", json.dumps(store)))
    return path


def new(task_id: str, **more: Any) -> NewTask:
    settled = {"queue": "researcher", "type": "Research", "payload": b'{"topic":"bees"}', "caller": "editor", **more}
    return NewTask(id=task_id, **settled)


def fill(file: Path, work: Callable[[Tasks], Awaitable[None]]) -> None:
    """Open a store, have something done to it, and close it again."""

    async def do() -> None:
        async with SqliteStore(file) as store:
            await work(store.tasks)

    asyncio.run(do())


async def each_state(tasks: Tasks) -> None:
    """Store a task for each state; its ID says which."""
    for task_id in ("task-dead-1", "task-done-1", "task-leased-1"):
        await tasks.enqueue([new(task_id)])
        (leased,) = (await tasks.claim("researcher", "researcher.1", lease=3600)).tasks
        if task_id == "task-dead-1":
            await tasks.fail(leased.hold, BROKEN, retry=False)
        elif task_id == "task-done-1":
            await tasks.complete(leased.hold, b'{"pages":3}')
    await tasks.enqueue([new("task-ready-1"), new("task-cancelled-1"), new("task-later-1", delay=86_400)])
    await tasks.cancel("task-cancelled-1")


def run(
    capsys: pytest.CaptureFixture[str], *words: str | Path, code: int = ExitCode.DONE, said: str | None = ""
) -> str:
    """Run `orchestrator tasks` and return what it printed; `said` = what it says on standard error, `None` = anything."""
    assert main(["tasks", *map(str, words)]) == code
    found = capsys.readouterr()
    assert said is None or found.err == said
    return found.out


def refused(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    """Run `orchestrator tasks` with words that do not go together, and return why."""
    with pytest.raises(SystemExit) as ended:
        main(["tasks", *map(str, words)])
    assert ended.value.code == ExitCode.USAGE
    return capsys.readouterr().err.partition("error: ")[2].rstrip("\n")


def objects(printed: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in printed.splitlines()]
