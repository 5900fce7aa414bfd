"""`Presence` over a hub: who is in a lobby, and who comes and goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from orchestrator.agents.relations import Presence
from orchestrator.patterns.roster import Change, Peer, Roster
from orchestrator.protocol.frames import Present

WATCH_QUEUE: Final = 10_000
"""Joins and leaves that wait for a slow iterator; the oldest go first, and the roster itself stays right."""


class HubPresence(Presence):
    """A lobby over its channel."""

    def __init__(self, name: str, channel: str, heard: Callable[[Change], None], log: Any) -> None:
        """`heard` is called with each join and leave."""
        self.name, self.channel, self._log = name, channel, log
        self._heard = heard
        self._roster = Roster("agent")
        self._watchers: set[asyncio.Queue[Change]] = set()

    @property
    def peers(self) -> Mapping[str, Peer]:
        return MappingProxyType(self._roster.peers)

    async def __aiter__(self) -> AsyncIterator[Change]:
        queue: asyncio.Queue[Change] = asyncio.Queue(WATCH_QUEUE)
        self._watchers.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._watchers.discard(queue)

    def present(self, joined: Sequence[Present], left: Sequence[Present], *, whole: bool) -> None:
        for change in self._roster.update(joined, left, whole=whole):
            self._heard(change)
            for queue in self._watchers:
                if queue.full():
                    queue.get_nowait()
                    self._log.warning("a slow iterator missed a change of presence", lobby=self.name)
                queue.put_nowait(change)

    def disconnected(self) -> None:
        self._roster.disconnected()
