"""Renewals among cuts, half-open sockets, drains of the hub, slow programs and changing subscriptions, by seeds."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Raw

from orchestrator.client.effects import Settled, State
from orchestrator.client.events import (
    Connected,
    DirectReceived,
    Disconnected,
    MessageReceived,
    PresenceReceived,
    SubscriptionLost,
)
from orchestrator.client.policy import ReconnectPolicy
from orchestrator.client.session import Session
from orchestrator.errors import ConnectionLost, NotConnected
from orchestrator.hub.core import Hub
from orchestrator.patterns.roster import Roster
from orchestrator.protocol.codes import CloseCode
from tests.client.renewing import Wire, World
from tests.hub.rig import KEY, Peer

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable

    from orchestrator.client.effects import Effect, Request

CHANNELS = ("x", "y", "z")
PATIENCE = 1.0
"""Seconds between a change that others see and the moment at which the program hears why, or the other way round."""


@dataclass
class HalfOpen(Wire):
    gone: bool = False
    """The session knows that it is lost; the hub does not, and may still get what was on its way."""


@dataclass
class Storm(World):
    """A client whose program subscribes, unsubscribes and talks, and pauses between its looks at the inbox."""

    inbox_limit: int = 60
    asked: dict[str, int | None] = field(default_factory=dict)
    """Requests by id, with the number that each was to publish."""
    wanted: set[str] = field(default_factory=set)
    released: dict[str, float] = field(default_factory=dict)
    """When the program gave up a channel the last time."""
    gaps: list[tuple[float, Disconnected]] = field(default_factory=list)
    """What the program was told of lost connections, and when that was."""
    lefts: list[tuple[float, str]] = field(default_factory=list)
    """When others saw the client leave a channel that its program had not given up, though it was connected."""
    seen: Counter[int] = field(default_factory=Counter)
    pausing: bool = False
    said: int = 0
    published: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.session = Session(
            "ws://hub:1",
            ReconnectPolicy(max_attempts=None, per_minute=None),
            self.generator(),
            daemon=True,
            inbox_limit=self.inbox_limit,
        )
        self.guest: Peer | None = None
        self.rosters = {channel: Roster(None) for channel in CHANNELS}
        self.watcher.join("z")

    def generator(self) -> random.Random:
        return type(self.rng)(self.seed + 1)

    # -- what differs from the world without storms

    def fetched(self, epoch: int) -> None:
        super().fetched(epoch)
        wire = self.wires.get(epoch)
        if wire is not None:
            self.wires[epoch] = HalfOpen(wire.delay)

    def admit(self, epoch: int) -> None:
        self.wires[epoch].peer = self.rig.connect("a", life=self.life, instance=self.instance, rate="unlimited")

    def write(self, epoch: int, frame: bytes) -> None:
        def arrive() -> None:
            peer = self.wires[epoch].peer
            if peer is not None and peer.connection is not None and peer.connection.open:
                self.rig.hub.receive(peer.connection, frame, self.now)
                self.rig.flush()

        wire = self.wires[epoch]
        assert not wire.ended, "written on a connection that has ended"
        self.up(epoch, arrive)

    def hear(self, epoch: int, frame: bytes) -> None:
        if not self.wires[epoch].gone:  # type: ignore[attr-defined]
            super().hear(epoch, frame)

    def end(self, epoch: int, code: int) -> None:
        if not self.wires[epoch].gone:  # type: ignore[attr-defined]
            self.wires[epoch].gone = True  # type: ignore[attr-defined]
            super().end(epoch, code)

    def break_half(self, epoch: int, *, arrives: bool) -> None:
        """Have the session alone lose a connection; what it had written arrives, or does not."""
        wire = self.wires[epoch]
        wire.gone = True  # type: ignore[attr-defined]
        wire.cut = not arrives
        self.lose(epoch, 1006)

    def lose(self, epoch: int, code: int = 1006) -> None:
        self.wires[epoch].gone = True  # type: ignore[attr-defined]
        super().lose(epoch, code)

    def do(self, effects: Iterable[Effect]) -> None:
        effects = list(effects)
        for event in self.session.inbox:
            if isinstance(event, Disconnected) and not any(event is other for _, other in self.gaps):
                self.gaps.append((self.now, event))
        kept, number = list(self.session.inbox) if self.pausing else [], len(self.events)
        super().do(effects)
        if self.pausing:
            del self.events[number:]
            self.session.inbox.extend(kept)
            return
        for event in self.events[number:]:
            self.take(event)
        if self.session.choked:
            self.do(self.session.taken(self.now))

    def take(self, event: Any) -> None:
        match event:
            case Disconnected():
                for roster in self.rosters.values():
                    roster.disconnected()
            case PresenceReceived(channel, joined, left, snapshot):
                roster = self.rosters[channel]
                if snapshot or roster.known:
                    roster.update(joined, left, whole=snapshot)

    def look(self) -> None:
        """Have the program take what has come."""
        self.pausing = False
        self.do(())

    def drop(self, epoch: int) -> None:
        wire = self.wires.get(epoch)
        if wire is not None and (wire.peer is None or wire.peer.connection is None):
            wire.cut = wire.ended = True
        super().drop(epoch)

    def carry(self) -> None:
        super().carry()
        self.listen()

    # -- the others

    def listen(self) -> None:
        """Note what the watcher has seen of the client since the last time."""
        for frame in self.watcher.new():
            if frame["type"] == "message" and frame["from"] == "a":
                self.seen[frame["data"]] += 1
            elif frame["type"] == "presence":
                channel = frame["channel"]
                given_up = channel not in self.wanted or self.now - self.released.get(channel, 0.0) < 3 * PATIENCE
                told = self.session.state is not State.CONNECTED
                if not (given_up or told) and any(entry["peerId"] == "a" for entry in frame.get("left", ())):
                    self.lefts.append((self.now, channel))

    def restart_hub(self) -> None:
        """Drain the hub, and have another one in its place with the same neighbours."""
        self.rig.hub.drain(self.now)
        self.rig.flush()
        self.carry()
        self.run(self.rng.uniform(0.3, 2.0))
        for wire in self.wires.values():
            if wire.peer is not None and wire.peer.closed is None:
                wire.peer = None
        self.rig.hub = Hub(self.rig.hub.settings, self.rig.faults.append)
        self.speaker = self.rig.connect("speaker", rate="unlimited")
        self.watcher = self.rig.connect("watcher", rate="unlimited")
        for channel in CHANNELS:
            self.watcher.join(channel)
        self.guest = None

    def guest_moves(self) -> None:
        if self.guest is None or self.guest.connection is None or not self.guest.connection.open:
            self.guest = self.rig.connect("guest", rate="unlimited")
            self.guest.send({"type": "subscribe", "channel": self.rng.choice(CHANNELS)})
        elif self.rng.random() < 0.5:
            self.guest.send({"type": "subscribe", "channel": self.rng.choice(CHANNELS)})
        else:
            self.guest.leave()

    # -- the program

    def request(self, request: Request, number: int | None = None) -> None:
        assert request.id not in self.asked
        self.asked[request.id] = number
        self.ask(request)

    def acts(self) -> None:
        channel = self.rng.choice(CHANNELS)
        try:
            match self.rng.choice(("subscribe", "unsubscribe", "both", "publish", "publish", "publish")):
                case "subscribe":
                    self.request(self.session.subscribe(channel, False, self.now))
                    self.wanted.add(channel)
                case "unsubscribe":
                    self.unsubscribe(channel)
                case "both":
                    self.unsubscribe(channel)
                    self.request(self.session.subscribe(channel, False, self.now))
                    self.wanted.add(channel)
                    if self.rng.random() < 0.5:
                        self.unsubscribe(channel)
                case _:
                    self.published += 1
                    data = Raw(str(self.published).encode())
                    self.request(self.session.publish("y", data, self.now), self.published)
        except NotConnected:
            assert self.session.state is not State.CONNECTED

    def unsubscribe(self, channel: str) -> None:
        self.wanted.discard(channel)
        self.released[channel] = self.now
        self.rosters[channel] = Roster(None)
        self.request(self.session.unsubscribe(channel, self.now))

    def talks(self) -> None:
        self.said += 1
        where = {"type": "send", "to": "a"} if self.said % 2 else {"type": "publish", "channel": "x"}
        if self.speaker.connection is not None and self.speaker.connection.open:
            self.speaker.send({**where, "data": self.said})

    def mishap(self) -> None:
        live = [epoch for epoch, wire in self.wires.items() if not wire.ended]
        epoch = self.rng.choice(live) if live else 0
        match self.rng.choice(("cut", "half", "half late", "code", "pause", "restart", "guest", "guest")):
            case "cut" if live:
                self.cut(epoch)
            case "half" if live:
                self.break_half(epoch, arrives=False)
            case "half late" if live:
                self.break_half(epoch, arrives=True)
            case "code" if live:
                peer = self.wires[epoch].peer
                if peer is not None and peer.connection is not None and peer.connection.open:
                    self.rig.hub.violation(peer.connection, CloseCode.POLICY_VIOLATION, self.now)
                    self.rig.flush()
            case "pause":
                self.pausing = not self.pausing
                if not self.pausing:
                    self.look()
            case "restart" if self.rng.random() < 0.3:
                self.restart_hub()
            case "guest":
                self.guest_moves()

    def weather(self, rounds: int, mishaps: float) -> None:
        for _ in range(rounds):
            if self.rng.random() < 0.5:
                self.acts()
            self.talks()
            if self.rng.random() < mishaps:
                self.mishap()
            self.carry()
            renewing = self.session._renewal._next is not None
            self.run(self.rng.choice((0.0, 0.002, 0.005) if renewing else (0.0, 0.01, 0.03, 0.1)))

    def calm(self) -> None:
        self.look()
        self.mishaps = 0.0
        self.until(self.settled_down, 200.0)
        self.run(8.0)
        self.until(self.settled_down)

    def settled_down(self) -> bool:
        session = self.session
        if session.state is not State.CONNECTED or session.exchange.open or session.exchange.deadline() is not None:
            return False
        assert session.link is not None
        peer = self.wires[session.link.epoch].peer
        there = peer is not None and peer.closed is None
        awaited = [roster for channel, roster in self.rosters.items() if channel in self.wanted and not roster.known]
        return not session._renewal.between and there and not awaited


def check(world: Storm) -> None:
    link = world.session.link
    assert link is not None
    peer = world.wires[link.epoch].peer
    assert peer is not None and peer.connection is not None
    assert set(peer.connection.subscriptions) == world.wanted, "the hub holds what the client wants"
    ended = Counter(entry.request for entry in world.settled)
    assert {request: ended[request] for request in world.asked} == dict.fromkeys(world.asked, 1), "ended exactly once"
    heard = [int(bytes(e.data)) for e in world.events if isinstance(e, MessageReceived | DirectReceived)]
    assert heard == sorted(set(heard)), "nothing came doubled or overtaken"
    answers: dict[str, Settled] = {entry.request: entry for entry in world.settled}
    for request, number in world.asked.items():
        if number is None:
            continue
        error = answers[request].error
        if error is None:
            assert world.seen[number] <= 1
        elif isinstance(error, NotConnected):
            assert world.seen[number] == 0, "what was not sent did not arrive"
        else:
            assert isinstance(error, ConnectionLost), "the hub answers everything, or the connection ends"
    assert max(world.seen.values(), default=0) <= 1, "nothing went out twice"
    states = [type(event) for event in world.events if isinstance(event, Connected | Disconnected)]
    assert states == [Connected, Disconnected] * (len(states) // 2) + [Connected]
    assert not [event for event in world.events if isinstance(event, SubscriptionLost)]
    for at, channel in world.lefts:
        assert any(abs(at - gap) <= PATIENCE for gap, _ in world.gaps), f"left {channel} at {at} for no reason told"
    for channel in world.wanted:
        there = {
            name
            for name in ("watcher", "speaker", "guest")
            if any(f'"{name}"' in entry.decode() for entry in world.rig.hub.roster(KEY.app, channel))
        }
        assert set(world.rosters[channel].peers) == there, f"the roster of {channel}"
    assert not world.rig.faults


def after_a_storm(world: Storm, rounds: int = 800, mishaps: float = 0.02) -> Storm:
    world.start()
    world.asked[world.settled[0].request] = None
    world.wanted.add("x")
    world.weather(rounds, mishaps)
    world.calm()
    return world


@pytest.mark.parametrize("seed", range(30))
def test_after_a_storm_everybody_agrees(seed: int) -> None:
    check(after_a_storm(Storm(seed, life=4.0 + seed % 5, mishaps=0.2)))


@pytest.mark.parametrize("seed", range(1_000, 1_010))
def test_after_a_storm_over_a_program_whose_inbox_is_often_full_everybody_agrees(seed: int) -> None:
    check(after_a_storm(Storm(seed, life=4.0 + seed % 5, mishaps=0.2, inbox_limit=8)))


@pytest.mark.parametrize("seed", range(2_000, 2_010))
def test_after_a_storm_at_a_hub_that_continues_no_connections_everybody_agrees(seed: int) -> None:
    check(after_a_storm(Storm(seed, life=20.0, mishaps=0.2, instance=None)))


@pytest.mark.bars
@pytest.mark.parametrize("seed", range(3_000, 3_400))
def test_after_a_long_storm_everybody_agrees(seed: int) -> None:
    check(after_a_storm(Storm(seed, life=4.0 + seed % 5, mishaps=0.2), rounds=3_000, mishaps=0.01))
