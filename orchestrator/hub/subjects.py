"""What a topic is called on an engine: no text breaks out of its place, and no two topics share a name.

Everything stands below ``orchestrator``, the version of what hubs say to one another, and the namespace of a
deployment; every name holds the app. What an engine cannot express of a pattern is taken in more widely, and never
more narrowly: whoever listens filters.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Final

from orchestrator.hub.backplane import Kind, Topic
from orchestrator.protocol.globs import Star, has_star, tokens

_VERSION: Final = "1"
_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]+")
_LONGEST_TOKEN: Final = 255
_LONGEST_CHANNEL: Final = 1024
"""Characters. One of 256 bytes stays below, however much of it has to be written in another way; and an engine that
takes lines of 4096 bytes takes it with everything around.
"""
_EMPTY: Final = "~"


def token(text: str) -> str:
    """Return `text` in letters, digits, ``-``, ``_``, ``%`` and ``~`` alone; of one that is very long, its hash."""
    if _PLAIN.fullmatch(text) and len(text) <= _LONGEST_TOKEN:
        return text
    if not text:
        return _EMPTY
    raw = text.encode("utf-8", "surrogatepass")
    if len(raw) <= _LONGEST_TOKEN:
        written = "".join(char if _PLAIN.match(char := chr(byte)) else f"%{byte:02X}" for byte in raw)
        if len(written) <= _LONGEST_TOKEN:
            return written
    return _EMPTY + sha256(raw).hexdigest()


# -- NATS: the segments of a channel are tokens, so that its wildcards take in whole segments


def nats_root(namespace: str) -> str:
    """Return what all subjects of a namespace begin with: the one thing that a hub has to be permitted."""
    return f"orchestrator.{_VERSION}.{token(namespace)}"


def nats_subject(namespace: str, topic: Topic) -> str:
    """Return the subject on which to speak to a topic; its text is taken literally."""
    kind, app, text = topic
    named = _folded([token(segment) for segment in text.split("/")]) if kind is Kind.CHANNEL else token(text)
    return f"{nats_root(namespace)}.{kind.value}.{token(app)}.{named}"


def nats_interest(namespace: str, topic: Topic) -> str:
    """Return the subject to subscribe to for a topic; it has wildcards when the topic is a pattern."""
    kind, app, text = topic
    if kind is not Kind.CHANNEL or not has_star(text):
        return nats_subject(namespace, topic)
    return f"{nats_root(namespace)}.{kind.value}.{token(app)}.{_folded(_wild_segments(text))}"


def _wild_segments(pattern: str) -> list[str]:
    segments: list[str] = []
    literal, wild = "", False
    for part in tokens(pattern):
        if part is Star.MANY:
            return [*segments, ">"]
        if part == "/":
            segments.append("*" if wild else token(literal))
            literal, wild = "", False
        elif part is Star.ONE:
            wild = True
        else:
            literal += str(part)
    segments.append("*" if wild else token(literal))
    return segments


def _folded(segments: list[str]) -> str:
    named = ".".join(segments)
    return named if len(named) <= _LONGEST_CHANNEL else _EMPTY + sha256(named.encode()).hexdigest()


# -- Redis: a name is any bytes, and the stars of its patterns stand for any bytes too


def redis_root(namespace: str) -> bytes:
    """Return what all channels of a namespace begin with; it has no character that a pattern gives a meaning."""
    return f"orchestrator:{_VERSION}:{token(namespace)}:".encode()


def redis_channel(namespace: str, topic: Topic) -> bytes:
    """Return the channel on which to speak to a topic; its text is taken literally."""
    kind, app, text = topic
    return redis_root(namespace) + f"{kind.value}:{token(app)}:".encode() + text.encode("utf-8", "surrogatepass")


def redis_interest(namespace: str, topic: Topic) -> tuple[bytes, bool]:
    """Return the channel to subscribe to for a topic, and whether it is a pattern.

    A pattern has one star, however many the topic has, since each makes the engine look longer at every message.
    """
    kind, app, text = topic
    if kind is not Kind.CHANNEL or not has_star(text):
        return redis_channel(namespace, topic), False
    parts = tokens(text)
    wild = [at for at, part in enumerate(parts) if isinstance(part, Star)]
    if not wild:  # every star is an escaped one
        return redis_channel(namespace, topic._replace(text="".join(map(str, parts)))), False
    before, behind = "".join(map(str, parts[: wild[0]])), "".join(map(str, parts[wild[-1] + 1 :]))
    return redis_channel(namespace, Topic(kind, app)) + _literally(before) + b"*" + _literally(behind), True


_SPECIAL: Final = re.compile(rb"[*?\[\]\\^-]")


def _literally(text: str) -> bytes:
    return _SPECIAL.sub(rb"\\\g<0>", text.encode("utf-8", "surrogatepass"))
