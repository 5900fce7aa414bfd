"""What changes a run while it lives: its files read again, other numbers of replicas, restarts, one after the other."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

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
    from orchestrator.runtime.supervisor import RollStopped

T = TypeVar("T")


class NotNow(OrchestratorError):
    """The run is ending, or has no files of its own."""


class NotRestarted(OrchestratorError):
    """A restart stopped on its way."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change that was begun."""

    sentence: str
    restarted: asyncio.Future[RollStopped | None]
    """Done when those who are restarted are ready again, or one of them failed for good."""
    added: tuple[str, ...] = ()


class Reloader:
    """Changes one run. What cannot be done raises an `OrchestratorError` with a sentence, and has changed nothing."""

    def __init__(self, loop: RunLoop, source: PlanSource | None, output: Output) -> None:
        self._loop, self._source, self._output = loop, source, output
        self._turn = asyncio.Lock()
        self._asked = asyncio.Event()
        self.adopted = asyncio.Event()
        """Set when other files, or others' handlers, may be those of the run."""

    # -- by signals, and by files that change

    def ask(self) -> None:
        """Have the files read again soon, and the outcome said in the log."""
        self._asked.set()

    async def follow(self) -> None:
        """Do what was asked for, until cancelled. The outcome is not waited for: what is wrong may be mended meanwhile."""
        outcome: asyncio.Task[None] | None = None
        try:
            while True:
                await self._asked.wait()
                self._asked.clear()
                try:
                    change = await self._read_again()
                except NotNow:
                    return
                except TopologyError as error:
                    self._output.say(
                        "error", "the files are read again: nothing was changed, because of mistakes in the files"
                    )
                    for problem in error.problems:
                        self._output.say("error", str(problem))
                except (OrchestratorError, OSError) as error:
                    self._output.say("error", f"the files are read again: nothing was changed: {error}")
                else:
                    self._output.say("info", f"the files are read again: {change.sentence}")
                    if outcome is not None:
                        outcome.cancel()  # it waits for the same replicas, or for what they were before
                    outcome = asyncio.create_task(self._tell_outcome(change), name="outcome of a reload")
        finally:
            if outcome is not None:
                outcome.cancel()
                await asyncio.gather(outcome, return_exceptions=True)

    async def _tell_outcome(self, change: Change) -> None:
        try:
            await self._settle(change)
        except NotRestarted as error:
            self._output.say("error", f"applied in part: {error}")
        else:
            self._output.say("info", f"applied: {change.sentence}")

    # -- by commands

    async def reload(self) -> str:
        """Read the files again and apply what is different; return what that was, when all that it concerns are ready, or
        have failed for good."""
        change = await self._read_again()
        await self._settle(change)
        return change.sentence

    async def scale(self, wished: Mapping[str, int]) -> str:
        """Have so many replicas of agents; return when all that were added are ready, or have failed for good."""
        async with self._turn:
            source = self._living()
            change = self._become(source, await apart(lambda: source.scaled(wished)), [])
        await self._settle(change)
        return change.sentence

    async def restart(self, names: Sequence[str], progress: Callable[[str], None]) -> str:
        """Restart agents or replicas, each when the one before is ready again."""
        self._living()
        peers = tuple(dict.fromkeys(peer for name in names for peer in self._peers(name)))
        if len(peers) > 1:
            progress(f"restarting {len(peers)} processes, each when the one before is ready")
        change = Change(f"restarted {', '.join(peers)}", self._loop.restart(peers))
        await self._settle(change)
        return change.sentence

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
        server = f"({name.strip('()')})"
        if self._loop.supervisor.has(server):
            return [server]
        known = dict.fromkeys(word for replica in self._loop.plan.here for word in (replica.agent, replica.peer_id))
        raise NotInRun(name, known)

    # -- the change itself

    async def _read_again(self) -> Change:
        async with self._turn:
            source = self._living()
            reading = await apart(source.read)
            return self._become(source, reading, [*self._outdated(), *self._failed()])

    def _become(self, source: PlanSource, reading: Reading, stale: Iterable[str]) -> Change:
        """Begin to be what was read. Whoever makes another change meanwhile does not wait for this one's outcome."""
        self._living()
        revision = revise(self._loop.plan, reading.plan)
        open_files.reserve(revision.plan)
        self._loop.apply(revision, reading.environ)
        source.adopt(reading)
        self.adopted.set()
        changed = [replica.peer_id for replica in revision.restarted]
        others = {*stale}.difference(changed)
        also = [replica.peer_id for replica in self._loop.plan.here if replica.peer_id in others]
        said = [] if also and not revision else [str(revision)]
        sentence = "; ".join([*said, *([f"restarts {', '.join(also)} with its code as it is now"] if also else [])])
        added = tuple(replica.peer_id for replica in revision.added)
        return Change(sentence, self._loop.restart((*changed, *also)), added)

    async def _settle(self, change: Change) -> None:
        """Wait until those whom a change concerns are ready, or never will be. Raises `NotRestarted`."""
        stopped = await change.restarted
        if stopped is not None:
            left = f"; not restarted: {', '.join(stopped.remaining)}" if stopped.remaining else ""
            raise NotRestarted(f"{stopped.name} did not come back: {stopped.because}{left}")
        settled, readiness = (Standing.READY, Standing.OVER), self._loop.readiness
        while any(name in readiness and readiness[name] not in settled for name in change.added):
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


async def apart(work: Callable[[], T]) -> T:
    """Do what blocks in a thread that nobody waits for when the process ends: an import may hang."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(cast("T", result))
        else:
            done.set_exception(error)

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as raised:  # noqa: BLE001 - it is raised where it is awaited
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="reading", daemon=True).start()
    return await done
