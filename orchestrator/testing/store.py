"""One life's way to the store of a test: it can be cut, and is when the life ends by being killed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.errors import StoreUnavailable

if TYPE_CHECKING:
    from orchestrator.store.port import Lease, Leases


class WayToStore:
    """The leases of a store, as long as it is reached. While `cut`, every method raises `StoreUnavailable`."""

    def __init__(self, leases: Leases, *, cut: bool = False) -> None:
        self._leases, self.cut = leases, cut
        self.capabilities = leases.capabilities

    async def acquire(self, name: str, holder: str, ttl: float) -> Lease | None:
        return await self._reached().acquire(name, holder, ttl)

    async def renew(self, name: str, holder: str, ttl: float) -> Lease | None:
        return await self._reached().renew(name, holder, ttl)

    async def release(self, name: str, holder: str) -> None:
        await self._reached().release(name, holder)

    async def get(self, name: str) -> Lease | None:
        return await self._reached().get(name)

    def _reached(self) -> Leases:
        if self.cut:
            raise StoreUnavailable("the store is out of reach")
        return self._leases
