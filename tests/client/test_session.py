"""The session, alone: frames and clock readings in, effects and events out."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from msgspec import Raw

from orchestrator.client.effects import Attempt, Drop, Noted, Settled, State, Timeouts, Write
from orchestrator.client.events import (
    Connected,
    DirectReceived,
    Disconnected,
    GoingAway,
    MessageReceived,
    PresenceReceived,
    SubscriptionLost,
    TokenFailed,
)
from orchestrator.client.policy import ReconnectPolicy
from orchestrator.errors import (
    AckTimeout,
    ConnectionLost,
    HubUnreachable,
    NotAuthorized,
    NotConnected,
    PayloadTooLarge,
    PeerNotFound,
    RequestRefused,
    TerminalDisconnect,
    TokenUnavailable,
)
from tests.client.rig import Rig, connected

if TYPE_CHECKING:
    pass


# -- connecting


def test_80_only_the_welcome_makes_it_connected() -> None:
    rig = Rig()
    assert rig.state() is State.IDLE
    assert rig.take(rig.session.start(rig.now)) == [Attempt(1)]
    rig.dial()
    rig.hear("message", channel="a", **{"from": "b"}, data=1)
    rig.hear("pong")
    assert rig.state() is State.CONNECTING
    rig.welcome(metadata={"a": 1}, expiresAt=1234)
    assert rig.state() is State.CONNECTED
    assert rig.session.peer_id == "me"
    assert rig.session.max_message_size == 1000
    assert rig.events() == [Connected("me", False, 1234, 1000, {"a": 1})]


def test_80_a_welcome_without_an_expiry_is_accepted_and_a_second_one_ignored() -> None:
    rig = Rig().start()
    rig.dial()
    rig.hear("welcome", peerId="me", serverTime=1, maxMessageSize=10)
    assert rig.events() == [Connected("me", False, None, 10, None)]
    rig.hear("welcome", peerId="other", serverTime=1, maxMessageSize=10)
    assert rig.events() == []
    assert rig.session.peer_id == "me"


def test_80_no_welcome_within_ten_seconds_fails_the_first_connect() -> None:
    rig = Rig().start()
    rig.dial()
    assert rig.pass_time(9.9) == []
    effects = rig.pass_time(0.2)
    assert isinstance(effects[0], Drop)
    assert rig.state() is State.CLOSED
    assert isinstance(rig.session.failure, HubUnreachable)
    assert "no welcome within 10 s" in str(rig.session.failure)
    assert rig.session.deadline() is None


def test_80_a_failed_first_connect_is_not_retried() -> None:
    rig = Rig().start()
    rig.dial()
    rig.lose(1006, "Connection refused")
    assert rig.state() is State.CLOSED
    assert str(rig.session.failure) == (
        "the hub at ws://hub:1 could not be reached after 1 attempt; the last one failed: Connection refused"
    )
    assert rig.events() == [Disconnected(1006, "Connection refused", False, None)]


def test_80_a_daemon_retries_its_first_connect_under_the_policy() -> None:
    rig = Rig(ReconnectPolicy(initial=0.5, multiplier=2, max_attempts=4), daemon=True).start()
    delays = []
    for _ in range(3):
        rig.dial()
        rig.lose()
        assert rig.state() is State.CONNECTING
        delays.append(rig.next_attempt())
    assert delays == [1, 2, 4]
    assert rig.events() == []
    rig.lose()
    assert isinstance(rig.session.failure, HubUnreachable)
    assert rig.session.failure.attempts == 4
    assert rig.state() is State.CLOSED


def test_connecting_twice_is_a_mistake_of_the_caller() -> None:
    rig = Rig().start()
    with pytest.raises(RuntimeError, match="connecting already"):
        rig.session.start(rig.now)


def test_a_closed_session_can_start_anew_and_remembers_nothing() -> None:
    rig = connected()
    rig.session.subscribe("a", False, rig.now)
    rig.take(rig.session.close())
    rig.start().welcome()
    assert rig.written() == []
    assert rig.events() == [Connected("me", False, None, 1000, None)]


# -- tokens


def test_81_a_token_failure_fails_the_first_connect() -> None:
    rig = Rig().start()
    rig.take(rig.session.token_failed(rig.epoch, "the token provider raised KeyError", rig.now))
    assert isinstance(rig.session.failure, TokenUnavailable)
    assert "KeyError" in str(rig.session.failure)


def test_81_a_provider_that_does_not_answer_for_ten_seconds_has_failed() -> None:
    rig = connected()
    rig.lose()
    rig.next_attempt()
    assert rig.pass_time(9.9) == []
    assert rig.pass_time(0.1)[0] == Drop(rig.epoch, 1000, "")
    assert rig.state() is State.RECONNECTING
    rig.dial()
    assert rig.hear("welcome", peerId="late", serverTime=1, maxMessageSize=1) == []
    assert rig.state() is State.RECONNECTING


def test_81_the_third_consecutive_token_failure_and_each_after_it_is_an_event() -> None:
    rig = connected()
    rig.lose()
    rig.events()
    for _ in range(4):
        rig.next_attempt()
        rig.take(rig.session.token_failed(rig.epoch, "why", rig.now))
    assert rig.events() == [TokenFailed(3, "why"), TokenFailed(4, "why")]
    rig.next_attempt()
    rig.dial()
    rig.lose()
    rig.next_attempt()
    rig.take(rig.session.token_failed(rig.epoch, "why", rig.now))
    assert rig.events() == []


def test_81_a_token_failure_consumes_an_attempt() -> None:
    rig = connected(ReconnectPolicy(max_attempts=2))
    rig.pass_time(1)
    rig.now += 30
    rig.lose()
    for _ in range(2):
        rig.next_attempt()
        rig.take(rig.session.token_failed(rig.epoch, "why", rig.now))
    assert isinstance(rig.session.failure, HubUnreachable)


# -- the end of a connection


@pytest.mark.parametrize("code", [4001, 4003, 4012, 4020])
def test_82_terminal_codes_end_it(code: int) -> None:
    rig = connected(daemon=True)
    effects = rig.lose(code, "bye")
    assert rig.state() is State.CLOSED
    assert isinstance(rig.session.failure, TerminalDisconnect)
    assert rig.session.failure.code == code
    assert rig.events() == [Disconnected(code, "bye", False, None)]
    assert rig.session.deadline() is None
    errors = [effect for effect in effects if isinstance(effect, Noted) and effect.level == "error"]
    assert len(errors) == 1
    assert errors[0].fields["code"] == code
    assert errors[0].fields["meaning"] and errors[0].fields["advice"]


@pytest.mark.parametrize("code", [4001, 4003, 4012, 4020])
def test_82_terminal_codes_before_the_welcome_end_a_daemon_too(code: int) -> None:
    rig = Rig(daemon=True).start()
    rig.dial()
    rig.lose(code)
    assert isinstance(rig.session.failure, TerminalDisconnect)


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1005, 1006, 1008, 1009, 1011, 4000, 4002, 4010, 4011, 4999])
def test_82_every_other_code_is_retried(code: int) -> None:
    rig = connected()
    rig.lose(code)
    assert rig.state() is State.RECONNECTING
    rig.reconnect()
    assert rig.state() is State.CONNECTED
    assert rig.events()[-1] == Connected("me", True, None, 1000, None)


def test_83_too_many_connections_delays_the_next_attempt_once() -> None:
    rig = connected()
    rig.lose(4010)
    (event,) = rig.events()
    assert isinstance(event, Disconnected) and event.delay == 36
    assert rig.next_attempt() == pytest.approx(36)
    rig.dial()
    rig.lose(1006)
    assert rig.next_attempt() < 10


def test_84_a_connection_that_ends_early_continues_the_count() -> None:
    rig = connected(ReconnectPolicy(initial=0.5, multiplier=2))
    delays = []
    for _ in range(4):
        rig.lose()
        delays.append(rig.next_attempt())
        rig.welcome()
        rig.now += 29
    assert delays == [1, 2, 4, 8]


def test_84_thirty_stable_seconds_reset_the_count() -> None:
    rig = connected(ReconnectPolicy(initial=0.5))
    for _ in range(3):
        rig.lose()
        rig.reconnect()
    rig.now += 30
    rig.lose()
    assert rig.next_attempt() == 0.5


def test_84_the_last_attempt_ends_it_with_a_final_event() -> None:
    rig = connected(ReconnectPolicy(initial=0.5, max_attempts=3))
    rig.now += 30
    rig.lose(1001, "bye")
    assert rig.events() == [Disconnected(1001, "bye", True, 0.5)]
    for _ in range(3):
        rig.next_attempt()
        rig.dial()
        rig.lose(1006, "refused")
    assert rig.state() is State.CLOSED
    assert rig.events() == [Disconnected(1006, "refused", False, None)]
    assert isinstance(rig.session.failure, HubUnreachable)
    assert rig.session.failure.attempts == 3


@pytest.mark.parametrize("welcomes", [True, False])
def test_hazard_5_a_hub_that_closes_at_once_sees_twelve_attempts_a_minute_at_most(welcomes: bool) -> None:
    """§21.84: in whichever minute, and however short the draws are."""
    for seed in range(200):
        rig = Rig(rng=random.Random(seed), daemon=True).start()
        begun = [rig.now]
        while rig.now < 400.0:
            if welcomes:
                rig.welcome()
            rig.lose(1001)
            rig.next_attempt()
            begun.append(rig.now)
        assert all(later - earlier >= 60.0 - 1e-9 for earlier, later in zip(begun, begun[12:], strict=False))


def test_96_what_a_hub_asks_for_when_it_goes_is_a_floor_once() -> None:
    rig = connected()
    rig.hear("going_away", retryAfterMs=20_000)
    assert rig.events() == [GoingAway(20.0)]
    rig.lose(1001)
    assert 20 <= rig.next_attempt() <= 22
    rig.dial()
    rig.lose()
    assert rig.next_attempt() < 5


@pytest.mark.parametrize(
    ("fields", "seconds"), [({}, 1.0), ({"retryAfterMs": 10**9}, 300.0), ({"retryAfterMs": -5}, 0.0)]
)
def test_96_what_a_hub_asks_for_is_bounded(fields: dict[str, int], seconds: float) -> None:
    rig = connected()
    rig.hear("going_away", **fields)
    assert rig.events() == [GoingAway(seconds)]


def test_91_late_frames_of_a_replaced_socket_are_ignored() -> None:
    rig = connected()
    old = rig.epoch
    request = rig.session.publish("a", Raw(b"1"), rig.now)
    rig.lose()
    rig.events()
    assert rig.hear_on(old, "message", channel="a", **{"from": "b"}, data=1) == []
    rig.reconnect()
    rig.events()
    again = rig.session.publish("a", Raw(b"1"), rig.now)
    assert request.id != again.id
    for kind, fields in (
        ("ack", {"requestId": again.id}),
        ("message", {"channel": "a", "from": "b", "data": 1}),
        ("presence", {"channel": "a", "joined": [], "left": []}),
        ("going_away", {}),
    ):
        assert rig.hear_on(old, kind, **fields) == []
    assert rig.take(rig.session.lost(old, 4001, "", rig.now)) == []
    assert rig.events() == []
    assert rig.state() is State.CONNECTED
    assert rig.ack(again) == [Settled(again.id)]


# -- requests


def test_87_requests_in_flight_fail_at_once_when_the_connection_ends() -> None:
    rig = connected()
    first = rig.session.publish("a", Raw(b"1"), rig.now)
    second = rig.session.send("b", Raw(b"1"), rig.now)
    ended = [effect for effect in rig.lose() if isinstance(effect, Settled)]
    assert [effect.request for effect in ended] == [first.id, second.id]
    assert all(isinstance(effect.error, ConnectionLost) for effect in ended)
    assert all("may or may not have processed it" in str(effect.error) for effect in ended)


def test_87_requests_in_flight_fail_at_once_when_the_session_is_closed() -> None:
    rig = connected()
    request = rig.session.publish("a", Raw(b"1"), rig.now)
    effects = rig.take(rig.session.close())
    assert effects[-1] == Drop(rig.epoch, 1000, "")
    assert isinstance(effects[0], Settled) and effects[0].request == request.id
    assert isinstance(effects[0].error, ConnectionLost)


def test_87_an_unanswered_request_fails_after_fifteen_seconds_and_leaves_the_rest() -> None:
    rig = connected()
    first = rig.session.publish("a", Raw(b"1"), rig.now)
    rig.pass_time(5)
    second = rig.session.send("b", Raw(b"1"), rig.now)
    (ended,) = [effect for effect in rig.pass_time(10) if isinstance(effect, Settled)]
    assert ended.request == first.id
    assert isinstance(ended.error, AckTimeout)
    assert rig.ack(second) == [Settled(second.id)]
    assert rig.ack(first) == []


def test_an_ack_tells_how_many_connections_a_message_was_queued_to() -> None:
    rig = connected()
    request = rig.session.publish("a", Raw(b'{"x":1}'), rig.now)
    assert json.loads(request.frame) == {"type": "publish", "channel": "a", "data": {"x": 1}, "requestId": request.id}
    assert rig.ack(request, receivers=3) == [Settled(request.id, 3)]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("peer_not_found", PeerNotFound),
        ("channel_not_authorized", NotAuthorized),
        ("action_not_permitted", NotAuthorized),
        ("backend_error", RequestRefused),
        ("from_the_future", RequestRefused),
    ],
)
def test_89_error_codes_become_exceptions_also_unknown_ones(code: str, kind: type[RequestRefused]) -> None:
    rig = connected()
    request = rig.session.send("b", Raw(b"1"), rig.now)
    (ended,) = rig.hear("error", code=code, requestId=request.id, message="no")
    assert isinstance(ended, Settled) and type(ended.error) is kind
    said = "the credential lacks the scope to send to 'b': send: [b]" if kind is NotAuthorized else "no"
    assert (ended.error.code, ended.error.message, ended.error.subject) == (code, said, "b")


def test_a_request_without_a_connection_never_leaves() -> None:
    session = Rig().session
    with pytest.raises(NotConnected, match="has not been connected"):
        session.publish("a", Raw(b"1"), 0.0)
    with pytest.raises(NotConnected):
        session.send("a", Raw(b"1"), 0.0)
    with pytest.raises(NotConnected):
        session.subscribe("a", False, 0.0)
    with pytest.raises(NotConnected):
        session.unsubscribe("a", 0.0)


def test_a_request_after_the_end_says_why_there_is_no_connection() -> None:
    rig = connected()
    rig.lose(4020)
    with pytest.raises(NotConnected, match="4020"):
        rig.session.publish("a", Raw(b"1"), rig.now)


def test_a_payload_above_the_hub_s_limit_is_refused_before_anything_is_sent() -> None:
    rig = connected()
    rig.session.publish("a", Raw(b"1" * 1000), rig.now)
    with pytest.raises(PayloadTooLarge, match="1001 bytes"):
        rig.session.publish("a", Raw(b"1" * 1001), rig.now)
    with pytest.raises(PayloadTooLarge):
        rig.session.send("a", Raw(b"1" * 1001), rig.now)


# -- subscriptions


def test_85_subscriptions_are_replayed_after_each_reconnect_with_their_latest_options() -> None:
    rig = connected()
    for channel, metadata in (("a", False), ("b", False), ("c", True), ("b", True)):
        rig.ack(rig.session.subscribe(channel, metadata, rig.now))
    rig.ack(rig.session.unsubscribe("c", rig.now))
    for _ in range(2):
        rig.effects.clear()
        rig.lose()
        rig.reconnect()
        asked = [(frame["channel"], frame.get("includeSenderMetadata", False)) for frame in rig.written()]
        assert asked == [("a", False), ("b", True)]
        assert all(frame["type"] == "subscribe" for frame in rig.written())


def test_85_nothing_is_replayed_after_the_first_welcome() -> None:
    rig = Rig().start().welcome()
    assert rig.written() == []


def test_85_a_subscription_that_was_refused_or_lost_is_replayed() -> None:
    rig = connected()
    request = rig.session.subscribe("refused", False, rig.now)
    rig.hear("error", code="channel_not_authorized", requestId=request.id)
    rig.session.subscribe("lost", False, rig.now)
    rig.lose()
    rig.reconnect()
    assert [frame["channel"] for frame in rig.written()] == ["refused", "lost"]


def test_85_an_unsubscribe_without_a_connection_is_remembered() -> None:
    """And told on the next one: the hub may have moved the subscription there from one whose end it had not noticed."""
    rig = connected()
    rig.ack(rig.session.subscribe("a", False, rig.now))
    rig.lose()
    with pytest.raises(NotConnected):
        rig.session.unsubscribe("a", rig.now)
    rig.reconnect()
    [frame] = rig.written()
    assert (frame["type"], frame["channel"]) == ("unsubscribe", "a")
    rig.hear("ack", requestId=frame["requestId"])
    rig.lose()
    rig.effects.clear()
    rig.reconnect()
    assert rig.written() == []


def test_hazard_53_an_unsubscribe_that_was_not_answered_is_asked_for_again_unless_it_is_wanted_again() -> None:
    rig = connected()
    for channel in ("a", "b"):
        rig.ack(rig.session.subscribe(channel, False, rig.now))
        rig.session.unsubscribe(channel, rig.now)
    rig.session.subscribe("b", False, rig.now)
    rig.lose()
    rig.effects.clear()
    rig.reconnect()
    assert [(frame["type"], frame["channel"]) for frame in rig.written()] == [("unsubscribe", "a"), ("subscribe", "b")]


def test_86_a_subscribe_that_failed_as_not_connected_is_not_replayed() -> None:
    rig = connected()
    rig.lose()
    with pytest.raises(NotConnected):
        rig.session.subscribe("a", False, rig.now)
    rig.reconnect()
    assert rig.written() == []


def test_85_a_replay_is_tried_three_times_more_two_seconds_apart() -> None:
    rig = connected()
    rig.ack(rig.session.subscribe("a", False, rig.now))
    rig.lose()
    rig.reconnect()
    times = []
    for _ in range(4):
        frame = rig.written()[-1]
        assert frame["type"] == "subscribe"
        times.append(rig.now)
        rig.effects.clear()
        rig.hear("error", code="backend_error", requestId=frame["requestId"])
        if len(times) < 4:
            rig.pass_time(2)
    assert [later - sooner for sooner, later in pairwise(times)] == [2, 2, 2]
    assert [effect.level for effect in rig.effects if isinstance(effect, Noted)] == ["error"]
    rig.effects.clear()
    rig.pass_time(10)
    assert rig.written() == []
    rig.lose()
    rig.reconnect()
    assert len(rig.written()) == 1


def test_85_an_unanswered_replay_is_tried_again_and_an_unsubscribed_one_is_not() -> None:
    rig = connected()
    for channel in ("a", "b"):
        rig.ack(rig.session.subscribe(channel, False, rig.now))
    rig.lose()
    rig.reconnect()
    rig.effects.clear()
    rig.pass_time(15.5)
    rig.hear("pong")
    rig.ack(rig.session.unsubscribe("b", rig.now))
    rig.pass_time(2)
    assert [frame["channel"] for frame in rig.written() if frame["type"] == "subscribe"] == ["a"]


# -- presence


def presence(rig: Rig, channel: str, *joined: str, left: tuple[str, ...] = ()) -> PresenceReceived:
    rig.hear("presence", channel=channel, joined=[{"peerId": p} for p in joined], left=[{"peerId": p} for p in left])
    (event,) = rig.events()
    assert isinstance(event, PresenceReceived)
    return event


def test_a_subscription_that_cannot_be_restored_is_an_event() -> None:
    rig = connected()
    rig.ack(rig.session.subscribe("a", False, rig.now))
    rig.lose()
    rig.reconnect()
    rig.events()
    for _ in range(4):
        request = rig.written()[-1]["requestId"]
        rig.hear("error", requestId=request, code="channel_not_authorized")
        rig.pass_time(2.0)
    [event] = rig.told()
    assert isinstance(event, SubscriptionLost)
    assert event.channel == "a" and isinstance(event.error, NotAuthorized)


def test_the_first_presence_frame_after_each_subscribe_ack_is_the_whole_roster() -> None:
    rig = connected()
    request = rig.session.subscribe("a", False, rig.now)
    assert not presence(rig, "a", "early").snapshot
    rig.ack(request)
    assert not presence(rig, "other", "x").snapshot
    assert presence(rig, "a", "x", "y").snapshot
    delta = presence(rig, "a", left=("x",))
    assert not delta.snapshot
    assert [entry.peer_id for entry in delta.left] == ["x"]
    rig.ack(rig.session.subscribe("a", False, rig.now))
    assert presence(rig, "a", "y").snapshot
    assert not presence(rig, "a", "z").snapshot


def test_the_first_presence_frame_after_a_replay_is_the_whole_roster() -> None:
    rig = connected()
    rig.ack(rig.session.subscribe("a", False, rig.now))
    rig.lose()
    rig.reconnect()
    rig.events()
    frame = rig.written()[-1]
    assert not presence(rig, "a", "x").snapshot
    assert rig.hear("ack", requestId=frame["requestId"]) == []
    assert presence(rig, "a", "x").snapshot


def test_a_roster_that_never_came_is_not_expected_on_the_next_connection() -> None:
    rig = connected()
    rig.ack(rig.session.subscribe("a", False, rig.now))
    rig.lose()
    rig.reconnect()
    rig.events()
    assert not presence(rig, "a", "x").snapshot


def test_absent_rosters_count_as_empty() -> None:
    rig = connected()
    rig.hear("presence", channel="a")
    assert rig.events() == [PresenceReceived("a", (), (), snapshot=False)]


# -- heartbeats


def test_88_a_ping_goes_out_each_third_of_the_inactivity_time_and_then_the_connection_is_dropped() -> None:
    rig = connected()
    times = []
    while rig.state() is State.CONNECTED:
        due = rig.session.deadline()
        assert due is not None
        rig.now = due
        effects = rig.take(rig.session.tick(rig.now))
        times.append(rig.now - 100)
        if rig.state() is State.CONNECTED:
            assert effects == [Write(rig.epoch, b'{"type":"ping"}')]
    assert times == [20, 40, 60]
    drop = next(effect for effect in rig.effects if isinstance(effect, Drop))
    assert drop.code == 4000
    assert rig.state() is State.RECONNECTING
    assert [event.code for event in rig.events() if isinstance(event, Disconnected)] == [4000]


def test_88_every_text_frame_counts_as_a_sign_of_life() -> None:
    rig = connected()
    for kind in ("pong", "message", "nonsense"):
        rig.pass_time(19)
        rig.hear(kind)
    assert rig.written() == []
    assert rig.state() is State.CONNECTED


def test_88_pings_are_at_least_a_second_apart_and_can_be_turned_off() -> None:
    assert Timeouts(inactivity=1.5).ping == 1.0
    rig = connected(timeouts=Timeouts(inactivity=None))
    assert rig.session.deadline() is None


# -- what arrives


def test_89_unknown_frames_and_fields_do_not_disturb() -> None:
    rig = connected()
    for kind, fields in (
        ("from_the_future", {"x": 1}),
        ("pong", {"serverTime": 3}),
        ("ack", {"requestId": "unknown"}),
        ("ack", {}),
        ("error", {"code": "x", "requestId": "unknown"}),
        ("message", {"channel": "a", "from": "b"}),
        ("message", {"channel": 7, "from": "b", "data": 1}),
        ("presence", {"channel": "a", "joined": [{"peer": 1}]}),
    ):
        assert rig.hear(kind, **fields) == []
    for text in ("", "nonsense", "[]", "1", "null", '{"type":7}', "{}", '{"type":"message"', "\ud800"[:0]):
        assert rig.session.received(rig.epoch, text, rig.now) == ()
    assert rig.events() == []
    rig.hear("message", channel="a", data=None, newField=1, **{"from": "b"})
    rig.hear("direct", data=[1], fromMetadata={"k": 1}, **{"from": "b"})
    message, direct = rig.events()
    assert isinstance(message, MessageReceived) and isinstance(direct, DirectReceived)
    assert (message.channel, message.sender, bytes(message.data), message.metadata) == ("a", "b", b"null", None)
    assert (direct.sender, bytes(direct.data), direct.metadata) == ("b", b"[1]", {"k": 1})


def test_89_a_message_nested_a_hundred_thousand_deep_is_survived() -> None:
    rig = connected()
    depth = 100_000
    deep = f'{{"type":"message","channel":"a","from":"b","data":{"[" * depth}{"]" * depth}}}'
    assert list(rig.session.received(rig.epoch, deep, rig.now)) == []
    rig.hear("message", channel="a", data=1, **{"from": "b"})
    assert rig.state() is State.CONNECTED


def test_90_unknown_type_without_a_request_id_is_ignored_silently() -> None:
    rig = connected()
    assert rig.hear("error", code="unknown_type", message="what?") == []
    (noted,) = rig.hear("error", code="malformed_message", message="token=abc")
    assert isinstance(noted, Noted)
    assert noted.fields["message"] == "token=***"


def test_data_stays_the_bytes_that_it_arrived_as() -> None:
    rig = connected()
    data = '{"b":1,"a":2.50,"big":123456789012345678901234567890,"b":"\\u00e9é"}'
    rig.session.received(rig.epoch, f'{{"type":"direct","from":"b","data":{data}}}', rig.now)
    (event,) = rig.events()
    assert isinstance(event, DirectReceived)
    assert bytes(event.data) == data.encode()


# -- the inbox


def fill(rig: Rig, count: int) -> None:
    for number in range(count):
        rig.hear("message", channel="a", data=number, **{"from": "b"})


def test_a_full_inbox_closes_the_connection_loudly_and_answers_are_taken_until_then() -> None:
    rig = connected(inbox_limit=10)
    request = rig.session.publish("a", Raw(b"1"), rig.now)
    fill(rig, 10)
    assert rig.state() is State.CONNECTED
    assert rig.ack(request) == [Settled(request.id)]
    assert rig.hear("pong") == []
    fill(rig, 1)
    assert rig.state() is State.RECONNECTING
    assert [effect.code for effect in rig.effects if isinstance(effect, Drop)] == [1008]
    fill(rig, 1)
    *messages, last = rig.events()
    assert len(messages) == 10
    assert isinstance(last, Disconnected) and last.code == 1008 and last.will_reconnect
    assert "inbox is full" in last.reason


def test_after_a_full_inbox_the_next_attempt_waits_until_half_of_it_is_taken() -> None:
    rig = connected(inbox_limit=10)
    fill(rig, 11)
    assert rig.session.deadline() is None
    assert rig.pass_time(100) == []
    while len(rig.session.inbox) > 6:
        rig.session.inbox.popleft()
    assert rig.take(rig.session.taken(rig.now)) == []
    rig.session.inbox.popleft()
    assert rig.take(rig.session.taken(rig.now)) == [Attempt(2)]
    rig.welcome()
    assert rig.state() is State.CONNECTED


def test_after_a_full_inbox_that_is_taken_at_once_the_delay_still_holds() -> None:
    rig = connected(inbox_limit=10)
    fill(rig, 11)
    rig.events()
    assert rig.take(rig.session.taken(rig.now)) == []
    assert rig.next_attempt() == pytest.approx(1.3)


# -- the owner's end


def test_93_close_stops_every_retry_and_timer_in_every_state() -> None:
    waiting = connected()
    waiting.lose()
    attempting = connected()
    attempting.lose()
    attempting.next_attempt()
    for rig in (Rig(), Rig().start(), connected(), waiting, attempting):
        rig.take(rig.session.close())
        assert rig.state() is State.CLOSED
        assert rig.session.deadline() is None
        assert rig.session.failure is None
        assert rig.events() == []
        assert rig.session.tick(rig.now + 1000) == ()
        assert rig.take(rig.session.close()) == []


def test_93_closing_after_a_terminal_disconnect_keeps_the_news_of_it() -> None:
    rig = connected()
    rig.lose(4020)
    rig.take(rig.session.close())
    assert isinstance(rig.session.failure, TerminalDisconnect)
    assert len(rig.events()) == 1


def test_94_reasons_are_told_without_credentials() -> None:
    rig = connected()
    rig.lose(1008, "no: token=canary")
    (event,) = rig.events()
    assert isinstance(event, Disconnected)
    assert event.reason == "no: token=***"
    assert "canary" not in repr(rig.effects)


@pytest.mark.parametrize("mistake", [{"ack": 0.0}, {"inactivity": -1.0}, {"welcome": float("inf")}])
def test_timeouts_that_make_no_sense_are_refused(mistake: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(mistake))):
        Timeouts(**mistake)
