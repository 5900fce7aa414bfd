"""What changes a run while it lives: its files read again, other numbers of replicas, restarts, one after the other."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import OrchestratorError, TopologyError
from orchestrator.runtime import open_files
from orchestrator.runtime.operator_wire import NotInRun
from orchestrator.runtime.readiness import Standing
from orchestrator.topology.revision import revise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from orchestrator.runtime.output import Output
    from orchestrator.runtime.plan_source import PlanSource, Reading
    from orchestrator.runtime.run_loop import RunLoop


class NotNow(OrchestratorError):
    """The run is ending, or has no files of its own."""


class NotRestarted(OrchestratorError):
    """A restart stopped on its way."""


class Reloader:
    """Changes one run. What cannot be done raises an `OrchestratorError` with a sentence, and has changed nothing."""

    def __init__(self, loop: RunLoop, source: PlanSource | None, output: Output) -> None:
        self._loop, self._source, self._output = loop, source, output
        self._turn = asyncio.Lock()
        self._asked = asyncio.Event()

    # -- by signals, and by files that change

    def ask(self) -> None:
        """Have the files read again soon, and the outcome said in the log."""
        self._asked.set()

    async def follow(self) -> None:
        """Do what was asked for, until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            try:
                self._output.say("info", f"read again: {await self.reload()}")
            except TopologyError as error:
                self._output.say("error", "read again: nothing was changed, because of mistakes in the files")
                for problem in error.problems:
                    self._output.say("error", str(problem))
            except NotNow:
                return
            except OrchestratorError as error:
                self._output.say("error", f"read again: {error}")

    # -- by commands

    async def reload(self) -> str:
        """Read the files again and apply what is different; return what that was."""
        async with self._turn:
            source = self._living()
            reading = await asyncio.to_thread(source.read)
            return await self._become(source, reading, [*self._outdated(), *self._failed()])

    async def scale(self, wished: Mapping[str, int]) -> str:
        """Have so many replicas of agents; return when all that were added are ready, or have failed for good."""
        async with self._turn:
            source = self._living()
            reading = await asyncio.to_thread(source.scaled, wished)
            return await self._become(source, reading, [])

    async def restart(self, names: Sequence[str], progress: Callable[[str], None]) -> str:
        """Restart agents or replicas, each when the one before is ready again."""
        async with self._turn:
            self._living()
            peers = list(dict.fromkeys(peer for name in names for peer in self._peers(name)))
            if len(peers) > 1:
                progress(f"restarting {len(peers)} processes, each when the one before is ready")
            await self._restart(peers)
            return f"restarted {', '.join(peers)}"

    def _living(self) -> PlanSource:
        if self._loop.supervisor.stopping:
            raise NotNow("the run is ending")
        if self._source is None:
            raise NotNow("this run was given its plan, and has no files to read again")
        return self._source

    def _peers(self, name: str) -> list[str]:
        """Return the replicas that a name means, of those that this run starts. Raises `NotInRun`."""
        found = [replica.peer_id for replica in self._loop.plan.here if name in (replica.peer_id, replica.agent)]
        if found:
            return found
        if name in self._loop.lives.sources and name.startswith("(") and self._loop.supervisor.has(name):
            return [name]
        known = dict.fromkeys(word for replica in self._loop.plan.here for word in (replica.agent, replica.peer_id))
        raise NotInRun(name, known)

    # -- the change itself

    async def _become(self, source: PlanSource, reading: Reading, stale: Iterable[str]) -> str:
        if self._loop.supervisor.stopping:
            raise NotNow("the run is ending")
        revision = revise(self._loop.plan, reading.plan)
        open_files.reserve(revision.plan)
        self._loop.apply(revision, reading.environ)
        source.adopt(reading)
        changed = [replica.peer_id for replica in revision.restarted]
        others = {*stale}.difference(changed)
        also = [replica.peer_id for replica in self._loop.plan.here if replica.peer_id in others]
        await self._restart([*changed, *also])
        await self._until_settled([replica.peer_id for replica in revision.added])
        said = [] if also and not revision else [str(revision)]
        return "; ".join([*said, *([f"restarts {', '.join(also)} with its code as it is now"] if also else [])])

    async def _restart(self, names: Sequence[str]) -> None:
        stopped = await self._loop.restart(names)
        if stopped is not None:
            left = f"; not restarted: {', '.join(stopped.remaining)}" if stopped.remaining else ""
            raise NotRestarted(f"{stopped.name} did not come back: {stopped.because}{left}")

    async def _until_settled(self, names: Sequence[str]) -> None:
        settled = (Standing.READY, Standing.OVER)
        readiness = self._loop.readiness
        while any(name in readiness and readiness[name] not in settled for name in names):
            if self._loop.supervisor.stopping:
                return
            await self._loop.changed()

    def _failed(self) -> list[str]:
        """Return those that have failed for good: what has been mended since, nobody can tell."""
        return list(self._loop.supervisor.failed)

    def _outdated(self) -> list[str]:
        """Return the replicas with a file that has changed since their process has imported it."""
        times: dict[str, int | None] = {}
        for file in {file for files in self._loop.lives.files.values() for file in files}:
            try:
                times[file] = Path(file).stat().st_mtime_ns
            except OSError:
                times[file] = None
        return [
            name
            for name, files in self._loop.lives.files.items()
            if any(times[file] != changed for file, changed in files.items())
        ]
