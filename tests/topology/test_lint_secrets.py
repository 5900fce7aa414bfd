"""ORC104, ORC105 and ORC108: tokens that several share or that live too long, and secrets in clear text."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.topology import credentials
from tests.topology.linting import NOW, findings, linted, places

HOUR = 3600


def jwt(payload: dict[str, Any], **header: Any) -> str:
    parts = [{"alg": "HS256", "typ": "JWT", **header}, payload]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join((*encoded, "s" * 43))


SHORT = jwt({"sub": "one", "iat": NOW, "exp": NOW + HOUR}, kid="sk_id_a")
PUBLISHABLE = "pk_live_5d1f0c7a9b2e"

TWO = """\
version: 1
agents:
  one: {handler: 'app:One', environment: {HUB: '%s'}}
  two: {handler: 'app:Two', command_here}
"""


def two(first: str, second: str) -> str:
    return TWO.replace("command_here", "environment: {HUB: '%s'}") % (first, second)


def codes(text: str) -> set[tuple[str, int]]:
    return {place for place in places(text) if place[0] != "ORC108"}


def test_one_token_for_two_agents() -> None:
    assert codes(two(SHORT, SHORT)) == {("ORC104", 4)}
    [told] = [line for line in findings(two(SHORT, SHORT)) if "ORC104" in line]
    assert told == (
        "4:48: agents.two.environment.HUB: this token or key is the one of agents.one.environment.HUB too; two agents "
        "with one identity replace each other [ORC104]"
    )


def test_one_token_for_the_replicas_of_an_agent_in_its_command() -> None:
    text = f"version: 1\nagents:\n  one: {{command: [node, one.js, '--token={SHORT}'], replicas: 2}}\n"
    assert codes(text) == {("ORC104", 3)}


@pytest.mark.parametrize(
    "text",
    [
        two(SHORT, SHORT.replace("s", "t")),
        two("${SECRET}", "${SECRET}"),
        two("gpt-small", "gpt-small"),
        two(jwt({"iss": "https://elsewhere.example", "exp": NOW + HOUR}), jwt({"iss": "https://elsewhere.example"})),
        f"version: 1\nagents:\n  one: {{handler: 'app:One', environment: {{A: '{SHORT}', B: '{SHORT}'}}}}\n",
    ],
)
def test_tokens_of_ones_own_and_keys_of_other_services_are_shared_by_nobody(text: str) -> None:
    assert codes(text) == set()


def one(name: str, value: str) -> str:
    return f"version: 1\nagents:\n  one:\n    handler: app:One\n    environment:\n      {name}: '{value}'\n"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (jwt({"iat": NOW, "exp": NOW + 25 * HOUR}), "this token lives for 25 h, and a hub refuses more than 24 h"),
        (jwt({"exp": NOW + 48 * HOUR}), "this token lives for 48 h, and a hub refuses more than 24 h"),
        (jwt({"sub": "one"}), "this token never expires, and a hub refuses it: it has no 'exp'"),
        (
            PUBLISHABLE,
            "a publishable key has no end and no peer id; an agent gets a token of its own, which is renewed",
        ),
    ],
)
def test_a_credential_that_lives_too_long(value: str, said: str) -> None:
    told = [line for line in findings(one("HUB", value)) if "ORC105" in line]
    assert told == [f"6:12: agents.one.environment.HUB: {said} [ORC105]"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HUB", SHORT),
        ("HUB", jwt({"exp": NOW + 24 * HOUR})),
        ("ANON", jwt({"iss": "supabase", "exp": NOW + 10_000 * HOUR})),
        ("ANON", jwt({"exp": NOW + 10_000 * HOUR}, kid="key-7")),
        ("STRIPE_PUBLISHABLE_KEY", "pk_live_51HabcDEF"),
    ],
)
def test_short_tokens_and_those_of_other_services_are_no_finding(name: str, value: str) -> None:
    assert codes(one(name, value)) == set()


def test_a_publishable_key_from_a_variable_is_one_too() -> None:
    found = linted(one("HUB", "${PK}"), environ={"PK": PUBLISHABLE})
    assert [problem.code for problem in found.warnings] == ["ORC105"]
    assert PUBLISHABLE not in str(found)


CANARY = "Zq7canaryW3e9rT5yU1iO"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (one("HUB", SHORT), 6),
        (one("OPENAI_API_KEY", f"sk-proj-{CANARY}"), 6),
        (one("GH", f"ghp_{CANARY}{CANARY}"), 6),
        (one("CHAT", f"xoxb-1234-{CANARY}"), 6),
        (one("CLOUD", "AKIAIOSFODNN7CANARYX"), 6),
        (one("SERVICE_TOKEN", CANARY), 6),
        (one("SERVICE_SECRET", CANARY), 6),
        (one("DB_PASSWORD", "canary"), 6),
        (one("DATABASE_URL", "postgres://app:canary@db.example/app"), 6),
        ("version: 1\nstore: redis://:canary@cache.example/0\nagents:\n  one: {handler: 'app:One'}\n", 2),
        ("version: 1\nhub: {backplane: 'nats://me:canary@nats.example'}\nagents:\n  one: {handler: 'app:One'}\n", 2),
        (f"version: 1\nx-old: sk-{CANARY}\nagents:\n  one: {{handler: 'app:One'}}\n", 2),
        (f"version: 1\n# once sk-{CANARY}\nagents:\n  one: {{handler: 'app:One'}}\n", 2),
        (
            (
                "version: 1\nagents:\n  one: {handler: 'app:One'}\nprofiles:\n"
                "  dev: {store: 'redis://:canary@cache.example/0'}\n"
            ),
            5,
        ),
        (f"version: 1\nagents:\n  one: {{command: [node, '--key', 'sk-{CANARY}']}}\n", 3),
        (one("HUB", f"${{HUB:-ghp_{CANARY}{CANARY}}}"), 6),
    ],
)
def test_108_a_secret_in_clear_text_is_an_error_that_repeats_nothing(text: str, place: int) -> None:
    found = linted(text)
    assert [(problem.code, problem.line) for problem in found.errors] == [("ORC108", place)]
    assert "canary" not in " ".join(map(str, (*found.errors, *found.warnings))).lower()


@pytest.mark.parametrize(
    "text",
    [
        one("OPENAI_API_KEY", "${SECRET}"),
        one("DB_PASSWORD", "${SECRET}"),
        one("DB_PASSWORD", ""),
        one("DB_PASSWORD_FILE", "/run/secrets/db"),
        one("TLS_KEY", "/etc/tls/key.pem"),
        one("CACHE_KEY", "reviews2024reviews2024x"),
        one("MODEL", "claude-sonnet-4-20250514-thinking"),
        one("SORT_KEY", "name"),
        one("SERVICE_TOKEN", "none"),
        one("MAX_TOKENS", "4096"),
        one("DATABASE_URL", "postgres://app:${SECRET}@db.example/app"),
        one("DATABASE_URL", "postgres://app@db.example:5432/app"),
        one("DATABASE_URL", "https://example.org/a:b@c"),
        one("PLAN", "task-management-with-many-words-1"),
        "version: 1\nhub: {url: 'wss://hub.example', key: '${KEY}'}\nagents:\n  one: {handler: 'app:One'}\n",
        "version: 1\n# redis://user:password@host is how it is written\nagents:\n  one: {handler: 'app:One'}\n",
    ],
)
def test_what_comes_from_a_variable_or_is_no_secret_is_fine(text: str) -> None:
    assert findings(text) == []


@given(st.text(max_size=200))
def test_any_text_can_be_searched_and_masked(text: str) -> None:
    hidden = credentials.without_secrets(text)
    assert len(hidden) == len(text)
    assert list(credentials.secrets_in(hidden)) == []
    for credential in credentials.credentials_in(text):
        credentials.token_life(credential)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists), st.text())
def test_any_token_can_be_looked_into(payload: Any, kid: str) -> None:
    token = jwt({"exp": payload, "iat": payload}, kid=kid)
    life = credentials.token_life(token)
    assert life is not None
    assert life.ends is None or life.ends == payload
    assert credentials.is_token_of_a_hub(token) == kid.startswith("sk_id_")
