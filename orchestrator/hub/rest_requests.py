"""What a REST request asks for: its route, its key and its body, each read once and checked, or refused with a word."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import Enum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import msgspec
from msgspec import Raw

from orchestrator.hub.intake import only_reserved
from orchestrator.hub.json_depth import too_deep
from orchestrator.protocol import limits
from orchestrator.protocol.globs import has_star
from orchestrator.protocol.names import is_channel, is_minted_peer_id, is_peer_id
from orchestrator.protocol.tokens import read_claims

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.hub.keys import KeyRing
    from orchestrator.protocol.tokens import SecretKey

DEFAULT_TOKEN_LIFE: Final = 3_600
"""Seconds."""
_METADATA_DEPTH: Final = limits.MAX_DEPTH - 2
"""Levels of nesting that still fit into a roster, where metadata is shown two levels down."""
_decode_object: Final = msgspec.json.Decoder(dict[str, Raw]).decode


class RestRefusal(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: HTTPStatus, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})
        super().__init__(code)


class Action(Enum):
    """What the control plane does, by method, beginning and end of the path."""

    MINT = ("POST", "/v1/tokens", None)
    USAGE = ("GET", "/v1/usage", None)
    PEERS = ("GET", "/v1/channels/", "/peers")
    PUBLISH = ("POST", "/v1/channels/", "/publish")
    KICK = ("DELETE", "/v1/peers/", "")


@dataclass(frozen=True, slots=True)
class Route:
    action: Action
    id: str = ""
    """The channel or the peer that the path names, decoded."""


@dataclass(frozen=True, slots=True)
class TokenWish:
    """The token that somebody wants."""

    claims: dict[str, Any] = field(repr=False)
    """All but `exp`, under their names in a token; checked one by one."""
    life: int | None
    """Seconds; `None` = as usual."""


@dataclass(frozen=True, slots=True)
class Publication:
    data: Raw
    sender: str
    metadata: bytes | None
    """Public, of the sender, as JSON."""
    id: str | None


def invalid(message: str) -> RestRefusal:
    return RestRefusal(HTTPStatus.BAD_REQUEST, "invalid_request", message)


def find_route(method: str, target: str) -> Route | None:
    """Return what a request line asks for; `None` = there is no such thing. Raises `RestRefusal`.

    An id in the path is everything between the fixed parts, slashes too, and is percent-decoded once.
    """
    path = target.partition("#")[0].partition("?")[0]
    for action in Action:
        wanted, start, end = action.value
        if method != wanted:
            continue
        if end is None:
            if path == start:
                return Route(action)
        elif path.startswith(start) and path.endswith(end) and len(path) >= len(start) + len(end):
            return Route(action, _decoded(path[len(start) : len(path) - len(end)]))
    return None


def authenticate(values: Sequence[str], keys: KeyRing) -> SecretKey:
    """Return the key that the `Authorization` headers hold. Raises `RestRefusal`, the same one whatever is wrong."""
    scheme, _, pair = values[0].partition(" ") if len(values) == 1 else ("", "", "")
    key_id, _, secret = pair.strip(" ").partition(":")
    key = keys.holder(key_id, secret)
    if key is None or scheme.lower() != "bearer" or keys.objection(key) is not None:
        raise RestRefusal(HTTPStatus.UNAUTHORIZED, "unauthorized", "a secret key is needed: Bearer ID:SECRET")
    return key


def check_channel(name: str) -> None:
    """Raise `RestRefusal` unless `name` may name one channel."""
    if not is_channel(name) or has_star(name):
        raise invalid(
            f"a channel is a text of 1 to {limits.MAX_CHANNEL_NAME} bytes without control characters and stars"
        )
    _check_not_reserved(name)


def check_peer_id(name: str) -> None:
    """Raise `RestRefusal` unless a peer may be addressed by `name`."""
    if not is_peer_id(name):
        raise invalid(f"a peer id is a text of 1 to {limits.MAX_PEER_ID} characters without control characters")


def read_token_wish(body: bytes) -> TokenWish:
    """Read the body of a request for a token. Raises `RestRefusal` with the field that is at fault."""
    fields = _fields(body)
    peer_id = _value(fields, "peerId")
    if not isinstance(peer_id, str) or not is_minted_peer_id(peer_id):
        raise invalid(f"`peerId` is needed: a text of 1 to {limits.MAX_PEER_ID} printable ASCII characters")
    claims: dict[str, Any] = {"sub": peer_id}
    for name, rule in _CLAIMS.items():
        if name not in fields:
            continue
        if name in ("metadata", "peerMetadata") and too_deep(bytes(fields[name]), _METADATA_DEPTH):
            raise invalid(f"`{name}` is nested more than {_METADATA_DEPTH} levels deep")
        value = _value(fields, name)
        try:
            read_claims({"sub": peer_id, "exp": 0, name: value})
        except (TypeError, ValueError):
            raise invalid(f"`{name}` is {rule}") from None
        claims[name] = value
    for channel in claims.get("channels", ()):
        if not is_channel(channel):
            raise invalid(f"`channels` holds patterns of 1 to {limits.MAX_CHANNEL_NAME} bytes, no control characters")
        _check_not_reserved(channel)
    return TokenWish(claims, _life(fields))


_CLAIMS: Final = {
    "channels": f"a list of at most {limits.MAX_CHANNEL_CLAIMS} texts",
    "permissions": f"a list of at most {limits.MAX_PERMISSION_CLAIMS} of publish, subscribe, presence, send",
    "metadata": f"an object of at most {limits.MAX_METADATA} bytes of JSON",
    "peerMetadata": f"an object of at most {limits.MAX_PEER_METADATA} bytes of JSON",
    "grants": "an object of lists of patterns: subscribe, observe, publish, presence, send",
    "instance": f"a text of 1 to {limits.MAX_PEER_ID} characters",
    "rate": 'an object with `per_second` and `burst`, or "unlimited"',
}
"""The claims that may be asked for, with what each has to be."""


def read_publication(body: bytes) -> Publication:
    """Read the body of a request to publish. Raises `RestRefusal` with the field that is at fault."""
    fields = _fields(body)
    if "data" not in fields:
        raise invalid("`data` is needed: any JSON value")
    sender = _value(fields, "from") if "from" in fields else "system"
    if not isinstance(sender, str) or not is_peer_id(sender):
        raise invalid(f"`from` is a text of 1 to {limits.MAX_PEER_ID} characters without control characters")
    message_id = _value(fields, "id") if "id" in fields else None
    if "id" in fields and (not isinstance(message_id, str) or not 0 < len(message_id) <= limits.MAX_MESSAGE_ID):
        raise invalid(f"`id` is a text of 1 to {limits.MAX_MESSAGE_ID} characters")
    return Publication(fields["data"], sender, _peer_metadata(fields), message_id)


def _peer_metadata(fields: dict[str, Raw]) -> bytes | None:
    if "peerMetadata" not in fields:
        return None
    value = _value(fields, "peerMetadata")
    text = _compact(value)
    if not isinstance(value, dict) or len(text) > limits.MAX_PEER_METADATA or too_deep(text, _METADATA_DEPTH):
        raise invalid(f"`peerMetadata` is {_CLAIMS['peerMetadata']}, nested at most {_METADATA_DEPTH} levels deep")
    return text


def _life(fields: dict[str, Raw]) -> int | None:
    if "expiresInSec" not in fields:
        return None
    life = _value(fields, "expiresInSec")
    if isinstance(life, bool) or not isinstance(life, int) or not 1 <= life <= limits.MAX_TOKEN_LIFE:
        raise invalid(f"`expiresInSec` is a whole number from 1 to {limits.MAX_TOKEN_LIFE}")
    return life


def _check_not_reserved(channel: str) -> None:
    if only_reserved(channel):
        message = "channels with this prefix are the hub's own"
        raise RestRefusal(HTTPStatus.BAD_REQUEST, "channel_reserved", message)


def _decoded(text: str) -> str:
    try:
        decoded = unquote(text, errors="strict")
        decoded.encode()
    except UnicodeError:
        raise invalid("the id in the path is not UTF-8") from None
    return decoded


def _fields(body: bytes) -> dict[str, Raw]:
    try:
        body.decode()
        if not too_deep(body, limits.MAX_DEPTH):
            return _decode_object(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    raise invalid(f"the body is to be one JSON object, in UTF-8, nested at most {limits.MAX_DEPTH} levels deep")


def _value(fields: dict[str, Raw], name: str) -> Any:
    """Return a field; `None` if it is not there, or has numbers or half characters that no JSON of ours could hold."""
    try:
        value = json.loads(bytes(fields[name])) if name in fields else None
        _compact(value)
    except (ValueError, RecursionError):
        return None
    return value


def _compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
