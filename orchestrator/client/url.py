"""Which addresses a client connects to, and text with the credentials taken out of it."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlsplit

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
"""The hosts that may be reached without TLS."""
PATH: Final = "/v1"

_UNPRINTABLE: Final = re.compile(r"[\x00-\x20\x7f-\xa0\\]")
_SECRETS: Final = (
    (
        re.compile(
            r"(?<![a-z0-9_-])((?:token|key|ice-pwd|ice-ufrag|credential)\"?\s*[=:]\s*\"?)[^\s&#\",;]+", re.IGNORECASE
        ),
        r"\1***",
    ),
    (re.compile(r"\b(?:sk_secret|sk_live|pk_live)_[^\s&#\",;:]+"), "***"),
    (re.compile(r"\beyJ[\w-]*\.[\w-]+\.[\w-]*"), "***"),
    (re.compile(r"(://)[^/\s@]+@"), r"\1***@"),
)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a hub is: a scheme, a host and a port, without any credential."""

    secure: bool
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'wss' if self.secure else 'ws'}://{host}:{self.port}"

    def endpoint(self, parameter: str, credential: str) -> str:
        """Return the whole URL to connect to. It holds a secret: it is for the socket alone."""
        return f"{self}{PATH}?{parameter}={quote(credential, safe='')}"


def parse_origin(url: str) -> Origin:
    """Read the address of a hub: ``wss://host[:port]``, or ``ws://`` on this machine; nothing may follow but one ``/``.

    Raises `ValueError` with a sentence that holds no credential.
    """

    def refused(why: str) -> ValueError:
        return ValueError(f"hub url {redact(url)!r}: {why}")

    if _UNPRINTABLE.search(url):
        raise refused("it is a text like 'wss://hub.example.org', without spaces")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise refused(str(error)) from None
    if parts.scheme not in ("ws", "wss"):
        raise refused("the scheme is wss, or ws for localhost, 127.0.0.1 or ::1")
    if "@" in parts.netloc:
        raise refused("it holds no user name or password; credentials go into a token")
    if parts.path not in ("", "/") or "?" in url or "#" in url:
        raise refused(f"it ends after the host and port; {PATH} and the credential are added to it")
    host = _host(host)
    if not host or port == 0:
        raise refused("it names no host" if not host else "port 0 cannot be connected to")
    secure = parts.scheme == "wss"
    if not secure and host not in LOOPBACK:
        raise refused("without TLS only localhost, 127.0.0.1 and ::1 can be reached; use wss://")
    return Origin(secure, host, port or (443 if secure else 80))


def _host(name: str) -> str:
    """Return a host as it is compared and resolved, or an empty text when it cannot be one."""
    if ":" in name:
        try:
            return str(ipaddress.IPv6Address(name))
        except ValueError:
            return ""
    try:
        return name.encode("idna").decode()
    except UnicodeError:
        return ""


def redact(text: str) -> str:
    """Return `text` with the values of credentials in it replaced by ``***``."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text
