"""Keys, the JWTs they sign, and the check of a token that somebody brings. Time comes in as an argument.

`jwt` is imported where it is used: it brings HTTP and TLS with it, and agents, which know claims, make and check no token.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.protocol import limits
from orchestrator.protocol.codes import ALL_ACTIONS, Action, CloseCode
from orchestrator.protocol.globs import compiled, has_star
from orchestrator.protocol.names import is_minted_peer_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from jwt.algorithms import HMACAlgorithm

_MAX_KEY_ID = 128
CAUSES = frozenset(
    {
        "malformed",
        "unknown key",
        "signature",
        "times",
        "expired",
        "channel",
        "no credential",
        "publishable key",
        "origin",
        "suspended",
    }
)
"""Why credentials are refused."""


@dataclass(frozen=True, slots=True)
class SecretKey:
    """A pair that signs and checks tokens: the id travels in them, the secret never does."""

    id: str
    secret: str = field(repr=False)
    app: str = "default"
    channels: tuple[str, ...] = ("**",)
    actions: frozenset[Action] = ALL_ACTIONS
    max_token_life: int = limits.MAX_TOKEN_LIFE
    """Seconds between a token's first use and its `exp` at most."""
    rate: Rate | Literal["unlimited"] | None = None
    """The widest message budget that a token of this key may claim; `None` = the protocol's."""

    @classmethod
    def parse(cls, pair: str, **more: Any) -> SecretKey:
        """Read ``sk_id_…:sk_secret_…``. Raises `ValueError`, without the text, when it is not such a pair."""
        key_id, colon, secret = pair.partition(":")
        if not colon or not key_id.startswith("sk_id_") or not secret.startswith("sk_secret_"):
            raise ValueError("a key is a pair sk_id_…:sk_secret_…")
        return cls(key_id, secret, **more)


@dataclass(frozen=True, slots=True)
class Rate:
    """A message budget: a bucket of `burst` frames, refilled at `per_second`."""

    per_second: float
    burst: int


@dataclass(frozen=True, slots=True)
class Grants:
    """What a token allows in addition to, and never beyond, its flat `channels` and `permissions`.

    Each field is a tuple of patterns, of channels or, for `send`, of peer ids; an empty one allows nothing.
    """

    subscribe: tuple[str, ...] = ()
    observe: tuple[str, ...] = ()
    publish: tuple[str, ...] = ()
    presence: tuple[str, ...] = ()
    send: tuple[str, ...] = ()

    def to_claim(self) -> dict[str, list[str]]:
        return {name: list(getattr(self, name)) for name in self.__slots__ if getattr(self, name)}


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says. `None` for `channels` or `permissions` = as much as its key."""

    sub: str
    exp: int
    channels: tuple[str, ...] | None = None
    permissions: frozenset[Action] | None = None
    metadata: Mapping[str, Any] | None = None
    peer_metadata: Mapping[str, Any] | None = None
    grants: Grants | None = None
    instance: str | None = None
    rate: Rate | Literal["unlimited"] | None = None
    nbf: int | None = None

    def to_payload(self) -> dict[str, Any]:
        """Return the JWT payload, absent claims left out."""
        rate: Any = self.rate
        if isinstance(rate, Rate):
            rate = {"per_second": rate.per_second, "burst": rate.burst}
        claims = {
            "sub": self.sub,
            "exp": self.exp,
            "nbf": self.nbf,
            "channels": None if self.channels is None else list(self.channels),
            "permissions": None if self.permissions is None else sorted(self.permissions),
            "metadata": None if self.metadata is None else dict(self.metadata),
            "peerMetadata": None if self.peer_metadata is None else dict(self.peer_metadata),
            "grants": None if self.grants is None else self.grants.to_claim(),
            "instance": self.instance,
            "rate": rate,
        }
        return {name: value for name, value in claims.items() if value is not None}


def token_size(claims: Claims, key_id: str) -> int:
    """Return the characters of the token that `mint` makes of `claims` with a key of this id, without making it."""
    header = {"alg": "HS256", "kid": key_id, "typ": "JWT"}
    sizes = [len(json.dumps(part, separators=(",", ":"))) for part in (header, claims.to_payload())]
    return sum((4 * size + 2) // 3 for size in sizes) + len("..") + 43  # a signature is 32 bytes


class TokenRefused(Exception):
    """A credential does not open a connection; `code` is the close code that says so, and no more.

    `cause`, one of `CAUSES`, is for whoever runs the hub, and never for whoever has brought the credential.
    """

    def __init__(self, code: CloseCode, cause: str = "malformed") -> None:
        self.code, self.cause = code, cause
        super().__init__(code)


def mint(key: SecretKey, claims: Claims) -> str:
    import jwt

    return jwt.encode(claims.to_payload(), key.secret, algorithm="HS256", headers={"kid": key.id})


def verify(token: str, keys: Mapping[str, SecretKey], now: float) -> tuple[SecretKey, Claims]:
    """Return the key that signed `token` and what the token says.

    Raises `TokenRefused` with 4002 for a valid token whose time is over, 4003 for one that names a channel
    outside its key's patterns, and 4001 for everything else.
    """
    try:
        key = _signer(token, keys)
        signed, _, signature = token.rpartition(".")
        if not _hs256().verify(signed.encode(), key.secret.encode(), _from_base64(signature)):
            raise ValueError("signature")
        claims = read_claims(_object_in(_from_base64(signed.partition(".")[2])))
    except (TypeError, ValueError, RecursionError) as error:
        cause = str(error)  # what others raise may hold anything
        raise TokenRefused(CloseCode.INVALID_TOKEN, cause if cause in CAUSES else "malformed") from None
    if claims.exp - now > key.max_token_life or (claims.nbf or 0) > now + limits.NBF_LEEWAY:
        raise TokenRefused(CloseCode.INVALID_TOKEN, "times")
    if claims.exp <= now:
        raise TokenRefused(CloseCode.TOKEN_EXPIRED, "expired")
    for name in claims.channels or ():
        if not has_star(name) and not any(compiled(allowed).matches(name) for allowed in key.channels):
            raise TokenRefused(CloseCode.CHANNEL_NOT_AUTHORIZED, "channel")
    return key, claims


_HEADERS = frozenset({"alg", "typ", "kid"})
_COMPACT = re.compile(r"[\w-]+\.[\w-]+\.[\w-]{42}[AEIMQUYcgkosw048]", re.ASCII)
"""Three parts in URL-safe base64 without padding; Python's decoder would pass over anything else between them.

