"""Agents that do what a run has to survive: they leave processes behind, hear no signal, and stand still.

Whatever they start can be told by the file that MARK in the environment names: it is among its words, or open in it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NoReturn

from orchestrator import Context, Task, Workers, agent, every, task
from orchestrator.errors import OrchestratorError

MARK: Final = "MARK"
LONGER_THAN_ANY_TEST: Final = 1000
DEAF: Final = "trap '' TERM INT HUP; "


def detached(become: Callable[[], NoReturn]) -> None:
    """Have a process of nobody's, in a session of its own within another, without any file of ours."""
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    os.setsid()
    os.closerange(0, 256)
    become()


def stripped() -> NoReturn:
    """Be a program that nothing was handed to."""
    os.execve("/bin/sh", ["sh", "-c", f"exec tail -f {os.environ[MARK]}"], {})


def dressed() -> NoReturn:
    """Be a program with the environment of whoever started it."""
    os.execv("/bin/sh", ["sh", "-c", f"{DEAF} exec tail -f {os.environ[MARK]}"])


def copied() -> NoReturn:
    """Go on as a copy of whoever started it."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.open(os.environ[MARK], os.O_RDONLY)
    while True:
        signal.pause()


def hold_mark() -> None:
    os.open(os.environ[MARK], os.O_RDONLY)


class Step(Task[str]):
    number: int


@agent
class Chief:
    workers: Workers
    number: int = field(default=0, init=False)

    @every("20ms")
    async def hand_out(self, ctx: Context) -> None:
        self.number += 1
        try:
            await self.workers.run(Step(number=self.number))
        except OrchestratorError as error:
            ctx.log.info("not done", error=str(error))
        else:
            ctx.log.info("done", number=self.number)


@agent
class Worker:
    """Leaves processes behind."""

    async def setup(self) -> None:
        hold_mark()
        for become in (stripped, dressed, copied):
            detached(become)

    @task
    async def step(self, step: Step) -> str:
        return str(step.number)


@agent
class Deaf:
    """Ends at no signal that can be ignored, and has a child of that kind."""

    async def setup(self) -> None:
        hold_mark()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        subprocess.Popen(["sh", "-c", f"{DEAF} tail -f {os.environ[MARK]}"], start_new_session=True)  # noqa: ASYNC220


@agent
class Stuck:
    """Stands still where no signal is looked at by Python, and nothing is heard."""

    async def setup(self) -> None:
        hold_mark()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)

    @every("20ms")
    async def stand_still(self, ctx: Context) -> None:
        ctx.log.info("stands still")
        time.sleep(LONGER_THAN_ANY_TEST)  # noqa: ASYNC251


@agent
@dataclass
class Crasher:
    """Crashes at once, and leaves processes behind."""

    async def setup(self) -> None:
        for become in (stripped, dressed, copied):
            detached(become)
        os._exit(1)
