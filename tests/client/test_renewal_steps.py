"""Each step of a renewal, and what happens when it fails: frames, sockets and clock readings by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw

from orchestrator.client.effects import Ask, Drop, Noted, Settled, State, Write
from orchestrator.client.events import Connected, Disconnected, Renewed, TokenFailed
from orchestrator.errors import ConnectionLost, NotConnected, TerminalDisconnect, TokenUnavailable
from tests.client.rig import Rig

LIFE = 100.0
WELCOME: dict[str, Any] = {"serverTime": 5_000, "expiresAt": 5_000 + LIFE, "instance": "one"}
RENEWAL = (LIFE - 1.25) * 0.82 + 0.001
"""When a rig that draws the upper end renews: 82 % of what is certain of the life, after the welcome."""


def renewing(**welcome: Any) -> Rig:
    """Return a rig whose token is due to be renewed, and which has begun to."""
    rig = Rig().start().welcome(**{**WELCOME, **welcome})
    rig.told()
    rig.effects.clear()
    rig.pass_time_quietly(RENEWAL)
    return rig


def asked(**welcome: Any) -> Rig:
    """Go on until the hub is asked to admit the successor."""
    rig = renewing(**welcome)
    rig.dial()
    assert rig.take(rig.session.opened(rig.epoch, rig.now)) == [Ask(rig.epoch)]
    rig.effects.clear()
    return rig


def lose_first(rig: Rig, code: int) -> list[Any]:
    return rig.take(rig.session.lost(1, code, "", rig.now))


def test_hazard_36_a_fresh_token_is_asked_for_at_eighty_percent_by_the_hub_s_clock() -> None:
    """Whatever the clock of this machine says: the hub's is in 1970, and its durations are all that counts."""
    rig = Rig().start().welcome(**WELCOME)
    rig.pass_time_quietly(0.8 * (LIFE - 1.25) - 0.1)
    assert rig.epoch == 1
    rig.pass_time_quietly(0.03 * LIFE)
    assert rig.epoch == 2
    assert rig.state() is State.CONNECTED


@pytest.mark.parametrize(
    "welcome", [{"expiresAt": None}, {"expiresAt": 5_001}, {"expiresAt": 4_000}], ids=["never", "soon", "past"]
)
def test_what_does_not_expire_or_hardly_lives_is_not_renewed(welcome: dict[str, Any]) -> None:
    rig = Rig().start().welcome(**{**WELCOME, **welcome})
    rig.pass_time_quietly(300.0)
    assert rig.epoch == 1


def test_the_successor_is_asked_for_when_every_request_is_answered_and_others_wait_for_it() -> None:
    rig = renewing()
    before = rig.session.publish("x", Raw(b"1"), rig.now)
    rig.dial()
    assert rig.take(rig.session.opened(2, rig.now)) == []
    after = rig.session.publish("x", Raw(b"2"), rig.now)
    assert (before.epoch, bool(before.frame), bool(after.frame)) == (1, True, False)
    assert rig.hear_on(1, "ack", requestId=before.id) == [Settled(before.id), Ask(2)]
    [write] = rig.hear_on(2, "welcome", peerId="me", maxMessageSize=9, **WELCOME)
    assert isinstance(write, Write) and write.epoch == 2
    assert json.loads(write.frame)["requestId"] == after.id
    assert rig.told() == []
    assert lose_first(rig, 1000)[0].event == "token renewed"
    assert rig.told() == [Renewed(WELCOME["expiresAt"], None)]
    assert rig.hear_on(2, "ack", requestId=after.id) == [Settled(after.id)]
    assert rig.session.max_message_size == 9


def test_what_the_successor_hears_waits_until_the_old_connection_has_said_its_last() -> None:
    rig = asked()
    rig.hear_on(2, "welcome", peerId="me", maxMessageSize=9, **WELCOME)
    rig.hear_on(2, "direct", **{"from": "b", "data": 2})
    rig.hear_on(1, "direct", **{"from": "b", "data": 1})
    lose_first(rig, 1000)
    first, renewed, second = rig.told()
    assert (first.data, type(renewed), second.data) == (Raw(b"1"), Renewed, Raw(b"2"))


def test_the_old_connection_may_end_before_the_welcome_is_read() -> None:
    rig = asked()
    assert lose_first(rig, 1000) == []
    assert rig.state() is State.CONNECTED
    rig.hear_on(2, "welcome", peerId="me", maxMessageSize=9, **WELCOME)
    assert [type(event) for event in rig.told()] == [Renewed]


