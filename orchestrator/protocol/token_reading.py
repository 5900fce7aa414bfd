"""A token taken apart and judged for people: what it says, whoever wrote it, and what a hub would make of it."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from orchestrator.errors import OrchestratorError, did_you_mean
from orchestrator.protocol.codes import CloseCode
from orchestrator.protocol.tokens import Claims, SecretKey, TokenRefused, read_claims, verify

if TYPE_CHECKING:
    from collections.abc import Mapping

_TOKEN: Final = re.compile(r"[\w-]+\.[\w-]+\.[\w-]*", re.ASCII)


def looks_like_a_token(text: str) -> bool:
    return _TOKEN.fullmatch(text) is not None


class NoToken(OrchestratorError):
    """What was given holds no token that could be read."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A token taken apart; nothing of it is proven."""

    text: str
    header: dict[str, Any]
    payload: dict[str, Any]
    claims: Claims | None
    """`None` where they break the protocol's rules, so that no hub takes them."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a hub with certain keys makes of a token; `accepted` is `None` where no key was there to tell."""

    accepted: bool | None
    sentence: str


def open_token(text: str) -> Opened:
    """Take a token apart. Raises `NoToken`, without the text, when it has not the form of one."""
    token = text.strip()
    if not looks_like_a_token(token):
        what = "nothing was given" if not token else "this is no token"
        raise NoToken(f"{what}: one has three parts of letters, digits, '-' and '_', with dots between them")
    header, payload = (_object(part, name) for part, name in zip(token.split("."), ("header", "claims"), strict=False))
    try:
        claims = read_claims(payload)
    except (TypeError, ValueError, RecursionError):
        claims = None
    return Opened(token, header, payload, claims)


def _object(part: str, name: str) -> dict[str, Any]:
    try:
        value = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise NoToken(f"this is no token: its {name} cannot be read as base64 of a JSON object")
    return value


def judge(opened: Opened, keys: Mapping[str, SecretKey] | None, now: float) -> Verdict:
    """Say what a hub with `keys` makes of a token at `now`, in Unix seconds."""
    if keys is None:
        return Verdict(None, "the signature was not verified")
    kid = opened.header.get("kid")
    try:
        key, _ = verify(opened.text, keys, now)
    except TokenRefused as refused:
        return Verdict(False, _refusal(refused.code, kid, keys))
    return Verdict(True, f"genuine: signed with {key.id}")


def _refusal(code: CloseCode, kid: object, keys: Mapping[str, SecretKey]) -> str:
    if code is CloseCode.TOKEN_EXPIRED:
        return f"genuine, signed with {kid}, but its time is over: a hub closes with {code:d}"
    if code is CloseCode.CHANNEL_NOT_AUTHORIZED:
        return f"genuine, but it names a channel that the key {kid} does not reach: a hub closes with {code:d}"
    if kid is None:
        return "refused: it does not say with which key it is signed"
    if not isinstance(kid, str) or kid not in keys:
        hint = did_you_mean(kid, keys) if isinstance(kid, str) else ""
        return f"refused: the key it says it is signed with, {kid!r}, is not the one that was given{hint}"
    return (
        f"refused: the signature, the header, the times or a claim is not as it has to be: a hub closes with {code:d}"
    )
