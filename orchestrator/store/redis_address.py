"""The address of a store on Redis: ``redis://user:password@host:port/0?allow_loss=true``, and ``rediss://`` over TLS."""

from __future__ import annotations

import difflib
import ssl
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

PORT: Final = 6379
ALLOW_LOSS, CA = "allow_loss", "ca"
_OPTIONS: Final = (ALLOW_LOSS, CA)
_KEPT: Final = "/.-_ :"
"""What of a namespace stands in keys as it is, besides letters and digits; braces would end the hash tag."""


@dataclass(frozen=True, slots=True)
class RedisAddress:
    host: str
    port: int = PORT
    database: int = 0
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    ca: str | None = None
    """A file of the authorities that the server's certificate is checked against; `None` = the system's."""
    allow_loss: bool = False
    """The operator takes it on himself that a crash or a failover forgets the last of what was acknowledged."""

    def __str__(self) -> str:
        """The address without its credentials."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'rediss' if self.tls else 'redis'}://{host}:{self.port}/{self.database}"

    def tls_context(self) -> ssl.SSLContext | None:
        """Raises `OSError` when there is no such file of authorities."""
        return ssl.create_default_context(cafile=self.ca) if self.tls else None


def redis_address(url: str) -> RedisAddress:
    """Read an address. Raises `ValueError`, which names no credential."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("the address of a store on Redis has a port that is a number from 1 to 65535") from None
    if parts.scheme not in ("redis", "rediss") or not parts.hostname:
        raise ValueError("a store on Redis is at 'redis://host:6379/0', or at 'rediss://host:6379/0' over TLS")
    database = parts.path.strip("/") or "0"
    if not database.isdecimal():
        raise ValueError(f"after the host stands the number of a database, as in 'redis://host/0', not {database!r}")
    options = _options(parts.query)
    if CA in options and parts.scheme == "redis":
        raise ValueError(f"{CA!r} is for TLS: write 'rediss://'")
    return RedisAddress(
        host=parts.hostname,
        port=port or PORT,
        database=int(database),
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        tls=parts.scheme == "rediss",
        ca=options.get(CA),
        allow_loss=options.get(ALLOW_LOSS) == "true",
    )


def _options(query: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    for name in options:
        if name not in _OPTIONS:
            near = difflib.get_close_matches(name, _OPTIONS, 1)
            guess = f" (did you mean {near[0]!r}?)" if near else ""
            raise ValueError(
                f"the address of a store on Redis has no option {name!r}{guess}; there are {', '.join(_OPTIONS)}"
            )
    if options.get(ALLOW_LOSS, "true") not in ("true", "false"):
        raise ValueError(f"{ALLOW_LOSS!r} is true or false, not {options[ALLOW_LOSS]!r}")
    return options


def key_space(namespace: str) -> str:
    """Return what all keys of a store begin with. The part in braces puts them into one slot of a cluster.

    Raises `ValueError` for a namespace that is empty or longer than 64 characters.
    """
    if not 0 < len(namespace) <= 64:
        raise ValueError(f"a namespace has 1 to 64 characters, not {len(namespace)}")
    return f"orchestrator:{{{quote(namespace, safe=_KEPT)}}}:"
