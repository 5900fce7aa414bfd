"""The hub's address, held by the parent, so that a hub that is started again finds it as its predecessor left it."""

from __future__ import annotations

import socket
from typing import Final

from orchestrator.errors import OrchestratorError

BACKLOG: Final = 1024
"""Connections that wait in the listening socket while the hub starts, or starts again."""


_WILDCARDS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what to connect to in their place


class CannotListen(OrchestratorError):
    """The hub's address is taken, or is none of ours."""


def listen(host: str, port: int) -> socket.socket:
    """Bind and listen on an address; port 0 is any free one. Raises `CannotListen`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a run that ended moments ago left the port
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        reason = (error.strerror or str(error)).lower()
        raise CannotListen(f"the hub cannot listen on {host}:{port}: {reason}") from None
    return listening


def url_of(listening: socket.socket, *, secure: bool = False) -> str:
    """Return where this machine reaches whoever listens there."""
    host, port = listening.getsockname()[:2]
    host = _WILDCARDS.get(host, host)
    return f"{'wss' if secure else 'ws'}://{f'[{host}]' if ':' in host else host}:{port}"
