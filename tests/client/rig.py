"""A session, its clock, and what comes out of it."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

from orchestrator.client.effects import Attempt, State, Write
from orchestrator.client.policy import ReconnectPolicy
from orchestrator.client.session import Session

if TYPE_CHECKING:
    from orchestrator.client.effects import Effect, Request
    from orchestrator.client.events import ClientEvent


class Longest(random.Random):
    """Always draws the upper end, so that delays are known."""

    def uniform(self, a: float, b: float) -> float:
        return b


class Rig:
    """A session, its clock, and everything that came out of it."""

    def __init__(self, policy: ReconnectPolicy | None = None, rng: random.Random | None = None, **options: Any) -> None:
        self.now = 100.0
        self.session = Session("ws://hub:1", policy or ReconnectPolicy(), rng or Longest(), **options)
        self.effects: list[Effect] = []
        self.epoch = 0

    def take(self, effects: Any) -> list[Effect]:
        self.effects += effects
        for effect in effects:
            if isinstance(effect, Attempt):
                self.epoch = effect.epoch
        return list(effects)

    def start(self) -> Rig:
        self.take(self.session.start(self.now))
        return self

    def dial(self) -> None:
        self.session.dialing(self.epoch, self.now)

    def welcome(self, **fields: Any) -> Rig:
        self.dial()
        self.hear("welcome", **{"peerId": "me", "expiresAt": None, "serverTime": 1, "maxMessageSize": 1000, **fields})
        return self

    def hear(self, kind: str, /, **fields: Any) -> list[Effect]:
        return self.hear_on(self.epoch, kind, **fields)

    def hear_on(self, epoch: int, kind: str, /, **fields: Any) -> list[Effect]:
        text = json.dumps({"type": kind, **fields})
        return self.take(self.session.received(epoch, text, self.now))

    def state(self) -> State:
        return self.session.state

    def ack(self, request: Request, **fields: Any) -> list[Effect]:
        return self.hear("ack", requestId=request.id, **fields)

    def lose(self, code: int = 1006, reason: str = "gone") -> list[Effect]:
        return self.take(self.session.lost(self.epoch, code, reason, self.now))

    def pass_time(self, seconds: float) -> list[Effect]:
        """Move the clock, ticking whenever the session wants it."""
        end = self.now + seconds
        out: list[Effect] = []
        while (due := self.session.deadline()) is not None and due <= end:
            self.now = max(due, self.now)
            out += self.take(self.session.tick(self.now))
        self.now = end
        return out

    def pass_time_quietly(self, seconds: float) -> list[Effect]:
        """Move the clock while the hub answers pings."""
        end = self.now + seconds
        out: list[Effect] = []
        while (due := self.session.deadline()) is not None and due <= end:
            self.now = max(due, self.now)
            effects = self.take(self.session.tick(self.now))
            out += effects
            for effect in effects:
                if isinstance(effect, Write) and effect.frame == b'{"type":"ping"}':
                    self.hear_on(effect.epoch, "pong")
        self.now = end
        return out

    def next_attempt(self) -> float:
        """Let time pass until an attempt begins; return the seconds that it took."""
        before, epoch = self.now, self.epoch
        due = self.session.deadline()
        assert due is not None
        self.now = due
        self.take(self.session.tick(self.now))
        assert self.epoch == epoch + 1
        return self.now - before

    def reconnect(self) -> Rig:
        self.next_attempt()
        return self.welcome()

    def events(self) -> list[ClientEvent]:
        seen = list(self.session.inbox)
        self.session.inbox.clear()
        return seen

    def told(self) -> list[Any]:
        """Return the events so far, of whichever type the test expects them to be."""
        return list(self.events())

    def written(self) -> list[dict[str, Any]]:
        return [json.loads(effect.frame) for effect in self.effects if isinstance(effect, Write)]


def connected(policy: ReconnectPolicy | None = None, **options: Any) -> Rig:
    rig = Rig(policy, **options).start().welcome()
    rig.events()
    rig.effects.clear()
    return rig
