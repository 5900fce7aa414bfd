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
    descriptor: int | None = None
    """Of a socket that listens there already."""

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
    """Read ``HOST:PORT``, where an IPv6 host is in brackets, or ``fd:N``. Raises `ListenUsage`."""
    if text.startswith("fd:"):
        return _inherited(text[3:])
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ListenUsage(f"{text!r} is not an address to listen on; write HOST:PORT, as in 127.0.0.1:7700")
    return Address(host, int(port))


def _inherited(number: str) -> Address:
    if not number.isascii() or not number.isdigit():
        raise ListenUsage(f"'fd:{number}' is no inherited socket; write fd:N, as in fd:3")
    try:
        given = socket.socket(fileno=int(number))
    except (OSError, OverflowError):
        raise ListenUsage(f"fd:{number}: this process was given no socket under that number") from None
    try:
        if not given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) or given.family == socket.AF_UNIX:
            raise ListenUsage(f"fd:{number}: the socket under that number does not listen on an address of TCP")
        host, port = given.getsockname()[:2]
        return Address(host, port, int(number))
    finally:
        given.detach()


def listen(address: Address) -> socket.socket:
    """Return a socket that listens. Raises `ListenProblem`."""
    if address.descriptor is not None:
        given = socket.socket(fileno=address.descriptor)
        given.setblocking(False)
        return given
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
