"""Nobody outlives a parent that was killed: neither the deaf, nor the busy, nor what they have started."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import pytest

from tests.runtime.processes import ENVIRONMENT, gone, runs


@pytest.mark.parametrize("do", ["polite", "deaf", "busy"])
async def test_63_no_process_outlives_a_parent_that_is_killed(do: str) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.runtime.children.family",
        env={**ENVIRONMENT, "DO": do},
        stdout=asyncio.subprocess.PIPE,
    )
    assert parent.stdout is not None
    async with asyncio.timeout(20):
        pids = list(map(int, (await parent.stdout.readline()).split()[1:]))
    assert pids
    assert all(map(runs, pids))
    os.kill(parent.pid, signal.SIGKILL)
    async with asyncio.timeout(2):
        for pid in pids:
            await gone(pid)
    await parent.communicate()
