"""The socket that a hub listens on: an address as people write it, bound or refused with a sentence."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from dataclasses import dataclass

from orchestrator.errors import ExitCode, OrchestratorError

_BACKLOG = 4096


class ListenProblem(OrchestratorError):
    """The hub cannot listen where it was told to."""

    exit_code = ExitCode.FAILED


class ListenUsage(ListenProblem):
    """The address is not one, or not one to listen on in this way."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_address(text: str) -> Address:
    """Read ``HOST:PORT``, where an IPv6 host is in brackets. Raises `ListenUsage`."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ListenUsage(f"{text!r} is not an address to listen on; write HOST:PORT, as in 127.0.0.1:7700")
    return Address(host, int(port))


def listen(address: Address) -> socket.socket:
    """Return a socket that listens. Raises `ListenProblem`."""
    host = "127.0.0.1" if address.host == "localhost" else address.host
    try:
        family, kind, number, _, where = socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, number)
    except OSError as error:
        raise ListenProblem(f"cannot listen on {address}: {error.strerror or error}") from None
    try:
        if os.name == "posix":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(where)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            free = "another program is listening there; port 0 takes any free port"
            raise ListenProblem(f"cannot listen on {address}: {free}") from None
        raise ListenProblem(f"cannot listen on {address}: {error.strerror}") from None
    listening.setblocking(False)
    return listening
