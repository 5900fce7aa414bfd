"""Which engine a backplane's address means."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

from orchestrator.hub.backplane import NoSuchBackplane
from orchestrator.hub.engine_url import read_url

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.hub.backplane import Backplane, Listener

_NATS: Final = ("nats", "nats")
_REDIS: Final = ("redis", "hiredis")
_PACKAGES: Final = {"nats": _NATS, "tls": _NATS, "redis": _REDIS, "rediss": _REDIS}
"""By scheme, the extra that brings the client, and the package that it is."""
_PORTS: Final = {"nats": 4222, "tls": 4222, "redis": 6379, "rediss": 6379}
PATIENCE: Final = 10.0
ROOM: Final = 64 * 1024 * 1024


def open_backplane(
    url: str,
    node: str,
    listener: Listener,
    *,
    patience: float = PATIENCE,
    room: int = ROOM,
    ca: Path | None = None,
    credentials: Path | None = None,
    nkey: Path | None = None,
) -> Backplane:
    """Return the end of the hub `node` of the engine that `url` names; entering it connects.

    `tls://` is NATS, and `rediss://` Redis, with an encrypted connection. Raises `NoSuchBackplane`.

    Args:
        patience: Seconds that the first connection may take; a connection that is lost is made again for ever.
        room: Bytes that may wait to be written.
        ca: A PEM file with whoever may have signed the server's certificate, beside those whom this machine trusts.
        credentials: A file of NATS with a user's JWT and the seed of its nkey.
        nkey: A file with the seed of an nkey of NATS.
    """
    read = read_url(url, _PORTS)
    extra, package = _PACKAGES[read.scheme]
    if extra == "redis" and (credentials is not None or nkey is not None):
        raise NoSuchBackplane("credentials and nkey are files of NATS; Redis takes rediss://user:password@host")
    try:
        importlib.import_module(package)
    except ModuleNotFoundError as missing:
        raise NoSuchBackplane(
            f"a backplane of {read.scheme}:// needs {missing.name}: pip install 'topology-orchestrator[{extra}]'"
        ) from None
    if extra == "nats":
        from orchestrator.hub.nats import NatsBackplane

        return NatsBackplane(
            read, node, listener, patience=patience, room=room, ca=ca, credentials=credentials, nkey=nkey
        )
    from orchestrator.hub.redis import RedisBackplane

    return RedisBackplane(read, node, listener, patience=patience, room=room, ca=ca)
