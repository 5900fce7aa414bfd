"""A hub as one would first write it: `websockets`, `json`, a JWT, and a send for each delivery; told one line of JSON."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import uvloop
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from bench.lines import order, say


class NaiveHub:
    def __init__(self, secret: str) -> None:
        self._secret = secret
        self._peers: dict[str, ServerConnection] = {}
        self._channels: dict[str, set[ServerConnection]] = {}

    async def serve(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        try:
            token = parse_qs(urlsplit(socket.request.path).query)["token"][0]
            peer = jwt.decode(token, self._secret, algorithms=["HS256"])["sub"]
        except (KeyError, jwt.PyJWTError):
            await socket.close(4001, "invalid token")
            return
        self._peers[peer] = socket
        try:
            now = int(time.time())
            times = {"expiresAt": now + 3600, "serverTime": now}
            await tell(
                socket, {"type": "welcome", "peerId": peer, **times, "maxMessageSize": 65_536, "rate": "unlimited"}
            )
            async for text in socket:
                await self._handle(socket, peer, json.loads(text))
        except ConnectionClosed:
            pass
        finally:
            self._peers.pop(peer, None)
            for subscribers in self._channels.values():
                subscribers.discard(socket)

    async def _handle(self, socket: ServerConnection, peer: str, frame: dict[str, Any]) -> None:
        request_id = frame.get("requestId")
        if frame["type"] == "publish":
            message = {"type": "message", "channel": frame["channel"], "from": peer, "data": frame["data"]}
            for subscriber in list(self._channels.get(frame["channel"], ())):
                if subscriber is not socket:
                    with suppress(ConnectionClosed):
                        await tell(subscriber, message)
        elif frame["type"] == "send":
            target = self._peers.get(frame["to"])
            if target is None:
                await tell(socket, {"type": "error", "requestId": request_id, "code": "peer_not_found"})
                return
            await tell(target, {"type": "direct", "from": peer, "data": frame["data"]})
        elif frame["type"] == "subscribe":
            self._channels.setdefault(frame["channel"], set()).add(socket)
        if request_id is not None:
            await tell(socket, {"type": "ack", "requestId": request_id})


async def tell(socket: ServerConnection, frame: dict[str, Any]) -> None:
    await socket.send(json.dumps(frame, separators=(",", ":")))


async def main() -> None:
    hub = NaiveHub(order()["secret"])
    async with serve(hub.serve, "127.0.0.1", 0, compression=None, ping_interval=None, max_size=65_536) as server:
        say(port=server.sockets[0].getsockname()[1])
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
