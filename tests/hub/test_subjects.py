"""What topics are called on engines: nothing is missed, nothing is mixed up, nothing breaks out."""

from __future__ import annotations

import re
from functools import lru_cache

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchestrator.hub.backplane import Kind, Topic
from orchestrator.hub.subjects import (
    nats_interest,
    nats_root,
    nats_subject,
    redis_channel,
    redis_interest,
    redis_root,
    token,
)
from orchestrator.protocol.globs import matches
from orchestrator.protocol.names import is_channel

HOSTILE = (
    "*",
    ">",
    ".",
    "a.b",
    "a b",
    "$SYS",
    "_INBOX.x",
    "~",
    "%2E",
    "\\",
    "/",
    "//",
    "a/",
    "[a-z]",
    "?",
    "é",
    "𝄞",
    ":",
)
hostile = st.text("ab/.*>\\ %~$é?[]^-:_", min_size=1, max_size=24)
anything = st.one_of(
    st.sampled_from(HOSTILE), hostile, st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=64)
)
channels = anything.filter(is_channel)
texts = st.one_of(anything, st.text(max_size=300))  # surrogates and control characters too
topics = st.builds(Topic, st.sampled_from(Kind), texts, texts)
patterns = st.lists(st.sampled_from(["a", "b", "/", "*", "**", "\\", "\\*", "é", ".", "?", "["]), min_size=1).map(
    "".join
)
names = st.lists(st.sampled_from(["a", "b", "/", "\\", "*", "é", ".", "?", "["]), min_size=1, max_size=12).map("".join)


def nats_takes(interest: str, subject: str) -> bool:
    """The engine's own rules."""
    wanted, given = interest.split("."), subject.split(".")
    for at, part in enumerate(wanted):
        if part == ">":
            return at < len(given)
        if at >= len(given) or part not in ("*", given[at]):
            return False
    return len(wanted) == len(given)


@lru_cache
def _redis_pattern(interest: bytes) -> re.Pattern[bytes]:
    """The engine's own rules, as far as they are made use of; what else has a meaning must not be there unescaped."""
    said, at = b"", 0
    while at < len(interest):
        char = interest[at : at + 1]
        if char == b"\\":
            at += 1
            said += re.escape(interest[at : at + 1])
        else:
            assert char not in (b"?", b"[", b"]"), interest
            said += b".*" if char == b"*" else re.escape(char)
        at += 1
    return re.compile(said, re.DOTALL)


def redis_takes(interest: tuple[bytes, bool], channel: bytes) -> bool:
    text, wild = interest
    return _redis_pattern(text).fullmatch(channel) is not None if wild else text == channel


@settings(deadline=None)
@given(patterns, names)
@example("a/**", "a/")
@example("**", "/")
@example("a/*/c", "a//c")
@example("a**", "a/b")
@example("\\**", "*/")
@example("a\\*", "a*")
@example("a\\\\*", "a\\")
def test_whatever_a_pattern_matches_reaches_who_listens_to_it(pattern: str, name: str) -> None:
    listened, spoken = Topic(Kind.CHANNEL, "app", pattern), Topic(Kind.CHANNEL, "app", name)
    if matches(pattern, name) if "*" in pattern else pattern == name:
        assert nats_takes(nats_interest("n", listened), nats_subject("n", spoken))
        assert redis_takes(redis_interest("n", listened), redis_channel("n", spoken))


@settings(deadline=None)
@given(topics, topics)
def test_two_topics_have_two_names(one: Topic, other: Topic) -> None:
    same = one == other
    assert (nats_subject("n", one) == nats_subject("n", other)) == same
    assert (redis_channel("n", one) == redis_channel("n", other)) == same


@settings(deadline=None)
@given(texts, texts)
def test_two_texts_have_two_tokens(one: str, other: str) -> None:
    assert (token(one) == token(other)) == (one == other)


