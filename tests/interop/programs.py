"""Peers in processes of their own, on our client or on a stock SDK, all driven by the same lines.

A request is one line of JSON on the program's standard input: ``{"id", "do", "peer", …}``, where `peer` is a name for
one connection of the program. Its answer, on standard output, is ``{"id", "refused"}``: `null` when it was done, else
the hub's error code, the close code, or the name of the client's own exception. Requests are started in the order of
the lines and do not wait for each other. What a peer hears comes as ``{"peer", "event", …}``.

- ``open`` (`url`, `token` or `api_key`, `brief`) connects; then ``subscribe``, ``unsubscribe``, ``publish``, ``send``.
  Events: ``connected``, ``disconnected``, ``going_away``, ``server_error``, ``message``, ``direct``, ``presence``.
- ``join`` (the same and `channel`) makes an SDK's MeteredPeer; then ``broadcast`` and ``send_to``.
  Events: ``state``, ``peer_joined``, ``peer_left``, ``data``, ``fatal``.
- ``close`` ends a peer; the end of the input ends all of them and the program.

With `brief`, data that is no short text is told as `null`.
"""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from tests.interop.environments import ROOT, command

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LONGEST_LINE = 2**23
SAFETY = 40.0
"""Seconds after which a test that still waits for a program has failed."""


class Refused(Exception):
    """A request came to nothing; `code` is the hub's code, or the name of an exception of the client."""

    def __init__(self, code: int | str) -> None:
        self.code = code
        super().__init__(code)


class Peer:
    """One connection of a program, and what it has told that nobody has asked for yet."""

    def __init__(self, program: Program, name: str) -> None:
        self._program, self.name = program, name
        self.told: list[dict[str, Any]] = []
        self._more = asyncio.Event()

    def hear(self, event: dict[str, Any] | None) -> None:
        """Take an event of the program, or that it has ended."""
        if event is not None:
            self.told.append(event)
        self._more.set()

    async def next(self, *kinds: str) -> dict[str, Any]:
        """Return the next event of these kinds; others stay for later."""
        while True:
            for at, event in enumerate(self.told):
                if event["event"] in kinds:
                    return self.told.pop(at)
            assert not self._program.ended, f"the program ended while {kinds} was awaited, after {self.told}"
            self._more.clear()
            await self._more.wait()

    async def present(self, channel: str, *peer_ids: str) -> None:
        """Wait for the roster of a channel to hold these peers."""
        missing = set(peer_ids)
        while missing:
            presence = await self.next("presence")
            if presence["channel"] == channel:
                missing -= {entry["peer_id"] for entry in presence["joined"]}

    async def subscribe(self, channel: str, *, metadata: bool = False) -> None:
        await self._do("subscribe", channel=channel, metadata=metadata)

    async def unsubscribe(self, channel: str) -> None:
        await self._do("unsubscribe", channel=channel)

    async def publish(self, channel: str, data: object) -> None:
        await self._do("publish", channel=channel, data=data)

    async def send(self, to: str, data: object) -> None:
        await self._do("send", to=to, data=data)

    async def broadcast(self, data: object) -> None:
        await self._do("broadcast", data=data)

    async def send_to(self, to: str, data: object) -> None:
        await self._do("send_to", to=to, data=data)

    async def close(self) -> None:
        await self._program.close(self.name)

    async def _do(self, do: str, **fields: object) -> None:
        await self._program.request(do, self.name, **fields)


class Program:
    """A running program. Every request raises `Refused` when it comes to nothing."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._peers: dict[str, Peer] = {}
        self._answers: dict[int, asyncio.Future[int | str | None]] = {}
        self._open: set[str] = set()
        self._requests = 0
        self.ended = False

    async def open(self, peer: str, url: str, *, brief: bool = False, **credential: str) -> Peer:
        """Connect as one peer, with `token` or `api_key`."""
        return await self._start("open", peer, url=url, brief=brief, **credential)

    async def join(self, peer: str, url: str, channel: str, *, brief: bool = False, **credential: str) -> Peer:
        """Join a channel as a MeteredPeer."""
        return await self._start("join", peer, url=url, channel=channel, brief=brief, **credential)

    async def _start(self, do: str, name: str, **fields: object) -> Peer:
        peer = self._peers[name] = Peer(self, name)
        await self.request(do, name, **fields)
        self._open.add(name)
        return peer

    async def close(self, peer: str) -> None:
        self._open.discard(peer)
        await self.request("close", peer)

    async def close_peers(self) -> None:
        """Close every peer that is open."""
        if not self.ended:
            await asyncio.gather(*(self.close(peer) for peer in tuple(self._open)))

    async def finish(self) -> None:
        """Wait for the program to close its connections and to end by itself."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert await self._process.wait() == 0, "the program failed"

    async def request(self, do: str, peer: str, **fields: object) -> None:
        assert self._process.stdin is not None
        assert not self.ended, "the program has ended"
        self._requests += 1
        number = self._requests
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        self._process.stdin.write(json.dumps({"id": number, "do": do, "peer": peer, **fields}).encode() + b"\n")
        refused = await answer
        if refused is not None:
            raise Refused(refused)

    async def listen(self) -> None:
        """Hand out the program's lines until it ends, and then tell everyone who waits."""
        assert self._process.stdout is not None
        try:
            async for text in self._process.stdout:
                self._hand_out(json.loads(text))
        finally:
            self.ended = True
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(AssertionError("the program ended without an answer"))
            for peer in self._peers.values():
                peer.hear(None)

    def _hand_out(self, line: dict[str, Any]) -> None:
        if "id" not in line:
            self._peers[line["peer"]].hear(line)
            return
        answer = self._answers.pop(line["id"])
        if not answer.done():
            answer.set_result(line["refused"])


@asynccontextmanager
async def running(client: str, safety: float = SAFETY) -> AsyncIterator[Program]:
    """Run a program on one of `CLIENTS`; its peers close their connections when the block ends."""
    async with started(client) as program, asyncio.timeout(safety):
        yield program
        await program.finish()


@asynccontextmanager
async def started(client: str) -> AsyncIterator[Program]:
    """Start a program, which is killed at the end if it has not finished."""
    process = await asyncio.create_subprocess_exec(
        *command(client),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LONGEST_LINE,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
    )
    program = Program(process)
    listening = asyncio.create_task(program.listen())
    try:
        yield program
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await listening


class Programs:
    """Programs that several tests use one after the other, each started when it is first wanted."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._started: dict[str, Program] = {}

    @asynccontextmanager
    async def running(self, client: str, safety: float = SAFETY) -> AsyncIterator[Program]:
        """Lend a program; peers that are open when the block ends are closed, and their names are free again."""
        async with asyncio.timeout(safety):
            program = self._started.get(client)
            if program is None or program.ended:
                program = self._started[client] = await self._stack.enter_async_context(started(client))
            try:
                yield program
            finally:
                await program.close_peers()

    async def finish(self) -> None:
        """Have every program end by itself."""
        try:
            async with asyncio.timeout(SAFETY):
                await asyncio.gather(*(program.finish() for program in self._started.values()))
        finally:
            await self._stack.aclose()
