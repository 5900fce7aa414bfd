"""A code desk: a lead hands the files of a Python package to reviewers, checkers divide the worst among themselves
and look again, and a narrator writes the report while it is being read."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from agents.source_advice import advise
from agents.source_files import NoSource, SourceFile, Sources, find_sources
from agents.source_metrics import NOT_PYTHON, FileReport, measure
from agents.source_report import Look, Summary, Trouble, counted, summarise, worst_files, write_report
from orchestrator import (
    Context,
    Declined,
    Event,
    Joined,
    Left,
    Presence,
    StreamTask,
    Task,
    Team,
    Workers,
    agent,
    on_event,
    on_presence,
    task,
)
from orchestrator.errors import OrchestratorError

IN_FLIGHT: Final = 12
"""Files handed out at once: enough to keep a handful of reviewers busy, few enough that none waits for its turn long."""
ROUNDS: Final = 4
"""How often the desk is asked for what is missing: a checker that dies with a file in its hands is back, or another
one is free, by the next round."""
REMEMBERED: Final = 100
"""Reviews whose second looks a checker remembers."""
_WORDS: Final = re.compile(r"\s*\S+\s*|\s+")
MOST_BYTES: Final = 16_777_216
"""Of a file that is reviewed; larger ones are data in the shape of Python."""


class Review(StreamTask[str]):
    """Review a package, a directory or a file; the answer is the report, as it is written."""

    prompt: str


class ReviewFile(Task[FileReport]):
    path: str
    name: str


class Narrate(StreamTask[str]):
    summary: Summary


class WorstFiles(Event):
    """These files of a review want a second look."""

    review: str
    files: tuple[SourceFile, ...]


class SecondLook(Event):
    review: str
    look: Look


@dataclass
class Desk:
    """The second looks of one review that are still to come, and those that are there."""

    waiting: set[str]
    looks: dict[str, Look] = field(default_factory=dict)
    complete: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, look: Look) -> None:
        if look.file in self.waiting:
            self.waiting.remove(look.file)
            self.looks[look.file] = look
        if not self.waiting:
            self.complete.set()


@agent
class Lead:
    """Splits a review into files, and puts together what the others find."""

    workers: Workers
    desk: Team
    patience: float = 4.0
    """Seconds that one round of second looks may take."""
    open: dict[str, Desk] = field(default_factory=dict, init=False)
    """By the id of the review: several may be under way."""

    @task
    async def review(self, ask: Review, ctx: Context) -> AsyncIterator[str]:
        try:
            sources = await asyncio.to_thread(find_sources, ask.prompt)
        except NoSource as error:
            raise Declined(str(error)) from None
        yield f"Reviewing {counted(len(sources.files), 'file')} ...\n"
        reports, unreviewed = await self._hand_out(sources, ctx)
        ctx.log.info("all files are back", reviewed=len(reports), failed=len(unreviewed))
        paths = {file.name: file for file in sources.files}
        worst = [paths[report.file] for report in worst_files(reports)]
        if worst:
            yield f"Looking again at the {counted(len(worst), 'file')} with the most complex functions ...\n"
        looks = await self._look_again(worst, ctx)
        missing = [file.name for file in worst if file.name not in looks]
        yield "\n"
        summary = summarise(ask.prompt.strip(), reports, unreviewed, list(looks.values()), missing)
        async for words in self.workers.stream(Narrate(summary=summary)):
            yield words

    async def _hand_out(self, sources: Sources, ctx: Context) -> tuple[list[FileReport], list[Trouble]]:
        """Have every file reviewed once; whatever becomes of one does not touch the others."""
        reports: list[FileReport] = []
        unreviewed = [Trouble(file=name, sentence=why) for name, why in sources.refused]
        slots = asyncio.Semaphore(IN_FLIGHT)
        total, told = len(sources.files), 0

        async def one(file: SourceFile) -> None:
            nonlocal told
            async with slots:
                try:
                    reports.append(await self.workers.run(ReviewFile(path=file.path, name=file.name)))
                except OrchestratorError as error:
                    ctx.log.warning("not reviewed", file=file.name, reason=str(error))
                    unreviewed.append(Trouble(file=file.name, sentence=str(error)))
            tenths = 10 * len(reports) // total
            if tenths > told:
                told = tenths
                ctx.progress(len(reports) / total, f"{len(reports)} of {total} files reviewed")

        async with asyncio.TaskGroup() as group:
            for file in sources.files:
                group.create_task(one(file))
        return reports, sorted(unreviewed, key=lambda trouble: trouble.file)

    async def _look_again(self, files: list[SourceFile], ctx: Context) -> dict[str, Look]:
        """Return the second looks by file name, without those that nobody took in time."""
        review = ctx.task_id
        desk = self.open[review] = Desk(waiting={file.name for file in files})
        try:
            for _ in range(ROUNDS if files else 0):
                await self.desk.publish(
                    WorstFiles(review=review, files=tuple(file for file in files if file.name in desk.waiting))
                )
                try:
                    async with asyncio.timeout(self.patience):
                        await desk.complete.wait()
                    break
                except TimeoutError:
                    ctx.log.warning("second looks are missing", files=sorted(desk.waiting))
                if not self.desk.members:
                    break
        finally:
            del self.open[review]
        return {file.name: desk.looks[file.name] for file in files if file.name in desk.looks}

    @on_event
    async def collect(self, event: SecondLook, ctx: Context) -> None:
        desk = self.open.get(event.review)
        if desk is not None:
            desk.add(event.look.model_copy(update={"checker": ctx.sender}))


@agent
class Reviewer:
    """Measures one file at a time. Idempotent: a file may be measured twice, nothing is changed by it."""

    @task(idempotent=True)
    def review(self, job: ReviewFile, ctx: Context) -> FileReport:
        try:
            source = read_source(job.path)
        except OSError as error:
            raise Unreadable(f"{job.name} cannot be read: {error.strerror or error}") from None
        report = measure(source, job.name)
        ctx.log.info("reviewed", file=job.name, functions=report.functions)
        return report


class Unreadable(Exception):
    """A file is gone, or is none that can be reviewed."""


def read_source(path: str) -> bytes:
    """Read a file. Raises `OSError`, also for what is no ordinary file, or an enormous one."""
    file = Path(path)
    if not file.is_file():
        raise OSError("it is gone, or no ordinary file")
    if file.stat().st_size > MOST_BYTES:
        raise OSError(f"it is larger than {MOST_BYTES // 2**20} MiB")
    return file.read_bytes()


@agent
class Checker:
    """Takes another look at the worst files; of several checkers, each file has one."""

    desk: Team
    done: dict[str, set[str]] = field(default_factory=dict, init=False)
    """By the id of the review: the files that somebody has looked at again."""
    mine: set[tuple[str, str]] = field(default_factory=set, init=False)
    """Review and file of what this checker claims at the moment: it may be asked again while it looks."""

    @on_event
    async def look_again(self, event: WorstFiles, ctx: Context) -> None:
        for file in event.files:
            if (event.review, file.name) in self.mine or self._is_done(event.review, file):
                continue
            self.mine.add((event.review, file.name))
            try:
                await self._claim(event.review, file, ctx)
            finally:
                self.mine.discard((event.review, file.name))

    async def _claim(self, review: str, file: SourceFile, ctx: Context) -> None:
        async with self.desk.claim(f"{review}/{file.name}") as claim:
            if claim is None or self._is_done(review, file):
                return
            ctx.log.info("claim won", file=file.name)
            look = await asyncio.to_thread(second_look, file)
            # Told before the claim is given back, so that whoever asks for it next knows that the work is done.
            await self.desk.publish(SecondLook(review=review, look=look))
            self._done(review).add(file.name)

    @on_event
    async def heard(self, event: SecondLook) -> None:
        self._done(event.review).add(event.look.file)

    def _is_done(self, review: str, file: SourceFile) -> bool:
        return file.name in self._done(review)

    def _done(self, review: str) -> set[str]:
        if review not in self.done:
            while len(self.done) >= REMEMBERED:
                del self.done[next(iter(self.done))]
            self.done[review] = set()
        return self.done[review]


def second_look(file: SourceFile) -> Look:
    try:
        return Look(file=file.name, advice=advise(read_source(file.path)))
    except (OSError, *NOT_PYTHON) as error:
        return Look(file=file.name, problem=f"it changed since it was reviewed: {error}")


@agent
class Narrator:
    """Writes the report a few words at a time, as a language model would."""

    pace: float = 0.002
    """Seconds for each of them: people are to see it being written."""

    @task
    async def narrate(self, job: Narrate) -> AsyncIterator[str]:
        for line in write_report(job.summary):
            for words in _WORDS.findall(line):
                yield words
                await asyncio.sleep(self.pace)


@agent
class Concierge:
    """Greets whoever comes to the lobby, and says goodbye."""

    lobby: Presence

    @on_presence
    async def greet(self, change: Joined | Left, ctx: Context) -> None:
        online = len(self.lobby.peers)
        if isinstance(change, Joined):
            ctx.log.info("welcome", who=change.peer.id, online=online)
        else:
            ctx.log.info("goodbye", who=change.peer.id, reason=change.reason, online=online)
