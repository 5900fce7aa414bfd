"""A store whose process is killed at any time has all that it acknowledged (hazard 62)."""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

import pytest

from orchestrator.store.sqlite import SqliteStore
from orchestrator.store.tasks import State

ROOT = Path(__file__).parents[2]


async def killed_after(lines: int, file: Path, name: str) -> list[str]:
    """Run the program until it has told of so much, and return all that it told before it died."""
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.store.storing", file, name, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert program.stdout is not None
    told = [await program.stdout.readline() for _ in range(lines)]
    program.kill()
    told += (await program.stdout.read()).splitlines(keepends=True)
    await program.wait()
    return [line.decode().rstrip() for line in told if line.endswith(b"\n")]


@pytest.mark.parametrize("kills", [5, pytest.param(100, marks=pytest.mark.bars)])
async def test_nothing_that_was_acknowledged_is_lost(kills: int, tmp_path: Path) -> None:
    rng, file, told = random.Random(3), tmp_path / "s.db", list[str]()
    for kill in range(kills):
        told += await killed_after(rng.randrange(1, 600), file, f"run{kill}")
    assert len(told) > kills
    async with SqliteStore(file) as store:
        for line in told:
            word, task_id = line.split()
            outcome = await store.tasks.result(task_id)
            if word == "done":
                assert outcome is not None
                assert (outcome.state, outcome.result) == (State.DONE, task_id.encode())
