"""What each close code asks of a client."""

from __future__ import annotations

import pytest

from orchestrator.protocol.codes import ALL_ACTIONS, CLOSINGS, Action, CloseCode, ErrorCode, closing


@pytest.mark.parametrize("code", CloseCode)
def test_82_four_codes_end_it_and_all_others_are_retried(code: CloseCode) -> None:
    assert closing(code).terminal is (code in (4001, 4003, 4012, 4020))


@pytest.mark.parametrize("code", CloseCode)
def test_83_one_code_asks_for_a_longer_wait(code: CloseCode) -> None:
    assert closing(code).slow_floor == (30.0 if code == 4010 else 0.0)


def test_every_code_has_a_meaning_and_every_end_an_advice() -> None:
    assert CLOSINGS.keys() == set(CloseCode)
    assert all(meaning.meaning for meaning in CLOSINGS.values())
    assert all(meaning.advice for meaning in CLOSINGS.values() if meaning.terminal)


@pytest.mark.parametrize("code", [1005, 1012, 4004, 4999, 0, -1])
def test_89_a_code_that_is_not_in_the_table_is_retried(code: int) -> None:
    assert not closing(code).terminal
    assert str(code) in closing(code).meaning


def test_the_words_on_the_wire_are_those_of_the_protocol() -> None:
    assert {action.value for action in ALL_ACTIONS} == {"subscribe", "publish", "presence", "send"}
    assert set(Action) == ALL_ACTIONS
    assert {code.value for code in ErrorCode} == {
        *("malformed_message", "unknown_type", "invalid_channel", "invalid_peer_id", "channel_not_authorized"),
        *("channel_reserved", "channel_limit_exceeded", "peer_not_found", "missing_data", "action_not_permitted"),
        *("over_message_quota", "backend_error", "internal_error"),
    }
