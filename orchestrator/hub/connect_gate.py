"""How often one address may try to connect."""

from __future__ import annotations

import ipaddress
from collections import deque
from typing import Final

_WINDOW: Final = 60.0
_MAX_ADDRESSES: Final = 10_000


class ConnectGate:
    """A sliding minute per address."""

    def __init__(self, per_minute: int, loopback_too: bool = False) -> None:
        """`per_minute` attempts are let through; 0 = all. Loopback is exempt: whole fleets of agents live there."""
        self._most = per_minute
        self._loopback_too = loopback_too
        self._attempts: dict[str, deque[float]] = {}
        """Oldest attempt first; the addresses in the order of their first remembered attempt."""

    def admits(self, address: str, now: float) -> bool:
        """Count an attempt, and tell whether it may go on; refused attempts do not count."""
        if not self._most or (_is_loopback(address) and not self._loopback_too):
            return True
        attempts = self._attempts.get(address)
        if attempts is None:
            if len(self._attempts) >= _MAX_ADDRESSES:
                del self._attempts[next(iter(self._attempts))]
            attempts = self._attempts[address] = deque()
        while attempts and attempts[0] <= now - _WINDOW:
            attempts.popleft()
        if len(attempts) >= self._most:
            return False
        attempts.append(now)
        return True


def _is_loopback(address: str) -> bool:
    try:
        known = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:  # a Unix socket has no address
        return True
    if isinstance(known, ipaddress.IPv6Address):  # a socket of both families shows the one within the other
        known = known.ipv4_mapped or known
    return known.is_loopback
