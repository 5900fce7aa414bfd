"""The address of a store in NATS: ``nats://user:password@a:4222,b:4222?sync=always&replicas=3``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

PORT: Final = 4222
_OPTIONS: Final = ("sync", "replicas", "creds", "ca")


@dataclass(frozen=True, slots=True)
class NatsAddress:
    """Credentials are not part of what it shows of itself."""

    servers: tuple[str, ...]
    """Host and port of each."""
    synced: bool
    """The operator says that every server has ``sync_interval: always``."""
    replicas: int | None
    """Servers that keep each message; `None` = 3 in a cluster, else 1."""
    ca: Path | None = None
    """Whose certificates are trusted, beside those that the system trusts; the engine says whether it wants TLS."""
    credentials: Path | None = field(default=None, repr=False)
    """A file with the user's JWT and seed."""
    _user: str | None = field(default=None, repr=False)
    _password: str | None = field(default=None, repr=False)

    @property
    def shown(self) -> str:
        return f"nats://{','.join(self.servers)}"

    def login(self) -> dict[str, Any]:
        """Return the arguments of `nats.connect` that say who we are."""
        if self.credentials is not None:
            return {"user_credentials": str(self.credentials)}
        if self._user is None:
            return {}
        if self._password is None:
            return {"token": self._user}
        return {"user": self._user, "password": self._password}


def read_address(url: str) -> NatsAddress:
    """Raises `ValueError` with a sentence that repeats nothing of a login."""
    scheme, _, rest = url.partition("://")
    place, _, query = rest.partition("?")
    login, at, hosts = place.rpartition("@")
    hosts, _, path = hosts.partition("/")
    if scheme != "nats" or not hosts or path or "#" in rest:
        raise ValueError("the address of a store in NATS is 'nats://host:4222', or more hosts with commas between them")
    options = _options(query)
    user, colon, password = login.partition(":")
    return NatsAddress(
        tuple(_server(host) for host in hosts.split(",")),
        _synced(options.get("sync")),
        _replicas(options.get("replicas")),
        Path(options["ca"]) if "ca" in options else None,
        Path(options["creds"]) if "creds" in options else None,
        unquote(user) if at else None,
        unquote(password) if colon else None,
    )


def _options(query: str) -> dict[str, str]:
    try:
        options = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    except ValueError:
        raise ValueError("what follows the '?' of a store's address is 'name=value', with '&' between them") from None
    for name in options:
        if name not in _OPTIONS:
            raise ValueError(f"a store in NATS has no option {name!r}; its options are {', '.join(_OPTIONS)}")
    return options


def _server(host: str) -> str:
    try:
        parts = urlsplit(f"//{host}")
        port = parts.port or PORT
    except ValueError:
        port, parts = 0, None
    if parts is None or not parts.hostname:
        raise ValueError(f"{host!r} is no host and port: write 'broker.example:4222'")
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{name}:{port}"


def _synced(value: str | None) -> bool:
    if value not in (None, "always", "default"):
        raise ValueError(
            f"'sync' is 'always' where the servers have 'sync_interval: always', else 'default', not {value!r}"
        )
    return value == "always"


def _replicas(value: str | None) -> int | None:
    if value is not None and value not in ("1", "3", "5"):
        raise ValueError(f"'replicas' is 1, 3 or 5, not {value!r}")
    return None if value is None else int(value)
