from __future__ import annotations

import pytest

from orchestrator.client.url import parse_origin, redact


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("ws://localhost", "ws://localhost:80"),
        ("ws://localhost:7700/", "ws://localhost:7700"),
        ("WS://LOCALHOST:7700", "ws://localhost:7700"),
        ("ws://127.0.0.1:7700", "ws://127.0.0.1:7700"),
        ("ws://[::1]:7700", "ws://[::1]:7700"),
        ("wss://rms.metered.ca", "wss://rms.metered.ca:443"),
        ("wss://192.168.1.4:8443", "wss://192.168.1.4:8443"),
        ("wss://bücher.example", "wss://xn--bcher-kva.example:443"),
    ],
)
def test_79_origins_that_may_be_connected_to(url: str, origin: str) -> None:
    assert str(parse_origin(url)) == origin


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:7700",
        "//localhost",
        "http://localhost",
        "https://hub.example",
        "ws://0.0.0.0:7700",
        "ws://127.0.0.2:7700",
        "ws://192.168.1.4:7700",
        "ws://hub.example",
        "ws://[::2]",
        "ws://localhost.",
        "ws://",
        "wss://",
        "wss://[hub]",
        "wss://:443",
        "wss://hub.example:0",
        "wss://hub.example:99999",
        "wss://hub.example:x",
        "wss://hub.example/v1",
        "wss://hub.example//",
        "wss://hub.example?",
        "wss://hub.example?token=abc",
        "wss://hub.example#",
        "wss://hub.example/#top",
        "wss://user:word@hub.example",
        "wss://hub.example\n",
        " wss://hub.example",
        "wss://hub\\.example",
        f"wss://{'a' * 64}.example",
    ],
)
def test_79_every_other_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="hub url"):
        parse_origin(url)


def test_94_a_refused_url_is_quoted_without_its_secrets() -> None:
    with pytest.raises(ValueError, match=r"token=\*\*\*") as caught:
        parse_origin("wss://hub.example/v1?token=canary")
    assert "canary" not in str(caught.value)
    with pytest.raises(ValueError, match="no user name") as caught:
        parse_origin("wss://me:canary@hub.example")
    assert "canary" not in str(caught.value)


def test_the_credential_is_percent_encoded() -> None:
    assert parse_origin("ws://localhost:1").endpoint("key", "a/b+c d&e") == "ws://localhost:1/v1?key=a%2Fb%2Bc%20d%26e"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET /v1?token=abc.def HTTP", "GET /v1?token=*** HTTP"),
        ("GET /v1?key=abc&x=1", "GET /v1?key=***&x=1"),
        ('{"credential": "abc"}', '{"credential": "***"}'),
        ("a=ice-pwd:abc", "a=ice-pwd:***"),
        ("bad key sk_id_7:sk_secret_abc", "bad key sk_id_7:***"),
        ("refused pk_live_abc", "refused ***"),
        ("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln", "jwt ***"),
        ("nothing here: a monkey = fine", "nothing here: a monkey = fine"),
    ],
)
def test_94_credentials_are_taken_out_of_text(text: str, shown: str) -> None:
    assert redact(text) == shown
