"""From the query of an upgrade request to an identity, or to the close code that refuses it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import unquote

from orchestrator.hub.json_depth import too_deep
from orchestrator.hub.rights import Rights
from orchestrator.protocol import limits
from orchestrator.protocol.codes import CloseCode
from orchestrator.protocol.tokens import Rate, TokenRefused, verify

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchestrator.hub.keys import KeyRing, PublishableKey
    from orchestrator.protocol.tokens import Claims, SecretKey

STANDARD_RATE: Final = Rate(limits.RATE_PER_SECOND, limits.RATE_BURST)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a connection is, and everything that its credential allows it."""

    app: str
    peer_id: str
    key: SecretKey | PublishableKey
    rights: Rights
    expires_at: int | None
    """Unix seconds; `None` = never."""
    metadata: bytes | None = field(repr=False)
    """Private, for the `welcome` alone, as JSON."""
    peer_metadata: bytes | None
    """Public, as JSON."""
    instance: str | None
    rate: Rate | None
    """`None` = as many messages as it likes."""


def admit(query: str, origin: str | None, keys: KeyRing, wall: float, new_peer_id: Callable[[], str]) -> Identity:
    """Return whom the credential in `query` stands for; `wall` is the time in Unix seconds.

    Raises `TokenRefused` with the close code to refuse with.
    """
    identity = _identify(query, origin, keys, wall, new_peer_id)
    if identity.app in keys.suspended:
        raise TokenRefused(CloseCode.ACCOUNT_SUSPENDED, "suspended")
    return identity


def _identify(query: str, origin: str | None, keys: KeyRing, wall: float, new_peer_id: Callable[[], str]) -> Identity:
    name, credential = _credential(query)
    if name == "token":
        return _by_token(*verify(credential, keys.secret, wall))
    key = keys.publishable.get(credential)
    if key is None or (key.origins and origin not in key.origins):
        raise TokenRefused(CloseCode.INVALID_TOKEN, "publishable key" if key is None else "origin")
    return Identity(
        app=key.app,
        peer_id=new_peer_id(),
        key=key,
        rights=Rights(key.actions, [key.channels], None),
        expires_at=None,
        metadata=None,
        peer_metadata=None,
        instance=None,
        rate=None if key.rate == "unlimited" else key.rate or STANDARD_RATE,
    )


def _credential(query: str) -> tuple[str, str]:
    found: list[tuple[str, str]] = []
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if (name := unquote(name)) in ("token", "key"):
            found.append((name, unquote(value, errors="replace")))
    if len(found) != 1:
        raise TokenRefused(CloseCode.INVALID_TOKEN, "no credential")
    return found[0]


def _by_token(key: SecretKey, claims: Claims) -> Identity:
    scopes = [key.channels] if claims.channels is None else [claims.channels, key.channels]
    actions = key.actions if claims.permissions is None else claims.permissions & key.actions
    return Identity(
        app=key.app,
        peer_id=claims.sub,
        key=key,
        rights=Rights(actions, scopes, claims.grants),
        expires_at=claims.exp,
        metadata=_json(claims.metadata),
        peer_metadata=_json(claims.peer_metadata),
        instance=claims.instance,
        rate=_granted_rate(claims.rate, key.rate),
    )


def _json(value: Mapping[str, Any] | None) -> bytes | None:
    """Return `value` as JSON; what is nested more deeply than a message may be would harm those it is shown to."""
    if value is None:
        return None
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    if too_deep(text, limits.MAX_DEPTH - 2):
        raise TokenRefused(CloseCode.INVALID_TOKEN)
    return text


def _granted_rate(
    claimed: Rate | Literal["unlimited"] | None, allowed: Rate | Literal["unlimited"] | None
) -> Rate | None:
    """Return the budget of a connection: what its token claims, or the protocol's, and never wider than its key's."""
    if allowed == "unlimited":
        return None if claimed == "unlimited" else claimed or STANDARD_RATE
    most = allowed or STANDARD_RATE
    if claimed == "unlimited":
        return most
    wanted = claimed or STANDARD_RATE
    return Rate(min(wanted.per_second, most.per_second), min(wanted.burst, most.burst))
