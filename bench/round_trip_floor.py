"""What the figures of `bench/round_trip.py` are held against: the same answers over two bare clients, and nothing else."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from typing import Any, Self

import structlog

from bench.lines import order, say
from bench.round_trip_agents import words
from orchestrator.client.connection import Client
from orchestrator.client.events import DirectReceived

WINDOW = 64
"""Messages of a stream under way to the hub at once."""
ECHO = "floor-echo"


class Floor:
    """The end that asks: each message is a `send` with its ack, and so is each answer."""

    def __init__(self, url: str, token: str) -> None:
        self._client = Client(url, token=token)
        self._answers: dict[int, asyncio.Future[int]] = {}
        self._tokens: asyncio.Queue[str | None] = asyncio.Queue()
        self._following: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        await self._client.connect()
        self._following = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()
        await self._following

    async def ask(self, number: int) -> int:
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        await self._client.send(ECHO, {"number": number})
        return await answer

    async def stream(self, tokens: int) -> AsyncIterator[str]:
        await self._client.send(ECHO, {"tokens": tokens})
        while (token := await self._tokens.get()) is not None:
            yield token

    async def _follow(self) -> None:
        async for event in self._client.events():
            if isinstance(event, DirectReceived):
                data = json.loads(bytes(event.data))
                if "number" in data:
                    self._answers.pop(data["number"]).set_result(data["number"])
                else:
                    self._tokens.put_nowait(data["token"])


async def echo(url: str, token: str) -> None:
    """Answer each number with itself, and each wish for tokens with those, until the input of this process ends."""
    answering: set[asyncio.Task[None]] = set()

    async def stream(to: str, tokens: int) -> None:
        room = asyncio.Semaphore(WINDOW)

        async def one(word: str | None) -> None:
            try:
                await client.send(to, {"token": word})
            finally:
                room.release()

        for word in (*words(tokens), None):
            await room.acquire()
            keep(asyncio.create_task(one(word)))

    def keep(task: asyncio.Task[None]) -> None:
        answering.add(task)
        task.add_done_callback(answering.discard)

    async with Client(url, token=token) as client:
        say(pid=os.getpid())
        async for event in client.events():
            if isinstance(event, DirectReceived):
                data: dict[str, Any] = json.loads(bytes(event.data))
                answer = client.send(event.sender, data) if "number" in data else stream(event.sender, data["tokens"])
                keep(asyncio.create_task(answer))


def quiet() -> None:
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(40), logger_factory=structlog.PrintLoggerFactory(sys.stderr)
    )


def main() -> None:
    quiet()
    asked = order()
    asyncio.run(echo(asked["url"], asked["token"]))


if __name__ == "__main__":
    main()