def test_subscriptions_are_made_sure_of_on_the_successor() -> None:
    rig = Rig().start().welcome(**WELCOME)
    rig.ack(rig.session.subscribe("x", True, rig.now))
    rig.pass_time_quietly(RENEWAL)
    rig.dial()
    rig.take(rig.session.opened(2, rig.now))
    rig.effects.clear()
    rig.hear_on(2, "welcome", peerId="me", maxMessageSize=9, **WELCOME)
    assert [(frame["type"], frame["channel"], frame["includeSenderMetadata"]) for frame in rig.written()] == [
        ("subscribe", "x", True)
    ]


@pytest.mark.parametrize("stage", ["token", "socket", "admission", "welcome"])
def test_a_renewal_that_fails_leaves_the_connection_as_it_is_and_is_tried_again(stage: str) -> None:
    rig = renewing()
    if stage == "token":
        effects = rig.take(rig.session.token_failed(2, "the token provider raised KeyError", rig.now))
    else:
        rig.dial()
        if stage == "socket":
            effects = rig.take(rig.session.lost(2, 1006, "refused", rig.now))
        else:
            rig.take(rig.session.opened(2, rig.now))
            held = rig.session.send("b", Raw(b"1"), rig.now)
            assert not held.frame
            effects = (
                rig.take(rig.session.lost(2, 4010, "", rig.now)) if stage == "admission" else rig.pass_time_quietly(10)
            )
            assert [json.loads(e.frame)["to"] for e in effects if isinstance(e, Write) and e.epoch == 1] == ["b"]
    assert rig.state() is State.CONNECTED
    [note] = [e for e in effects if isinstance(e, Noted)]
    assert (note.level, note.event) == ("warning", "token not renewed")
    assert rig.told() == []
    rig.pass_time_quietly(note.fields["retry_in"] + 0.001)
    assert rig.epoch == 3


def test_requests_that_are_not_answered_put_a_renewal_off() -> None:
    rig = renewing()
    rig.session.publish("x", Raw(b"1"), rig.now)
    rig.dial()
    rig.take(rig.session.opened(2, rig.now))
    waiting = rig.session.publish("x", Raw(b"2"), rig.now)
    effects = rig.pass_time_quietly(2.0)
    assert Drop(2, 1000, "") in effects
    assert [json.loads(e.frame)["requestId"] for e in effects if isinstance(e, Write)] == [waiting.id]


def test_renewals_are_tried_with_pauses_until_the_token_has_expired() -> None:
    rig = renewing()
    tries = 0
    while rig.epoch > 1 + tries:
        tries += 1
        rig.take(rig.session.token_failed(rig.epoch, "why", rig.now))
        due = rig.session._renewal.deadline
        if due is not None:
            assert due - rig.now >= 0.25
            rig.pass_time_quietly(due - rig.now)
    assert 5 <= tries <= 20
    assert [event.failures for event in rig.told() if isinstance(event, TokenFailed)] == list(range(3, tries + 1))


@pytest.mark.parametrize("code", [1006, 1001, 4002])
def test_a_connection_that_is_lost_while_its_successor_is_admitted_is_told(code: int) -> None:
    rig = asked()
    held = rig.session.publish("x", Raw(b"1"), rig.now)
    effects = lose_first(rig, code)
    assert Drop(2, 1000, "") in effects
    [failed] = [e for e in effects if isinstance(e, Settled)]
    assert failed.request == held.id and isinstance(failed.error, NotConnected)
    assert [type(event) for event in rig.told()] == [Disconnected]
    assert rig.state() is State.RECONNECTING


def test_a_connection_that_is_lost_before_it_has_said_its_last_is_told_and_the_successor_stays() -> None:
    rig = asked()
    rig.hear_on(2, "welcome", peerId="me", maxMessageSize=9, **WELCOME)
    under_way = rig.session.publish("x", Raw(b"1"), rig.now)
    rig.hear_on(2, "direct", **{"from": "b", "data": 2})
    effects = lose_first(rig, 1006)
    assert not [e for e in effects if isinstance(e, Settled)]
    lost, back, heard = rig.told()
    assert (type(lost), lost.delay, type(back), back.resumed, heard.data) == (
        Disconnected,
        0,
        Connected,
        True,
        Raw(b"2"),
    )
    assert rig.hear_on(2, "ack", requestId=under_way.id) == [Settled(under_way.id)]


