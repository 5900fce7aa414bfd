"""Leases on names, kept by a server of Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.store.port import Lease
from orchestrator.store.redis_scripts import LEASE
from orchestrator.store.tasks import check_lease

if TYPE_CHECKING:
    from orchestrator.store.port import Capabilities
    from orchestrator.store.redis_links import RedisLinks


class RedisLeases:
    """The leases of a `RedisStore`."""

    def __init__(self, links: RedisLinks) -> None:
        self._links = links

    @property
    def capabilities(self) -> Capabilities:
        return self._links.capabilities

    async def acquire(self, name: str, holder: str, ttl: float) -> Lease | None:
        check_lease(ttl)
        return await self._asked("acquire", name, holder, ttl)

    async def renew(self, name: str, holder: str, ttl: float) -> Lease | None:
        check_lease(ttl)
        return await self._asked("renew", name, holder, ttl)

    async def release(self, name: str, holder: str) -> None:
        await self._asked("release", name, holder, 0.0)

    async def get(self, name: str) -> Lease | None:
        return await self._asked("get", name, "", 0.0)

    async def _asked(self, what: str, name: str, holder: str, ttl: float) -> Lease | None:
        found = await self._links.run(LEASE, what, name, holder, ttl)
        return Lease(name, found[0].decode(), int(found[1]), float(found[2])) if found else None
