"""What the commands for a living run do, without starting a process for each of them."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from orchestrator.runtime.operator_client import RunGone, asked
from orchestrator.runtime.operator_wire import AnyRequest, Done, Ps, RunView
from orchestrator.runtime.run_seat import RunSeat, running
from tests.journeys.running import ROOT


def seat_of(file: Path) -> RunSeat:
    [seat] = running(file, os.environ)
    return seat


async def view(file: Path) -> RunView:
    """As `orchestrator ps` sees it."""

    def look() -> RunView:
        with asked(seat_of(file), Ps()) as answers:
            for answer in answers:
                if isinstance(answer, RunView):
                    return answer
        raise RunGone(0)

    return await asyncio.to_thread(look)


async def pids(file: Path) -> dict[str, int]:
    """The process of each replica, and of the hub and the store, that has one."""
    return {replica.peer: replica.pid for replica in (await view(file)).replicas if replica.pid is not None}


async def change(file: Path, request: AnyRequest) -> str:
    """Return what the run says that it has done. Raises `OrchestratorError`, for instance `RunRefused`."""

    def act() -> str:
        with asked(seat_of(file), request) as answers:
            for answer in answers:
                if isinstance(answer, Done):
                    return answer.sentence
        raise RunGone(0)

    return await asyncio.to_thread(act)


async def command(*words: str, folder: Path) -> tuple[int, str]:
    """Run a command in a folder as its user would; return its exit code and what it has written."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "orchestrator",
        *words,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    written, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, written.decode()
