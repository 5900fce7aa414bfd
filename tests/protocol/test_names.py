"""What may be the name of a channel, or the id of a peer."""

from __future__ import annotations

import pytest

from orchestrator.protocol.names import is_channel, is_minted_peer_id, is_peer_id, is_reserved


@pytest.mark.parametrize(
    "name", ["a", "team/42", "*", "a b", " ", "ü" * 128, "x" * 256, "😀" * 64, "\xa0", "__proto__"]
)
def test_a_channel_is_1_to_256_bytes_of_text(name: str) -> None:
    assert is_channel(name)


@pytest.mark.parametrize(
    "name", ["", "x" * 257, "ü" * 129, "😀" * 65, "a\x00", "a\n", "\x1f", "\x7f", "\x80", "\x9f", "\ud800", "a\udfff"]
)
def test_a_channel_is_not_empty_nor_long_nor_held_together_by_control_characters(name: str) -> None:
    assert not is_channel(name)


@pytest.mark.parametrize("name", ["_metered/x", "_Metered/", "_INTERNAL/a/b", "_system/**", "_SyStEm/x"])
def test_18_reserved_prefixes_are_so_in_any_letter_case(name: str) -> None:
    assert is_reserved(name)


@pytest.mark.parametrize(
    "name", ["metered/x", "_metered", "a/_metered/x", "_meteredx/", "_systems/x", "\u017fystem/", ""]
)
def test_18_nothing_else_is_reserved(name: str) -> None:
    assert not is_reserved(name)


@pytest.mark.parametrize("name", ["a", "x" * 128, "ü", "cli/1", "reviewer.3", " "])
def test_42_a_message_may_be_addressed_to_any_text_of_128_characters(name: str) -> None:
    assert is_peer_id(name)


@pytest.mark.parametrize("name", ["", "x" * 129, "a\n", "\x00", "\x85"])
def test_42_an_address_is_not_empty_nor_long_nor_of_control_characters(name: str) -> None:
    assert not is_peer_id(name)


@pytest.mark.parametrize("name", ["a", " ~", "x" * 128])
def test_8_a_token_may_carry_printable_ascii(name: str) -> None:
    assert is_minted_peer_id(name)


@pytest.mark.parametrize("name", ["", "x" * 129, "ü", "a\n", "\x7f", "a\x00b", "\u202e"])
def test_8_a_token_may_carry_nothing_else(name: str) -> None:
    assert not is_minted_peer_id(name)
