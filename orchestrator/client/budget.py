"""How many frames a connection may still write: the hub ends one that writes more than its message budget allows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import UNSET, Struct

from orchestrator.protocol import limits

if TYPE_CHECKING:
    from msgspec import Raw, UnsetType

KEPT_BACK: Final = 0.1
"""Of the bucket: for pings, for subscriptions that are restored, and for frames that arrive closer than they left."""
SLOWER: Final = 0.95
"""Of the rate: the hub's clock may go a little slower than ours."""
SHORT: Final = 0.25
"""Of the bucket: with less than that left, whoever can say the same in fewer messages should."""


class _Rate(Struct):
    per_second: float
    burst: int


_read: Final = msgspec.json.Decoder(_Rate).decode


class Budget:
    """A bucket of frames that fills up again, as the hub keeps one for each connection. Times are in seconds."""

    def __init__(self, per_second: float = limits.RATE_PER_SECOND, burst: int = limits.RATE_BURST) -> None:
        self._per_second, self._burst = per_second * SLOWER, float(burst)
        self._kept_back = min(math.floor(burst * KEPT_BACK), burst - 1)
        self._level = self._burst
        self._refilled = -math.inf

    @classmethod
    def told(cls, rate: Raw | UnsetType) -> Budget:
        """Return what a welcome grants: its ``rate``, or the protocol's where it says nothing that can be understood."""
        if rate is UNSET:
            return cls()
        if bytes(rate) == b'"unlimited"':
            return cls(math.inf, 1)
        try:
            found = _read(rate)
        except msgspec.DecodeError:
            return cls()
        return cls(found.per_second, found.burst) if found.per_second > 0 and found.burst >= 1 else cls()

    @property
    def unlimited(self) -> bool:
        return self._per_second == math.inf

    def spend(self, now: float) -> None:
        """Count a frame that is written, whether there was room for it or not."""
        if not self.unlimited:
            self._level = self._left(now) - 1.0
            self._refilled = now

    def wait(self, now: float) -> float:
        """Return for how long the next frame had better wait; 0 = it need not."""
        if self.unlimited:
            return 0.0
        missing = 1.0 + self._kept_back - self._left(now)
        return missing / self._per_second if missing > 1e-9 else 0.0

    def short(self, now: float) -> bool:
        return not self.unlimited and self._left(now) < self._burst * SHORT

    def _left(self, now: float) -> float:
        passed = now - self._refilled
        return self._burst if passed == math.inf else min(self._burst, self._level + passed * self._per_second)
