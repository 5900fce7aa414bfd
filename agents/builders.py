"""Team: a foreman calls out what there is to build, and each part is built by exactly one builder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import field
from typing import Final

from orchestrator import Context, Declined, Event, StreamTask, Team, agent, on_event, task

PATIENCE: Final = 10.0
"""Seconds that a foreman waits for the next part."""


class Build(StreamTask[str]):
    """The parts, with spaces between them; the answer is a line for each, as it is built."""

    prompt: str


class Wanted(Event):
    order: str
    parts: tuple[str, ...]


class Built(Event):
    order: str
    part: str


@agent
class Foreman:
    site: Team
    orders: dict[str, asyncio.Queue[tuple[str, str]]] = field(default_factory=dict, init=False)
    """By the id of the order: each part that was built, and who built it."""

    @task
    async def build(self, ask: Build, ctx: Context) -> AsyncIterator[str]:
        wanted = tuple(dict.fromkeys(ask.prompt.split()))
        done = self.orders[ctx.task_id] = asyncio.Queue()
        try:
            await self.site.publish(Wanted(order=ctx.task_id, parts=wanted))
            left = set(wanted)
            while left:
                try:
                    async with asyncio.timeout(PATIENCE):
                        part, builder = await done.get()
                except TimeoutError:
                    raise Declined(f"nobody built {' or '.join(sorted(left))} within {PATIENCE:g} s") from None
                if part in left:
                    left.remove(part)
                    yield f"{builder} built {part}\n"
        finally:
            del self.orders[ctx.task_id]

    @on_event
    async def collect(self, event: Built, ctx: Context) -> None:
        if event.order in self.orders:
            await self.orders[event.order].put((event.part, ctx.sender))


@agent
class Builder:
    site: Team
    finished: set[tuple[str, str]] = field(default_factory=set, init=False)

    @on_event
    async def build(self, event: Wanted, ctx: Context) -> None:
        for part in event.parts:
            async with self.site.claim(f"{event.order}/{part}") as claim:
                if claim is None or (event.order, part) in self.finished:
                    continue  # somebody else builds it, or has built it
                ctx.log.info("built", part=part)
                await self.site.publish(Built(order=event.order, part=part))
                self.finished.add((event.order, part))

    @on_event
    async def heard(self, event: Built) -> None:
        self.finished.add((event.order, event.part))
