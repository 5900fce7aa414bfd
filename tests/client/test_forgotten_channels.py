"""Channels that a program has given up: what the hub is still told of them, and that nobody hears of them again."""

from __future__ import annotations

import pytest

from orchestrator.client.events import SubscriptionLost
from orchestrator.errors import NotConnected
from tests.client.rig import Rig, connected


def asked_after_a_reconnect(rig: Rig) -> list[tuple[str, str]]:
    rig.lose()
    rig.effects.clear()
    rig.reconnect()
    return [(frame["type"], frame["channel"]) for frame in rig.written()]


def test_giving_up_channels_that_were_never_asked_for_leaves_nothing_to_tell_the_hub() -> None:
    rig = connected()
    rig.lose()
    for number in range(1_000):
        with pytest.raises(NotConnected):
            rig.session.unsubscribe(f"channel/{number}", rig.now)
    rig.effects.clear()
    rig.reconnect()
    assert rig.written() == []


def test_an_unsubscribe_that_is_answered_does_not_stand_for_a_later_one() -> None:
    """The subscribe between them may have reached the hub, and the end of it not."""
    rig = connected()
    rig.ack(rig.session.subscribe("x", False, rig.now))
    first = rig.session.unsubscribe("x", rig.now)
    rig.session.subscribe("x", False, rig.now)
    rig.session.unsubscribe("x", rig.now)
    rig.ack(first)
    assert asked_after_a_reconnect(rig) == [("unsubscribe", "x")]


def test_the_latest_unsubscribe_that_is_answered_is_the_end_of_it() -> None:
    rig = connected()
    rig.ack(rig.session.subscribe("x", False, rig.now))
    rig.session.unsubscribe("x", rig.now)
    rig.ack(rig.session.unsubscribe("x", rig.now))
    assert asked_after_a_reconnect(rig) == []


def test_a_subscription_that_is_not_wanted_any_more_is_not_told_as_lost() -> None:
    rig = connected()
    rig.ack(rig.session.subscribe("x", False, rig.now))
    rig.lose()
    rig.reconnect()
    for _ in range(3):
        rig.hear("error", requestId=rig.written()[-1]["requestId"], code="backend_error", message="")
        rig.pass_time(2.0)
    last = rig.written()[-1]
    rig.session.unsubscribe("x", rig.now)
    assert rig.hear("error", requestId=last["requestId"], code="backend_error", message="") == []
    assert not [event for event in rig.events() if isinstance(event, SubscriptionLost)]
