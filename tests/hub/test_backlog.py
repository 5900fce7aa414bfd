"""What waits for readers that lag, in all of a hub: who is given up for it, and that what many wait for is kept once."""

from __future__ import annotations

import itertools
import json
import random
import tracemalloc
from typing import Any

import pytest

from orchestrator.hub.settings import Settings
from orchestrator.protocol import limits
from orchestrator.protocol.codes import CloseCode
from orchestrator.protocol.tokens import SecretKey
from tests.hub import rig as rigs
from tests.hub.rig import KEY, Peer

MIB = 1_048_576
OPEN = SecretKey(KEY.id, KEY.secret, rate="unlimited")


class Rig(rigs.Rig):
    """With a key whose tokens may send as much as they like."""

    def __init__(self, settings: Settings | None = None) -> None:
        super().__init__(settings, OPEN)


def stalled(rig: Rig, name: str, unsent: int = 1, *channels: str) -> Peer:
    peer = rig.connect(name, rate="unlimited")
    for channel in channels:
        peer.join(channel)
    assert peer.connection is not None
    rig.hub.stalled(peer.connection, unsent, rig.now)
    return peer


def cut(peer: Peer) -> bool:
    return peer.aborted


def publisher(rig: Rig) -> Peer:
    return rig.connect("publisher", rate="unlimited")


@pytest.mark.one_hub("the limit is that of one hub")
def test_hazard_10_beyond_the_budget_of_all_the_readers_with_most_waiting_go_first() -> None:
    rig = Rig(Settings(outbound_bytes=10_000))
    small, large, middle = (stalled(rig, str(size), size) for size in (2_000, 5_000, 2_500))
    assert rig.hub.turn.backlog.total == 9_500
    assert {peer.code() for peer in (small, large, middle)} == {None}
    sender = publisher(rig)
    sender.send({"type": "send", "to": "2000", "data": "x" * 1_000})
    rig.flush()
    assert large.code() == CloseCode.POLICY_VIOLATION
    assert large.connection is not None
    assert not large.connection.open
    assert (small.code(), middle.code(), sender.code()) == (None, None, None)


@pytest.mark.one_hub("the limit is that of one hub")
def test_hazard_10_who_was_given_up_has_still_to_read_why_unless_that_costs_others_their_place() -> None:
    rig = Rig(Settings(outbound_bytes=10_000, outbox_bytes=4_000))
    slow, other = stalled(rig, "slow", 4_001), stalled(rig, "other", 2_000)
    rig.flush()
    assert slow.code() == CloseCode.POLICY_VIOLATION
    assert not cut(slow)
    assert rig.hub.turn.backlog.total == 6_001
    third = stalled(rig, "third", 3_900)
    rig.flush()
    assert not cut(slow)
    assert other.connection is not None
    rig.hub.stalled(other.connection, 3_000, rig.now)
    rig.flush()
    assert cut(slow)
    assert (other.code(), third.code()) == (None, None)


@pytest.mark.parametrize("ends", ["resumes", "leaves", "overflows and is lost"])
def test_what_nobody_waits_for_any_more_counts_no_more(ends: str) -> None:
    rig = Rig(Settings(outbound_bytes=10 * MIB))
    reader = stalled(rig, "reader", 1_000, "x")
    sender = publisher(rig)
    sender.ask("publish", channel="x", data="y" * 500)
    assert 1_500 < rig.hub.turn.backlog.total < 2_000
    assert reader.connection is not None
    if ends == "resumes":
        rig.hub.resumed(reader.connection, rig.now)
        rig.flush()
    elif ends == "overflows and is lost":
        reader.outbox.overflow()
        assert rig.hub.turn.backlog.total == 1_000
        reader.outbox.lost()
    else:
        reader.leave()
        reader.outbox.lost()
    assert rig.hub.turn.backlog.total == 0


