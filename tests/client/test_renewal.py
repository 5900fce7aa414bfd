"""A connection goes on under a fresh token, against the hub's own core: hazard 34."""

from __future__ import annotations

import pytest
from msgspec import Raw

from orchestrator.client.effects import State
from orchestrator.client.events import Connected, Disconnected, PresenceReceived, Renewed
from tests.client.renewing import World

EVERY = 0.05


def check_that_nobody_noticed(world: World, said: int) -> None:
    world.run(2.0)
    assert world.heard() == list(range(1, said + 1)), "nothing lost, doubled or overtaken on the way in"
    seen = world.overheard()
    assert [frame.get("data") for frame in seen] == list(range(1, said + 1)), "nor on the way out"
    assert {frame["type"] for frame in seen} == {"message", "direct"}, "nobody came or went"
    assert all(entry.error is None for entry in world.settled)
    assert len(world.settled) == 1 + said
    assert not [event for event in world.events[1:] if isinstance(event, Connected | Disconnected)]
    assert not world.rig.faults


@pytest.mark.parametrize("seed", range(8))
def test_hazard_34_a_minute_of_five_second_tokens_is_noticed_by_nobody(seed: int) -> None:
    world = World(seed).start()
    said = world.talk(60.0, EVERY)
    check_that_nobody_noticed(world, said)
    renewals = sum(isinstance(event, Renewed) for event in world.events)
    assert 14 <= renewals <= 25


@pytest.mark.parametrize("seed", range(8))
def test_hazard_34_renewals_that_fail_at_the_token_or_the_socket_are_tried_again_in_time(seed: int) -> None:
    world = World(100 + seed, life=20.0, mishaps=0.5).start()
    said = world.talk(120.0, EVERY)
    check_that_nobody_noticed(world, said)
    assert any(note.event == "token not renewed" for note in world.notes)


@pytest.mark.bars
@pytest.mark.parametrize("seed", range(4))
def test_hazard_34_ten_minutes_of_five_second_tokens_are_noticed_by_nobody(seed: int) -> None:
    world = World(1_000 + seed).start()
    said = world.talk(600.0, 0.02)
    check_that_nobody_noticed(world, said)
    assert sum(isinstance(event, Renewed) for event in world.events) >= 140


@pytest.mark.parametrize("seed", range(40))
def test_a_cut_at_any_moment_of_a_renewal_is_told_and_healed(seed: int) -> None:
    """Either nobody noticed, or the program hears of it; in the end the hub holds what the client wants."""
    world = World(seed, life=20.0).start()
    renewal = world.session.deadline()
    while world.session.deadline() is not None and len(world.wires) == 1:
        world.run(0.1)
    assert renewal is not None
    world.talk(world.rng.uniform(0.0, 0.5), 0.01)
    victim = world.rng.choice([epoch for epoch, wire in world.wires.items() if not wire.ended])
    world.cut(victim)
    world.until(lambda: world.session.state is State.CONNECTED and not world.session.exchange.open)
    world.run(10.0)
    asked = sum(entry.error is None or True for entry in world.settled)
    assert asked == len({entry.request for entry in world.settled}), "every request ended once"
    assert world.session.exchange.open == 0
    peers = [wire.peer for wire in world.wires.values() if wire.peer is not None and wire.peer.closed is None]
    live = [peer for peer in peers if peer.connection is not None and peer.connection.open]
    assert [set(peer.connection.subscriptions) for peer in live if peer.connection is not None] == [{"x"}]
    states = [type(event) for event in world.events if isinstance(event, Connected | Disconnected)]
    assert states == [Connected, Disconnected] * (len(states) // 2) + [Connected]
    gaps = world.heard() != sorted(set(world.heard()))
    assert not gaps, "whatever was lost, nothing was doubled or overtaken"


def test_rosters_come_whole_after_a_renewal() -> None:
    world = World(1).start()
    world.until(lambda: any(isinstance(event, Renewed) for event in world.events))
    world.run(0.5)
    after = world.events[[type(event) for event in world.events].index(Renewed) + 1 :]
    rosters = [event for event in after if isinstance(event, PresenceReceived)]
    assert rosters and all(event.snapshot for event in rosters)
    assert [entry.peer_id for entry in rosters[-1].joined] == ["watcher"]


def test_a_hub_that_does_not_continue_connections_is_reconnected_to_in_time_and_that_is_logged() -> None:
    world = World(2, life=20.0, instance=None).start()
    began = world.now
    world.until(lambda: any(isinstance(event, Disconnected) for event in world.events))
    assert 0.88 * 20 - 2 < world.now - began < 20 - 0.25
    world.until(lambda: world.session.state is State.CONNECTED)
    world.run(1.0)
    lost = next(event for event in world.events if isinstance(event, Disconnected))
    assert (lost.code, lost.will_reconnect, lost.delay) == (1000, True, 0.0)
    assert [note.level for note in world.notes if note.event == "reconnecting with a fresh token"] == ["info"]
    assert world.events[-1] != lost


def test_a_key_and_a_token_without_an_expiry_are_never_renewed() -> None:
    world = World(3, life=86_000.0).start()
    world.run(600.0)
    assert len(world.wires) == 1


def test_a_request_during_a_renewal_waits_and_is_answered() -> None:
    world = World(5).start()
    while not world.session._renewal.holds_requests:
        world.run(0.005)
    request = world.session.publish("y", Raw(b"1"), world.now)
    assert request.frame == b""
    world.until(lambda: any(entry.request == request.id for entry in world.settled))
    assert world.settled[-1].error is None
