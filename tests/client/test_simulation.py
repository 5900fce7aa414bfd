"""Sessions against a model of a hub, on a clock of their own, through thousands of seeded mishaps."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Raw

from orchestrator.client.effects import Attempt, Drop, Settled, State, Write
from orchestrator.client.events import Connected, Disconnected
from orchestrator.client.policy import ReconnectPolicy
from orchestrator.client.session import Session
from orchestrator.errors import NotConnected

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.client.effects import Effect, Request

CHANNELS = ("a", "b", "c", "d")
MISHAPS = ("lose", "lose", "refuse", "mute", "late", "close code", "no token", "nothing", "nothing", "nothing")


class World:
    """One client, one hub, and the frames between them. Whatever the hub has not answered waits in `asked`."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.now = 0.0
        self.session = Session("ws://hub:1", ReconnectPolicy(max_attempts=None), random.Random(seed), daemon=True)
        self.epoch = 0
        self.dropped: set[int] = set()
        self.wanted: set[str] = set()
        self.held: set[str] = set()
        self.asked: list[tuple[int, dict[str, Any]]] = []
        self.open: set[str] = set()
        self.settled: set[str] = set()
        self.do(self.session.start(self.now))

    def do(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Attempt(epoch):
                    assert epoch == self.epoch + 1
                    self.epoch = epoch
                case Write(epoch, frame):
                    self.write(epoch, frame)
                case Drop(epoch, _, _):
                    self.dropped.add(epoch)
                    self.held.clear()
                case Settled(request, _, _):
                    assert request in self.open, "settled twice, or never asked"
                    self.open.remove(request)
                    self.settled.add(request)

    def write(self, epoch: int, frame: bytes) -> None:
        assert epoch == self.epoch and epoch not in self.dropped
        assert self.session.state is State.CONNECTED
        self.asked.append((epoch, json.loads(frame)))

    def ask(self, request: Request) -> None:
        self.open.add(request.id)
        self.write(request.epoch, request.frame)

    def hear(self, epoch: int, **frame: Any) -> None:
        self.do(self.session.received(epoch, json.dumps(frame), self.now))

    def welcome(self) -> None:
        if self.session.state is not State.CONNECTED and self.session.dialing(self.epoch, self.now):
            self.held.clear()
            self.hear(self.epoch, type="welcome", peerId="me", serverTime=1, maxMessageSize=100)

    def lose(self, code: int = 1006) -> None:
        self.held.clear()
        self.do(self.session.lost(self.epoch, code, "", self.now))

    def hub_answers(self, *, refuse: bool = False) -> None:
        for epoch, frame in self.asked:
            if frame["type"] == "ping":
                self.hear(epoch, type="pong")
                continue
            if epoch == self.epoch and self.session.state is State.CONNECTED and not refuse:
                if frame["type"] == "subscribe":
                    self.held.add(frame["channel"])
                elif frame["type"] == "unsubscribe":
                    self.held.discard(frame["channel"])
            answer = {"type": "error", "code": "backend_error"} if refuse else {"type": "ack"}
            self.hear(epoch, requestId=frame["requestId"], **answer)
        self.asked.clear()

    def client_acts(self) -> None:
        channel = self.rng.choice(CHANNELS)
        act = self.rng.choice(("subscribe", "unsubscribe", "publish", "send"))
        try:
            if act == "subscribe":
                self.ask(self.session.subscribe(channel, False, self.now))
                self.wanted.add(channel)
            elif act == "unsubscribe":
                self.wanted.discard(channel)
                self.ask(self.session.unsubscribe(channel, self.now))
            elif act == "publish":
                self.ask(self.session.publish(channel, Raw(b"1"), self.now))
            else:
                self.ask(self.session.send("b", Raw(b"1"), self.now))
        except NotConnected:
            assert self.session.state is not State.CONNECTED

    def mishap(self) -> None:
        match self.rng.choice(MISHAPS):
            case "lose":
                self.lose()
            case "close code":
                self.lose(self.rng.choice((1000, 1001, 1008, 4002, 4011)))
            case "refuse":
                self.hub_answers(refuse=True)
            case "mute":
                self.asked.clear()
            case "late" if self.epoch > 1:
                self.hear(self.epoch - 1, type="ack", requestId=str(self.rng.randrange(100)))
                self.do(self.session.lost(self.epoch - 1, 4001, "", self.now))
            case "no token":
                self.do(self.session.token_failed(self.epoch, "why", self.now))
                if self.session.state is not State.CONNECTED:
                    self.held.clear()

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while (due := self.session.deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            self.do(self.session.tick(self.now))
        self.now = end

    def calm_down(self) -> None:
        """Let a healthy hub answer everything until nothing is left to be done."""
        for _ in range(40):
            self.welcome()
            self.hub_answers()
            self.pass_time(1.0 if self.session.state is State.CONNECTED else 40.0)
        self.hub_answers()


@pytest.mark.parametrize("seed", range(60))
def test_hazard_53_the_hub_holds_what_the_client_wants_and_every_request_ends_once(seed: int) -> None:
    """§21.85, §21.87, §21.91: after any history, and without a further reconnect."""
    world = World(seed)
    for _ in range(200):
        world.welcome()
        for _ in range(world.rng.randrange(3)):
            world.client_acts()
        if world.rng.random() < 0.5:
            world.mishap()
        if world.rng.random() < 0.7:
            world.hub_answers()
        world.pass_time(world.rng.choice((0.0, 0.1, 3.0, 20.0)))
    if world.session.state is State.CONNECTED:
        world.lose()
    world.calm_down()
    assert world.session.state is State.CONNECTED
    assert world.held == world.wanted
    assert not world.open
    states = [event for event in world.session.inbox if isinstance(event, Connected | Disconnected)]
    assert all(isinstance(event, Disconnected) == bool(number % 2) for number, event in enumerate(states))


@pytest.mark.parametrize("drops", [1_000, pytest.param(10_000, marks=pytest.mark.bars)])
def test_hazard_53_after_each_of_many_drops_the_hub_holds_what_the_client_wants(drops: int) -> None:
    """§21.85: whatever was asked for, answered or not, when the connection dropped; without waiting for any retry."""
    world = World(53)
    world.welcome()
    for drop in range(drops):
        for _ in range(world.rng.randrange(4)):
            world.client_acts()
            if world.rng.random() < 0.5:
                world.hub_answers()
        world.asked.clear()
        world.lose(world.rng.choice((1000, 1001, 1006, 1008, 4002, 4011)))
        if world.rng.random() < 0.3:
            world.client_acts()
        world.pass_time(world.rng.choice((31.0, 40.0)))
        while world.session.state is not State.CONNECTED:
            world.pass_time(60.0)
            world.welcome()
        world.hub_answers()
        assert world.held == world.wanted, drop
        world.session.inbox.clear()
    assert world.epoch > drops
