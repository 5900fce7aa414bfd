"""Hubs in bad moments: connections that cross, hubs that begin, end or hang meanwhile, and an engine that takes nothing."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from msgspec import Raw

from orchestrator.hub.intake import Refused
from tests.hub.cluster_rig import Node, Nodes
from tests.hub.rig import Peer

if TYPE_CHECKING:
    from orchestrator.hub.backplane import Topic


def left(peer: Peer) -> list[object]:
    return [entry for frame in peer.new() if frame["type"] == "presence" for entry in frame["left"]]


def is_stale(node: Node) -> bool:
    return node.cluster.stale


def test_two_takeovers_that_cross_leave_one() -> None:
    nodes = Nodes(2)
    old = nodes.connect(1, "p", instance="x")
    nodes.advance(1)
    nodes.lazy = True
    new = nodes.connect(0, "p", instance="y")
    renewed = nodes.connect(1, "p", instance="x")  # in the same instant, the old one
    nodes.run()
    nodes.lazy = False
    nodes.advance(8)
    assert [one.closed is None for one in (old, new, renewed)].count(True) == 1


def test_a_connection_without_a_name_does_not_hide_one_that_has_one() -> None:
    nodes = Nodes(2)
    first = nodes.connect(0, "p", instance="x")
    nodes.connect(0, "p")
    second = nodes.connect(1, "p", instance="y")
    nodes.advance(6)
    assert (first.code(), second.code()) == (4020, None)


def test_the_newest_stays_at_a_hub_that_has_just_begun_and_knows_of_nobody() -> None:
    nodes = Nodes(1)
    for _ in range(3):
        old = nodes.connect(0, "p", instance="x")
    nodes.advance(1)
    nodes.lazy = True
    nodes.start()
    new = nodes.connect(1, "p", instance="y")
    nodes.run()
    nodes.lazy = False
    nodes.advance(6)
    assert (old.code(), new.code()) == (4020, None)


def test_after_a_kill_a_connection_is_handed_over_with_nothing_lost_or_doubled() -> None:
    """For some seconds the hub that was killed is a rival too, and says nothing of what the peer has got."""
    for seed in range(30):
        rng = random.Random(seed)
        nodes = Nodes(4)
        publisher = nodes.connect(3, "pub")
        nodes.join(nodes.connect(0, "p", instance="x"), "c")
        nodes.kill(0)
        second = nodes.connect(1, "p", instance="x")
        nodes.advance(1.1)
        nodes.join(second, "c")
        nodes.advance(1)
        second.new()
        nodes.lazy = True
        third: Peer | None = None
        for number in range(60):
            nodes.step(rng)
            publisher.send({"type": "publish", "channel": "c", "data": number})
            if number == 10:
                third = nodes.connect(2, "p", instance="x")
        nodes.run()
        nodes.lazy = False
        nodes.advance(1.2)
        assert third is not None
        got = [frame["data"] for one in (second, third) for frame in one.all() if frame["type"] == "message"]
        assert got == list(range(60)), seed


def test_what_was_published_over_rest_while_the_engine_is_away_may_be_said_again() -> None:
    nodes = Nodes(2)
    reader = nodes.connect(1, "r")
    nodes.join(reader, "c")
    for node in nodes.nodes:
        node.end.lose()
    with pytest.raises(Refused, match="cannot be reached now"):
        nodes[0].hub.broadcast("default", "c", "system", Raw(b"1"), None, nodes[0].now, "m-1")
    for node in nodes.nodes:
        node.end.find()
    nodes.advance(3)
    nodes[0].hub.broadcast("default", "c", "system", Raw(b"1"), None, nodes[0].now, "m-1")
    nodes.advance(0.1)
    assert [frame["data"] for frame in reader.new() if frame["type"] == "message"] == [1]


def test_what_has_reached_only_those_who_are_here_may_be_said_again_for_the_others() -> None:
    nodes = Nodes(2)
    publisher, far = nodes.connect(0, "pub"), nodes.connect(1, "far")
    nodes.join(nodes.connect(0, "near"), "c")
    nodes.join(far, "c")
    for node in nodes.nodes:
        node.end.lose()
    assert nodes.ask(publisher, "publish", channel="c", data=1, id="m")["receivers"] == 1
    for node in nodes.nodes:
        node.end.find()
    nodes.advance(3)
    assert nodes.ask(publisher, "publish", channel="c", data=1, id="m")["receivers"] == 2
    assert [frame["data"] for frame in far.new() if frame["type"] == "message"] == [1]


def test_a_kick_that_cannot_be_said_to_the_others_is_no_success() -> None:
    nodes = Nodes(2)
    here, there = nodes.connect(0, "p"), nodes.connect(1, "p")
    nodes[0].end.lose()
    with pytest.raises(Refused, match="where the peer may be"):
        nodes[0].hub.kick("default", "p", nodes[0].now)
    nodes[0].flush()
    assert (here.code(), there.code()) == (4020, None)


def test_all_facts_fit_an_engine_that_takes_small_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = Nodes(1)
    end = nodes[0].end
    monkeypatch.setattr(end, "largest", 65_536)
    sizes: list[int] = []
    publish = end.publish

    def measured(topic: Topic, message: bytes) -> bool:
        sizes.append(len(message))
        return publish(topic, message)

    monkeypatch.setattr(end, "publish", measured)
    for number in range(1_000):
        nodes.connect(0, f"peer-{number:0100}")
    late = nodes.start()
    nodes.advance(3)
    assert late.cluster.elsewhere("default", f"peer-{5:0100}") == 1
    assert max(sizes) <= end.largest


def test_what_is_not_known_yet_is_out_of_date() -> None:
    nodes = Nodes(2)
    nodes.join(nodes.connect(0, "a"), "c")
    nodes.advance(3)
    nodes.lazy = True
    nodes.connect(0, "b")
    nodes[0].end.out.clear()  # the engine has lost it
    assert not is_stale(nodes[1])
    nodes.advance(0.05)
    nodes.connect(0, "late")  # the next change shows that one was missed
    for way in (nodes[0].end.out, nodes[1].end.heard):
        while way:
            way.popleft()()
    assert is_stale(nodes[1])
    nodes.run()
    assert not is_stale(nodes[1])


def test_facts_that_are_on_their_way_are_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = Nodes(1)
    for number in range(9_000):
        nodes.connect(0, f"peer-{number:0100}")
    nodes.lazy = True
    late = nodes.start()
    asked: list[str] = []
    want = late.cluster.want

    def counted(node: str) -> None:
        asked.append(node)
        want(node)

    monkeypatch.setattr(late.cluster, "want", counted)
    for _ in range(12):  # a part arrives each 0.4 s
        for way in (nodes[0].end.out, late.end.out, nodes[0].end.heard):
            while way:
                way.popleft()()
        if late.end.heard:
            late.end.heard.popleft()()
        nodes.advance(0.4)
    assert len(asked) == 1


def test_who_was_asked_for_a_sign_and_given_up_is_forgotten() -> None:
    nodes = Nodes(2)
    for _ in range(3):
        node = nodes.start()
        nodes.advance(1)
        node.alive = False  # it hangs, and the engine does not know
        nodes.advance(12)
        node.end.vanish()
    nodes.advance(5)
    assert nodes[0].cluster._asked == {}


def test_a_hub_that_was_held_up_does_not_take_the_others_for_dead() -> None:
    nodes = Nodes(2)
    reader, other = nodes.connect(0, "r"), nodes.connect(1, "o")
    nodes.join(reader, "c")
    nodes.join(other, "c")
    nodes.advance(3)
    reader.new()
    held = nodes[0]
    held.alive = False
    clock = nodes[1]
    for _ in range(240):
        clock.advance(0.05)
        clock.flush()
        while clock.end.out:
            clock.end.out.popleft()()
    held.alive = True
    held.now = clock.now
    held.hub.tick(held.now)  # before it reads what waits
    held.flush()
    nodes.advance(3)
    assert left(reader) == []


def test_who_came_back_elsewhere_and_leaves_has_left_at_once() -> None:
    nodes = Nodes(3)
    reader, peer = nodes.connect(0, "r"), nodes.connect(1, "p")
    nodes.join(reader, "c")
    nodes.join(peer, "c")
    nodes.stop(1)
    for at in (2, 0):
        back = nodes.connect(at, "p")
        nodes.join(back, "c")
        reader.new()
    back.leave()
    nodes.advance(0.2)
    assert left(reader) == [], "it is still at the other one"
    nodes[2].hub.kick("default", "p", nodes[2].now)
    nodes.advance(0.2)
    assert left(reader) == [{"peerId": "p", "reason": "left"}]
    nodes.advance(6)
    assert left(reader) == []
