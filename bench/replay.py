"""A server that says the same messages over and over, as fast as they are taken.

Each message is a frame that was made beforehand, and many go into one write, so that a client is what there is to
measure: our hub would close a reader that falls behind.
"""

from __future__ import annotations

import asyncio
import json
from typing import Final, cast

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

CHANNEL: Final = "bench"
MESSAGES_IN_ONE_WRITE: Final = 500
_WELCOME: Final = {"type": "welcome", "peerId": "me", "expiresAt": None, "serverTime": 1, "maxMessageSize": 65_536}


def message(size: int) -> bytes:
    """Return an unmasked text frame that holds a message with about `size` bytes of `data`."""
    data = {"n": 1, "text": "x" * max(0, size - len('{"n":1,"text":""}'))}
    text = json.dumps({"type": "message", "channel": CHANNEL, "from": "p", "data": data}, separators=(",", ":"))
    return Frame(Opcode.TEXT, text.encode()).serialize(mask=False)


class Replay(asyncio.Protocol):
    """Welcomes a client, acks its subscription, and then says `count` messages."""

    def __init__(self, count: int, size: int) -> None:
        self._protocol = ServerProtocol(max_size=None)
        self._chunk = message(size) * MESSAGES_IN_ONE_WRITE
        self._left = count // MESSAGES_IN_ONE_WRITE
        self._held_back = False
        self._saying = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._protocol.send_response(self._protocol.accept(event))
                self._protocol.send_text(json.dumps(_WELCOME).encode())
            elif isinstance(event, Frame) and event.opcode is Opcode.TEXT and not self._saying:
                asked = json.loads(bytes(event.data))
                self._protocol.send_text(json.dumps({"type": "ack", "requestId": asked["requestId"]}).encode())
                self._saying = True
        self._transport.write(b"".join(self._protocol.data_to_send()))
        if self._saying:
            self._say()

    def _say(self) -> None:
        while self._left and not self._held_back and not self._transport.is_closing():
            self._left -= 1
            self._transport.write(self._chunk)

    def pause_writing(self) -> None:
        self._held_back = True

    def resume_writing(self) -> None:
        self._held_back = False
        if self._saying:
            self._say()


async def serve_replay(count: int, size: int) -> tuple[asyncio.Server, str]:
    """Serve `count` messages, rounded down to whole writes, to each who comes; return the server and its address."""
    server = await asyncio.get_running_loop().create_server(lambda: Replay(count, size), "127.0.0.1", 0)
    return server, f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
