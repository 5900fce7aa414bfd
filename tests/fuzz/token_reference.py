"""Whether a token with a good signature opens a connection, read a second time from the protocol's table of claims."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

ACTIONS = {"publish", "subscribe", "presence", "send"}
GRANTS = {"subscribe", "observe", "publish", "presence", "send"}


def verdict(header: bytes, claims: bytes, kid: str, now: int) -> int | None:
    """Return the close code, or `None` for a token that is accepted, of a key without limits of its own."""
    try:
        head, said = _object(header), _object(claims)
        if head.get("alg") != "HS256" or head.get("kid") != kid or not head.keys() <= {"alg", "kid", "typ"}:
            return 4001
        if not isinstance(head.get("typ", "JWT"), str) or not _fits(said):
            return 4001
    except (ValueError, RecursionError):
        return 4001
    if said["exp"] > now + 86_400 or said.get("nbf", 0) > now + 5:
        return 4001
    return 4002 if said["exp"] <= now else None


def _fits(said: dict[str, Any]) -> bool:
    rules: dict[str, Callable[[Any], bool]] = {
        "sub": lambda sub: isinstance(sub, str) and re.fullmatch("[ -~]{1,128}", sub) is not None,
        "exp": _seconds,
        "nbf": _seconds,
        "channels": lambda value: _texts(value, 100),
        "permissions": lambda value: _texts(value, 16) and set(value) <= ACTIONS,
        "metadata": lambda value: isinstance(value, dict) and _size(value) <= 8_192,
        "peerMetadata": lambda value: isinstance(value, dict) and _size(value) <= 4_096,
        "grants": lambda value: (
            isinstance(value, dict)
            and value.keys() <= GRANTS
            and all(_texts(part, 100) for part in value.values())
            and _size(value) <= 8_192
        ),
        "instance": lambda value: isinstance(value, str) and 1 <= len(value) <= 128,
        "rate": _rate,
    }
    return {"sub", "exp"} <= said.keys() and all(rule(said[name]) for name, rule in rules.items() if name in said)


def _seconds(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**53


def _texts(value: Any, most: int) -> bool:
    return isinstance(value, list) and len(value) <= most and all(isinstance(item, str) for item in value)


def _rate(value: Any) -> bool:
    if value == "unlimited":
        return True
    return (
        isinstance(value, dict)
        and value.keys() == {"per_second", "burst"}
        and type(value["per_second"]) in (int, float)
        and 0 < value["per_second"] < 2**53
        and _seconds(value["burst"])
    )


def _size(value: Any) -> int:
    """Return the bytes of compact JSON. Raises `ValueError` for what no JSON is."""
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode())


def _object(text: bytes) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) < len(pairs):
            raise ValueError("twice")
        return dict(pairs)

    def no_constant(name: str) -> None:
        raise ValueError(name)

    value = json.loads(text.decode(), object_pairs_hook=once, parse_constant=no_constant)
    if not isinstance(value, dict):
        raise ValueError("no object")
    return value
