"""What counts as a secret in a line of a file, and what does not."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.topology.masking import MASK, masked, secret_spans


def shown(text: str, index: int = 0) -> str:
    lines = text.split("\n")
    line = lines[index]
    for start, end in reversed(secret_spans(lines, index)):
        line = line[:start] + MASK + line[end:]
    return line


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("key: sk_id_a:sk_secret_canary", "key: ***"),
        ("  OPENAI_API_KEY: canary", "  OPENAI_API_KEY: ***"),
        ("  OPENAI_API_KEY:canary", "  OPENAI_API_KEY:***"),
        ("  password: can, ary # canary", "  password: ***"),
        ("environment: {DB_PASSWORD: canary, MODEL: small}", "environment: {DB_PASSWORD: ***, MODEL: small}"),
        ("environment: {A_TOKEN: can,ary, MODEL: small}", "environment: {A_TOKEN: ***, MODEL: small}"),
        ('environment: {"A_TOKEN": "can\\"ary", MODEL: s}', 'environment: {"A_TOKEN": "***", MODEL: s}'),
        ("environment: {A_SECRET: 'can''ary'}", "environment: {A_SECRET: '***'}"),
        ("environment: {A_SECRET: 'canary", "environment: {A_SECRET: '***"),
        ("apiKey: canary", "apiKey: ***"),
        ("key: ${HUB_KEY}", "key: ${HUB_KEY}"),
        ("key: ${HUB_KEY:-canary}", "key: ${HUB_KEY:-***}"),
        ("key: ${HUB_KEY:?say it}", "key: ${HUB_KEY:?say it}"),
        ("key: ${HUB_KEY}canary", "key: ***"),
        ("name: ${MY_TOKEN:-canary}", "name: ${MY_TOKEN:-***}"),
        ("store: redis://user:canary@host/0", "store: redis://***@host/0"),
        ("name: eyJhbGciOi.eyJzdWIi.canary", "name: ***"),
        ("name: sk-canarycanarycanary", "name: ***"),
        ("command: [node, app.js, --api-key, canary]", "command: [node, app.js, --api-key, ***]"),
        ("command: [node, app.js, --token=canary]", "command: [node, app.js, --token=***]"),
        ("API_KEYS: [canary, canary]", "API_KEYS: [***"),
        ("tls: {cert: hub.pem, key: hub.key}", "tls: {cert: hub.pem, key: hub.key}"),
        ("hub: {key: canary, tls: {key: /etc/tls/hub-1.pem}}", "hub: {key: ***, tls: {key: /etc/tls/hub-1.pem}}"),
        ("tls: {'key': 'keys/hub.key', cert: a}", "tls: {'key': 'keys/hub.key', cert: a}"),
        ("tls: {key: canary}", "tls: {key: ***}"),
        ("tls: {key: sk_id_a:sk_secret_a.key}", "tls: {key: ***}"),
        ("tls: {cert: a.pem}, key: canary.pem", "tls: {cert: a.pem}, key: ***"),
        ("key: canary.pem", "key: ***"),
        ("hub: {token_ttl: 15m, key: }", "hub: {token_ttl: 15m, key: }"),
        ("tokenizer: {handler: app:Tokenizer}", "tokenizer: {handler: app:Tokenizer}"),
        ("workers: [monkey, turnkey]", "workers: [monkey, turnkey]"),
        ("secret: {handler: app:Secret}", "secret: {handler: app:Secret}"),
    ],
)
def test_a_secret_is_known_by_its_name_or_its_shape(line: str, expected: str) -> None:
    assert shown(line) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hub:\n  tls:\n    cert: hub.pem\n    key: hub.key", "    key: hub.key"),
        ("hub:\n  tls: # ours\n    # its key\n    key: ./hub.key # here", "    key: ./hub.key # here"),
        ("  tls: {cert: hub.pem,\n    key: hub.key}", "    key: hub.key}"),
        ("hub:\n  tls:\n    cert: hub.pem\n  key: canary.pem", "  key: ***"),
        ("hub:\n  tls:\n    key: |", "    key: |"),
        ("hub:\n  tls:\n    key: canary", "    key: ***"),
        ("environment:\n  tls_x:\n    key: canary.pem", "    key: ***"),
    ],
)
def test_the_file_of_a_hubs_certificate_is_no_secret(text: str, expected: str) -> None:
    assert shown(text, text.count("\n")) == expected


@pytest.mark.parametrize(
    "text",
    [
        "environment:\n  API_KEY: |\n    canary",
        "environment:\n  API_KEY: >-\n    first\n    canary",
        "environment:\n  API_KEY:\n    canary",
        'environment:\n  API_KEY: "first\n    canary"',
        'environment:\n  API_KEY: "first\ncanary"',
        "environment:\n  API_KEY: |\n    user: somebody\n    pass: canary",
        "environment: {API_KEY:\n  canary}",
        "environment:\n  API_KEY: first\n    canary",
    ],
)
def test_a_secret_is_masked_in_the_lines_that_it_goes_on_in(text: str) -> None:
    assert shown(text, text.count("\n")).strip() == MASK


@pytest.mark.parametrize(
    "text",
    [
        "environment:\n  API_KEY: ${API_KEY}\n  MODEL: small",
        "environment:\n  API_KEY: first\n  MODEL: small",
        "environment: {API_KEY: first,\n  MODEL: small}",
        "hub:\n  key: ${KEY}\nworkers:\n  - small",
    ],
)
def test_what_stands_below_a_finished_secret_is_shown(text: str) -> None:
    assert "small" in shown(text, text.count("\n"))


NAMES = st.sampled_from(["API_KEY", "github_token", "DB_PASSWORD", "client-secret", "key", "Token", "passphrase"])
VALUES = st.text("abc ,:#'\"\\[]{}-|>&!*%@`", max_size=12).map(lambda text: f"q{text}")


@given(NAMES, VALUES, st.sampled_from(["", "  ", "- "]), st.sampled_from([": ", "=", " : ", ":  "]))
def test_nothing_of_a_plain_value_under_such_a_name_is_shown(name: str, value: str, begin: str, between: str) -> None:
    assert shown(f"{begin}{name}{between}{value}") == f"{begin}{name}{between}{MASK}"


@given(NAMES, VALUES, st.sampled_from("'\""))
def test_nothing_of_a_quoted_value_under_such_a_name_is_shown(name: str, value: str, quote: str) -> None:
    inside = value.replace("'", "''") if quote == "'" else value.replace("\\", "\\\\").replace('"', '\\"')
    line = f"environment: {{{name}: {quote}{inside}{quote}, MODEL: small}}"
    assert shown(line) == f"environment: {{{name}: {quote}{MASK}{quote}, MODEL: small}}"


@given(st.lists(st.text(max_size=40), min_size=1, max_size=8), st.data())
def test_spans_lie_in_their_line_in_order_and_apart(lines: list[str], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(lines) - 1))
    ends = [end for span in secret_spans(lines, index) for end in span]
    assert ends == sorted(set(ends))
    assert all(0 <= end <= len(lines[index]) for end in ends)


def test_sentences_keep_everything_that_has_no_shape_of_a_secret() -> None:
    sentence = "expected one of 'memory:', redis://…, found 'postgres://me:canary@host/db'"
    assert masked(sentence) == "expected one of 'memory:', redis://…, found 'postgres://***@host/db'"
    assert re.fullmatch(r"a \*\*\* b", masked("a sk_secret_canary b"))
