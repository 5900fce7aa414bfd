"""What the contract of backplanes is tried with: an engine of each kind, and a listener that remembers."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from orchestrator.hub.joining import open_backplane
from orchestrator.hub.memory_bus import MemoryBus
from tests.brokers import Broker, start_nats, start_valkey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchestrator.hub.backplane import Backplane

SAFE = 15.0
"""Seconds after which a fact is not waited for any longer."""


class Turned(NamedTuple):
    up: bool
    why: str


class Ear:
    """A listener that remembers, and can be waited for."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.unheard: list[int] = []
        """The tickets of asks that nobody listens to."""
        self.barriers: list[int] = []
        self.turns: list[Turned] = []
        self._told = asyncio.Event()

    def heard(self, message: bytes) -> None:
        self.messages.append(message)
        self._told.set()

    def nobody(self, ticket: int) -> None:
        self.unheard.append(ticket)
        self._told.set()

    def passed(self, ticket: int) -> None:
        self.barriers.append(ticket)
        self._told.set()

    def turned(self, up: bool, why: str) -> None:
        self.turns.append(Turned(up, why))
        self._told.set()

    async def until(self, fact: Callable[[], bool]) -> None:
        async with asyncio.timeout(SAFE):
            while not fact():
                self._told.clear()
                await self._told.wait()

    async def has_heard(self, message: bytes) -> None:
        await self.until(lambda: message in self.messages[-2:])

    async def turned_times(self, count: int) -> None:
        await self.until(lambda: len(self.turns) >= count)

    @property
    def once(self) -> Iterator[bytes]:
        """What was heard; what came several times in a row, once."""
        last = None
        for message in self.messages:
            if message != last:
                yield message
            last = message


class Engine(Protocol):
    def end(self, ear: Ear, **settings: Any) -> Backplane: ...

    def kill(self) -> None:
        """Take it away at once."""

    def start_again(self) -> None: ...


class OnServer:
    """A broker, with a namespace that nobody else has."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.namespace = secrets.token_hex(6)

    def end(self, ear: Ear, **settings: Any) -> Backplane:
        namespace = settings.pop("namespace", self.namespace)
        return open_backplane(f"{self.broker.url}/{namespace}", f"node-{secrets.token_hex(3)}", ear, **settings)

    def kill(self) -> None:
        self.broker.kill()

    def start_again(self) -> None:
        start = start_nats if self.broker.scheme == "nats" else start_valkey
        self.broker = start(self.broker.folder, self.broker.port)


class InMemory:
    def __init__(self) -> None:
        self._buses: dict[str, MemoryBus] = {}

    def end(self, ear: Ear, namespace: str = "default", **settings: Any) -> Backplane:
        bus = self._buses.setdefault(namespace, MemoryBus.on_loop())
        return bus.end(ear, **settings)

    def kill(self) -> None:
        for bus in self._buses.values():
            bus.away()

    def start_again(self) -> None:
        for bus in self._buses.values():
            bus.back()


async def settled(backplane: Backplane, ear: Ear) -> None:
    """Wait until everything that was listened to is in force."""
    ticket = secrets.randbits(40)
    backplane.barrier(ticket)
    await ear.until(lambda: ticket in ear.barriers)
