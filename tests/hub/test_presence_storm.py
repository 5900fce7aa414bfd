"""Many joins and leaves at once: few frames, the same roster for everybody, and nobody heard before heard of (hazard 13)."""

from __future__ import annotations

from typing import Any

import pytest

from bench.presence_storm import Storm
from orchestrator.hub.news import AT_ONCE
from orchestrator.hub.settings import Settings
from orchestrator.protocol.tokens import Grants
from tests.hub.rig import Peer, Rig

WINDOW = Settings().presence_window
SECONDS = [0.5, pytest.param(20, marks=pytest.mark.bars)]


@pytest.mark.parametrize("seconds", SECONDS)
def test_hazard_13_two_thousand_changes_a_second_before_five_hundred_watchers(seconds: float) -> None:
    storm = Storm(watchers=500, guests=500, window=WINDOW, seed=7)
    storm.run(seconds, 2_000)
    assert storm.wrong() == 0
    assert storm.sent <= 3 * (storm.ideal.everybody + storm.rosters)
    assert storm.told <= 3 * storm.ideal.merged, "even where the ideal is one frame for each window"
    assert storm.watchers[0].frames <= 2 * AT_ONCE + 2 * (seconds / WINDOW + 2)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("guests", "per_second"), [(3, 200), (10, 70), (40, 150), (40, 2_000)])
def test_every_reader_ends_with_the_truth_and_none_is_told_a_contradiction(
    guests: int, per_second: float, seed: int
) -> None:
    storm = Storm(watchers=2, guests=guests, window=WINDOW, seed=seed)
    storm.run(1.5, per_second)
    assert storm.wrong() == 0


# -- one by one


class Hall:
    """A watcher of a channel on which there were just so many changes that the next ones are merged."""

    def __init__(self) -> None:
        self.rig = Rig()
        self.watcher = self.rig.connect("w")
        self.watcher.join("x")
        self.rig.advance(1)
        self.early = [self.come(f"early.{number}") for number in range(AT_ONCE)]
        self.at_once = self.presence()

    def come(self, sub: str, **claims: Any) -> Peer:
        peer = self.rig.connect(sub, **claims)
        peer.send({"type": "subscribe", "channel": "x", "requestId": "s"})
        return peer

    def presence(self, peer: Peer | None = None) -> list[tuple[list[str], list[str]]]:
        """Return who joined and who left in each frame since the last call."""
        frames = [frame for frame in (peer or self.watcher).new() if frame["type"] == "presence"]
        return [tuple([one["peerId"] for one in frame[side]] for side in ("joined", "left")) for frame in frames]  # type: ignore[misc]


def test_the_first_changes_are_told_at_once_and_those_after_them_together() -> None:
    hall = Hall()
    assert hall.at_once == [([f"early.{number}"], []) for number in range(AT_ONCE)]
    hall.come("a")
    hall.come("b")
    hall.early[0].leave()
    assert hall.presence() == []
    hall.rig.advance(WINDOW)
    assert hall.presence() == [(["a", "b"], ["early.0"])]


def test_a_channel_that_was_quiet_for_a_window_tells_at_once_again() -> None:
    hall = Hall()
    hall.come("a")
    hall.rig.advance(WINDOW)
    hall.come("b")
    assert hall.presence() == [(["a"], [])], "the next one still waits"
    hall.rig.advance(2.5 * WINDOW)
    hall.presence()
    hall.come("c")
    assert hall.presence() == [(["c"], [])]


def test_a_visit_that_is_over_before_anybody_was_told_is_not_told() -> None:
    hall = Hall()
    hall.come("a").leave()
    hall.rig.advance(1)
    assert hall.presence() == []


def test_one_who_goes_and_comes_back_is_told_to_have_gone_first() -> None:
    """Whatever was sent meanwhile is lost, and it may be another process: whoever relies on it has to know."""
    hall = Hall()
    hall.early[0].leave()
    hall.come("early.0")
    hall.rig.advance(1)
    assert hall.presence() == [([], ["early.0"]), (["early.0"], [])]


@pytest.mark.parametrize("words", [{"type": "publish", "channel": "x"}, {"type": "send", "to": "w"}])
def test_nobody_is_heard_before_it_is_heard_of(words: dict[str, Any]) -> None:
    hall = Hall()
    hall.come("b")
    hall.come("a").send({**words, "data": 1})
    kinds = [frame["type"] for frame in hall.watcher.new()]
    assert kinds == ["presence", "direct" if "to" in words else "message"]
    hall.rig.advance(1)
    assert hall.presence() == [], "what was told early is not told again"


def test_who_comes_meanwhile_gets_the_whole_roster_when_the_others_are_told() -> None:
    hall = Hall()
    a, b = hall.come("a"), hall.come("b")
    hall.early[0].leave()
    hall.rig.advance(WINDOW)
    others = [f"early.{number}" for number in range(1, AT_ONCE)]
    assert hall.presence(a) == [(["w", *others, "b"], [])]
    assert hall.presence(b) == [(["w", *others, "a"], [])]
    hall.rig.advance(1)
    assert hall.presence(a) == hall.presence(b) == []


def test_who_comes_meanwhile_waits_for_its_roster_no_longer_than_a_window_and_the_gap() -> None:
    hall = Hall()
    peers = []
    for number in range(20):
        peers.append((hall.rig.now, hall.come(f"p.{number}")))
        hall.rig.advance(0.017)
    hall.rig.advance(1)
    for came, peer in peers:
        at = next(when for when, texts in peer.writes if any(b'"presence"' in text[:20] for text in texts))
        assert Settings().snapshot_gap <= at - came <= Settings().snapshot_gap + WINDOW


def test_a_connection_is_not_told_that_its_own_peer_has_joined() -> None:
    hall = Hall()
    watching = hall.rig.connect("a", grants=Grants(observe=("x",)))
    watching.join("x")
    hall.come("a")
    hall.come("b")
    hall.rig.advance(1)
    assert hall.presence(watching) == [(["b"], [])]
    assert hall.presence() == [(["a", "b"], [])]


def test_a_repeated_subscribe_gets_a_roster_and_not_the_changes_that_it_holds() -> None:
    hall = Hall()
    hall.come("a")
    hall.watcher.send({"type": "subscribe", "channel": "x", "requestId": "again"})
    hall.come("b")
    hall.rig.advance(1)
    assert hall.presence() == [([*(f"early.{number}" for number in range(AT_ONCE)), "a", "b"], [])]


def test_64_what_is_told_together_stays_below_1_mib() -> None:
    hall = Hall()
    for number in range(400):
        hall.come(f"p.{number}", peer_metadata={"x": "y" * 4_000}, permissions=["subscribe"])
    hall.rig.advance(WINDOW)
    sizes = [len(text) for _, texts in hall.watcher.writes for text in texts]
    assert max(sizes) < 1_048_576
    frames = hall.presence()
    assert [sub for joined, _ in frames for sub in joined] == [f"p.{number}" for number in range(400)]
    assert len(frames) < 6


def test_the_last_one_to_go_leaves_nothing_behind() -> None:
    hall = Hall()
    a = hall.come("a")
    for peer in (a, *hall.early, hall.watcher):
        peer.leave()
    hall.rig.advance(1)
    app = hall.rig.hub.app("default")
    assert app is not None
    assert (app.untold, app.channels.exact, hall.rig.hub.roster("default", "x")) == ({}, {}, [])