@settings(deadline=None)
@given(st.sampled_from(Kind), st.sampled_from(Kind), texts, texts, patterns, texts)
def test_no_pattern_takes_in_another_app_namespace_or_kind(
    one: Kind, other: Kind, app: str, other_app: str, pattern: str, text: str
) -> None:
    if (one, app) == (other, other_app):
        return
    listened, spoken = Topic(one, app, pattern), Topic(other, other_app, text)
    assert not nats_takes(nats_interest("n", listened), nats_subject("n", spoken))
    assert not redis_takes(redis_interest("n", listened), redis_channel("n", spoken))


@settings(deadline=None)
@given(texts, texts, patterns, texts)
def test_no_pattern_takes_in_another_namespace(one: str, other: str, pattern: str, text: str) -> None:
    if one == other:
        return
    listened, spoken = Topic(Kind.CHANNEL, "app", pattern), Topic(Kind.CHANNEL, "app", text)
    assert not nats_takes(nats_interest(one, listened), nats_subject(other, spoken))
    assert not redis_takes(redis_interest(one, listened), redis_channel(other, spoken))


@settings(deadline=None)
@given(texts, topics)
def test_what_is_spoken_to_is_what_the_engine_takes_for_one_name(namespace: str, topic: Topic) -> None:
    subject = nats_subject(namespace, topic)
    assert re.fullmatch(r"orchestrator\.1(\.[A-Za-z0-9_~%-]+)+", subject)
    assert subject.startswith(nats_root(namespace) + ".")
    assert redis_channel(namespace, topic).startswith(redis_root(namespace))


@settings(deadline=None)
@given(texts, st.builds(Topic, st.sampled_from(Kind), texts, st.one_of(patterns, texts)))
def test_what_is_listened_to_is_a_valid_subject(namespace: str, topic: Topic) -> None:
    interest = nats_interest(namespace, topic)
    assert re.fullmatch(r"orchestrator\.1(\.([A-Za-z0-9_~%-]+|\*))*(\.>)?", interest)
    assert interest.startswith(nats_root(namespace) + f".{topic.kind.value}.{token(topic.app)}.")


@pytest.mark.parametrize("name", ["é" * 128, "/" * 256, ".." * 128, "é/x" * 64, "x" * 256, "a/" * 128], ids=ascii)
def test_the_longest_names_fit_into_a_line_of_the_engine(name: str) -> None:
    subject = nats_subject("n" * 300, Topic(Kind.CHANNEL, "a." * 200, name))
    assert subject.count(".") == len(["orchestrator", "1", "n", "c", "a"]) + name.count("/"), (
        "patterns find its segments"
    )
    assert len(subject) < 2_000


@pytest.mark.parametrize("kind", Kind)
def test_what_no_hub_allows_fits_too(kind: Kind) -> None:
    assert len(nats_subject("n", Topic(kind, "a", "é/" * 50_000))) < 2_000


@pytest.mark.parametrize(
    ("pattern", "nats", "redis"),
    [
        ("team/chat", "team.chat", (b"team/chat", False)),
        ("team/*", "team.*", (b"team/*", True)),
        ("team/*/inbox", "team.*.inbox", (b"team/*/inbox", True)),
        ("team/**", "team.>", (b"team/*", True)),
        ("team/a*", "team.*", (b"team/a*", True)),
        ("**", ">", (b"*", True)),
        ("*", "*", (b"*", True)),
        ("a/**/z", "a.>", (b"a/*/z", True)),
        ("a*b*c", "*", (b"a*c", True)),
        ("a?/*", "a%3F.*", (b"a\\?/*", True)),
        (r"a\*", "a%2A", (b"a*", False)),
    ],
)
def test_patterns_are_as_narrow_as_the_engine_allows(pattern: str, nats: str, redis: tuple[bytes, bool]) -> None:
    topic = Topic(Kind.CHANNEL, "app", pattern)
    assert nats_interest("n", topic) == f"orchestrator.1.n.c.app.{nats}"
    assert redis_interest("n", topic) == (b"orchestrator:1:n:c:app:" + redis[0], redis[1])
