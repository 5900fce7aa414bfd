"""One connection between a client and the hub's core within one process: frames pass as they are, and nothing is a socket."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from orchestrator.hub.admission import admit
from orchestrator.hub.rosters import Reason
from orchestrator.protocol.codes import CloseCode, closing
from orchestrator.protocol.tokens import TokenRefused
from orchestrator.testing.pipe import Pipe

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from orchestrator.hub.connections import Connection
    from orchestrator.hub.outbox import Outbox
    from orchestrator.testing.network import Network

_TEXT: Final = 0x81
_PING: Final = 0x89


@dataclass(frozen=True, slots=True)
class End:
    """The close frame of the hub, or, with code 1006, the end of a stream without one."""

    code: int
    reason: str


Upward: TypeAlias = bytes | Literal["ask", "pong", "close", "reset"]
"""From the client: a text frame, the opening handshake, the answer to a ping, a close frame, the end without one."""


class MemoryWire:
    """The client's side. Calls back like a WebSocket on a socket does; see `orchestrator.client.wire`."""

    def __init__(
        self,
        network: Network,
        peer: str,
        endpoint: str,
        *,
        close_timeout: float,
        on_open: Callable[[], None],
        on_text: Callable[[str], bool],
        on_end: Callable[[int, str], None],
    ) -> None:
        self.peer = peer
        self._network, self._close_timeout = network, close_timeout
        self._on_open, self._on_text, self._on_end = on_open, on_text, on_end
        loop = asyncio.get_running_loop()
        self.gone: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._opened = self._asked = self._ended = False
        self._cutting: asyncio.TimerHandle | None = None
        delay = network.delays(peer)
        self._hub_end = HubEnd(network, peer, endpoint, self)
        self._up: Pipe[Upward] = Pipe(delay, self._hub_end.hear)
        self._down: Pipe[bytes | End] = Pipe(delay, self._hear)
        network.add(self)

    # -- what the client does

    async def dial(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:  # noqa: ARG002 - as of a socket
        await self._network.reached(self.peer)
        if not self._ended:
            self._opened = True
            self._on_open()

    def ask(self) -> None:
        if self._opened and not self._ended:
            self._asked = True
            self._up.put("ask")

    def send(self, frame: bytes) -> None:
        if self._asked and not self._ended:
            self._up.put(frame)

    def close(self, code: int, reason: str) -> None:  # noqa: ARG002 - as of a WebSocket
        if self._ended or not self._asked:
            self.cut()
            return
        self._ended = True
        self._up.put("close")
        self._cutting = self._loop.call_later(self._close_timeout, self.cut)

    def cut(self) -> None:
        self._ended = True
        if self._opened and not self.gone.done():
            self._up.put("reset")
            self._over()

    def abandon_unopened(self) -> None:
        if not self._opened:
            self._ended = True
            self._network.remove(self)
            self._over()

    # -- what the network does

    def hold(self, up: bool, down: bool) -> None:
        """Have nothing pass to the hub, or from it, while both sides take the connection for open; or let it go on."""
        self._up.hold(up)
        self._down.hold(down)

    def strand(self) -> None:
        """Have the hub's side vanish without a word: nothing passes ever again, and the client has to find out."""
        self._up.clear()
        self._down.clear()
        self._hub_end.hear("reset")
        self.hold(True, True)

    def sever(self, *, told: bool = True) -> None:
        """End the connection on both sides at once; what is under way is lost. `told`: its client hears of it."""
        self._up.clear()
        self._down.clear()
        self._hub_end.hear("reset")
        if self.gone.done():
            return
        tell, self._ended = told and not self._ended, True
        if not self._opened:
            return  # `dial` is under way, and finds that it has ended
        self._over()
        if tell:
            self._on_end(CloseCode.ABNORMAL, "cut")

    def deliver(self, item: bytes | End) -> None:
        self._down.put(item)

    def _hear(self, item: bytes | End) -> bool:
        if isinstance(item, End):
            self._network.remove(self)
            self._over()
            if not self._ended:
                self._ended = True
                self._on_end(item.code, item.reason)
            return False
        self._hub_end.arrived(len(item))
        if item[0] == _PING:
            if not self._ended:
                self._up.put("pong")
        elif item[0] == _TEXT and not self._ended:
            return self._on_text(payload_of(item).decode())
        return False

    def _over(self) -> None:
        if self._cutting is not None:
            self._cutting.cancel()
        if not self.gone.done():
            self.gone.set_result(None)


class HubEnd:
    """The hub's side: hands frames to the hub's core, and what the core has for this connection to the wire."""

    def __init__(self, network: Network, peer: str, endpoint: str, wire: MemoryWire) -> None:
        self._network, self._peer, self._query, self._wire = network, peer, endpoint.partition("?")[2], wire
        self._outbox: Outbox | None = None
        """There is none before the handshake."""
        self._connection: Connection | None = None
        self._on_its_way = 0
        """Bytes that the client has not taken in."""
        self._over = False

    def hear(self, item: Upward) -> bool:
        network, connection, now = self._network, self._connection, self._network.now
        if isinstance(item, bytes):
            self._receive(item)
        elif item == "ask":
            self._admit()
        elif connection is not None and item == "pong":
            network.hub.receive_pong(connection, now)
        elif item == "close":
            if connection is not None:
                network.hub.disconnect(connection, now, Reason.LEFT)
                self.flush(now)
            self._end(CloseCode.NORMAL, "")
        elif item == "reset":
            self._over = True
            network.remove(self._wire)
            if connection is not None:
                network.hub.disconnect(connection, now)
        network.settle()
        return False

    def arrived(self, size: int) -> None:
        """Note that the client has taken some bytes in."""
        self._on_its_way -= size
        outbox = self._outbox
        if outbox is not None and outbox.stalled and self._on_its_way <= 0 and self._connection is not None:
            self._network.hub.resumed(self._connection, self._network.now)
            self._network.settle()

    def flush(self, now: float) -> None:
        """Be asked by the hub to take what it has for this connection."""
        outbox = self._outbox
        if self._over or outbox is None:
            return
        if outbox.aborted:
            self._end(CloseCode.ABNORMAL, "")
            return
        frames = outbox.waiting()
        if outbox.take(now):
            for frame in frames:
                if not self._network.loses(frame, self._peer):
                    self._on_its_way += len(frame)
                    self._wire.deliver(frame)
            if self._on_its_way > self._network.buffer and self._connection is not None:
                self._network.hub.stalled(self._connection, self._on_its_way, now)
            else:
                outbox.sent(now)
        if outbox.closing is not None and not (outbox.stalled and outbox.frames):
            self._end(*outbox.closing)

    def _admit(self) -> None:
        network = self._network
        outbox = self._outbox = network.hub.outbox()
        outbox.owner = self
        try:
            identity = admit(self._query, None, network.keys, network.wall(), network.new_peer_id)
        except TokenRefused as refused:
            network.note_refused_token(self._peer, refused.code)
            self._end(refused.code, closing(refused.code).meaning)
            return
        self._connection = network.hub.connect(identity, outbox, network.now, network.wall())

    def _receive(self, text: bytes) -> None:
        connection, outbox = self._connection, self._outbox
        if connection is None or outbox is None or not connection.open:
            return
        before = len(outbox.waiting())
        self._network.hub.receive(connection, text, self._network.now)
        self._network.note(connection, text, outbox.waiting()[before:])

    def _end(self, code: int, reason: str) -> None:
        if not self._over:
            self._over = True
            self._wire.deliver(End(int(code), reason))


def payload_of(frame: bytes) -> bytes:
    """Return what is in one complete, unmasked frame."""
    return frame[{126: 4, 127: 10}.get(frame[1], 2) :]
