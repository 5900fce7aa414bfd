"""Members of a team without a hub, in steps of time: messages are lost, late and doubled as a test wants it."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from random import Random
from typing import Any

from orchestrator.client.connection import payload_of
from orchestrator.patterns.effects import Accepted, Publish, Send
from orchestrator.patterns.state import Changed, SharedState, StateEffect
from orchestrator.protocol.payloads import decode_payload, plain

CHANNEL = "teams/t/state"


class Team:
    """Everybody's engine, on one clock."""

    def __init__(self, count: int, seed: int = 0) -> None:
        self.now, self.rng = 1_000.0, Random(seed)
        self.peers = [f"m.{number}" for number in range(1, count + 1)]
        self.members: dict[str, SharedState] = {}
        self.lost: Callable[[str, str], bool] = lambda _sender, _receiver: False
        self.doubled = 0.0
        self.delay: Callable[[], float] = lambda: 0.001
        self.said: list[tuple[str, str]] = []
        """Who said what, by its type."""
        self.changes: dict[str, list[Changed]] = {peer: [] for peer in self.peers}
        self._flying: list[tuple[float, int, str, str, bytes]] = []
        self._numbers = itertools.count()
        for peer in self.peers:
            self.start(peer)

    def start(self, peer: str) -> SharedState:
        engine = self.members[peer] = SharedState(peer, CHANNEL, Random(f"{peer}/{next(self._numbers)}"))
        engine.connected()
        self.tell_members()
        return engine

    def kill(self, peer: str) -> None:
        del self.members[peer]
        self.tell_members()

    def tell_members(self) -> None:
        for peer, engine in self.members.items():
            self.apply(peer, engine.members(set(self.members) - {peer}, self.now))

    def reconnect(self, peer: str) -> None:
        self.members[peer].disconnected()
        self.members[peer].connected()
        self.apply(peer, self.members[peer].members(set(self.members) - {peer}, self.now))

    def write(self, peer: str, key: str, value: bytes | None) -> None:
        self.apply(peer, self.members[peer].write(key, value, self.now))

    def apply(self, sender: str, effects: list[StateEffect]) -> None:
        for effect in effects:
            if isinstance(effect, Changed):
                self.changes[sender].append(effect)
            if not isinstance(effect, Publish | Send):
                continue
            data = bytes(payload_of(effect.payload))
            assert len(data) <= 65_536
            self.said.append((sender, plain(data)["type"]))
            to = [effect.to] if isinstance(effect, Send) else [peer for peer in self.members if peer != sender]
            for receiver in to:
                if self.lost(sender, receiver):
                    continue
                for _ in range(2 if self.rng.random() < self.doubled else 1):
                    arrives = self.now + self.delay()
                    heapq.heappush(self._flying, (arrives, next(self._numbers), sender, receiver, data))
            if effect.ref is not None:
                self.apply(sender, self.members[sender].answered(effect.ref, Accepted(), self.now))

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> float:
        """Let time pass, until something is true; return how much has passed."""
        began, ends = self.now, self.now + seconds
        while not until():
            times = [due for engine in self.members.values() if (due := engine.next_tick()) is not None]
            times += [self._flying[0][0]] if self._flying else []
            due = min(times, default=ends)
            if due >= ends:
                self.now = ends
                break
            self.now = max(due, self.now)
            while self._flying and self._flying[0][0] <= self.now:
                _, _, sender, receiver, data = heapq.heappop(self._flying)
                told: Any = decode_payload(data)
                if receiver in self.members:
                    self.apply(receiver, self.members[receiver].receive(sender, told, self.now))
            for peer, engine in list(self.members.items()):
                next_tick = engine.next_tick()
                if next_tick is not None and next_tick <= self.now:
                    self.apply(peer, engine.tick(self.now))
        return self.now - began

    def content(self, peer: str) -> dict[str, bytes | None]:
        known = self.members[peer].map
        return {key: entry.value for key in sorted(known.keys()) if (entry := known.get(key)) is not None}

    def agree(self) -> bool:
        first, *others = (self.content(peer) for peer in self.members)
        return all(other == first for other in others)
