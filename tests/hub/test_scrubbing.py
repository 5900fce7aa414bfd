"""What a recording leaves out, whatever shape it comes in, and that the rest stays what it was."""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.hub.scrubbing import MASK, is_secret_name, scrubbed, shape_of
from tests.canary import CANARY

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJtZSJ9.c2lnbmF0dXJlLW9mLWl0"
KEY = "sk_secret_" + "canary" * 6
NAMES = (
    "token",
    "access_token",
    "refreshToken",
    "api_key",
    "apikey",
    "x-api-key",
    "API Key",
    "password",
    "passwd",
    "db.password",
    "secret",
    "client_secret",
    "Authorization",
    "cookie",
    "Set-Cookie",
    "credential",
    "credentials",
    "private_key",
    "privateKey",
    "ice-pwd",
    "ice-ufrag",
    "iceUfrag",
)
names = st.sampled_from(NAMES)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def value_of(name: str) -> st.SearchStrategy[Any]:
    """Return what may stand under a secret name: the canary, alone or within something."""
    held = st.sampled_from([CANARY, f"Bearer {CANARY}", [CANARY], {"a": [CANARY, 1]}, {"deep": {"er": CANARY}}])
    return held.map(lambda value: {name: value})


shown = st.sampled_from(
    [
        {"text": f"the key is {KEY}."},
        {"text": f"Bearer {CANARY}"},
        {"header": f"Authorization: Basic {CANARY}"},
        {"link": f"https://example.org/a?x=1&token={CANARY}&y=2"},
        {"link": "https://example.org/?" + urlencode({"api_key": CANARY})},
        {"dsn": f"redis://me:{CANARY}@localhost/0"},
        {"text": f'say {{"password": "{CANARY}"}} to 5" of it'},
        {"env": f"PASSWORD={CANARY} SECRET: {CANARY}"},
        {"jwt": JWT},
    ]
)
secret = names.flatmap(value_of) | shown
holding = st.recursive(
    secret,
    lambda inner: (
        st.builds(lambda value, other: [other, value], inner, plain)
        | st.builds(lambda value, other: {"a": other, "data": value}, inner, plain)
        | st.builds(lambda value: {"json": json.dumps(value)}, inner)
        | st.builds(lambda value: {"json": json.dumps(value, ensure_ascii=False, indent=1)}, inner)
    ),
    max_leaves=3,
)


@settings(max_examples=150, deadline=None)
@given(holding, st.booleans(), st.sampled_from([None, (",", ":")]))
def test_no_shape_of_a_secret_gets_through(value: Any, ascii_only: bool, separators: Any) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, separators=separators).encode()
    left = scrubbed(text)
    for told in (CANARY, KEY, JWT):
        assert told.encode() not in left
    json.loads(left)
    assert scrubbed(left) == left


@settings(max_examples=100, deadline=None)
@given(holding, st.integers(0, 60))
def test_nor_where_the_text_is_cut_off(value: Any, cut: int) -> None:
    text = json.dumps(value).encode()
    assert CANARY.encode() not in scrubbed(text[: max(1, len(text) - cut)])


@settings(max_examples=100, deadline=None)
@given(holding)
def test_what_a_hub_makes_of_it_is_scrubbed_to_the_same(value: Any) -> None:
    text = json.dumps(value).encode()
    made = b'{"type":"direct","from":"a","data":%b}'
    assert scrubbed(made % text) == scrubbed(made % scrubbed(text))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_anything_at_all_is_scrubbed_without_a_fault(text: bytes) -> None:
    assert scrubbed(scrubbed(text)) == scrubbed(text)


@pytest.mark.parametrize(
    "text",
    [
        b'{"type":"publish","channel":"a","data":{"tokens":512,"max_tokens":1,"keyboard":"k","passage":"p"}}',
        '{"text":"a secretary of the token ring passed, über alles; 1 + 1 = 2"}'.encode(),
        b'{"b" : [1.50, 1e5, "\\u00e9", "\\/"] , "token": null, "secret": false}',
    ],
)
def test_what_is_no_secret_stays_byte_by_byte(text: bytes) -> None:
    assert scrubbed(text) == text


@pytest.mark.parametrize("name", NAMES)
def test_a_secret_name_is_one_however_it_is_written(name: str) -> None:
    assert is_secret_name(name)


def test_a_name_that_is_written_with_escapes_is_read() -> None:
    assert scrubbed(b'{"\\u0074oken":"%b"}' % CANARY.encode()) == b'{"\\u0074oken":"***"}'


def test_of_what_is_private_nothing_but_the_form_is_left() -> None:
    assert shape_of({"a": [1, "x", None], "b": {"c": True}}) == {"a": [MASK, MASK, None], "b": {"c": MASK}}


@pytest.mark.parametrize("piece", ['"', "token", '{"a":', '"token":[', "\\", "bearer ", "://a", "eyJ.", "eyJa", '"\\"'])
def test_a_hostile_text_takes_no_more_time_than_its_length(piece: str) -> None:
    began = time.process_time()
    scrubbed((piece * (60_000 // len(piece))).encode())
    assert time.process_time() - began < 1.0  # what grows with the square takes a minute
