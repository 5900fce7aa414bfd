"""Agents that fail in every way that they can, with something secret at hand each time."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator

import structlog

from orchestrator import StreamTask, Task, Workers, agent, task
from orchestrator.errors import DispatchError, ExitCode

log = structlog.get_logger()


class Spill(Task[str]):
    pass


class Ask(StreamTask[str]):
    prompt: str


def signed() -> str:
    """Return what looks like a token, made here so that no line of source holds one."""
    return ".".join(("eyJ" + "h" * 20, "eyJ" + "s" * 40, "x" * 43))


@agent
class Boss:
    workers: Workers

    @task
    async def ask(self, ask: Ask) -> AsyncIterator[str]:
        try:
            yield await self.workers.run(Spill())
        except DispatchError as error:
            yield f"{type(error).__name__}: {error}"


@agent
class Raiser:
    @task
    async def spill(self, job: Spill) -> str:
        token = signed()
        if token:
            raise RuntimeError("no luck today")
        return token


@agent
class Teller:
    """Says all that is in its environment, and starts a process that inherits it."""

    def setup(self) -> None:
        log.debug("my environment", environ=dict(os.environ), arguments=sys.argv)
        print(dict(os.environ), flush=True)
        self.child = subprocess.Popen(["sleep", "600"])

    def teardown(self) -> None:
        self.child.kill()
        self.child.wait()


@agent
class Victim:
    """Is killed by whoever likes to."""


@agent
class Misfit:
    async def setup(self) -> None:
        token = signed()
        sys.exit(ExitCode.INVALID if token else ExitCode.DONE)


@agent
class Unready:
    async def setup(self) -> None:
        token = signed()
        if token:
            raise LookupError("nothing is there")


@agent
class Babbler:
    """Sends back what it was never asked for, and a message that has lost its end."""

    async def setup(self) -> None:
        token = signed()
        os.write(
            int(sys.argv[1]), f'{{"type": "token", "request": 1, "token": "{token}"}}\n{{"token": "{token}'.encode()
        )
