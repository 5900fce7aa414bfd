"""A store that machines share, as one replica reaches it: over a connection of its own, and confined to what is its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.runtime.shared_engine import made
from orchestrator.store.confined import ConfinedStore

if TYPE_CHECKING:
    from orchestrator.runtime.control import Engine
    from orchestrator.topology.store_access import Access


class OwnShare(ConfinedStore):
    """Does for `peer_id` what the engine does; a request that the engine does not answer raises `StoreUnavailable`, and the
    next one tries again.

    What confines it is in the replica's own process: it keeps mistakes apart, as a store of one machine does, and not what
    is hostile. For that engines have accounts.
    """

    def __init__(self, engine: Engine, peer_id: str, access: Access) -> None:
        self._engine = made(engine)
        super().__init__(self._engine, peer_id, access)

    async def close(self) -> None:
        await self._engine.close()
