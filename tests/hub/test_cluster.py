"""Hubs that act as one: messages, sends, rosters and the ends of hubs, on an engine whose steps the tests take."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.hub.settings import Settings
from tests.hub.cluster_rig import Nodes
from tests.hub.rig import Peer

OPEN = Settings(drain_window=0.1)


def told(peer: Peer, kind: str) -> list[dict[str, Any]]:
    return [frame for frame in peer.new() if frame["type"] == kind]


def ids(frame: dict[str, Any], which: str = "joined") -> list[str]:
    return [entry["peerId"] for entry in frame[which]]


def test_a_message_reaches_the_subscribers_of_all_hubs_once_and_is_counted() -> None:
    nodes = Nodes(3)
    a, b, c = (nodes.connect(at, name, peer_metadata={"n": at}) for at, name in enumerate("abc"))
    nodes.join(b, "team/1")
    nodes.join(c, "team/1", includeSenderMetadata=True)
    nodes.join(c, "team/*")
    assert nodes.ask(a, "publish", channel="team/1", data={"é": [1, None]})["receivers"] == 3
    assert told(b, "message") == [{"type": "message", "channel": "team/1", "from": "a", "data": {"é": [1, None]}}]
    (got,) = told(c, "message")
    assert got["fromMetadata"] == {"n": 0}
    assert nodes.ask(c, "unsubscribe", channel="team/1")["type"] == "ack"
    nodes.ask(c, "unsubscribe", channel="team/*")
    nodes.advance(0.1)
    assert nodes.ask(a, "publish", channel="team/1", data=1)["receivers"] == 1


def test_a_send_reaches_a_peer_wherever_it_is_or_is_refused_at_once() -> None:
    nodes = Nodes(3)
    a, b = nodes.connect(0, "a", peer_metadata={"n": 1}), nodes.connect(2, "b")
    assert nodes.ask(a, "send", to="b", data=1)["type"] == "ack"
    assert told(b, "direct") == [{"type": "direct", "from": "a", "data": 1, "fromMetadata": {"n": 1}}]
    assert nodes.ask(a, "send", to="nobody", data=1)["code"] == "peer_not_found"
    again = nodes.connect(0, "b")
    assert nodes.ask(a, "send", to="b", data=2)["type"] == "ack"
    assert [len(told(peer, "direct")) for peer in (again, b)] == [1, 1]


def test_a_send_whose_outcome_cannot_be_known_is_said_to_be_so_within_a_second() -> None:
    nodes = Nodes(2)
    a, b = nodes.connect(0, "a"), nodes.connect(1, "b")
    nodes.lazy = True
    a.send({"type": "send", "to": "b", "data": 1, "requestId": "r"})
    nodes.advance(1.05)
    assert [frame["code"] for frame in told(a, "error")] == ["backend_error"]
    nodes.run()
    assert told(a, "error") == [] and len(told(b, "direct")) == 1


def test_without_the_engine_a_hub_works_alone_and_what_is_elsewhere_is_refused() -> None:
    nodes = Nodes(2)
    a, near, far = nodes.connect(0, "a"), nodes.connect(0, "near"), nodes.connect(1, "far")
    nodes.join(near, "x")
    nodes.join(far, "x")
    nodes.join(far, "y")
    for node in nodes.nodes:
        node.end.lose()
    assert nodes.stale()
    assert nodes.ask(a, "send", to="near", data=1)["type"] == "ack"
    assert nodes.ask(a, "send", to="far", data=1)["code"] == "backend_error"
    assert nodes.ask(a, "publish", channel="x", data=1)["receivers"] == 1
    assert nodes.ask(a, "publish", channel="y", data=1)["code"] == "backend_error"
    late = nodes.connect(0, "late")
    assert late.new()[0]["type"] == "welcome"
    assert ids(nodes.join(late, "x")[0]) == ["near", "far"]
    for node in nodes.nodes:
        node.end.find()
    nodes.advance(2.1)
    assert not nodes.stale()
    far.new()
    assert nodes.ask(a, "publish", channel="x", data=2)["receivers"] == 3
    assert [frame["data"] for frame in told(far, "message")] == [2]


def test_58_a_send_to_a_hub_that_is_not_back_at_the_engine_yet_is_not_said_to_find_nobody() -> None:
    nodes = Nodes(2)
    a, far = nodes.connect(0, "a"), nodes.connect(1, "far")
    for node in nodes.nodes:
        node.end.lose()
    nodes[0].end.find()
    assert nodes.ask(a, "send", to="far", data=1)["code"] == "backend_error"
    assert nodes.ask(a, "send", to="nobody", data=1)["code"] == "peer_not_found"
    nodes[1].end.find()
    nodes.advance(2.1)
    assert nodes.ask(a, "send", to="far", data=2)["type"] == "ack"
    far.leave()
    nodes.advance(0.1)
    assert nodes.ask(a, "send", to="far", data=3)["code"] == "peer_not_found"


def test_a_welcome_and_the_ack_of_a_subscription_wait_until_the_engine_knows() -> None:
    nodes = Nodes(2)
    nodes.lazy = True
    a = nodes.connect(0, "a")
    assert a.new() == []
    nodes.run()
    assert [frame["type"] for frame in a.new()] == ["welcome"]
    a.send({"type": "subscribe", "channel": "x", "requestId": "1"})
    a.send({"type": "publish", "channel": "z", "data": 1, "requestId": "2"})
    assert a.new() == []
    nodes.run()
    assert [frame.get("requestId") for frame in a.new()] == ["1", "2"]
    a.send({"type": "subscribe", "channel": "y", "requestId": "3"})
    nodes.advance(1.1)
    assert [frame.get("requestId") for frame in a.new()][:1] == ["3"], "an engine that says nothing holds up nobody"


def test_rosters_are_those_of_all_hubs_and_follow() -> None:
    nodes = Nodes(2)
    a, b = nodes.connect(0, "a", peer_metadata={"n": 1}), nodes.connect(1, "b")
    nodes.join(a, "lobby")
    (whole,) = nodes.join(b, "lobby")
    assert whole["joined"] == [{"peerId": "a", "metadata": {"n": 1}}]
    assert [ids(frame) for frame in told(a, "presence")][-1] == ["b"]
    twice = nodes.connect(0, "b")
    nodes.join(twice, "lobby")
    assert told(a, "presence") == []
    b.leave()
    nodes.advance(0.1)
    assert told(a, "presence") == [], "another connection of the peer is still there"
    twice.leave()
    nodes.advance(0.1)
    assert [frame["left"] for frame in told(a, "presence")] == [[{"peerId": "b", "reason": "left"}]]


def test_nobody_is_heard_of_before_it_is_known() -> None:
    nodes = Nodes(2)
    a = nodes.connect(0, "a")
    nodes.join(a, "lobby")
    for number in range(30):  # more than are told one by one
        b = nodes.connect(1, f"b{number}")
        a.new()
        b.send({"type": "subscribe", "channel": "lobby"})
        b.send({"type": "publish", "channel": "lobby", "data": 1})
        b.send({"type": "send", "to": "a", "data": 1})
        nodes.run()
        assert [frame["type"] for frame in a.new()] == ["presence", "message", "direct"]


def test_a_hub_that_comes_later_learns_what_is_there() -> None:
    nodes = Nodes(1)
    a = nodes.connect(0, "a")
    nodes.join(a, "lobby")
    nodes.start()
    nodes.advance(0.5)
    b = nodes.connect(1, "b")
    assert [ids(frame) for frame in nodes.join(b, "lobby")] == [["a"]]
    assert nodes.ask(b, "publish", channel="lobby", data=1)["receivers"] == 1


def test_49_the_peers_of_a_hub_that_is_killed_have_left_within_ten_seconds_and_once() -> None:
    nodes = Nodes(3)
    a, gone, back = nodes.connect(0, "a"), nodes.connect(1, "gone"), nodes.connect(1, "back")
    nodes.join(a, "lobby")
    nodes.join(gone, "lobby")
    nodes.join(back, "lobby")
    nodes.advance(1.9)
    a.new()
    nodes.kill(1)
    nodes.advance(3)
    nodes.join(nodes.connect(2, "back"), "lobby")
    nodes.advance(2)
    assert told(a, "presence") == [], "who is back is not told of"
    nodes.advance(5)
    assert [frame["left"] for frame in told(a, "presence")] == [[{"peerId": "gone", "reason": "lost"}]]
    nodes.advance(20)
    assert told(a, "presence") == []
    assert nodes.ask(a, "send", to="gone", data=1)["code"] == "peer_not_found"


def test_55_peers_that_return_elsewhere_within_a_restart_were_never_away() -> None:
    nodes = Nodes(2, OPEN)
    a, gone, back = nodes.connect(0, "a"), nodes.connect(1, "gone"), nodes.connect(1, "back")
    for peer in (a, gone, back):
        nodes.join(peer, "lobby")
    a.new()
    nodes.stop(1)
    nodes.join(nodes.connect(0, "back"), "lobby")
    nodes.advance(3)
    assert told(a, "presence") == []
    nodes.advance(6)
    assert [frame["left"] for frame in told(a, "presence")] == [[{"peerId": "gone", "reason": "draining"}]]


def test_what_is_missed_is_asked_for_and_put_right() -> None:
    nodes = Nodes(2)
    a, b = nodes.connect(0, "a"), nodes.connect(1, "b")
    nodes.join(a, "lobby")
    nodes.join(b, "lobby")
    c = nodes.connect(1, "c")
    a.new()
    nodes.lazy = True
    c.send({"type": "subscribe", "channel": "lobby"})
    b.leave()
    nodes[1].end.out.clear()  # the engine has lost it
    nodes.lazy = False
    nodes.advance(3)
    changes = told(a, "presence")
    assert [entry["peerId"] for frame in changes for entry in frame["joined"]] == ["c"]
    assert [entry["peerId"] for frame in changes for entry in frame["left"]] == ["b"]


def test_a_copy_that_is_not_what_it_should_be_is_found_out() -> None:
    nodes = Nodes(2)
    a, b = nodes.connect(0, "a"), nodes.connect(1, "b")
    nodes.join(a, "lobby")
    nodes.join(b, "lobby")
    (neighbour,) = nodes[0].cluster.neighbours
    ((key, _),) = [fact for fact in neighbour.ledger if fact[0].kind == "l"]
    neighbour.ledger.set(key, b'{"peerId":"x"}')
    a.new()
    nodes.advance(4)
    assert neighbour.ledger.get(key) == b'{"peerId":"b"}'


@pytest.mark.parametrize("same", [True, False])
def test_the_newest_connection_of_a_named_process_is_the_one_that_stays(same: bool) -> None:
    nodes = Nodes(2)
    watcher, other = nodes.connect(0, "watcher"), nodes.connect(0, "other")
    nodes.join(watcher, "lobby")
    old = nodes.connect(0, "a", instance="one")
    nodes.join(old, "lobby", includeSenderMetadata=True)
    nodes.join(old, "team/*")
    watcher.new()
    new = nodes.connect(1, "a", instance="one" if same else "two")
    nodes.advance(0.2)
    assert old.closed == ((1000, "continued by another connection") if same else (4020, "replaced"))
    if same:
        assert told(watcher, "presence") == [], "it was never away"
        assert nodes.ask(other, "publish", channel="team/1", data=1)["receivers"] == 1
        assert [frame["type"] for frame in new.new()] == ["welcome", "presence", "presence", "message"]
    else:
        assert [frame["left"] for frame in told(watcher, "presence")] == [[{"peerId": "a", "reason": "replaced"}]]
    nodes.advance(10)
    assert new.closed is None


def test_two_connections_of_one_process_at_the_same_instant_leave_one() -> None:
    nodes = Nodes(2)
    nodes.lazy = True
    first, second = nodes.connect(0, "a", instance="one"), nodes.connect(1, "a", instance="two")
    nodes.run()
    nodes.lazy = False
    nodes.advance(5)
    assert [first.code(), second.code()] == [4020, None]


def test_what_reaches_a_peer_while_its_connection_goes_to_another_hub_reaches_it_once_and_in_order() -> None:
    """The engine's steps are taken in many orders, with messages from three hubs and from the peer's own two."""
    import random

    for seed in range(150):
        rng = random.Random(seed)
        nodes = Nodes(3)
        senders = [nodes.connect(at, f"s{at}") for at in range(3)]
        old = nodes.connect(0, "a", instance="one")
        nodes.join(old, "team/*")
        nodes.join(old, "team/1")
        nodes.lazy = True
        new: Peer | None = None
        for number in range(40):
            sender = rng.choice(senders)
            if rng.random() < 0.5:
                sender.send({"type": "publish", "channel": "team/1", "data": number})
            else:
                sender.send({"type": "send", "to": "a", "data": number})
            if number == 10:
                new = nodes.connect(1, "a", instance="one")
            for _ in range(rng.randrange(6)):
                nodes.step(rng)
        nodes.run()
        assert new is not None and old.code() == 1000
        got = [frame for peer in (old, new) for frame in peer.all() if frame["type"] in ("message", "direct")]
        for sender in senders:
            name = sender.connection.peer_id if sender.connection else ""
            numbers = [frame["data"] for frame in got if frame["from"] == name]
            assert numbers == sorted(set(numbers)), (seed, name, numbers)
        assert sorted(frame["data"] for frame in got) == list(range(40)), seed


def test_a_connection_whose_old_hub_is_gone_goes_on_alone() -> None:
    nodes = Nodes(2)
    nodes.join(nodes.connect(0, "a", instance="one"), "lobby")
    nodes.kill(0)
    new = nodes.connect(1, "a", instance="one")
    assert [frame["type"] for frame in new.new()] == ["welcome"]


def test_a_connection_whose_old_hub_says_nothing_goes_on_within_a_second() -> None:
    nodes = Nodes(2)
    old = nodes.connect(0, "a", instance="one")
    nodes.join(old, "lobby")
    nodes[0].alive = False  # it hangs
    new = nodes.connect(1, "a", instance="one")
    assert new.new() == []
    nodes.advance(1.1)
    assert [frame["type"] for frame in new.new()] == ["welcome"]
    nodes[0].alive = True
    nodes.advance(4)
    assert old.code() == 1001 and new.closed is None


def test_a_kick_closes_a_peer_everywhere() -> None:
    nodes = Nodes(3)
    held = [nodes.connect(at, "a") for at in (0, 1, 1)]
    nodes.advance(0.1)
    assert nodes[2].hub.kick("default", "a", nodes[2].now) == 3
    nodes.run()
    assert [peer.code() for peer in held] == [4020] * 3


def test_a_message_that_is_said_again_at_another_hub_is_not_taken_twice() -> None:
    nodes = Nodes(3)
    reader = nodes.connect(2, "reader")
    nodes.join(reader, "x")
    for at in (0, 1):
        sender = nodes.connect(at, "s")
        nodes.ask(sender, "publish", channel="x", data=1, id="m1")
        nodes.ask(sender, "send", to="reader", data=1, id="d1")
        sender.leave()
        nodes.run()
    got = reader.new()
    assert len([frame for frame in got if frame["type"] == "message"]) == 1
    assert len([frame for frame in got if frame["type"] == "direct"]) == 1
