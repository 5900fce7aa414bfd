"""Hazards 30 to 33: which key checks a token, what its header and its times may say, and how good a key is."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.hub.keys import KeyProblem, KeyRing
from orchestrator.protocol.codes import CloseCode
from orchestrator.protocol.token_reading import judge, open_token
from orchestrator.protocol.tokens import Claims, SecretKey, TokenRefused, mint, verify
from tests.protocol.test_tokens import HEADER, KEY, KEYS, NOW, PAYLOAD, claims, header, signed


class Looked(dict[str, SecretKey]):
    """Keys that note under which names they were looked for."""

    def __init__(self) -> None:
        super().__init__(KEYS)
        self.names: list[object] = []

    def get(self, name: Any, default: Any = None) -> Any:
        self.names.append(name)
        return super().get(name, default)

    def __getitem__(self, name: str) -> SecretKey:
        self.names.append(name)
        return super().__getitem__(name)


def code_of(token: str, keys: dict[str, SecretKey] = KEYS) -> CloseCode | None:
    try:
        verify(token, keys, NOW)
    except TokenRefused as refused:
        return refused.code
    return None


@pytest.mark.parametrize(
    "kid",
    [
        ...,
        None,
        "",
        0,
        True,
        [KEY.id],
        {"id": KEY.id},
        "../../etc/passwd",
        "file:///dev/null",
        "https://evil.example/jwks.json",
        "' OR '1'='1",
        f"{KEY.id}\0",
        f" {KEY.id}",
        KEY.id.upper(),
        KEY.id.replace("i", "\u0456"),
        "x" * 129,
        "x" * 2**20,
    ],
    ids=lambda kid: repr(kid)[:30],
)
def test_hazard_30_a_key_id_that_is_none_of_ours_finds_no_key(kid: object) -> None:
    assert code_of(header(kid=kid)) is CloseCode.INVALID_TOKEN


def test_hazard_30_a_key_is_looked_up_by_the_whole_name_alone_and_only_if_that_is_short() -> None:
    for kid, looked_for in (("nobody", ["nobody"]), ("x" * 129, []), (["sk_id_test"], []), (..., [])):
        keys = Looked()
        assert code_of(header(kid=kid), keys) is CloseCode.INVALID_TOKEN
        assert [name for name in keys.names if name is not None] == looked_for


def test_hazard_30_a_token_that_names_no_key_is_said_to_name_none() -> None:
    verdict = judge(open_token(header(kid=...)), KEYS, NOW)
    assert verdict.sentence == "refused: it does not say with which key it is signed"


@pytest.mark.parametrize("name", ["jku", "x5u", "jwk", "x5c", "x5t", "crit", "zip", "b64", "cty", "enc", "kid2"])
@pytest.mark.parametrize("value", ["https://evil.example/", {"kty": "oct", "k": "AAAA"}, ["exp"], False])
def test_hazard_31_a_header_beyond_ours_is_refused_however_well_it_is_signed(name: str, value: object) -> None:
    assert code_of(header(**{name: value})) is CloseCode.INVALID_TOKEN


def test_hazard_31_what_is_minted_has_no_header_beyond_ours() -> None:
    opened = open_token(mint(KEY, Claims("a", int(NOW) + 60)))
    assert opened.header == HEADER


@pytest.mark.parametrize(
    "exp",
    [
        ...,
        None,
        True,
        "1800000600",
        1.8e9,
        1e308,
        float("inf"),
        -1,
        [],
        2**53,
        2**64,
        int(NOW) + KEY.max_token_life + 1,
    ],
    ids=repr,
)
def test_hazard_32_a_token_without_a_near_end_is_refused(exp: object) -> None:
    assert code_of(claims(exp=exp)) is CloseCode.INVALID_TOKEN


@given(st.one_of(st.none(), st.booleans(), st.floats(), st.text(max_size=5), st.integers(-(2**70), 2**70)))
def test_hazard_32_an_end_is_a_whole_number_within_the_life_of_the_key_or_it_is_none(exp: object) -> None:
    near = type(exp) is int and NOW < exp <= NOW + KEY.max_token_life
    over = type(exp) is int and 0 <= exp <= NOW
    expected = None if near else CloseCode.TOKEN_EXPIRED if over else CloseCode.INVALID_TOKEN
    assert code_of(signed(HEADER, {**PAYLOAD, "exp": exp})) is expected


@pytest.mark.parametrize("iat", [-1, True, "soon", 1e308, None])
def test_hazard_32_when_a_token_was_made_gives_it_no_longer_life(iat: object) -> None:
    far = int(NOW) + KEY.max_token_life + 1
    assert code_of(claims(iat=iat)) is None
    assert code_of(claims(iat=iat, exp=far)) is CloseCode.INVALID_TOKEN


@pytest.mark.parametrize(("secret", "strong"), [("s" * 31, False), ("s" * 32, True), ("\u00fc" * 15, False)])
def test_hazard_33_a_secret_of_fewer_than_32_bytes_is_refused_before_it_signs_anything(
    secret: str, strong: bool
) -> None:
    if strong:
        key = SecretKey("sk_id_a", secret)
        assert verify(mint(key, Claims("a", int(time.time()) + 60)), KeyRing([key]).secret, time.time())[0] == key
    else:
        with pytest.raises(KeyProblem, match="at least 32 are needed"):
            KeyRing([SecretKey("sk_id_a", secret)])
