"""`orchestrator run` as its users start it: a process of its own, followed by what it says."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.canary import found_in_text, know, overheard

ROOT = Path(__file__).parents[2]
TOUR = "examples.yaml"
Record = dict[str, Any]


class Running:
    """One run. `records` are its log records so far, in order; `answer` is what it has written to standard output."""

    def __init__(self, process: asyncio.subprocess.Process, environ: Mapping[str, str]) -> None:
        self.process = process
        self._places = [Path(environ[name]) for name in ("XDG_RUNTIME_DIR", "TMPDIR") if name in environ]
        self.records: list[Record] = []
        self.answer = ""
        self._more = asyncio.Condition()
        self._readers: list[asyncio.Task[None]] = []

    @property
    def pid(self) -> int:
        return self.process.pid

    def pids(self) -> dict[str, int]:
        """The newest pid of each replica that has been ready, and of the hub."""
        return {who(record): record["pid"] for record in self.records if record["event"] == "ready"}

    async def until(self, fits: Callable[[Record], bool], *, after: int = 0, seconds: float = 30.0) -> Record:
        """Wait for a record that fits, from number `after` on."""
        try:
            async with asyncio.timeout(seconds), self._more:
                while True:
                    for record in self.records[after:]:
                        if fits(record):
                            return record
                    if all(reader.done() for reader in self._readers):
                        raise AssertionError(f"the run ended before that was said:\n{self.said()}")
                    await self._more.wait()
        except TimeoutError:
            raise AssertionError(f"that was not said within {seconds:g} s:\n{self.said()}") from None

    async def ready(self, *, after: int = 0) -> Record:
        return await self.until(lambda record: "ready in" in record["event"], after=after)

    async def ended(self, seconds: float = 30.0) -> int:
        async with asyncio.timeout(seconds):
            await asyncio.gather(*self._readers)
            return await self.process.wait()

    def said(self) -> str:
        return "\n".join(json.dumps(record) for record in self.records)

    def with_event(self, event: str) -> list[Record]:
        return [record for record in self.records if record["event"] == event]

    def follow(self) -> None:
        self._readers = [asyncio.create_task(self._read_log()), asyncio.create_task(self._read_answer())]

    async def _read_log(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            text = line.decode()
            record = json.loads(text) if text.startswith("{") else {"event": text.rstrip("\n"), "raw": True}
            if record["event"] == "ready" and who(record) == "store":
                self._know_operator()
            async with self._more:
                self.records.append(record)
                self._more.notify_all()
        async with self._more:
            self._more.notify_all()

    def _know_operator(self) -> None:
        """Have the secret looked for that opens the store of this run."""
        for place in (*self._places, Path(tempfile.gettempdir())):
            for pattern in ("", "orchestrator-*/"):
                for file in place.glob(f"{pattern}orchestrator-*-{self.pid}-*/operator"):
                    know(file.read_text("ascii"), "the secret of the store's operator")

    async def _read_answer(self) -> None:
        assert self.process.stdout is not None
        while text := await self.process.stdout.read(65_536):
            self.answer += text.decode()


def who(record: Record) -> str:
    """Name the replica, or the process that is none, that a record is about."""
    return str(record.get("peer") or record.get("process"))


@asynccontextmanager
async def running(
    *arguments: str,
    directory: Path = ROOT,
    environ: Mapping[str, str] | None = None,
    own_group: bool = False,
    before: Sequence[str] = (),
) -> AsyncIterator[Running]:
    """Start ``orchestrator run …``; whatever is left of it when the block ends is killed.

    `own_group`: in a process group of its own, as a terminal's shell would. `before`: the command that starts it.
    """
    given = {**os.environ, "PYTHONPATH": str(ROOT), **(environ or {})}
    with tempfile.TemporaryDirectory(prefix="o-") as folder:
        if arguments[0] == TOUR:  # several tests run it at once, and one file is run once at a time
            shutil.copy(ROOT / TOUR, folder)
            arguments = (str(Path(folder, TOUR)), "--app-dir", str(ROOT), *arguments[1:])
        async with _running(arguments, directory, given, own_group=own_group, before=before) as run:
            yield run


@asynccontextmanager
async def _running(
    arguments: Sequence[str], directory: Path, given: Mapping[str, str], *, own_group: bool, before: Sequence[str]
) -> AsyncIterator[Running]:
    process = await asyncio.create_subprocess_exec(
        *before,
        *(sys.executable, "-m", "orchestrator", "run"),
        *arguments,
        "--log",
        "json",
        cwd=directory,
        env=given,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        process_group=0 if own_group else None,
        limit=1 << 24,
    )
    run = Running(process, given)
    run.follow()
    try:
        yield run
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
            try:
                await run.ended(seconds=15)
            except TimeoutError:
                process.kill()
                await process.wait()
        overheard.extend(found_in_text(run.said() + run.answer, "what a run said"))


def descendants(pid: int) -> list[int]:
    """The children of a process, their children, and so on."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if fields[0] != "Z":
            parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, queue = [], [pid]
    while queue:
        children = parents.get(queue.pop(), [])
        found += children
        queue += children
    return found
