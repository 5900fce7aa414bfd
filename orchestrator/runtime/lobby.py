"""`Presence` over a hub: who is in a lobby, and who comes and goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from orchestrator.agents.relations import Presence
from orchestrator.errors import did_you_mean, listed
from orchestrator.patterns.roster import GRACE, Change, Peer, Roster
from orchestrator.runtime.attendance import Attendance

if TYPE_CHECKING:
    from orchestrator.protocol.frames import Present
    from orchestrator.topology.replica import LobbySeat

WATCH_QUEUE: Final = 10_000
"""Joins and leaves that wait for a slow iterator; the oldest go first, and the roster itself stays right."""


class HubPresence(Presence):
    """A lobby over its channel.

    Who sits in it is told by the metadata of peers: a hub that knows no unlisted watchers lists them, too.
    """

    def __init__(
        self,
        seat: LobbySeat,
        heard: Callable[[Change], None],
        wall_offset: float,
        log: Any,
        changed: Callable[[], None],
    ) -> None:
        """`heard` is called with each join and leave, `changed` when `next_tick` may be another one."""
        self.name, self.channel, self._log = seat.name, seat.channel, log
        self._heard, self._members = heard, seat.members
        roster = Roster("agent", agents=seat.members, grace=GRACE, wall_offset=wall_offset)
        self._attendance = Attendance(f"the lobby {seat.name!r}", roster, self._tell, changed)
        self._watchers: set[asyncio.Queue[Change]] = set()

    @property
    def peers(self) -> Mapping[str, Peer]:
        return MappingProxyType(self._attendance.roster.peers)

    async def __aiter__(self) -> AsyncIterator[Change]:
        queue: asyncio.Queue[Change] = asyncio.Queue(WATCH_QUEUE)
        self._watchers.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._watchers.discard(queue)

    async def wait_for(self, agent: str, *, count: int = 1, timeout: float | None = None) -> list[Peer]:
        if agent not in self._members:
            guess = did_you_mean(agent, self._members) or f"; they are {listed(self._members)}"
            raise ValueError(f"{agent!r} is no member of the lobby {self.name!r}{guess}")
        return await self._attendance.wait_for(agent, count, timeout)

    def revise(self, seat: LobbySeat) -> None:
        """Have other members."""
        if seat.members != self._members:
            self._members = seat.members
            self._attendance.keep(seat.members)

    # -- what the connection and the clock say

    def present(self, joined: Sequence[Present], left: Sequence[Present], *, whole: bool) -> None:
        self._attendance.present(joined, left, whole=whole)

    def disconnected(self) -> None:
        self._attendance.disconnected()

    def next_tick(self) -> float | None:
        return self._attendance.next_tick()

    def tick(self, now: float) -> None:
        self._attendance.tick(now)

    def _tell(self, change: Change) -> None:
        self._heard(change)
        for queue in self._watchers:
            if queue.full():
                queue.get_nowait()
                self._log.warning("a slow iterator missed a change of presence", lobby=self.name)
            queue.put_nowait(change)
