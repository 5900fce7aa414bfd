"""Peers on this package's own client that do what they are told; `tests/interop/programs.py` describes the lines."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Any

import structlog

from orchestrator.client.connection import Client
from orchestrator.client.events import (
    ClientEvent,
    Connected,
    DirectReceived,
    Disconnected,
    GoingAway,
    MessageReceived,
    PresenceReceived,
)
from orchestrator.errors import ConnectionProblem, RequestRefused, TerminalDisconnect

if TYPE_CHECKING:
    from msgspec import Raw

LONGEST_BRIEF = 100


class Peers:
    def __init__(self) -> None:
        self._clients: dict[str, Client] = {}
        self._watching: dict[str, asyncio.Task[None]] = {}

    async def carry_out(self, request: dict[str, Any]) -> None:
        do, name = request["do"], request["peer"]
        if do == "open":
            await self._open(request)
            return
        client = self._clients[name]
        if do == "subscribe":
            await client.subscribe(request["channel"], include_sender_metadata=request["metadata"])
        elif do == "unsubscribe":
            await client.unsubscribe(request["channel"])
        elif do == "publish":
            await client.publish(request["channel"], request["data"])
        elif do == "send":
            await client.send(request["to"], request["data"])
        else:
            assert do == "close"
            del self._clients[name]
            await client.close()
            await self._watching.pop(name)

    async def _open(self, request: dict[str, Any]) -> None:
        async def token() -> str:
            return str(request["token"])

        if "api_key" in request:
            client = Client(request["url"], api_key=request["api_key"])
        else:
            client = Client(request["url"], token_provider=token)
        await client.connect()
        name = request["peer"]
        self._clients[name] = client
        self._watching[name] = asyncio.create_task(watch(client, name, request["brief"]))

    async def answer(self, request: dict[str, Any]) -> None:
        refused: int | str | None = None
        try:
            await self.carry_out(request)
        except TerminalDisconnect as error:
            refused = int(error.code)
        except RequestRefused as error:
            refused = str(error.code)
        except ConnectionProblem as error:
            refused = type(error).__name__
        say(id=request["id"], refused=refused)

    async def close(self) -> None:
        await asyncio.gather(*(client.close() for client in self._clients.values()))
        await asyncio.gather(*self._watching.values())


def say(**line: Any) -> None:
    print(json.dumps(line), flush=True)


async def watch(client: Client, peer: str, brief: bool) -> None:
    async for event in client.events():
        if (fields := described(event, brief)) is not None:
            say(peer=peer, **fields)


def shown(data: Raw, brief: bool) -> Any:
    text = bytes(data)
    return json.loads(text) if not brief or (text.startswith(b'"') and len(text) <= LONGEST_BRIEF) else None


def described(event: ClientEvent, brief: bool) -> dict[str, Any] | None:
    match event:
        case Connected():
            return {
                "event": "connected",
                "peer_id": event.peer_id,
                "resumed": event.resumed,
                "expires_at": event.expires_at,
                "max_message_size": event.max_message_size,
            }
        case Disconnected():
            return {"event": "disconnected", "code": event.code, "will_reconnect": event.will_reconnect}
        case GoingAway():
            return {"event": "going_away", "retry_after_ms": round(event.retry_after * 1000)}
        case MessageReceived():
            data = shown(event.data, brief)
            return {
                "event": "message",
                "channel": event.channel,
                "from": event.sender,
                "data": data,
                "metadata": event.metadata,
            }
        case DirectReceived():
            data = shown(event.data, brief)
            return {"event": "direct", "from": event.sender, "data": data, "metadata": event.metadata}
        case PresenceReceived():
            joined = [
                {"peer_id": entry.peer_id, "metadata": entry.metadata if isinstance(entry.metadata, dict) else None}
                for entry in event.joined
            ]
            left = [entry.peer_id for entry in event.left]
            return {"event": "presence", "channel": event.channel, "joined": joined, "left": left}
    return None


async def main() -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    lines = asyncio.StreamReader(limit=2**20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    peers = Peers()
    async with asyncio.TaskGroup() as requests:
        while line := await lines.readline():
            requests.create_task(peers.answer(json.loads(line)))
    await peers.close()


asyncio.run(main())