def test_hazard_10_whatever_readers_do_the_total_is_the_sum_and_within_the_budget() -> None:
    """Readers stall, resume, are written to and leave in any order; frames are at most as long as there is room."""
    for seed in range(8):
        rng = random.Random(seed)
        rig = Rig(Settings(outbound_bytes=50_000, outbox_bytes=20_000))
        sender = publisher(rig)
        readers: list[Peer] = []
        for number in itertools.count():
            if number == 400:
                break
            readers = [reader for reader in readers if reader.connection is not None and reader.connection.open]
            act = rng.choice(("connect", "stall", "resume", "publish", "publish", "leave"))
            reader = rng.choice(readers) if readers else None
            if act == "connect" and len(readers) < 12:
                readers.append(rig.connect(f"reader-{number}", rate="unlimited"))
                readers[-1].join("x")
            elif act == "publish":
                sender.ask("publish", channel="x", data="y" * rng.randrange(1_500))
            elif reader is not None and reader.connection is not None:
                if act == "stall" and not reader.outbox.stalled:
                    rig.hub.stalled(reader.connection, rng.randrange(1, 9_000), rig.now)
                elif act == "resume" and reader.outbox.stalled:
                    rig.hub.resumed(reader.connection, rig.now)
                elif act == "leave":
                    reader.leave()
                    reader.outbox.lost()
            rig.flush()
            rig.advance(0.01)
            backlog = rig.hub.turn.backlog
            assert backlog.total == sum(outbox.backlog for outbox in backlog._holders)
            assert backlog.total <= 50_000


# -- one message for many


def waiting_texts(peer: Peer) -> list[Any]:
    return [json.loads(frame[frame.index(b"{") :])["data"] for frame in peer.outbox.waiting()]


def test_hazard_12_a_message_that_many_wait_for_is_kept_once() -> None:
    rig = Rig(Settings(outbox_bytes=64 * MIB))
    readers = [stalled(rig, f"reader-{number}") for number in range(300)]
    for reader in readers:
        assert reader.connection is not None
        rig.hub.receive(reader.connection, b'{"type":"subscribe","channel":"**"}', rig.now)
    sender = publisher(rig)
    text = json.dumps({"type": "publish", "channel": "x", "data": "y" * 60_000}).encode()
    assert sender.connection is not None
    tracemalloc.start()
    try:
        for _ in range(4):
            rig.hub.receive(sender.connection, text, rig.now)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (kept - 4 * 60_000) / len(readers) / 4 < 1_024


@pytest.mark.one_hub("between different senders, the order is that of one hub")
def test_what_different_ways_bring_in_one_turn_keeps_its_order_for_every_reader() -> None:
    """Publishes by several senders to overlapping audiences, sends, stalls and leaves, all before anything is written."""
    for seed in range(40):
        rng = random.Random(seed)
        rig = Rig(Settings(outbox_bytes=64 * MIB))
        peers = [rig.connect(f"p{number}", rate="unlimited") for number in range(6)]
        for peer in peers:
            for channel in ("x", "y", "z*"):
                if rng.random() < 0.7:
                    peer.join(channel)
        rig.advance(1.0)
        for peer in peers:
            peer.new()
        expected: dict[str, list[int]] = {f"p{number}": [] for number in range(6)}
        for number in range(40):
            sender = rng.choice(peers)
            assert sender.connection is not None
            if not sender.connection.open:
                continue
            kind = rng.random()
            if kind < 0.1 and sender.outbox.stalled:
                rig.hub.resumed(sender.connection, rig.now)
            elif kind < 0.15 and not sender.outbox.frames:
                rig.hub.stalled(sender.connection, 10, rig.now)
            elif kind < 0.3:
                target = rng.choice(peers)
                rig.hub.receive(
                    sender.connection,
                    json.dumps({"type": "send", "to": f"p{peers.index(target)}", "data": number}).encode(),
                    rig.now,
                )
                expected[f"p{peers.index(target)}"].append(number)
            else:
                channel = rng.choice(("x", "y", "z1"))
                for peer in peers:
                    held = peer.connection.subscriptions if peer.connection is not None else {}
                    if peer is not sender and (channel in held or (channel == "z1" and "z*" in held)):
                        expected[f"p{peers.index(peer)}"].append(number)
                frame = json.dumps({"type": "publish", "channel": channel, "data": number}).encode()
                for _ in range(rng.choice((1, 1, 3))):
                    rig.hub.receive(sender.connection, frame, rig.now)
                    frame = b'{"type":"ping"}'
        rig.flush()
        for peer in peers:
            if peer.outbox.stalled:
                assert peer.connection is not None
                rig.hub.resumed(peer.connection, rig.now)
        rig.flush()
        assert not open_batches(rig)
        got = {name: [f["data"] for f in peer.new() if "data" in f] for name, peer in zip(expected, peers, strict=True)}
        assert got == expected, seed


