"""Addresses of stores on Redis, and the keys of a store."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.store.redis_address import RedisAddress, key_space, redis_address


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://cache", RedisAddress("cache")),
        ("redis://cache:7000/3", RedisAddress("cache", 7000, 3)),
        ("redis://:p%40ss@cache", RedisAddress("cache", password="p@ss")),
        ("redis://ann:pass@[::1]:7000/", RedisAddress("::1", 7000, user="ann", password="pass")),
        ("redis://cache?allow_loss=true", RedisAddress("cache", allow_loss=True)),
        ("redis://cache/0?allow_loss=false", RedisAddress("cache")),
        ("rediss://cache?ca=/etc/ca.pem", RedisAddress("cache", tls=True, ca="/etc/ca.pem")),
    ],
)
def test_an_address_is_read(url: str, address: RedisAddress) -> None:
    assert redis_address(url) == address


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://", "redis://host:6379/0"),
        ("http://ann:secret@cache", "redis://host:6379/0"),
        ("redis://ann:secret@cache:many", "port"),
        ("redis://ann:secret@cache:99999", "port"),
        ("redis://ann:secret@cache/tasks", "number of a database"),
        ("redis://ann:secret@cache?allow_los=true", "did you mean 'allow_loss'"),
        ("redis://ann:secret@cache?allow_loss=1s", "true or false"),
        ("redis://ann:secret@cache?ca=/x", "rediss"),
    ],
)
def test_an_address_that_is_none_is_refused_without_its_password(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as refusal:
        redis_address(url)
    assert "secret" not in str(refusal.value)


def test_an_address_is_shown_without_its_credentials() -> None:
    address = redis_address("rediss://ann:secret@cache:7000/2")
    assert str(address) == "rediss://cache:7000/2"
    assert "secret" not in repr(address)


def test_only_tls_has_certificates_and_checks_them() -> None:
    assert redis_address("redis://cache").tls_context() is None
    context = redis_address("rediss://cache").tls_context()
    assert context is not None
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_the_keys_of_a_store_lie_in_one_slot() -> None:
    assert key_space("newsroom") == "orchestrator:{newsroom}:"


@given(st.text(min_size=1, max_size=64), st.text(min_size=1, max_size=64))
def test_namespaces_keep_apart_whatever_they_are_called(one: str, other: str) -> None:
    """The hash tag is what lies between the first pair of braces, and no empty one is a tag."""
    space = key_space(one)
    assert (space.count("{"), space.count("}")) == (1, 1)
    assert (space == key_space(other)) == (one == other)
