"""A newsroom: an editor has each topic looked into by one of its researchers, a program of another kind puts a
headline over it, checkers confirm each fact once among themselves, and a writer streams the piece."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import field
from typing import Final

from pydantic import BaseModel

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
    every,
    on_event,
    on_presence,
    task,
)

PATIENCE: Final = 10.0
"""Seconds that the editor waits for the facts to be confirmed."""


class Fact(BaseModel):
    topic: str
    letters: int


class Commission(StreamTask[str]):
    """Topics, with commas between them; the answer is the piece, word by word."""

    prompt: str


class Research(Task[Fact]):
    topic: str


class Shout(Task[str]):
    """Done by a program that knows nothing of this module: what it takes is said in the topology."""

    text: str


class Write(StreamTask[str]):
    headline: str
    facts: tuple[Fact, ...]


class Found(Event):
    piece: str
    facts: tuple[Fact, ...]


class Confirmed(Event):
    piece: str
    topic: str


@agent
class Editor:
    workers: Workers
    desk: Team
    open: dict[str, asyncio.Queue[tuple[str, str]]] = field(default_factory=dict, init=False)
    """By the id of the piece: each topic that was confirmed, and by whom."""

    @task
    async def commission(self, ask: Commission, ctx: Context) -> AsyncIterator[str]:
        topics = list(dict.fromkeys(topic.strip() for topic in ask.prompt.split(",") if topic.strip()))
        if not topics:
            raise Declined("there is no topic: name some, with commas between them")
        facts = [fact async for fact in self.workers.map([Research(topic=topic) for topic in topics], ordered=True)]
        headline = await self.workers.run(Shout(text=" and ".join(topics)))
        confirmed = await self._confirmed(ctx.task_id, facts)
        async for words in self.workers.stream(Write(headline=headline, facts=tuple(facts))):
            yield words
        yield f"Confirmed by {', '.join(sorted(set(confirmed.values())))}.\n"

    async def _confirmed(self, piece: str, facts: list[Fact]) -> dict[str, str]:
        """Return who confirmed each topic."""
        heard = self.open[piece] = asyncio.Queue()
        confirmed: dict[str, str] = {}
        try:
            await self.desk.publish(Found(piece=piece, facts=tuple(facts)))
            async with asyncio.timeout(PATIENCE):
                while len(confirmed) < len(facts):
                    topic, checker = await heard.get()
                    confirmed[topic] = checker
        except TimeoutError:
            raise Declined(f"nobody confirmed the facts within {PATIENCE:g} s") from None
        finally:
            del self.open[piece]
        return confirmed

    @on_event
    async def hear(self, event: Confirmed, ctx: Context) -> None:
        if event.piece in self.open:
            self.open[event.piece].put_nowait((event.topic, ctx.sender))


@agent
class Researcher:
    @task(idempotent=True)
    async def research(self, job: Research) -> Fact:
        return Fact(topic=job.topic, letters=sum(map(str.isalpha, job.topic)))


@agent
class Writer:
    @task
    async def write(self, job: Write) -> AsyncIterator[str]:
        yield f"{job.headline}\n"
        for fact in job.facts:
            for word in f"{fact.topic} has {fact.letters} letters.".capitalize().split():
                yield f"{word} "
            yield "\n"


@agent
class Checker:
    desk: Team
    done: set[tuple[str, str]] = field(default_factory=set, init=False)

    @on_event
    async def confirm(self, event: Found, ctx: Context) -> None:
        for fact in event.facts:
            async with self.desk.claim(f"{event.piece}/{fact.topic}") as claim:
                if claim is None or (event.piece, fact.topic) in self.done:
                    continue  # another checker has it, or had it
                ctx.log.info("confirmed", topic=fact.topic)
                await self.desk.publish(Confirmed(piece=event.piece, topic=fact.topic))
                self.done.add((event.piece, fact.topic))

    @on_event
    async def heard(self, event: Confirmed) -> None:
        self.done.add((event.piece, event.topic))


class Who(StreamTask[str]):
    """Names those in the lobby whose peer id begins with the prompt."""

    prompt: str


@agent
class Concierge:
    lobby: Presence
    came: int = field(default=0, init=False)

    @on_presence
    async def notice(self, change: Joined | Left, ctx: Context) -> None:
        self.came += isinstance(change, Joined)
        ctx.log.debug("in the lobby", who=change.peer.id, change=type(change).__name__)

    @task
    async def who(self, ask: Who) -> AsyncIterator[str]:
        for peer in sorted(self.lobby.peers):
            if peer.startswith(ask.prompt):
                yield f"{peer} is in\n"

    @every("30s")
    async def count(self, ctx: Context) -> None:
        ctx.log.info("so far", came=self.came)
