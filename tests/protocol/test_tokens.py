"""Tokens: what is minted is read back, and of what attackers bring nothing opens a connection."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.protocol.codes import ALL_ACTIONS, Action, CloseCode
from orchestrator.protocol.tokens import (
    Claims,
    Grants,
    Rate,
    SecretKey,
    TokenRefused,
    allows,
    compact_size,
    mint,
    verify,
)

NOW = 1_800_000_000.0
KEY = SecretKey("sk_id_test", "sk_secret_" + "s" * 40)
OTHER = SecretKey("sk_id_other", "sk_secret_" + "o" * 40)
NARROW = SecretKey("sk_id_narrow", "sk_secret_" + "n" * 40, channels=("team/*",), max_token_life=600)
KEYS = {key.id: key for key in (KEY, OTHER, NARROW)}
HEADER: dict[str, Any] = {"alg": "HS256", "typ": "JWT", "kid": KEY.id}
PAYLOAD: dict[str, Any] = {"sub": "worker-3", "exp": int(NOW) + 600}


def b64(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def signed(header: object, payload: object, secret: str = KEY.secret, hashed: Any = hashlib.sha256) -> str:
    """Sign by hand, so that nothing refuses on the way what a real attacker would send."""
    raw = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, payload)]
    body = ".".join(map(b64, raw))
    return f"{body}.{b64(hmac.new(secret.encode(), body.encode(), hashed).digest())}"


def header(**changes: object) -> str:
    return signed({name: value for name, value in {**HEADER, **changes}.items() if value is not ...}, PAYLOAD)


def claims(**changes: object) -> str:
    return signed(HEADER, {name: value for name, value in {**PAYLOAD, **changes}.items() if value is not ...})


def code_of(token: str, now: float = NOW) -> CloseCode | None:
    try:
        verify(token, KEYS, now)
    except TokenRefused as refused:
        return refused.code
    return None


GOOD = claims()
BODY, SIGNATURE = GOOD.rsplit(".", 1)
DEEP = b'{"a":' * 100_000 + b"1" + b"}" * 100_000

ATTACKS: dict[str, str] = {
    # the algorithm
    "alg none, unsigned": f"{b64(json.dumps({**HEADER, 'alg': 'none'}).encode())}.{BODY.split('.')[1]}.",
    "alg none, signed": header(alg="none"),
    "alg None": header(alg="None"),
    "alg NONE": header(alg="NONE"),
    "alg hs256 in small letters": header(alg="hs256"),
    "alg HS384": signed({**HEADER, "alg": "HS384"}, PAYLOAD, hashed=hashlib.sha384),
    "alg HS512": signed({**HEADER, "alg": "HS512"}, PAYLOAD, hashed=hashlib.sha512),
    "alg RS256 over an HMAC": header(alg="RS256"),
    "alg ES256 over an HMAC": header(alg="ES256"),
    "alg missing": header(alg=...),
    "alg null": header(alg=None),
    "alg array": header(alg=["HS256"]),
    # the key
    "kid missing": header(kid=...),
    "kid null": header(kid=None),
    "kid empty": header(kid=""),
    "kid number": header(kid=7),
    "kid array": header(kid=[KEY.id]),
    "kid object": header(kid={"id": KEY.id}),
    "kid long": header(kid=KEY.id + "x" * 10_000),
    "kid unknown": header(kid="sk_id_nobody"),
    "kid of a path": header(kid="../../../dev/null"),
    "kid of another key": header(kid=OTHER.id),
    "kid with a space": header(kid=f"{KEY.id} "),
    "signed with another key": signed(HEADER, PAYLOAD, OTHER.secret),
    "signed with the id": signed(HEADER, PAYLOAD, KEY.id),
    "signed with nothing": signed(HEADER, PAYLOAD, ""),
    # more in the header
    "jku": header(jku="https://evil.example/keys"),
    "jwk": header(jwk={"kty": "oct", "k": b64(b"evil")}),
    "x5u": header(x5u="https://evil.example/cert"),
    "crit": header(crit=["exp"]),
    "b64 false": header(b64=False, crit=["b64"]),
    "zip": header(zip="DEF"),
    "enc": header(enc="A256GCM"),
    # the shape
    "nothing": "",
    "one dot": ".",
    "two dots": "..",
    "one part": "abc",
    "two parts": BODY,
    "four parts": f"{GOOD}.{SIGNATURE}",
    "no signature": f"{BODY}.",
    "signature cut": GOOD[:-4],
    "signature of other claims": f"{claims(sub='boss').rsplit('.', 1)[0]}.{SIGNATURE}",
    "trailing newline": f"{GOOD}\n",
    "leading space": f" {GOOD}",
    "padding": f"{GOOD}=",
    "stray bytes in the signature": f"{BODY}.{SIGNATURE[:9]}!*{SIGNATURE[9:]}",
    "newline in the signature": f"{BODY}.{SIGNATURE[:9]}\n{SIGNATURE[9:]}",
    "space within": GOOD.replace(".", ". ", 1),
    "newline within": GOOD.replace(".", ".\n", 1),
    "tab after the header": GOOD.replace(".", "\t.", 1),
    "NUL at the end": f"{GOOD}\0",
    "not ASCII": f"{GOOD}ü",
    "look-alike letters": GOOD.replace("e", "\u0435"),
    "lone surrogate": f"{GOOD}\ud800",
    "Bearer": f"Bearer {GOOD}",
    "standard base64": signed(HEADER, {**PAYLOAD, "metadata": {"a": "???>>>"}}).replace("_", "/").replace("-", "+")
    + "/",
    "not base64": "!!!.???.###",
    "half a megabyte": "a" * 500_000,
    "header no JSON": signed(b"{", PAYLOAD),
    "header array": signed([HEADER], PAYLOAD),
    "header string": signed("HS256", PAYLOAD),
    "header nested deeply": signed(DEEP, PAYLOAD),
    "header not UTF-8": signed(b"\xff\xfe", PAYLOAD),
    "payload no JSON": signed(HEADER, b"sub=boss"),
    "payload array": signed(HEADER, [PAYLOAD]),
    "payload string": signed(HEADER, "boss"),
    "payload null": signed(HEADER, None),
    "payload empty": signed(HEADER, b""),
    "payload nested deeply": signed(HEADER, DEEP),
    "payload not UTF-8": signed(HEADER, b'{"sub":"\xff","exp":1800000600}'),
    # times
    "exp missing": claims(exp=...),
    "exp null": claims(exp=None),
    "exp true": claims(exp=True),
    "exp string": claims(exp=str(PAYLOAD["exp"])),
    "exp 1e308": signed(HEADER, b'{"sub":"a","exp":1e308}'),
    "exp infinite": signed(HEADER, b'{"sub":"a","exp":Infinity}'),
    "exp NaN": signed(HEADER, b'{"sub":"a","exp":NaN}'),
    "exp of 5000 digits": signed(HEADER, b'{"sub":"a","exp":' + b"9" * 5_000 + b"}"),
    "exp beyond exact numbers": claims(exp=2**53),
    "exp negative": claims(exp=-1),
    "exp in milliseconds": claims(exp=PAYLOAD["exp"] * 1000),
    "exp a second too far": claims(exp=int(NOW) + KEY.max_token_life + 1),
    "exp array": claims(exp=[PAYLOAD["exp"]]),
    "nbf in the future": claims(nbf=int(NOW) + 6),
    "nbf true": claims(nbf=True),
    "nbf string": claims(nbf="0"),
    "nbf null": claims(nbf=None),
    # the peer
    "sub missing": claims(sub=...),
    "sub null": claims(sub=None),
    "sub number": claims(sub=3),
    "sub array": claims(sub=["worker-3"]),
    "sub empty": claims(sub=""),
    "sub of 129 characters": claims(sub="x" * 129),
    "sub with a newline": claims(sub="a\n"),
    "sub with DEL": claims(sub="a\x7f"),
    "sub not ASCII": claims(sub="wörker"),
    "sub turned around": claims(sub="a\u202eb"),
    # scopes
    "channels a string": claims(channels="**"),
    "channels an object": claims(channels={"**": True}),
    "channels null": claims(channels=None),
    "channels with a number": claims(channels=["a", 1]),
    "101 channels": claims(channels=["a/*"] * 101),
    "permissions a string": claims(permissions="publish"),
    "permissions null": claims(permissions=None),
    "permissions of another make": claims(permissions=["admin"]),
    "permissions nested": claims(permissions=[["publish"]]),
    "17 permissions": claims(permissions=["publish"] * 17),
    "grants a list": claims(grants=["**"]),
    "grants null": claims(grants=None),
    "grants of another kind": claims(grants={"admin": ["**"]}),
    "grants with a string": claims(grants={"send": "**"}),
    "grants oversize": claims(grants={"send": ["x" * 9_000]}),
    "instance empty": claims(instance=""),
    "instance null": claims(instance=None),
    "instance long": claims(instance="x" * 129),
    "instance number": claims(instance=1),
    "rate a word": claims(rate="infinite"),
    "rate null": claims(rate=None),
    "rate zero": claims(rate={"per_second": 0, "burst": 1}),
    "rate true": claims(rate={"per_second": True, "burst": 1}),
    "rate infinite": signed(HEADER, b'{"sub":"a","exp":1800000600,"rate":{"per_second":Infinity,"burst":1}}'),
    "rate with more": claims(rate={"per_second": 1, "burst": 1, "more": 1}),
    # what others are told
    "metadata a list": claims(metadata=[]),
    "metadata null": claims(metadata=None),
    "metadata oversize": claims(metadata={"a": "x" * 8_185}),
    "metadata oversize in bytes alone": claims(metadata={"a": "ü" * 4_093}),
    "metadata NaN": signed(HEADER, b'{"sub":"a","exp":1800000600,"metadata":{"a":NaN}}'),
    "metadata with half a character": signed(HEADER, b'{"sub":"a","exp":1800000600,"metadata":{"a":"\\ud800"}}'),
    "peerMetadata a string": claims(peerMetadata="agent"),
    "peerMetadata oversize": claims(peerMetadata={"a": "x" * 4_089}),
}


@pytest.mark.parametrize("token", ATTACKS.values(), ids=ATTACKS.keys())
def test_5_8_9_an_attack_is_refused_with_4001(token: str) -> None:
    assert code_of(token) is CloseCode.INVALID_TOKEN


@pytest.mark.parametrize("token", ATTACKS.values(), ids=ATTACKS.keys())
def test_5_an_attack_is_refused_with_4001_however_late_it_comes(token: str) -> None:
    """A token that is not ours must not be told from one that is, not even by having expired."""
    if token not in (ATTACKS["exp in milliseconds"], ATTACKS["exp a second too far"], ATTACKS["nbf in the future"]):
        assert code_of(token, NOW + 10**6) is CloseCode.INVALID_TOKEN


def test_there_are_attacks_enough() -> None:
    assert len(set(ATTACKS.values())) == len(ATTACKS) > 60


@pytest.mark.parametrize(
    "token",
    [
        GOOD,
        header(typ=...),
        claims(sub="x" * 128),
        claims(sub=" ~"),
        claims(exp=int(NOW) + KEY.max_token_life),
        claims(nbf=int(NOW) + 5),
        claims(iat="whenever"),
        claims(iss="somebody", aud="everybody", jti=7),
        claims(channels=[]),
        claims(channels=["a/*"] * 100),
        claims(permissions=[]),
        claims(permissions=["publish"] * 16),
        claims(metadata={"a": "x" * 8_184}),
        claims(peerMetadata={"a": "ü" * 2_044}),
        claims(unheard_of={"of": [1, None]}),
        claims(rate="unlimited"),
        claims(grants={}),
    ],
)
def test_what_is_within_the_caps_is_accepted(token: str) -> None:
    assert code_of(token) is None


@pytest.mark.parametrize("late", [0, 1, 10**6])
def test_6_an_expired_token_is_refused_with_4002(late: int) -> None:
    assert code_of(claims(exp=int(NOW) - late)) is CloseCode.TOKEN_EXPIRED


def test_6_an_expired_token_with_a_bad_signature_is_refused_with_4001() -> None:
    assert code_of(signed(HEADER, {**PAYLOAD, "exp": 1}, OTHER.secret)) is CloseCode.INVALID_TOKEN


@pytest.mark.parametrize(
    ("channels", "code"),
    [
        (["lobby"], CloseCode.CHANNEL_NOT_AUTHORIZED),
        (["team/1", "lobby"], CloseCode.CHANNEL_NOT_AUTHORIZED),
        (["team/1/2"], CloseCode.CHANNEL_NOT_AUTHORIZED),
        (["Team/1"], CloseCode.CHANNEL_NOT_AUTHORIZED),
        (["team/1"], None),
        (["**"], None),
        ([], None),
    ],
)
def test_10_a_literal_channel_outside_the_keys_patterns_is_refused_with_4003(
    channels: list[str], code: CloseCode | None
) -> None:
    token = mint(NARROW, Claims("a", int(NOW) + 60, channels=tuple(channels)))
    assert code_of(token) is code


def test_a_key_may_cap_the_life_of_its_tokens() -> None:
    assert code_of(mint(NARROW, Claims("a", int(NOW) + 600))) is None
    assert code_of(mint(NARROW, Claims("a", int(NOW) + 601))) is CloseCode.INVALID_TOKEN


text = st.text(st.characters(codec="utf-8"), max_size=20)
channel_lists = st.lists(st.text("ab/*", min_size=1, max_size=9), max_size=5).map(tuple)


@given(
    st.builds(
        Claims,
        sub=st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=128),
        exp=st.integers(int(NOW) + 1, int(NOW) + KEY.max_token_life),
        channels=st.none() | channel_lists,
        permissions=st.none() | st.frozensets(st.sampled_from(list(Action))),
        metadata=st.none() | st.dictionaries(text, text | st.integers() | st.none(), max_size=3),
        peer_metadata=st.none() | st.dictionaries(text, text, max_size=3),
        grants=st.none() | st.builds(Grants, subscribe=channel_lists, observe=channel_lists, send=channel_lists),
        instance=st.none() | st.text(min_size=1, max_size=20).filter(lambda text: text.isascii()),
        rate=st.none() | st.just("unlimited") | st.builds(Rate, st.floats(0.1, 1e6), st.integers(0, 10**6)),
        nbf=st.none() | st.integers(0, int(NOW)),
    )
)
def test_what_is_minted_is_read_back(said: Claims) -> None:
    assert verify(mint(KEY, said), KEYS, NOW) == (KEY, said)


@pytest.mark.parametrize("show", [repr, str, lambda key: repr([key]), lambda key: repr({"key": key})])
def test_94_a_key_never_shows_its_secret(show: Callable[[object], str]) -> None:
    assert KEY.secret not in show(KEY)


def test_14_a_refusal_says_nothing_of_the_token() -> None:
    for token in (GOOD[:-4], header(kid="sk_id_nobody")):
        with pytest.raises(TokenRefused) as refused:
            verify(token, KEYS, NOW)
        shown = f"{refused.value!r} {refused.value} {pickle.dumps(refused.value)!r}"
        assert not any(part in shown for part in token.split("."))
        assert refused.value.__cause__ is None
        assert refused.value.__suppress_context__ or refused.value.__context__ is None


@pytest.mark.parametrize(
    "pair", ["", "sk_id_a", "sk_id_a:", "sk_secret_b:sk_id_a", "id:secret", "sk_live_abc", "sk_id_a:secret"]
)
def test_a_key_is_a_pair_and_a_wrong_one_is_not_repeated(pair: str) -> None:
    with pytest.raises(ValueError, match="a key is a pair") as refused:
        SecretKey.parse(pair)
    assert not pair or pair not in str(refused.value)


def test_a_pair_is_read_with_colons_in_its_secret() -> None:
    key = SecretKey.parse("sk_id_a:sk_secret_b:c", app="shop")
    assert (key.id, key.secret, key.app, key.actions) == ("sk_id_a", "sk_secret_b:c", "shop", ALL_ACTIONS)


@pytest.mark.parametrize(
    ("value", "size"),
    [({}, 2), ({"a": 1}, 7), ({"ü": "ü"}, 11), ({"a": [1, 2]}, 11), ({"a": "\n"}, 10), ({"a": "😀"}, 12)],
)
def test_a_size_is_that_of_compact_utf8(value: object, size: int) -> None:
    assert compact_size(value) == size


def test_16_a_name_is_matched_and_a_pattern_is_covered() -> None:
    assert allows(["a/*", "b"], "a/x")
    assert allows(["a/*", "b"], "a/x*")
    assert not allows(["a/*", "b"], "a/**")
    assert not allows([], "a")
