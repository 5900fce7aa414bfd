"""What a run is started for, where it is not to go on until it is told to end: questions, and tasks that are to be done."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from orchestrator.errors import ExitCode, OrchestratorError
from orchestrator.runtime.asking import Asker
from orchestrator.runtime.summary import counted
from orchestrator.runtime.trace_export import exporting
from orchestrator.topology.references import ASKER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from orchestrator.runtime.asking import Question
    from orchestrator.runtime.idling import Idling
    from orchestrator.runtime.lives import Seat
    from orchestrator.runtime.output import Output
    from orchestrator.topology.plan import Plan

LAST_WORDS: Final = 2.0
"""Seconds that an answer which has come has to be written when everybody who could say more has ended."""


class Console:
    """What is printed here goes into the log: standard output is for answers."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def write(self, text: str) -> None:
        self._output.say("info", text.rstrip())

    def flush(self) -> None:
        """Nothing is held back."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The questions are over, and no task is waited for any more; `code` is their outcome."""

    code: int


class NeverReady(OrchestratorError):
    """A replica has failed for good before anything could be asked or waited for."""


class Errand:
    """Puts the questions once all replicas are ready, then waits for the tasks, and reports the outcome of both, once."""

    def __init__(
        self,
        questions: Sequence[Question],
        plan: Plan,
        seat: Seat,
        output: Output,
        report: Callable[[Answered], None],
        *,
        until_idle: bool,
        timeout: float | None,
        environ: Mapping[str, str],
    ) -> None:
        """`timeout`: seconds for all of it, getting ready included; `None` = no limit. `environ` may say where spans go."""
        self._environ = environ
        self._questions, self._plan, self._seat, self._output, self._report = questions, plan, seat, output, report
        self._until_idle, self._timeout = until_idle, timeout
        self._task: asyncio.Task[None] | None = None
        self.settled = asyncio.Event()
        """All replicas are ready at once, or it is known that they will not be."""
        self.lost = 0
        """Replicas that will never be ready."""
        self.interrupted = False
        """A signal has asked the run to end."""
        self._idling = False
        self._code: int = ExitCode.FAILED

    def start(self, tasks: asyncio.TaskGroup) -> None:
        if self._questions or self._until_idle:
            self._task = tasks.create_task(self._go(), name="errand")

    def interrupt(self) -> bool:
        """A signal has asked the run to end: an answer that is coming is heard to its end, but nothing else is waited
        for. Return whether there was something that is now left undone."""
        self.interrupted = True
        if self._task is None or not (self._idling or not self.settled.is_set()):
            return False
        self._task.cancel()  # nothing was asked yet, or all was, and nobody takes anything new from now on
        self._task = None
        return True

    async def end(self) -> int | None:
        """The run has ended, and this with it soon: return its outcome, `None` where there is no more to say.

        The last of an answer may be on its way to its reader still.
        """
        task, self._task = self._task, None
        if task is None:
            return None
        await asyncio.wait([task], timeout=LAST_WORDS)
        if not task.done():
            task.cancel()
            return ExitCode.FAILED
        return self._code

    async def _go(self) -> None:
        limit, late = asyncio.timeout(self._timeout), "no complete answer came"
        try:
            async with limit, self._counting() as idling:
                await self.settled.wait()
                if self.lost:
                    what = "asked" if self._questions else "waited for"
                    raise NeverReady(f"nothing was {what}, because {counted(self.lost, 'replica')} will never be ready")
                if self._questions:
                    user, trusted = self._plan.user(ASKER), self._seat.trusted
                    asker = Asker(self._seat.url, user, self._seat.key, self._output, trusted=trusted)
                    async with self._traced():
                        await asker.ask(self._questions, lambda: self.interrupted)
                if idling is not None:
                    self._idling, late = True, "tasks are still open: they were not done"
                    await idling.wait()
            code = ExitCode.DONE
        except OrchestratorError as error:
            self._output.say("error", str(error))
            code = error.exit_code
        except OSError as error:
            if limit.expired():
                self._output.say("error", f"{late} within {self._timeout:g} s")
                code = ExitCode.TIMED_OUT
            else:
                self._output.say("error", f"the answer could not be written: {(error.strerror or str(error)).lower()}")
                code = ExitCode.FAILED
        self._code = code
        self._report(Answered(code))

    def _traced(self) -> AbstractAsyncContextManager[None]:
        """While entered, questions are traced, if the environment says so."""
        named = {"service.instance.id": ASKER}
        warn = partial(self._output.say, "warning")
        return exporting(self._environ, self._plan.name, named, warn, console=Console(self._output))

    @asynccontextmanager
    async def _counting(self) -> AsyncIterator[Idling | None]:
        """Know of the tasks that end in the store, where the run is to end with them."""
        if not self._until_idle or self._plan.store is None:
            yield None
            return
        from orchestrator.runtime.idling import Idling  # a run without it loads no way to the store into its parent

        seat = None if self._seat.store is None else self._seat.store[0]
        async with Idling(self._plan, seat, self._output) as idling:
            yield idling
