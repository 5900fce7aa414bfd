"""What any run of hubs has to keep: rosters that never contradict themselves and end up true, and apps that share nothing."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from orchestrator.hub.keys import KeyRing
from orchestrator.hub.rosters import Reason
from orchestrator.protocol.tokens import SecretKey
from tests.hub.cluster_rig import Nodes
from tests.hub.rig import Peer

CHANNELS = ("lobby", "team/1", "team/2")
APPS = [SecretKey(f"sk_id_{app}", "sk_secret_" + app[0] * 32, app=app, rate="unlimited") for app in ("one", "other")]


class View:
    """What one connection was told of who is there. Raises when that contradicts itself."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.rosters: dict[str, set[str]] = {}
        self._read = 0

    def read(self) -> None:
        frames = self.peer.all()
        fresh, self._read = frames[self._read :], len(frames)
        for frame in fresh:
            if frame["type"] == "ack":  # of a subscription, after which a whole roster comes, or of its end
                self.rosters.pop(frame["requestId"], None)
            if frame["type"] == "presence":
                self._take(frame)

    def _take(self, frame: dict[str, Any]) -> None:
        joined = [entry["peerId"] for entry in frame["joined"]]
        left = [entry["peerId"] for entry in frame["left"]]
        roster = self.rosters.get(frame["channel"])
        if roster is None:
            assert not left, f"a leave before the roster: {frame}"
            self.rosters[frame["channel"]] = set(joined)
            return
        assert not roster & set(joined), f"joined twice: {frame}"
        assert roster >= set(left), f"left without being there: {frame}"
        roster |= set(joined)
        roster -= set(left)


class Run:
    def __init__(self, seed: int, *, faults: bool) -> None:
        self.rng = random.Random(seed)
        self.nodes = Nodes(3)
        self.nodes.lazy = True
        self.views: list[tuple[int, View]] = []
        self.faults = faults

    def open(self) -> list[tuple[int, View]]:
        return [(at, view) for at, view in self.views if view.peer.connection and view.peer.connection.open]

    def act(self) -> None:
        rng = self.rng
        held = self.open()
        kind = rng.random()
        if kind < 0.2 or not held:
            at = rng.randrange(3)
            self.views.append((at, View(self.nodes.connect(at, f"p{rng.randrange(6)}"))))
        elif kind < 0.3:
            rng.choice(held)[1].peer.leave(rng.choice([Reason.LEFT, Reason.LOST]))
        elif kind < 0.7:
            view = rng.choice(held)[1]
            channel = rng.choice(CHANNELS)
            connection = view.peer.connection
            assert connection is not None
            what = "unsubscribe" if channel in connection.subscriptions else "subscribe"
            view.peer.send({"type": what, "channel": channel, "requestId": channel})
        elif kind < 0.72 and self.faults:
            node = rng.choice(self.nodes.nodes)
            node.end.lose() if node.end.up else node.end.find()
        for _ in range(rng.randrange(8)):
            self.nodes.step(rng)
        if rng.random() < 0.3:
            self.nodes.advance(rng.choice([0.01, 0.05, 0.5]))
        for _, view in held:
            view.read()

    def quiesce(self) -> None:
        for node in self.nodes.nodes:
            if not node.end.up:
                node.end.find()
        self.nodes.lazy = False
        self.nodes.run()
        self.nodes.advance(12)

    def check(self) -> None:
        there: dict[str, set[str]] = {channel: set() for channel in CHANNELS}
        for _, view in self.open():
            connection = view.peer.connection
            assert connection is not None
            for channel in connection.subscriptions:
                there[channel].add(connection.peer_id)
        for at, view in self.open():
            view.read()
            connection = view.peer.connection
            assert connection is not None
            for channel in connection.subscriptions:
                assert view.rosters[channel] == there[channel] - {connection.peer_id}, (at, channel)
        for node in self.nodes.nodes:
            for channel, names in there.items():
                found = {json.loads(entry)["peerId"] for entry in node.hub.roster("default", channel)}
                assert found == names, (node.cluster.voice.node, channel)


@pytest.mark.parametrize("faults", [False, True])
def test_49_50_rosters_alternate_for_every_reader_and_end_up_true_on_every_hub(faults: bool) -> None:
    for seed in range(25):
        run = Run(seed, faults=faults)
        for _ in range(120):
            run.act()
        run.quiesce()
        run.check()


@pytest.mark.bars
@pytest.mark.parametrize("faults", [False, True])
def test_49_50_over_very_many_runs(faults: bool) -> None:
    for seed in range(100, 1600):
        run = Run(seed, faults=faults)
        for _ in range(200):
            run.act()
        run.quiesce()
        run.check()


def leaks(operations: int, seed: int) -> int:
    """Have two apps do the same things under the same names; return how many messages arrived, none of them astray."""
    rng = random.Random(seed)
    nodes = Nodes(3)
    for node in nodes.nodes:
        node.keys = KeyRing(APPS, [])
    peers: list[tuple[str, Peer]] = []
    for at in range(3):
        for key in APPS:
            for name in ("a", "b"):
                peer = nodes.connect(at, name, key=key, rate="unlimited")
                for channel in rng.sample(["x", "team/1", "team/*", "**"], 2):
                    nodes.join(peer, channel)
                peers.append((key.app, peer))
    arrived = 0
    for number in range(operations):
        app, peer = rng.choice(peers)
        if rng.random() < 0.6:
            peer.send({"type": "publish", "channel": rng.choice(["x", "team/1"]), "data": app})
        else:
            peer.send({"type": "send", "to": rng.choice("ab"), "data": app})
        if number % 50 == 0:
            nodes.run()
            for theirs, reader in peers:
                got = [frame["data"] for frame in reader.new() if frame["type"] in ("message", "direct")]
                assert set(got) <= {theirs} and reader.closed is None
                arrived += len(got)
                reader.writes.clear()
                reader.seen = 0
    return arrived


def test_41_two_apps_with_the_same_names_hear_nothing_of_one_another() -> None:
    assert leaks(2_000, 1) > 5_000


@pytest.mark.bars
def test_41_over_a_million_messages() -> None:
    assert leaks(1_000_000, 2) > 2_000_000
