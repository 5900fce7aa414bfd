"""§ between hubs: what was said by one version is understood by its neighbours."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.hub.envelopes import (
    Answers,
    Beat,
    Bye,
    Delta,
    Held,
    Kick,
    Op,
    Published,
    Release,
    Released,
    Said,
    Sent,
    Snapshot,
    Takeover,
    Want,
    decode,
    encode,
)

OP = Op("l", "app", "lobby", "p", b"{}", "")
SAID: list[tuple[Said, str]] = [
    (Published("h", 1, "app", "x", "p", b"\x81\x00", None, "m"), "99a16da16801a3617070a178a170c4028100c0a16d"),
    (Sent("h", 2, "app", "to", "p", b"\x81\x00", None, 7), "99a164a16802a3617070a2746fa170c4028100c007"),
    (Answers("h", 3, (7,), (8, 9)), "95a161a168039107920809"),
    (Delta("h", 4, 5, (OP,)), "95a178a16804059196a16ca3617070a56c6f626279a170c4027b7da0"),
    (Beat("h", 5, 5, 2**64 - 1, {"app": (1, 2, 3)}), "96a162a1680505cfffffffffffffffff81a361707093010203"),
    (Want("h", 6), "93a177a16806"),
    (Snapshot("h", 7, 5, 0, True, (OP,)), "97a173a168070500c39196a16ca3617070a56c6f626279a170c4027b7da0"),
    (Bye("h", 8), "93a171a16808"),
    (Kick("h", 9, "app", "p"), "95a16ba16809a3617070a170"),
    (Takeover("h", 10, "app", "p", "i", 3, 2), "98a174a1680aa3617070a170a1690302"),
    (Held("h", 11, 3, (("x", True),)), "95a168a1680b039192a178c3"),
    (Release("h", 12, "app", "p", "i", 3), "97a165a1680ca3617070a170a16903"),
    (Released("h", 13, 3, {"h": 4}), "95a166a1680d0381a16804"),
]


@pytest.mark.parametrize(("said", "recorded"), SAID, ids=lambda value: type(value).__name__)
def test_56_what_another_version_says_is_understood(said: Said, recorded: str) -> None:
    """The texts were recorded once. What does not fit them any more goes under another version of the topics."""
    assert encode(said).hex() == recorded
    assert decode(bytes.fromhex(recorded)) == said


@pytest.mark.parametrize(("said", "recorded"), SAID, ids=lambda value: type(value).__name__)
def test_56_fields_of_a_later_version_are_passed_over(said: Said, recorded: str) -> None:
    assert decode(msgspec.msgpack.encode([*msgspec.msgpack.decode(bytes.fromhex(recorded)), "later"])) == said


def test_56_messages_of_a_later_version_are_passed_over() -> None:
    assert decode(msgspec.msgpack.encode(["z", "h", 1, {"anything": True}])) is None


@given(st.binary(max_size=200))
def test_whatever_else_is_on_the_engine_is_no_message(noise: bytes) -> None:
    said = decode(noise)
    assert said is None or decode(encode(said)) == said
