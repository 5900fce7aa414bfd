"""A small run that commands talk to: a process of its own, for as long as a block lasts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.runtime.processes import ENVIRONMENT

KEY = "sk_id_talking:sk_secret_" + "t" * 40
APP = """
import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from orchestrator import Declined, StreamTask, Task, Workers, agent, task


class Tell(StreamTask[str]):
    prompt: str


class Add(Task[int]):
    numbers: list[int]


class Count(StreamTask[int]):
    upto: int


class Keep(Task[str]):
    word: str


@agent
class Teller:
    @task
    async def tell(self, ask: Tell) -> AsyncIterator[str]:
        if ask.prompt == "no":
            raise Declined("not today")
        yield "\\x1b[31m" if ask.prompt == "red" else "You said: "
        try:
            if ask.prompt.startswith("forever"):
                while True:
                    yield "more "
                    await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            Path(ask.prompt).touch()
            raise
        for word in ask.prompt.split():
            yield f"{word} "


@agent
class Adder:
    @task
    async def add(self, job: Add) -> int:
        return sum(job.numbers)

    @task
    async def count(self, job: Count) -> AsyncIterator[int]:
        for number in range(job.upto):
            yield number


@agent
class Keeper:
    @task
    async def keep(self, job: Keep) -> str:
        if job.word == "no":
            raise Declined("not this word")
        Path(job.word).touch()
        return job.word.upper()


@agent
class Boss:
    workers: Workers
"""
TOPOLOGY = """
version: 1
name: talk
store: "memory:"
hub: {key: "${KEY}"}
coordinators:
  boss: {handler: app:Boss, workers: [adder, keeper]}
workers:
  adder: {handler: app:Adder, replicas: 2, capabilities: [sums]}
  keeper: {handler: app:Keeper, tasks: {delivery: at-least-once, max_attempts: 2, backoff: {delay: 10ms}}}
agents:
  teller: {handler: app:Teller}
presence:
  hall: {members: [adder, teller]}
"""


class Talked:
    """The run; commands are typed in its `folder`."""

    def __init__(self, folder: Path, process: subprocess.Popen[str]) -> None:
        self.folder, self.process = folder, process

    def start(self, *words: str, typed: bool = False, **more: str) -> subprocess.Popen[str]:
        """Start a command as a process of its own; `typed` = its standard input is a pipe, `more` its variables."""
        process: subprocess.Popen[str] = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", *words],
            cwd=self.folder,
            env={**ENVIRONMENT, **more},
            stdin=subprocess.PIPE if typed else None,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return process


@contextmanager
def talked() -> Iterator[Talked]:
    with tempfile.TemporaryDirectory(prefix="o-", dir="/tmp") as name:
        folder = Path(name)
        (folder / "app.py").write_text(APP)
        (folder / "talk.yaml").write_text(TOPOLOGY)
        process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", "run", "talk.yaml", "--log", "json", "--grace", "2"],
            cwd=folder,
            env={**ENVIRONMENT, "KEY": KEY},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if line.startswith("{") and "ready in" in json.loads(line)["event"]:
                break
        else:
            raise AssertionError("".join(said))
        reading = threading.Thread(target=process.stderr.read)  # or it would wait for room in the pipe
        reading.start()
        try:
            yield Talked(folder, process)
        finally:
            os.kill(process.pid, signal.SIGTERM)
            process.wait(20)
            reading.join()
            process.stderr.close()
