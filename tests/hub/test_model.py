"""The hub against a model that is too simple to be wrong, over random histories of two apps (hazards 41, 42 and 50)."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.hub.settings import Settings
from orchestrator.protocol.tokens import Grants, SecretKey
from tests.hub.rig import Peer, Rig
from tests.nodes import joined
from tests.protocol.glob_oracle import consumes, letters, words

APPS = {app: SecretKey(f"sk_id_{app}", app * 40, app=app, rate="unlimited") for app in ("a", "b")}
SUBS = ("p", "q", "r")
NAMES = ("x", "x/1", "y")
PATTERNS = ("x*", "**", "*/1", "y")
ALL: Final = ("subscribe", "publish", "send", "presence")
PERMISSIONS = (None, None, ALL, ("subscribe",), ("publish", "send"), ("subscribe", "publish", "presence"))
CHANNELS = (None, None, None, ("x*", "y"), ("**",), ())
GRANTS = (
    None,
    None,
    None,
    Grants(observe=("**",), publish=("**",), send=("**",)),
    Grants(subscribe=("x",), observe=("x/*", "y*"), publish=("x*",), send=("p",)),
    Grants(subscribe=("**",), presence=("x", "y"), send=("q", "r")),
    Grants(),
)
INSTANCES = (None, None, "1", "1", "2")


def any_takes(patterns: tuple[str, ...], text: str) -> bool:
    wanted = words(text) if "*" in text else letters(text)
    return any(consumes(words(pattern), wanted) for pattern in patterns)


@dataclass(eq=False)
class Held:
    """What the model knows of one connection."""

    app: str
    sub: str
    may: frozenset[str]
    channels: tuple[str, ...] | None
    grants: Grants | None
    instance: str | None
    peer: Peer
    listed: dict[str, bool] = field(default_factory=dict)
    """Its subscriptions, and whether each puts it on the roster."""
    expected: list[Any] = field(default_factory=list)
    """Messages, directs and answers, in order."""
    awaited: set[str] = field(default_factory=set)
    """The channels whose next presence frame is a whole roster."""
    present: dict[str, set[str]] = field(default_factory=dict)
    """The rosters as the frames told them."""

    def listing(self, channel: str) -> bool | None:
        """Tell whether a subscription is listed; `None` = it is refused."""
        if self.channels is not None and not any_takes(self.channels, channel):
            return None
        if self.grants is None or any_takes(self.grants.subscribe, channel):
            return True
        return False if any_takes(self.grants.observe, channel) else None

    def sees(self, channel: str) -> bool:
        if "presence" not in self.may:
            return False
        return self.grants is None or any_takes(self.grants.presence + self.grants.observe, channel)

    def may_publish(self, channel: str) -> bool:
        within = self.channels is None or any_takes(self.channels, channel)
        return within and (self.grants is None or any_takes(self.grants.publish, channel))


def _uncounted(answers: list[Any]) -> list[Any]:
    return ["ack" if isinstance(one, tuple) and one[0] == "ack" else one for one in answers]


class Model:
    def __init__(self) -> None:
        self.rig = Rig(Settings(ping_interval=1e9), *APPS.values())
        self.open: list[Held] = []
        self.count = 0

    def connect(
        self,
        app: str,
        sub: str,
        permissions: tuple[str, ...] | None,
        channels: tuple[str, ...] | None,
        grants: Grants | None,
        instance: str | None,
    ) -> None:
        claims = {"permissions": permissions, "channels": channels, "grants": grants, "instance": instance}
        peer = self.rig.connect(sub, key=APPS[app], rate="unlimited", life=80_000, **claims)
        new = Held(app, sub, frozenset(permissions or ALL), channels, grants, instance, peer)
        assert peer.new()[0]["type"] == "welcome"
        for old in [held for held in self.open if (held.app, held.sub) == (app, sub)]:
            if instance is not None and old.instance is not None:
                self._succeed(old, new)
        self.open.append(new)

    def _succeed(self, old: Held, new: Held) -> None:
        self.open.remove(old)
        if old.instance == new.instance:
            for channel in old.listed:
                listed = new.listing(channel)
                if "subscribe" in new.may and listed is not None:
                    new.listed[channel] = listed
                    new.awaited |= {channel} if new.sees(channel) else set()
        assert old.peer.code() == (1000 if old.instance == new.instance else 4020)
        self._compare(old)

    def subscribe(self, held: Held, channel: str) -> None:
        held.peer.send({"type": "subscribe", "channel": channel, "requestId": f"s{channel}"})
        listed = held.listing(channel)
        if "subscribe" not in held.may:
            held.expected.append("action_not_permitted")
        elif listed is None:
            held.expected.append("channel_not_authorized")
        else:
            held.listed[channel] = listed
            held.expected.append("ack")

    def unsubscribe(self, held: Held, channel: str) -> None:
        held.peer.send({"type": "unsubscribe", "channel": channel, "requestId": f"u{channel}"})
        held.listed.pop(channel, None)
        held.expected.append("ack")

    def publish(self, held: Held, channel: str) -> None:
        self.count += 1
        held.peer.send({"type": "publish", "channel": channel, "data": self.count, "requestId": "p"})
        if "publish" not in held.may:
            held.expected.append("action_not_permitted")
            return
        if not held.may_publish(channel):
            held.expected.append("channel_not_authorized")
            return
        reached = [
            other
            for other in self.open
            if other.app == held.app
            and other is not held
            and any(any_takes((text,), channel) if "*" in text else text == channel for text in other.listed)
        ]
        for other in reached:
            other.expected.append((channel, held.sub, self.count))
        held.expected.append(("ack", len(reached)))

    def send(self, held: Held, to: str) -> None:
        self.count += 1
        held.peer.send({"type": "send", "to": to, "data": self.count, "requestId": "d"})
        targets = [other for other in self.open if (other.app, other.sub) == (held.app, to)]
        if "send" not in held.may or not (held.grants is None or any_takes(held.grants.send, to)):
            held.expected.append("action_not_permitted")
            return
        if not targets:
            held.expected.append("peer_not_found")
            return
        for other in targets:
            other.expected.append((None, held.sub, self.count))
        held.expected.append("ack")

    def close(self, held: Held) -> None:
        self.open.remove(held)
        held.peer.leave()
        self._compare(held)

    def kick(self, held: Held) -> None:
        gone = [other for other in self.open if (other.app, other.sub) == (held.app, held.sub)]
        assert self.rig.hub.kick(held.app, held.sub, self.rig.now) == len(gone)
        self.rig.flush()
        for other in gone:
            self.open.remove(other)
            assert other.peer.code() == 4020
            self._compare(other)

    def check(self) -> None:
        """Compare everything that every open connection got with what the model says."""
        self.rig.advance(0.1)
        for held in self.open:
            self._compare(held)
            for channel in held.listed:
                if held.sees(channel):
                    assert held.present[channel] == self._roster(held, channel), (held.sub, channel)
            assert held.awaited == set()
            assert held.peer.code() is None

    def _compare(self, held: Held) -> None:
        got: list[Any] = []
        for frame in held.peer.new():
            if frame["type"] == "presence":
                self._see(held, frame)
            elif frame["type"] in ("message", "direct"):
                got.append((frame.get("channel"), frame["from"], frame["data"]))
            elif frame["type"] == "error":
                got.append(frame["code"])
            else:
                got.append(("ack", frame["receivers"]) if "receivers" in frame else "ack")
                self._acknowledged(held, frame["requestId"][0], frame["requestId"][1:])
        if joined():  # of those at another hub, what is known is a moment old, and counts subscriptions
            got, held.expected = _uncounted(got), _uncounted(held.expected)
        assert got == held.expected
        held.expected.clear()

    def _acknowledged(self, held: Held, kind: str, channel: str) -> None:
        if kind == "s" and held.sees(channel):
            held.awaited.add(channel)
        elif kind == "u":
            held.awaited.discard(channel)
            held.present.pop(channel, None)

    def _see(self, held: Held, frame: dict[str, Any]) -> None:
        """Read a roster, or a change to one: nobody joins who is there, and nobody leaves who is not."""
        channel = frame["channel"]
        joined = {entry["peerId"] for entry in frame["joined"]}
        left = {entry["peerId"] for entry in frame["left"]}
        assert held.sees(channel)
        assert held.sub not in joined | left
        if channel in held.awaited:
            held.awaited.remove(channel)
            assert not left
            held.present[channel] = joined
            return
        roster = held.present[channel]
        assert not joined & roster
        assert left <= roster
        held.present[channel] = (roster | joined) - left

    def _roster(self, held: Held, channel: str) -> set[str]:
        if "*" in channel:
            return set()
        return {
            other.sub
            for other in self.open
            if other.app == held.app and other.sub != held.sub and other.listed.get(channel)
        }


SHAPES: Final[dict[str, tuple[tuple[Any, ...], ...]]] = {
    "connect": (("a", "b"), SUBS, PERMISSIONS, CHANNELS, GRANTS, INSTANCES),
    "subscribe": (tuple(range(20)), NAMES + PATTERNS),
    "unsubscribe": (tuple(range(20)), NAMES + PATTERNS),
    "publish": (tuple(range(20)), NAMES),
    "send": (tuple(range(20)), SUBS),
    "close": (tuple(range(20)),),
    "kick": (tuple(range(20)),),
    "check": (),
    "wait": ((0.005, 0.02, 0.03),),
}
"""The kinds of steps, and what each of their arguments is drawn from."""
OFTEN: Final = {"subscribe": 6, "publish": 5, "connect": 3, "unsubscribe": 2, "send": 3, "wait": 2}
step = st.one_of(
    *(st.tuples(st.just(kind), *map(st.sampled_from, arguments)) for kind, arguments in SHAPES.items()),
)


def take(model: Model, kind: str, *arguments: Any) -> None:
    if kind == "connect":
        if len(model.open) < 8:
            model.connect(*arguments)
    elif kind == "check":
        model.check()
    elif kind == "wait":
        model.rig.advance(*arguments)
    elif model.open:
        getattr(model, kind)(model.open[arguments[0] % len(model.open)], *arguments[1:])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(step, min_size=20, max_size=90))
def test_deliveries_rosters_order_and_rights_agree_with_the_model_for_two_apps(history: list[tuple[Any, ...]]) -> None:
    model = Model()
    for app in ("a", "b"):
        for sub in ("p", "q"):
            model.connect(app, sub, None, None, None, None)
    for kind, *arguments in history:
        take(model, kind, *arguments)
    model.check()
    assert model.rig.faults == []


@pytest.mark.bars
@pytest.mark.parametrize("seed", range(10))
def test_ten_thousand_steps_each_of_ten_long_histories_agree_with_the_model(seed: int) -> None:
    chance = random.Random(seed)
    kinds = [kind for kind in SHAPES for _ in range(OFTEN.get(kind, 1))]
    model = Model()
    for _ in range(10_000):
        kind = chance.choice(kinds)
        take(model, kind, *map(chance.choice, SHAPES[kind]))
    model.check()
    assert model.rig.faults == []