The last one is 256 bits, which leave two bits of its last character unused: they are 0, or one token would have four
spellings.
"""


def _signer(token: str, keys: Mapping[str, SecretKey]) -> SecretKey:
    """Return the key that `token` says it is signed with. Raises `ValueError` unless it is one of `keys`."""
    if not _COMPACT.fullmatch(token):
        raise ValueError("token")
    header = _object_in(_from_base64(token.partition(".")[0]))
    kid = header.get("kid")
    if header.get("alg") != "HS256" or not header.keys() <= _HEADERS or not isinstance(header.get("typ", ""), str):
        raise ValueError("header")
    key = keys.get(kid) if isinstance(kid, str) and len(kid) <= _MAX_KEY_ID else None
    if key is None:
        raise ValueError("unknown key")
    return key


def _from_base64(part: str) -> bytes:
    """Raises `ValueError` for a length that no number of bytes has."""
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


@cache
def _hs256() -> HMACAlgorithm:
    """Return what checks a signature alone: which algorithm it is, and what a token looks like, is decided before."""
    from jwt.algorithms import HMACAlgorithm

    return HMACAlgorithm(HMACAlgorithm.SHA256)


def _object_in(text: bytes) -> dict[str, Any]:
    """Read a JSON object of UTF-8 to the letter: no NaN, and no name twice, or readers could differ in what it says."""
    value = _strict().decode(text.decode())
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value


@cache
def _strict() -> json.JSONDecoder:
    return json.JSONDecoder(object_pairs_hook=_once_each, parse_constant=_no_constant)


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(name)


def read_claims(payload: Mapping[str, Any]) -> Claims:
    """Read a payload strictly; raises `TypeError` or `ValueError` for any claim of a wrong type or size."""
    sub = payload.get("sub")
    if not isinstance(sub, str) or not is_minted_peer_id(sub):
        raise ValueError("sub")
    exp = _whole(payload["exp"]) if "exp" in payload else None
    if exp is None:
        raise ValueError("exp")
    permissions = _strings(payload, "permissions", limits.MAX_PERMISSION_CLAIMS)
    return Claims(
        sub=sub,
        exp=exp,
        nbf=_whole(payload["nbf"]) if "nbf" in payload else None,
        channels=_strings(payload, "channels", limits.MAX_CHANNEL_CLAIMS),
        permissions=None if permissions is None else frozenset(map(Action, permissions)),
        metadata=_object(payload, "metadata", limits.MAX_METADATA),
        peer_metadata=_object(payload, "peerMetadata", limits.MAX_PEER_METADATA),
        grants=_grants(payload),
        instance=_text(payload, "instance"),
        rate=_rate(payload),
    )


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**53:
        raise ValueError("a time is a whole number of seconds")
    return value


def _text(payload: Mapping[str, Any], name: str) -> str | None:
    value = payload.get(name)
    if name in payload and (not isinstance(value, str) or not 0 < len(value) <= limits.MAX_PEER_ID):
        raise ValueError(name)
    return value


def _strings(payload: Mapping[str, Any], name: str, most: int) -> tuple[str, ...] | None:
    if name not in payload:
        return None
    value = payload[name]
    if not isinstance(value, list) or len(value) > most or not all(isinstance(item, str) for item in value):
        raise ValueError(name)
    return tuple(value)


def _object(payload: Mapping[str, Any], name: str, most: int) -> Mapping[str, Any] | None:
    if name not in payload:
        return None
    value = payload[name]
    if not isinstance(value, dict) or compact_size(value) > most:
        raise ValueError(name)
    return value


def compact_size(value: object) -> int:
    """Return the bytes of `value` as compact UTF-8 JSON. Raises `ValueError` for what JSON cannot hold."""
    return len(json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode())


def _grants(payload: Mapping[str, Any]) -> Grants | None:
    value = _object(payload, "grants", limits.MAX_METADATA)
    if value is None:
        return None
    if not value.keys() <= set(Grants.__slots__):
        raise ValueError("grants")
    return Grants(**{name: _strings(value, name, limits.MAX_CHANNEL_CLAIMS) or () for name in value})


def _rate(payload: Mapping[str, Any]) -> Rate | Literal["unlimited"] | None:
    value = payload.get("rate")
    if "rate" not in payload or value == "unlimited":
        return value
    if not isinstance(value, dict) or value.keys() != {"per_second", "burst"}:
        raise ValueError("rate")
    per_second, burst = value["per_second"], value["burst"]
    if isinstance(per_second, bool) or not isinstance(per_second, int | float) or not 0 < per_second < 2**53:
        raise ValueError("rate")
    return Rate(float(per_second), _whole(burst))


def allows(patterns: Iterable[str], name: str) -> bool:
    """Tell whether any of `patterns` matches `name`, or covers it where it is a pattern itself."""
    if has_star(name):
        wanted = compiled(name)
        return any(compiled(pattern).covers(wanted) for pattern in patterns)
    return any(compiled(pattern).matches(name) for pattern in patterns)
