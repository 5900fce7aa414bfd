"""A network on which a schedule of mishaps can be played, and that writes down all that is said to its hub."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from orchestrator.testing.network import Network, sender_of
from orchestrator.testing.simulation_faults import Cut, HalfOpen, HubCrash, Late, Lossy, Parted, SlowReader

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.hub.connections import Connection
    from orchestrator.protocol.tokens import SecretKey
    from orchestrator.testing.memory_wire import MemoryWire
    from orchestrator.testing.network import Refusal
    from orchestrator.testing.simulation_faults import Mishap

EPOCH: Final = 1_700_000_000.0
"""The Unix seconds at which every simulation begins: the same seed says the same, deadlines included."""
SMALL_BUFFER: Final = 4_096
"""Bytes on their way to a client that make it slow; with as many as a real socket holds, nobody ever would be."""


class StormyNetwork(Network):
    def __init__(
        self,
        key: SecretKey,
        refused: list[Refusal],
        *,
        seed: int,
        latency: float,
        jitter: float,
        wrote: Callable[[str, str], None],
    ) -> None:
        """`wrote` is told of each frame that the hub is given: by whom, and its text."""
        super().__init__(key, refused, seed=seed, latency=latency, jitter=jitter)
        self._wrote = wrote
        self._wall_offset = EPOCH - self._loop.time()
        self.buffer = SMALL_BUFFER
        self._mishaps: list[Mishap] = []
        self._quiet: Counter[str] = Counter()
        """Peers, or names of users, to and from whom nothing passes."""
        self._deaf: Counter[str] = Counter()
        self._dead = 0
        """Crashes of the hub that are not over."""
        self._chance = self.dice("mishaps")
        self._drivers = [self._driver]

    # -- mishaps

    def begin(self, mishap: Mishap) -> None:
        self._mishaps.append(mishap)
        match mishap:
            case HalfOpen(peer=peer):
                self._quiet[peer] += 1
            case SlowReader(peer=peer):
                self._deaf[peer] += 1
            case Cut(peer=peer):
                for wire in [wire for wire in self._wires if _of(wire.peer, peer)]:
                    wire.sever()
            case HubCrash(silent=silent):
                self._dead += 1
                self._crash(silent=silent)
        self._hold()

    def end(self, mishap: Mishap) -> None:
        self._mishaps.remove(mishap)
        match mishap:
            case HalfOpen(peer=peer):
                self._quiet[peer] -= 1
            case SlowReader(peer=peer):
                self._deaf[peer] -= 1
            case HubCrash():
                self._dead -= 1
        self._hold()
        self._healed.set()

    def _crash(self, *, silent: bool) -> None:
        for wire in list(self._wires):
            if silent:
                wire.strand()
            else:
                wire.sever()
        self._wires.clear()
        self._driver.stop()
        self.hub, self._driver = self._fresh_hub()
        self._drivers.append(self._driver)

    def stop(self) -> None:
        super().stop()
        for driver in self._drivers:  # one that has crashed may have been in the middle of something
            driver.stop()

    # -- what they do

    async def reached(self, peer: str) -> None:
        await super().reached(peer)
        while any(self._quiet[name] for name in (peer, peer.partition("/")[0])):
            self._healed.clear()
            await self._healed.wait()
        cut = any(isinstance(mishap, Cut) and _of(peer, mishap.peer) for mishap in self._mishaps)
        if self._dead or cut:
            raise ConnectionRefusedError("the hub is not there")

    def add(self, wire: MemoryWire) -> None:
        super().add(wire)
        self._hold_one(wire)

    def _hold(self) -> None:
        for wire in self._wires:
            self._hold_one(wire)

    def _hold_one(self, wire: MemoryWire) -> None:
        names = (wire.peer, wire.peer.partition("/")[0])
        quiet = wire.peer in self._unreached or any(self._quiet[name] for name in names)
        wire.hold(quiet, quiet or any(self._deaf[name] for name in names))

    def delays(self, peer: str) -> Callable[[], float]:
        usual = super().delays(peer)

        def delay() -> float:
            late = [one.by for one in self._mishaps if isinstance(one, Late) and _of(peer, one.peer)]
            return usual() + sum(by * self._chance.random() for by in late)

        return delay

    def loses(self, frame: bytes, receiver: str) -> bool:
        if super().loses(frame, receiver):
            return True
        lossy = [one.share for one in self._mishaps if isinstance(one, Lossy) and _of(receiver, one.peer)]
        parted = [one for one in self._mishaps if isinstance(one, Parted)]
        if not lossy and not parted:
            return False
        sender = sender_of(frame)
        if sender is None:
            return False
        if any(_between(one, sender, receiver) for one in parted):
            return True
        return any(self._chance.random() < share for share in lossy)

    # -- what was said

    def note(self, connection: Connection, text: bytes, answers: list[bytes]) -> None:
        self._wrote(connection.peer_id, text.decode("utf-8", "replace"))
        super().note(connection, text, answers)


def _of(peer: str, name: str) -> bool:
    return peer == name or peer.startswith(f"{name}/")


def _between(parted: Parted, sender: str, receiver: str) -> bool:
    one, other = parted.peer, parted.other
    return (_of(sender, one) and _of(receiver, other)) or (_of(sender, other) and _of(receiver, one))
