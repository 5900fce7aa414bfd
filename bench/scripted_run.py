"""A run as its dashboards meet it on a real hub: a peer that says of a topology what it is told to say, true or not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from msgspec import Raw
from msgspec.json import decode

from orchestrator.client.connection import Client
from orchestrator.client.events import DirectReceived
from orchestrator.errors import OrchestratorError
from orchestrator.protocol.dashboard import RUNS
from orchestrator.protocol.tokens import Claims, Grants, SecretKey, mint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

RUN_PEER: Final = "(run)/scripted"
EVERYTHING: Final = ("**",)
LIFE: Final = 3600


def token(key: SecretKey, sub: str, **claims: Any) -> str:
    """Return a token without a limit on messages."""
    return mint(key, Claims(sub=sub, exp=int(time.time()) + LIFE, rate="unlimited", **claims))


def dashboard_token(key: SecretKey, number: int = 1, **claims: Any) -> str:
    """Return what the built-in user of a run has: it observes everything, and may send to everybody."""
    grants = Grants(observe=EVERYTHING, presence=EVERYTHING, send=EVERYTHING)
    return token(key, f"cli/dashboard-{number:04}", grants=grants, instance=f"tab-{number}", **claims)


class ScriptedRun:
    """What it is made of is told to whoever watches; `answers` say what each request is answered with, by its `do`."""

    def __init__(
        self,
        client: Client,
        outline: Mapping[str, Any],
        whole: Mapping[str, Any],
        answers: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]] | None = None,
    ) -> None:
        self._client = client
        self.outline, self.whole = dict(outline), dict(whole)
        self.answers = dict(answers or {})
        self.watchers: list[str] = []
        self.asked: list[str] = []
        """What was requested."""
        self.told = 0
        """Updates, each to all who watched."""

    async def serve(self) -> None:
        """Answer until the connection is closed."""
        async for event in self._client.events():
            if isinstance(event, DirectReceived):
                await self._hear(event.sender, decode(event.data))

    async def tell(self, update: Mapping[str, Any]) -> None:
        """Tell all who watch; who is gone is told nothing more."""
        data = Raw(json.dumps({"type": "run-update", "time": time.time(), **update}).encode())
        self.told += 1
        for watcher in list(self.watchers):
            try:
                await self._client.send(watcher, data, in_parts=True)
            except OrchestratorError:
                self.watchers.remove(watcher)

    async def _hear(self, sender: str, data: dict[str, Any]) -> None:
        if data["type"] == "watch":
            await self._client.send(sender, {"type": "run-outline", **self.outline}, in_parts=True)
            whole = {"type": "run-update", "time": time.time(), "whole": True, **self.whole}
            await self._client.send(sender, whole, in_parts=True)
            if sender not in self.watchers:
                self.watchers.append(sender)
        elif data["type"] == "run-request":
            self.asked.append(data["do"])
            answer = self.answers.get(data["do"], _unknown)(data.get("arguments", {}))
            await self._client.send(sender, {"type": "run-answer", "id": data["id"], **answer}, in_parts=True)


def _unknown(_arguments: dict[str, Any]) -> dict[str, Any]:
    return {"error": "this run is a script"}


@asynccontextmanager
async def scripted_run(
    url: str,
    key: SecretKey,
    outline: Mapping[str, Any],
    whole: Mapping[str, Any],
    answers: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]] | None = None,
) -> AsyncIterator[ScriptedRun]:
    """Run until the block ends, listed among the runs of the hub at `url`."""
    about = {"kind": "run", "name": "scripted", "node": "here"}
    async with Client(url, token=token(key, RUN_PEER, peer_metadata=about)) as client:
        run = ScriptedRun(client, outline, whole, answers)
        async with _alongside(run.serve()):
            await client.subscribe(RUNS)
            yield run


@asynccontextmanager
async def scripted_agent(
    url: str,
    key: SecretKey,
    peer: str,
    channels: tuple[str, ...],
    answer: Callable[[str], list[str]],
    about: dict[str, Any],
) -> AsyncIterator[None]:
    """Be a peer that is present on `channels`, and answers each question with the chunks of `answer(prompt)`."""
    async with Client(url, token=token(key, peer, peer_metadata=about)) as client:

        async def serve() -> None:
            async for event in client.events():
                if isinstance(event, DirectReceived):
                    data = decode(event.data)
                    if data["type"] == "ask":
                        await _stream(client, event.sender, data["taskId"], answer(data["prompt"]))

        async with _alongside(serve()):
            for channel in channels:
                await client.subscribe(channel)
            yield


async def _stream(client: Client, to: str, stream: str, chunks: list[str]) -> None:
    for seq, content in enumerate(chunks):
        chunk = {"type": "completion-chunk", "streamId": stream, "seq": seq, "content": content, "done": False}
        await client.send(to, chunk, in_parts=True)
    last = {"type": "completion-chunk", "streamId": stream, "seq": len(chunks), "content": "", "done": True}
    await client.send(to, last)


@asynccontextmanager
async def _alongside(work: Awaitable[None]) -> AsyncIterator[None]:
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
