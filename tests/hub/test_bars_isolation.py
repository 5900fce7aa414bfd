"""Hazard 41 over a million random acts: two apps whose peers, channels and ids have the same names never meet."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from msgspec import Raw

from orchestrator.hub.settings import Settings
from orchestrator.protocol.tokens import SecretKey
from tests.hub.rig import Peer, Rig
from tests.protocol.glob_oracle import consumes, letters, words

APPS = ("one", "two")
KEYS = {app: SecretKey(f"sk_id_{app}", app * 12, app=app, rate="unlimited") for app in APPS}
SUBS = ("a", "b", "c")
NAMES = ("x", "y", "x/1")
TEXTS = (*NAMES, "x/*", "**")
COMMON = ("subscribe", "unsubscribe", "publish", "send")
RARE = ("reconnect", "reconnect", "publish from outside", "kick", "look")


class World:
    """A hub with the same three peers in each app; whatever is said begins with the name of its app."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.rig = Rig(Settings(snapshot_gap=0.0, ping_interval=1e9), *KEYS.values())
        self.peers: dict[tuple[str, str], Peer] = {}
        self.heard = 0
        for app in APPS:
            for sub in SUBS:
                self.connect(app, sub)

    def connect(self, app: str, sub: str) -> None:
        """Connect, in half of the cases as what continues or replaces the connection before."""
        before = self.peers.get((app, sub))
        instance = self.rng.choice((None, None, "1", "2"))
        peer = self.rig.connect(
            sub, key=KEYS[app], life=80_000, instance=instance, metadata={"app": app}, peer_metadata={"app": app}
        )
        self.peers[app, sub] = peer
        if before is not None:
            if before.code() is None:  # they may share the name; one at a time is enough here
                before.leave()
            self.read(app, before)

    def act(self) -> None:
        rng, rig = self.rng, self.rig
        app, sub = rng.choice(APPS), rng.choice(SUBS)
        peer = self.peers[app, sub]
        kind = rng.choice(COMMON) if rng.random() < 0.99 else rng.choice(RARE)
        if kind == "reconnect" or peer.code() is not None:
            self.connect(app, sub)
        elif kind == "kick":
            rig.hub.kick(app, sub, rig.now)
            rig.flush()
        elif kind == "publish from outside":
            self.say_from_outside(app, rng.choice(NAMES), str(rng.randrange(1_000)))
        elif kind == "look":
            for name in NAMES:
                for entry in rig.hub.roster(app, name):
                    assert json.loads(entry)["metadata"] == {"app": app}
        else:
            fields: dict[str, Any] = {"type": kind, "data": app, "to": rng.choice("abcd"), "requestId": app}
            fields["channel"] = rng.choice(NAMES if kind == "publish" else TEXTS)
            if kind == "subscribe":
                fields["includeSenderMetadata"] = True
            if rng.random() < 0.5:
                fields["id"] = str(rng.randrange(5_000))
            peer.send(fields)

    def say_from_outside(self, app: str, name: str, message_id: str | None = None) -> int:
        data, metadata = Raw(json.dumps(app).encode()), json.dumps({"app": app}).encode()
        self.rig.hub.attempt(app)
        heard = self.rig.hub.broadcast(app, name, "system", data, metadata, self.rig.now, message_id)
        self.rig.flush()
        return heard

    def read(self, app: str, peer: Peer) -> None:
        """Check everything that came to a peer since the last time, and forget it."""
        for frame in peer.all():
            for holder in (frame, *frame.get("joined", ())):
                for field in ("metadata", "fromMetadata"):
                    assert holder.get(field, {"app": app}) == {"app": app}, frame
            assert frame.get("data", app) == app, frame
            assert frame.get("requestId", app) == app, frame
            self.heard += "data" in frame
        peer.writes.clear()
        peer.seen = 0

    def settle(self) -> None:
        self.rig.advance(1.0)
        for (app, _), peer in self.peers.items():
            self.read(app, peer)
        self.check_audiences()

    def check_audiences(self) -> None:
        """Ask each app, from outside, who hears a name: as many as its own subscriptions say."""
        for app in APPS:
            held = [
                tuple(peer.connection.subscriptions)
                for (owner, _), peer in self.peers.items()
                if owner == app and peer.connection is not None and peer.connection.open
            ]
            for name in NAMES:
                expected = sum(any(consumes(words(text), letters(name)) for text in texts) for texts in held)
                assert self.say_from_outside(app, name) == expected


def leaks(seed: int, acts: int) -> int:
    """Let a world live; return how many messages were heard. Raises `AssertionError` for one that crossed over."""
    world = World(seed)
    for number in range(acts):
        world.act()
        if number % 500 == 499:
            world.settle()
    world.settle()
    assert world.rig.faults == []
    return world.heard


@pytest.mark.bars
@pytest.mark.parametrize("seed", range(10))
def test_hazard_41_nothing_crosses_over_in_a_million_random_acts_of_two_apps(seed: int) -> None:
    assert leaks(seed, 100_000) > 50_000


def test_hazard_41_what_crosses_over_is_found() -> None:
    """Under a hub that takes every app for the same one, which is what the acts are to find out about."""
    world = World(0)
    hub = world.rig.hub
    one = hub._home("one")
    hub._apps["two"] = one
    with pytest.raises(AssertionError):
        for number in range(2_000):
            world.act()
            if number % 100 == 99:
                world.settle()