def test_an_old_connection_that_the_hub_does_not_close_is_given_up_after_five_seconds() -> None:
    rig = asked()
    rig.hear_on(2, "welcome", peerId="me", maxMessageSize=9, **WELCOME)
    assert Drop(1, 1000, "") in rig.pass_time_quietly(5.0)
    assert [type(event) for event in rig.told()] == [Disconnected, Connected]


def test_when_both_connections_are_lost_it_is_a_disconnect() -> None:
    rig = asked()
    rig.hear_on(2, "welcome", peerId="me", maxMessageSize=9, **WELCOME)
    under_way = rig.session.publish("x", Raw(b"1"), rig.now)
    effects = rig.take(rig.session.lost(2, 1006, "", rig.now))
    assert [type(e.error) for e in effects if isinstance(e, Settled)] == [ConnectionLost]
    assert [e.request for e in effects if isinstance(e, Settled)] == [under_way.id]
    assert [type(event) for event in rig.told()] == [Disconnected, Connected, Disconnected]
    assert rig.state() is State.RECONNECTING


def test_when_the_old_connection_has_ended_and_the_successor_is_not_welcomed_it_is_a_disconnect() -> None:
    rig = asked()
    lose_first(rig, 1000)
    rig.take(rig.session.lost(2, 1006, "", rig.now))
    assert [type(event) for event in rig.told()] == [Disconnected]
    assert rig.state() is State.RECONNECTING


@pytest.mark.parametrize("code", [4001, 4020])
def test_a_terminal_close_during_a_renewal_ends_it(code: int) -> None:
    rig = asked()
    assert Drop(2, 1000, "") in lose_first(rig, code)
    assert rig.state() is State.CLOSED
    assert isinstance(rig.session.failure, TerminalDisconnect)


def test_a_fresh_token_of_another_peer_is_told_as_a_disconnect() -> None:
    rig = asked()
    effects = rig.hear_on(2, "welcome", peerId="somebody else", maxMessageSize=9, **WELCOME)
    assert Drop(1, 1000, "") in effects
    assert [type(event) for event in rig.told()] == [Disconnected, Connected]
    assert rig.session.peer_id == "somebody else"


def test_closing_during_a_renewal_ends_both_and_everything_that_waits() -> None:
    rig = asked()
    held = rig.session.publish("x", Raw(b"1"), rig.now)
    effects = rig.take(rig.session.close())
    assert {e.epoch for e in effects if isinstance(e, Drop)} == {1, 2}
    assert [e.request for e in effects if isinstance(e, Settled)] == [held.id]
    assert rig.session.deadline() is None


def test_a_full_inbox_counts_what_waits_for_the_old_connection_to_end() -> None:
    rig = Rig(inbox_limit=3).start().welcome(**WELCOME)
    rig.told()
    rig.pass_time_quietly(RENEWAL)
    rig.dial()
    rig.take(rig.session.opened(2, rig.now))
    rig.hear_on(2, "welcome", peerId="me", maxMessageSize=9, **WELCOME)
    for number in range(4):
        rig.hear_on(2, "direct", **{"from": "b", "data": number})
    [lost] = rig.told()
    assert (type(lost), lost.code) == (Disconnected, 1008)


def test_a_token_that_was_given_as_a_text_ends_the_client_when_it_expires() -> None:
    rig = Rig(renews=False).start().welcome(**WELCOME)
    rig.told()
    rig.pass_time_quietly(LIFE)
    assert rig.epoch == 1
    rig.lose(4002)
    assert rig.state() is State.CLOSED
    assert isinstance(rig.session.failure, TokenUnavailable)
    assert [event.will_reconnect for event in rig.told() if isinstance(event, Disconnected)] == [False]


def test_renewals_do_not_use_up_attempts_where_connections_are_short() -> None:
    rig = Rig().start().welcome(serverTime=0, expiresAt=10)
    for _ in range(300):
        rig.pass_time_quietly(9.0)
        rig.dial()
        rig.take(rig.session.opened(rig.epoch, rig.now))
        rig.hear("welcome", peerId="me", maxMessageSize=9, serverTime=0, expiresAt=10)
        rig.told()
    assert rig.state() is State.CONNECTED and rig.epoch > 250
