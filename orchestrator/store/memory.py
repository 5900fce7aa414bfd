"""A store that lives and ends with its process."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orchestrator.store.port import Capabilities, Lease

if TYPE_CHECKING:
    from collections.abc import Callable

SWEPT: Final = 1_024
"""Leases that are kept before those that ended by themselves are looked for."""


@dataclass(slots=True)
class _Held:
    holder: str
    fence: int
    ends: float


class MemoryLeases:
    """Leases in memory, for one event loop. One count of fences serves all names, so that none is ever forgotten."""

    capabilities = Capabilities(durable=False, fenced=True, shared=False)

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` returns seconds that never go back."""
        self._clock = clock
        self._held: dict[str, _Held] = {}
        self._fences = itertools.count(1)
        self._sweep_at = SWEPT

    async def acquire(self, name: str, holder: str, ttl: float) -> Lease | None:
        now, ends = self._span(ttl)
        held = self._live(name, now)
        if held is None:
            self._sweep(now)
            held = self._held[name] = _Held(holder, next(self._fences), ends)
        elif held.holder != holder:
            return None
        held.ends = ends
        return _lease(name, held, now)

    async def renew(self, name: str, holder: str, ttl: float) -> Lease | None:
        now, ends = self._span(ttl)
        held = self._live(name, now)
        if held is None or held.holder != holder:
            return None
        held.ends = ends
        return _lease(name, held, now)

    async def release(self, name: str, holder: str) -> None:
        held = self._held.get(name)
        if held is not None and held.holder == holder:
            del self._held[name]

    async def get(self, name: str) -> Lease | None:
        now = self._clock()
        held = self._live(name, now)
        return None if held is None else _lease(name, held, now)

    def _span(self, ttl: float) -> tuple[float, float]:
        if not ttl > 0:
            raise ValueError(f"a lease lasts for more than 0 seconds, not {ttl!r}")
        now = self._clock()
        return now, now + ttl

    def _live(self, name: str, now: float) -> _Held | None:
        held = self._held.get(name)
        return None if held is None or held.ends <= now else held

    def _sweep(self, now: float) -> None:
        if len(self._held) >= self._sweep_at:
            self._held = {name: held for name, held in self._held.items() if held.ends > now}
            self._sweep_at = 2 * len(self._held) + SWEPT


def _lease(name: str, held: _Held, now: float) -> Lease:
    return Lease(name, held.holder, held.fence, held.ends - now)