def open_batches(rig: Rig) -> list[bytes]:
    app = rig.hub.app("default")
    assert app is not None
    audiences = [channel.audience for channel in app.channels.exact.values()] + [*app.channels._remembered.values()]
    return [a.name for a in audiences if a is not None and (a.plain.batch is not None or a.stamped.batch is not None)]


def test_what_goes_to_slow_readers_alone_is_gathered_for_nobody() -> None:
    """A batch ends with the turn because whoever holds it is written to then; there has to be somebody."""
    rig = Rig()
    sender, reader, other = publisher(rig), rig.connect("reader"), rig.connect("other")
    for peer in (reader, other):
        peer.join("x")
        assert peer.connection is not None
        rig.hub.stalled(peer.connection, 1, rig.now)
    sender.ask("publish", channel="x", data=1)
    assert not open_batches(rig)
    for peer in (reader, other):
        assert peer.connection is not None
        rig.hub.resumed(peer.connection, rig.now)
    sender.ask("publish", channel="x", data=2)
    assert not open_batches(rig)
    assert [frame["data"] for frame in reader.new() if frame["type"] == "message"] == [1, 2]


def test_what_was_put_before_a_close_is_written_and_nothing_after_it() -> None:
    rig = Rig()
    sender, reader, other = publisher(rig), rig.connect("reader"), rig.connect("other")
    reader.join("x")
    other.join("x")
    reader.new()
    assert sender.connection is not None
    say = json.dumps({"type": "publish", "channel": "x", "data": 1}).encode()
    rig.hub.receive(sender.connection, say, rig.now)
    rig.hub.kick("default", "reader", rig.now)
    rig.hub.receive(sender.connection, say, rig.now)
    rig.flush()
    assert [frame["type"] for frame in reader.new() if frame["type"] == "message"] == ["message"]
    assert [frame["type"] for frame in other.new() if frame["type"] == "message"] == ["message"] * 2


# -- one publisher, and what it makes others wait for


def test_hazard_12_a_publisher_may_cause_so_many_bytes_a_second_and_is_told_when_that_is_too_much() -> None:
    rig = Rig(Settings(fan_out_bytes=100_000))
    readers = [rig.connect(f"reader-{number}") for number in range(10)]
    for reader in readers:
        reader.join("x")
    flooder, other = rig.connect("flooder"), rig.connect("other")
    answers = [flooder.ask("publish", channel="x", data="y" * 1_900) for _ in range(15)]
    assert [answer["type"] for answer in answers] == ["ack"] * 10 + ["error"] * 5
    assert answers[-1]["code"] == "over_message_quota"
    assert flooder.code() is None
    assert other.ask("publish", channel="x", data=1)["type"] == "ack", "it is nobody else's budget"
    rig.advance(0.5)
    assert flooder.ask("send", to="other", data=1)["type"] == "ack"
    assert flooder.ask("publish", channel="x", data=1)["type"] == "ack"
    for reader in readers:
        assert len([f for f in reader.new() if f["type"] == "message"]) == 12


def test_hazard_12_a_send_to_a_peer_of_many_connections_costs_as_much_as_it_causes() -> None:
    rig = Rig(Settings(fan_out_bytes=10_000))
    for _ in range(10):
        rig.connect("many")
    flooder = rig.connect("flooder")
    answers = [flooder.ask("send", to="many", data="y" * 1_900)["type"] for _ in range(3)]
    assert answers == ["ack", "error", "error"]


def test_who_may_send_as_much_as_it_likes_may_reach_as_many_as_it_likes() -> None:
    rig = Rig(Settings(fan_out_bytes=1_000))
    rig.connect("reader").join("x")
    trusted = publisher(rig)
    assert {trusted.ask("publish", channel="x", data="y" * 10_000)["type"] for _ in range(5)} == {"ack"}


def test_a_publisher_at_its_rate_reaches_a_hundred_readers_with_a_kilobyte_each() -> None:
    """The budget is no concern of those who keep to their message rate with messages of common sizes."""
    assert limits.FAN_OUT_BYTES >= limits.RATE_PER_SECOND * 100 * 1_024 * 10
