"""How often one network may try to connect."""

from __future__ import annotations

import socket
from bisect import bisect_right
from typing import Final

_WINDOW: Final = 60.0
_MAX_SOURCES: Final = 65_536
_MAPPED: Final = b"\0" * 10 + b"\xff\xff"
_LOOPBACK: Final = b"\0" * 15 + b"\1"


def source_of(address: str) -> str:
    """Return what an address counts as: an IPv4 one as itself, also within IPv6; of IPv6 the first 64 bits.

    Whoever is given an IPv6 address is given all that share those.
    """
    if ":" not in address:
        return address
    try:
        packed = socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
    except OSError:
        return address
    if packed.startswith(_MAPPED):
        return socket.inet_ntop(socket.AF_INET, packed[12:])
    if packed == _LOOPBACK:
        return "::1"
    return f"{socket.inet_ntop(socket.AF_INET6, packed[:8] + bytes(8))}/64"


class ConnectGate:
    """A sliding minute per source.

    When more sources are known than are kept, the one that has knocked least recently is forgotten. Refused attempts
    are knocks too: to make the gate forget one that goes on, others have to come from 65,536 networks between two of
    its attempts.
    """

    def __init__(self, per_minute: int, loopback_too: bool = False, most: int = _MAX_SOURCES) -> None:
        """`per_minute` attempts are let through; 0 = all. Loopback is exempt: whole fleets of agents live there."""
        self._most_attempts = per_minute
        self._loopback_too = loopback_too
        self._most_sources = most
        self._attempts: dict[str, list[float]] = {}
        """Oldest attempt first; the sources in the order of their last knock."""

    def admits(self, address: str, now: float) -> bool:
        """Count an attempt, and tell whether it may go on; refused attempts do not count."""
        source = source_of(address)
        if self._exempt(source):
            return True
        if self._is_full(source, now):
            return False
        attempts = self._attempts.pop(source, None)
        if attempts is None:
            self._make_room(now)
            attempts = []
        attempts.append(now)
        self._attempts[source] = attempts
        return True

    def is_full(self, source: str, now: float) -> bool:
        """Tell whether an attempt of this source (see `source_of`) would be refused just now; if so, it is a knock."""
        return source in self._attempts and self._is_full(source, now)

    def _is_full(self, source: str, now: float) -> bool:
        attempts = self._attempts.get(source, [])
        del attempts[: bisect_right(attempts, now - _WINDOW)]
        if len(attempts) < self._most_attempts:
            return False
        self._attempts[source] = self._attempts.pop(source)
        return True

    def _make_room(self, now: float) -> None:
        attempts = self._attempts
        while attempts:
            source = next(iter(attempts))
            known = attempts[source]
            if known and known[-1] > now - _WINDOW and len(attempts) < self._most_sources:
                return
            del attempts[source]

    def _exempt(self, source: str) -> bool:
        if not self._most_attempts:
            return True
        return not self._loopback_too and (source.startswith("127.") or source == "::1")
