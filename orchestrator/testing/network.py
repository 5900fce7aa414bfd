"""The hub's core and everybody's connections to it within one process: what passes, what is lost, and what was seen of it."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from orchestrator.client.connection import Client
from orchestrator.hub.core import Hub
from orchestrator.hub.driver import Driver
from orchestrator.hub.keys import KeyRing
from orchestrator.hub.settings import Settings
from orchestrator.protocol import frames
from orchestrator.protocol.codes import ErrorCode
from orchestrator.runtime.subscription import Message
from orchestrator.testing.memory_wire import MemoryWire, payload_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from orchestrator.client.policy import ReconnectPolicy
    from orchestrator.hub.connections import Connection
    from orchestrator.protocol.codes import CloseCode
    from orchestrator.protocol.tokens import SecretKey

KEPT: Final = 10_000
"""Published messages that are remembered, the latest ones."""
HUB: Final = "hub"
BUFFER: Final = 1_048_576
"""Bytes on their way to a client from which on the hub takes it for slow, as it does when a socket's buffers are full."""
_URL: Final = "ws://localhost:1"
_SCOPES: Final = {ErrorCode.ACTION_NOT_PERMITTED, ErrorCode.CHANNEL_NOT_AUTHORIZED}
_request: Final = msgspec.json.Decoder(frames.ClientFrame).decode
_error: Final = msgspec.json.Decoder(frames.Error).decode
_carried: Final = msgspec.json.Decoder(frames.Message | frames.Direct).decode


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something that a token does not allow, and that the hub therefore refused."""

    peer: str
    action: str
    """`publish`, `send`, `subscribe` or `connect`."""
    target: str
    """The channel or peer; empty for `connect`."""
    code: str
    """As on the wire; of `connect`, the close code."""


class Network:
    """Belongs to the event loop that is running when it is made."""

    def __init__(self, key: SecretKey, refused: list[Refusal], *, seed: int, latency: float, jitter: float) -> None:
        """`refused` takes what is refused for want of a scope."""
        self._loop = asyncio.get_running_loop()
        self.buffer = BUFFER
        self._wall_offset = float(int(time.time())) - self._loop.time()
        self._refused = refused
        self._seed, self._latency, self._jitter = seed, latency, jitter
        self.faults: list[Exception] = []
        """What was raised within the hub."""
        self.keys = KeyRing([key])
        self.hub, self._driver = self._fresh_hub()
        self._wires: dict[MemoryWire, None] = {}
        self._unreached: set[str] = set()
        """Peers between whom and the hub nothing passes."""
        self._apart: set[frozenset[str]] = set()
        """Pairs of peers of whom neither hears the other."""
        self._healed = asyncio.Event()
        self._numbers = itertools.count(1)
        self.published: deque[Message] = deque(maxlen=KEPT)
        self.publications = 0
        """How many messages were published, also those that are not remembered."""
        self.news = asyncio.Event()
        """Set whenever something was published, and at the end."""
        self.over = False
        self._told: dict[tuple[str, str], None] = {}

    # -- time and chance

    @property
    def now(self) -> float:
        return self._loop.time()

    @property
    def wall_offset(self) -> float:
        """What turns the loop's clock into Unix seconds: those of the moment at which it all began, and then virtual ones."""
        return self._wall_offset

    def wall(self) -> float:
        return self._loop.time() + self._wall_offset

    def dice(self, *owner: object) -> random.Random:
        """Return random numbers that depend on the seed and their owner alone."""
        return random.Random("/".join(map(str, (self._seed, *owner))))  # noqa: S311 - to be repeated, not to be secret

    def delays(self, peer: str) -> Callable[[], float]:
        """Return how late each frame of one connection is."""
        if not self._jitter:
            return lambda: self._latency
        dice = self.dice(peer, next(self._numbers))
        return lambda: self._latency + self._jitter * dice.random()

    def next_number(self) -> int:
        """Return a number that was not returned before."""
        return next(self._numbers)

    def new_peer_id(self) -> str:
        return f"00000000-0000-4000-8000-{next(self._numbers):012}"

    def _fresh_hub(self) -> tuple[Hub, Driver]:
        hub = Hub(Settings(), self.faults.append)
        driver = Driver(hub, self._loop)
        driver.clock, driver.wall = self._loop.time, self.wall
        return hub, driver

    # -- connections

    def client(
        self, peer: str, token: Callable[[], Awaitable[str]], *, reconnect: ReconnectPolicy | None = None
    ) -> Client:
        """Return a client that connects to this hub, again and again."""
        return Client(
            _URL,
            token_provider=token,
            reconnect=reconnect,
            daemon=True,
            rng=self.dice(peer, "client", next(self._numbers)),
            make_wire=partial(MemoryWire, self, peer),
        )

    def add(self, wire: MemoryWire) -> None:
        self._wires[wire] = None
        if wire.peer in self._unreached:
            wire.hold(True, True)

    def remove(self, wire: MemoryWire) -> None:
        self._wires.pop(wire, None)

    async def reached(self, peer: str) -> None:
        """Return when a first packet has come to the hub and back."""
        await asyncio.sleep(self._latency)
        while peer in self._unreached:
            self._healed.clear()
            await self._healed.wait()

    def sever(self, peer: str, *, told: bool = True) -> bool:
        """Cut the connections of a peer on both sides; `told`: it hears of that. Tells whether there was one."""
        found = [wire for wire in self._wires if wire.peer == peer]
        for wire in found:
            wire.sever(told=told)
        return bool(found)

    def settle(self) -> None:
        self._driver.settle()

    def stop(self) -> None:
        self.over = True
        self.news.set()
        self._driver.stop()

    # -- partitions

    def part(self, some: Collection[str], others: Collection[str]) -> None:
        for one in some:
            for other in others:
                if HUB in (one, other):
                    self._unreached.add(one if other == HUB else other)
                else:
                    self._apart.add(frozenset((one, other)))
        self._hold()

    def heal(self) -> None:
        self._unreached.clear()
        self._apart.clear()
        self._hold()
        self._healed.set()

    def _hold(self) -> None:
        for wire in self._wires:
            held = wire.peer in self._unreached
            wire.hold(held, held)

    def loses(self, frame: bytes, receiver: str) -> bool:
        """Tell whether a frame of the hub is a message between two who are parted."""
        return bool(self._apart) and frozenset((sender_of(frame) or receiver, receiver)) in self._apart

    # -- what was seen

    def note(self, connection: Connection, text: bytes, answers: list[bytes]) -> None:
        """Note what a request came to."""
        try:
            request = _request(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return
        errors = [_error(payload_of(frame)) for frame in answers if b'{"type":"error"' in frame[:25]]
        if errors:
            if errors[0].code in _SCOPES:
                self._note_refused(connection.peer_id, request, errors[0].code)
        elif isinstance(request, frames.Publish) and connection.open and self._is_new(connection.peer_id, request.id):
            self.published.append(Message(request.channel, connection.peer_id, request.data, None))
            self.publications += 1
            self.news.set()

    def note_refused_token(self, peer: str, code: CloseCode) -> None:
        self._refused.append(Refusal(peer, "connect", "", str(int(code))))

    def _note_refused(self, peer: str, request: frames.ClientFrame, code: str) -> None:
        target = request.to if isinstance(request, frames.Send) else getattr(request, "channel", "")
        self._refused.append(Refusal(peer, type(request).__name__.lower(), target, code))

    def _is_new(self, sender: str, message_id: str | None) -> bool:
        if message_id is None:
            return True
        known = (sender, message_id) in self._told
        self._told[sender, message_id] = None
        if len(self._told) > KEPT:
            del self._told[next(iter(self._told))]
        return not known


def sender_of(frame: bytes) -> str | None:
    """Return who says the message that a frame of the hub carries; `None` for what the hub says for itself."""
    try:
        message: frames.Message | frames.Direct = _carried(payload_of(frame))
    except msgspec.DecodeError:
        return None
    return message.sender
