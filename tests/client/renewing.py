"""A session and the hub's core, joined by links with delays of their own, on a clock that only the test moves."""

from __future__ import annotations

import heapq
import itertools
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from msgspec import Raw

from orchestrator.client.effects import Ask, Attempt, Drop, Noted, Settled, State, Write
from orchestrator.client.events import DirectReceived, MessageReceived
from orchestrator.client.policy import ReconnectPolicy
from orchestrator.client.session import Session
from orchestrator.hub.rosters import Reason
from orchestrator.hub.settings import Settings
from tests.hub.rig import Peer, Rig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from orchestrator.client.effects import Effect, Request
    from orchestrator.client.events import ClientEvent


@dataclass
class Wire:
    """One connection between the session and the hub: in order both ways, each frame as late as `delay` says."""

    delay: float
    peer: Peer | None = None
    read: int = 0
    """How many of the hub's writes are on their way already."""
    cut: bool = False
    closing: bool = False
    """The hub has closed it, and the session will hear of that."""
    ended: bool = False


@dataclass
class World:
    """The session of peer `a`, to whom `speaker` talks and whom `watcher` hears and watches."""

    seed: int
    life: float = 5.0
    mishaps: float = 0.0
    """The share of renewals in which the token or the socket fails."""
    instance: str | None = "one"
    rig: Rig = field(default_factory=lambda: Rig(Settings(ping_interval=1e6)))
    notes: list[Noted] = field(default_factory=list)
    settled: list[Settled] = field(default_factory=list)
    events: list[ClientEvent] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.wires: dict[int, Wire] = {}
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self.session = Session("ws://hub:1", ReconnectPolicy(max_attempts=None), random.Random(self.seed), daemon=True)
        self.speaker = self.rig.connect("speaker", rate="unlimited")
        self.watcher = self.rig.connect("watcher", rate="unlimited")
        for channel in ("x", "y"):
            self.watcher.join(channel)

    @property
    def now(self) -> float:
        return self.rig.now

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self.now + seconds, next(self._order), act))

    def start(self) -> World:
        self.do(self.session.start(self.now))
        self.until(lambda: self.session.state is State.CONNECTED)
        self.ask(self.session.subscribe("x", False, self.now))
        self.until(lambda: len(self.settled) == 1)
        self.run(0.5)
        self.watcher.new()
        return self

    # -- time

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        self.until(lambda: self.now >= end, at_most=seconds)

    def until(self, fact: Callable[[], bool], at_most: float = 60.0) -> None:
        end = self.now + at_most
        while not fact():
            times = [end, self._due[0][0] if self._due else end, self.session.deadline() or end]
            times.append(self.rig.hub.next_deadline or end)
            next_time = max(self.now, min(times))
            self.rig.advance(next_time - self.now)
            while self._due and self._due[0][0] <= self.now:
                heapq.heappop(self._due)[2]()
            due = self.session.deadline()
            if due is not None and due <= self.now:
                self.do(self.session.tick(self.now))
            self.carry()
            if next_time >= end:
                assert fact(), "it did not come true in time"

    # -- what the session wants

    def do(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Attempt(epoch):
                    self.later(self.rng.uniform(0.0, 0.1), lambda epoch=epoch: self.fetched(epoch))  # type: ignore[misc]
                case Ask(epoch):
                    self.up(epoch, lambda epoch=epoch: self.admit(epoch))  # type: ignore[misc]
                case Write(epoch, frame):
                    self.write(epoch, frame)
                case Drop(epoch, _, _):
                    self.drop(epoch)
                case Settled():
                    self.settled.append(effect)
                case Noted():
                    self.notes.append(effect)
        self.events += self.session.inbox
        self.session.inbox.clear()

    def ask(self, request: Request) -> None:
        if request.frame:
            self.write(request.epoch, request.frame)

    def fetched(self, epoch: int) -> None:
        if self.session.state is State.CONNECTED and self.rng.random() < self.mishaps / 2:
            self.do(self.session.token_failed(epoch, "the token provider raised ValueError", self.now))
        elif self.session.dialing(epoch, self.now):
            self.wires[epoch] = Wire(delay=self.rng.uniform(0.001, 0.08))
            fails = self.session.state is State.CONNECTED and self.rng.random() < self.mishaps / 2
            self.later(self.rng.uniform(0.0, 0.1), lambda: self.lose(epoch) if fails else self.open(epoch))

    def open(self, epoch: int) -> None:
        self.do(self.session.opened(epoch, self.now))

    def lose(self, epoch: int, code: int = 1006) -> None:
        self.wires[epoch].ended = True
        self.do(self.session.lost(epoch, code, "", self.now))

    def cut(self, epoch: int) -> None:
        """Have the network cut a connection: both sides learn of it, and what was on its way is gone."""
        wire = self.wires[epoch]
        wire.cut = True
        if wire.peer is not None:
            wire.peer.leave(Reason.LOST)
        self.lose(epoch)

    def drop(self, epoch: int) -> None:
        wire = self.wires.get(epoch)
        if wire is None or wire.ended:
            return
        wire.ended = True
        self.later(wire.delay, lambda: None if wire.peer is None else wire.peer.leave(Reason.LEFT))

    # -- the network

    def up(self, epoch: int, act: Callable[[], None]) -> None:
        wire = self.wires[epoch]
        self.later(wire.delay, lambda: None if wire.cut else act())

    def write(self, epoch: int, frame: bytes) -> None:
        def arrive() -> None:
            peer = self.wires[epoch].peer
            if peer is not None and peer.connection is not None and peer.connection.open:
                self.rig.hub.receive(peer.connection, frame, self.now)
                self.rig.flush()

        assert not self.wires[epoch].ended, "written on a connection that has ended"
        self.up(epoch, arrive)

    def admit(self, epoch: int) -> None:
        self.wires[epoch].peer = self.rig.connect("a", life=self.life, instance=self.instance)

    def carry(self) -> None:
        """Send what the hub has written on its way."""
        for epoch, wire in list(self.wires.items()):
            peer = wire.peer
            if peer is None or wire.cut:
                continue
            fresh, wire.read = peer.writes[wire.read :], len(peer.writes)
            for _, frames in fresh:
                for frame in frames:
                    self.later(wire.delay, lambda epoch=epoch, frame=frame: self.hear(epoch, frame))  # type: ignore[misc]
            if peer.closed is not None and not wire.closing:
                wire.closing = True
                code = int(peer.closed[0])
                self.later(wire.delay, lambda epoch=epoch, code=code: self.end(epoch, code))  # type: ignore[misc]

    def hear(self, epoch: int, frame: bytes) -> None:
        if frame[:1] == b"{" and not self.wires[epoch].cut:
            self.do(self.session.received(epoch, frame.decode(), self.now))

    def end(self, epoch: int, code: int) -> None:
        if not self.wires[epoch].cut:
            self.lose(epoch, code)

    # -- talk

    def talk(self, seconds: float, every: float) -> int:
        """Have both sides say numbers, in turn published and sent, and return how many each has said."""
        said = 0
        for said in range(1, round(seconds / every) + 1):
            where = {"type": "send", "to": "a"} if said % 2 else {"type": "publish", "channel": "x"}
            self.speaker.send({**where, "data": said})
            data = Raw(str(said).encode())
            if said % 2:
                self.ask(self.session.publish("y", data, self.now))
            else:
                self.ask(self.session.send("watcher", data, self.now))
            self.carry()
            self.run(every)
        return said

    def heard(self) -> list[int]:
        """Return the numbers that the session's program has been given."""
        return [int(bytes(e.data)) for e in self.events if isinstance(e, MessageReceived | DirectReceived)]

    def overheard(self) -> list[dict[str, Any]]:
        """Return what the watcher got since the last call, but for what the speaker published."""
        return [frame for frame in self.watcher.new() if frame.get("from") != "speaker"]
