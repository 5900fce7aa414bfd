"""Tasks that kill whoever begins with them are given up, with all that happened, and others hardly wait for that
(hazard 61).
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from orchestrator.errors import ExitCode
from orchestrator.store.opening import store_at
from orchestrator.store.tasks import Ending, State, TaskHistory
from tests.journeys.running import Running, running

TOPOLOGY: Final = """\
version: 1
store: sqlite:///tasks.db
defaults: {restart: {delay: 50ms, max_delay: 100ms, max_attempts: unlimited}}
coordinators:
  host: {handler: tests.journeys.poison:Host, workers: [guest]}
workers:
  guest: {handler: tests.journeys.poison:Guest, replicas: 4, tasks: {delivery: at-least-once, max_attempts: 3}}
"""
ATTEMPTS: Final = 3
LONGEST: Final = 1.0
"""Seconds that 99 of 100 others may take at most: a replica's start, which somebody may have to wait for."""


@pytest.fixture
def place() -> Iterator[Path]:
    """Where the sockets of these runs lie, and nothing else."""
    with tempfile.TemporaryDirectory(prefix="o-", dir="/tmp") as folder:
        yield Path(folder)


def of_hundred(seconds: Sequence[float], share: int) -> float:
    return sorted(seconds)[min(len(seconds) * share // 100, len(seconds) - 1)]


def shown(seconds: Sequence[float]) -> str:
    """Return the figures of a run, in milliseconds."""
    return " ".join(f"p{share} {of_hundred(seconds, share) * 1_000:.0f}" for share in (50, 99, 100))


def read(run: Running) -> list[tuple[list[float], Counter[int], list[str]]]:
    """Return of each question the seconds and the attempts of the sips, and what was said of the poisons."""
    answers = []
    for line in run.answer.splitlines():
        if line.startswith("["):
            seconds, attempts = zip(*json.loads(line), strict=True)
            answers.append((list(seconds), Counter(attempts), list[str]()))
        elif line:
            answers[-1][2].append(line)
    return answers


@pytest.mark.parametrize(
    ("sips", "poisons"),
    [
        pytest.param(120, 1, id="1 poison", marks=pytest.mark.bars),
        pytest.param(1_500, 5, id="5 poisons", marks=pytest.mark.bars),
    ],
)
async def test_what_kills_its_workers_is_given_up_and_holds_up_nobody(
    tmp_path: Path, place: Path, sips: int, poisons: int
) -> None:
    (tmp_path / "topology.yaml").write_text(TOPOLOGY)
    asked = ("--ask", "host", f"{sips} and 0", "--ask", "host", f"{sips} and {poisons}")
    async with running("topology.yaml", *asked, directory=tmp_path, environ={"XDG_RUNTIME_DIR": str(place)}) as run:
        assert await run.ended(seconds=200) == ExitCode.DONE, run.said()
    (plain, _, none), (seconds, attempts, died) = read(run)
    print(f"milliseconds without {shown(plain)}; beside {poisons} poisons {shown(seconds)}; attempts {attempts}")
    assert none == []
    assert len(died) == poisons
    for said in died:
        assert f"attempt {ATTEMPTS}" in said and "WorkerLost" in said, said
    assert attempts == {1: sips}, "who held nothing else lost nothing else"
    assert of_hundred(seconds, 99) <= LONGEST
    await check_history(tmp_path, 2 * sips, poisons)


async def check_history(folder: Path, sips: int, poisons: int) -> None:
    store = store_at("sqlite:///tasks.db", folder)
    try:
        [queue] = await store.tasks.stats()
        assert (queue.done, queue.dead, queue.open + queue.cancelled) == (sips, poisons, 0)
        histories = [await store.tasks.get(task.id) for task in await store.tasks.dead()]
    finally:
        await store.close()
    for history in histories:
        check(history)


def check(history: TaskHistory) -> None:
    assert history.info.state is State.DEAD
    assert [attempt.number for attempt in history.attempts] == list(range(1, ATTEMPTS + 1))
    for attempt in history.attempts:
        assert attempt.ending is Ending.LAPSED
        assert attempt.worker.startswith("guest.")
        assert attempt.failure is not None and attempt.failure.type == "WorkerLost", attempt
        assert attempt.ended is not None and attempt.began <= attempt.ended
