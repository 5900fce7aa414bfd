"""The head of an HTTP request that asks for a WebSocket: read strictly, and checked before anything else is done."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from orchestrator.protocol.limits import MAX_URL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

END: Final = b"\r\n\r\n"
UPGRADE_STARTS: Final = (b"GET /v1?", b"GET /v1 ")
"""What every request for a WebSocket begins with."""
_VERSION: Final = "13"
_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class HttpRefusal(Exception):
    """A request that is answered by HTTP, and whose connection is closed then."""

    def __init__(self, status: HTTPStatus, headers: Mapping[str, str] | None = None) -> None:
        self.status = status
        self.headers = dict(headers or {})
        super().__init__(status)

    def response(self) -> bytes:
        body = f"{self.status.value} {self.status.phrase}\n".encode()
        fields = {
            "Connection": "close",
            "Content-Type": "text/plain; charset=utf-8",
            "Content-Length": str(len(body)),
            **self.headers,
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"HTTP/1.1 {self.status.value} {self.status.phrase}\r\n{lines}\r\n".encode() + body


@dataclass(frozen=True, slots=True)
class Upgrade:
    """A valid wish for a WebSocket. Its query holds the credential, so it is shown to nobody."""

    query: str
    origin: str | None
    key: str

    def __repr__(self) -> str:
        return "<upgrade>"

    def plain_request(self) -> bytes:
        """Return a request for the same WebSocket that says nothing but that."""
        return (
            "GET /v1 HTTP/1.1\r\nHost: hub\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
            f"Sec-WebSocket-Version: {_VERSION}\r\nSec-WebSocket-Key: {self.key}\r\n\r\n"
        ).encode()


def is_upgrade(head: bytes) -> bool:
    """Tell whether the head of a request, without the empty line that ends it, asks for a WebSocket at `/v1`."""
    if not head.startswith(UPGRADE_STARTS):
        return False
    return any(
        name.strip().lower() == b"upgrade" and b"websocket" in value.lower()
        for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])
    )


def read_upgrade(head: bytes) -> Upgrade:
    """Read what `is_upgrade` has told to be one. Raises `HttpRefusal`."""
    lines = head.split(b"\r\n")
    try:
        method, target, version = lines[0].decode("ascii").split(" ")
        fields = [_field(line) for line in lines[1:]]
    except (ValueError, UnicodeDecodeError):
        raise HttpRefusal(HTTPStatus.BAD_REQUEST) from None
    if method != "GET" or version != "HTTP/1.1":
        raise HttpRefusal(HTTPStatus.BAD_REQUEST)
    return check_upgrade(target, fields)


def check_upgrade(target: str, fields: Iterable[tuple[str, str]]) -> Upgrade:
    """Check the target and the header fields of a request for a WebSocket. Raises `HttpRefusal`.

    A body, or what could be read as one by somebody before us, is refused; so is any field that may be there once
    and is there twice. `Connection` may name more than the upgrade, as browsers make it do.
    """
    if len(target) > MAX_URL:
        raise HttpRefusal(HTTPStatus.REQUEST_URI_TOO_LONG)
    headers: dict[str, list[str]] = {}
    for name, value in fields:
        headers.setdefault(name.lower(), []).append(value.strip())
    if "transfer-encoding" in headers or headers.get("content-length", ["0"]) != ["0"]:
        raise HttpRefusal(HTTPStatus.BAD_REQUEST)
    if len(headers.get("host", [])) != 1 or len(headers.get("origin", [])) > 1:
        raise HttpRefusal(HTTPStatus.BAD_REQUEST)
    if not (_names(headers, "upgrade", "websocket") and _names(headers, "connection", "upgrade")):
        raise HttpRefusal(HTTPStatus.UPGRADE_REQUIRED, {"Upgrade": "websocket", "Connection": "Upgrade"})
    if headers.get("sec-websocket-version") != [_VERSION]:
        raise HttpRefusal(HTTPStatus.UPGRADE_REQUIRED, {"Sec-WebSocket-Version": _VERSION, "Upgrade": "websocket"})
    keys = headers.get("sec-websocket-key", [])
    if len(keys) != 1 or not _is_key(keys[0]):
        raise HttpRefusal(HTTPStatus.BAD_REQUEST)
    origins = headers.get("origin")
    return Upgrade(target.partition("#")[0].partition("?")[2], origins[0] if origins else None, keys[0])


def _field(line: bytes) -> tuple[str, str]:
    name, colon, value = line.partition(b":")
    if not colon or not _NAME.fullmatch(name):
        raise ValueError("a header line has no name")
    return name.decode("ascii"), value.decode("latin-1")


def _names(headers: Mapping[str, list[str]], name: str, wanted: str) -> bool:
    return any(wanted == part.strip().lower() for value in headers.get(name, ()) for part in value.split(","))


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False
