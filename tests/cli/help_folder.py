"""A folder in which the commands that `--help` shows can be typed, and a run of the tour beside them."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orchestrator.cli.main import main
from orchestrator.errors import ExitCode
from orchestrator.hub.record_file import Recorder, create
from orchestrator.hub.recording import RecordingHub
from orchestrator.hub.settings import Settings
from orchestrator.store.tasks import Tasks
from tests.cli.task_files import BROKEN, fill, new
from tests.runtime.processes import ENVIRONMENT, ROOT

SECRET: Final = "sk_secret_" + "abcdefghijklm" * 3
KEY: Final = "sk_id_0123456789ab"
DEAD: Final = "3f2a9c41-0000"
READY: Final = "7d05be18-0000"
TOPOLOGY: Final = """\
version: 1
name: dispatch
hub: {key: "${HUB_KEY:-}"}
store: sqlite:///tasks.db
coordinators:
  desk: {handler: counting_desk:Desk, workers: [counter]}
workers:
  counter: {handler: counting_desk:Counter, replicas: 3, tasks: {delivery: at-least-once}}
users:
  reader: {asks: [desk]}
"""
SCRIPT: Final = f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m orchestrator "$@"\n'


@dataclass
class Folder:
    path: Path
    environ: Mapping[str, str]

    def fresh(self) -> None:
        """Have files be again what examples expect: those before may have changed them."""
        keys = {"secret_keys": [{"id": KEY, "secret": SECRET}]}
        (self.path / "keys.yaml").unlink(missing_ok=True)
        (self.path / "keys.yaml").touch(mode=0o600)
        (self.path / "keys.yaml").write_text(json.dumps(keys))
        for made in ("my-desk", "my-team", "deploy", "units"):
            shutil.rmtree(self.path / made, ignore_errors=True)
        for left in self.path.glob("tasks.db*"):
            left.unlink()
        if not (self.path / "run.jsonl.gz").exists():
            self._record(self.path / "run.jsonl.gz")

    def _record(self, path: Path) -> None:
        """Write the recording of a hub to which nothing happens."""
        create(path)
        recorder = Recorder(path)
        RecordingHub(Settings(), recorder.tell).begin(time.monotonic(), time.time())
        recorder.close()

    def fill_store(self) -> None:
        async def work(tasks: Tasks) -> None:
            await tasks.enqueue([new(DEAD, queue="counter")])
            (leased,) = (await tasks.claim("counter", "counter.1", lease=3600)).tasks
            await tasks.fail(leased.hold, BROKEN, retry=False)
            await tasks.enqueue([new(READY, queue="counter")])

        fill(self.path / "tasks.db", work)

    def shell(self, line: str) -> subprocess.CompletedProcess[str]:
        """Type a line into a shell."""
        return subprocess.run(
            ["bash", "-o", "pipefail", "-c", line],
            cwd=self.path,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @contextmanager
    def lasting(self, line: str, proof: str) -> Iterator[Lasting]:
        """Type a line whose command lasts, and wait until it has printed what proves that it works."""
        process = subprocess.Popen(
            [sys.executable, "-m", *shlex.split(line, comments=True)],
            cwd=self.path,
            env=self.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            lasting = Lasting(process)
            lasting.wait_for(proof)
            yield lasting
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()


class Lasting:
    """A command that goes on, and what it has printed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.printed: list[str] = []

    def wait_for(self, proof: str) -> re.Match[str]:
        assert self.process.stdout is not None
        while True:
            line = self.process.stdout.readline()
            self.printed.append(line)
            if found := re.search(proof, line):
                return found
            assert line, f"it ended with {self.process.wait(20)} before it printed {proof!r}: {''.join(self.printed)}"

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self._ended()

    def close_input(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.stdin = None
        return self._ended()

    def _ended(self) -> int:
        out, _ = self.process.communicate(timeout=30)
        self.printed.append(out)
        return self.process.returncode


@contextmanager
def help_folder() -> Iterator[Folder]:
    """Make the folder: the tour, the first topology that `init` writes with a store, a key and a kind of user, and a token."""
    with tempfile.TemporaryDirectory(prefix="o-", dir="/tmp") as name:
        path = Path(name)
        shutil.copy(ROOT / "examples.yaml", path)
        shutil.copytree(ROOT / "agents", path / "agents", ignore=shutil.ignore_patterns("__pycache__"))
        assert main(["init", name]) == ExitCode.DONE
        (path / "topology.yaml").write_text(TOPOLOGY)
        (path / "bin").mkdir()
        (path / "bin" / "orchestrator").write_text(SCRIPT)
        (path / "bin" / "orchestrator").chmod(0o700)
        environ = {
            **ENVIRONMENT,
            "TERM": "xterm-256color",
            "PATH": f"{path / 'bin'}{os.pathsep}{ENVIRONMENT['PATH']}",
            "HUB_KEY": f"{KEY}:{SECRET}",
        }
        folder = Folder(path, environ)
        folder.fresh()
        made = folder.shell("orchestrator token topology.yaml reader --sub alice > token.txt")
        assert made.returncode == ExitCode.DONE, made.stderr
        yield folder
