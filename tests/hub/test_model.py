"""The hub against a model that is too simple to be wrong, over random histories of two apps."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.protocol.globs import matches
from orchestrator.protocol.tokens import SecretKey
from tests.hub.rig import Peer, Rig

APPS = {app: SecretKey(f"sk_id_{app}", app * 40, app=app, rate="unlimited") for app in ("a", "b")}
SUBS = ("p", "q", "r")
NAMES = ("x", "x/1", "y")
PATTERNS = ("x*", "**", "*/1", "y")
PERMISSIONS = (None, ("subscribe", "publish", "send", "presence"), ("subscribe",), ("publish", "send"))


@dataclass
class Held:
    """What the model knows of one connection."""

    app: str
    sub: str
    may: frozenset[str]
    peer: Peer
    subscriptions: set[str] = field(default_factory=set)
    expected: list[Any] = field(default_factory=list)
    """Messages, directs and answers, in order."""
    present: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """The rosters as the frames told them."""


class Model:
    def __init__(self) -> None:
        self.rig = Rig(None, *APPS.values())
        self.open: list[Held] = []
        self.count = 0

    def connect(self, app: str, sub: str, permissions: tuple[str, ...] | None) -> None:
        peer = self.rig.connect(sub, key=APPS[app], permissions=permissions, rate="unlimited")
        peer.new()
        may = frozenset(permissions or ("subscribe", "publish", "send", "presence"))
        self.open.append(Held(app, sub, may, peer))

    def subscribe(self, held: Held, channel: str) -> None:
        held.peer.send({"type": "subscribe", "channel": channel, "requestId": "s"})
        if "subscribe" in held.may:
            held.subscriptions.add(channel)
            held.expected.append("ack")
        else:
            held.expected.append("action_not_permitted")

    def unsubscribe(self, held: Held, channel: str) -> None:
        held.peer.send({"type": "unsubscribe", "channel": channel, "requestId": "u"})
        held.subscriptions.discard(channel)
        held.present.pop(channel, None)
        held.expected.append("ack")

    def publish(self, held: Held, channel: str) -> None:
        self.count += 1
        held.peer.send({"type": "publish", "channel": channel, "data": self.count, "requestId": "p"})
        if "publish" not in held.may:
            held.expected.append("action_not_permitted")
            return
        reached = [
            other
            for other in self.open
            if other.app == held.app
            and other is not held
            and any(matches(text, channel) if "*" in text else text == channel for text in other.subscriptions)
        ]
        for other in reached:
            other.expected.append((channel, held.sub, self.count))
        held.expected.append(("ack", len(reached)))

    def send(self, held: Held, to: str) -> None:
        self.count += 1
        held.peer.send({"type": "send", "to": to, "data": self.count, "requestId": "d"})
        targets = [other for other in self.open if (other.app, other.sub) == (held.app, to)]
        if "send" not in held.may:
            held.expected.append("action_not_permitted")
        elif not targets:
            held.expected.append("peer_not_found")
        else:
            for other in targets:
                other.expected.append((None, held.sub, self.count))
            held.expected.append("ack")

    def close(self, held: Held) -> None:
        self.open.remove(held)
        held.peer.leave()

    def check(self) -> None:
        """Compare everything that every open connection got with what the model says."""
        self.rig.advance(0.1)
        for held in self.open:
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
            assert got == held.expected
            held.expected.clear()
            for channel in held.subscriptions:
                assert held.present[channel] == self._roster(held, channel), (held.sub, channel)

    def _see(self, held: Held, frame: dict[str, Any]) -> None:
        assert "presence" in held.may
        roster = held.present[frame["channel"]]
        assert held.sub not in json.dumps([frame["joined"], frame["left"]]).replace('"peerId"', "").replace(
            '"reason"', ""
        ).split('"')
        roster |= {entry["peerId"] for entry in frame["joined"]}
        roster -= {entry["peerId"] for entry in frame["left"]}

    def _roster(self, held: Held, channel: str) -> set[str]:
        if "*" in channel or "presence" not in held.may:
            return set()
        return {
            other.sub
            for other in self.open
            if other.app == held.app and other.sub != held.sub and channel in other.subscriptions
        }


step = st.one_of(
    st.tuples(st.just("connect"), st.sampled_from(("a", "b")), st.sampled_from(SUBS), st.sampled_from(PERMISSIONS)),
    st.tuples(st.just("subscribe"), st.integers(0, 20), st.sampled_from(NAMES + PATTERNS)),
    st.tuples(st.just("unsubscribe"), st.integers(0, 20), st.sampled_from(NAMES + PATTERNS)),
    st.tuples(st.just("publish"), st.integers(0, 20), st.sampled_from(NAMES)),
    st.tuples(st.just("send"), st.integers(0, 20), st.sampled_from(SUBS)),
    st.tuples(st.just("close"), st.integers(0, 20)),
    st.tuples(st.just("check")),
    st.tuples(st.just("wait"), st.sampled_from((0.005, 0.02, 0.03))),
)


def replay(history: list[tuple[Any, ...]]) -> None:
    model = Model()
    for kind, *arguments in history:
        if kind == "connect":
            if len(model.open) < 8:
                model.connect(*arguments)
        elif kind == "check":
            model.check()
        elif kind == "wait":
            model.rig.advance(*arguments)
        elif model.open:
            held = model.open[arguments[0] % len(model.open)]
            getattr(model, kind)(held, *arguments[1:])
    model.check()
    assert model.rig.faults == []


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(step, min_size=20, max_size=90))
def test_deliveries_rosters_order_and_rights_agree_with_the_model_for_two_apps(history: list[tuple[Any, ...]]) -> None:
    connects = [("connect", app, sub, None) for app in ("a", "b") for sub in ("p", "q")]
    replay([*connects, *history])
