"""Who is present on a channel, as a user sees it: a live roster, and its joins and leaves one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from orchestrator.client.events import MessageReceived, PresenceReceived
from orchestrator.client.requests import lacks
from orchestrator.errors import ConnectionLost, ConnectionProblem, NotConnected
from orchestrator.patterns.roster import GRACE, Change, Peer, Roster
from orchestrator.protocol.codes import ErrorCode
from orchestrator.protocol.globs import has_star
from orchestrator.runtime.attendance import Attendance
from orchestrator.runtime.courier import Ticker
from orchestrator.runtime.feed import Feed, Room, Source

ROSTER_SECONDS: Final = 10.0
"""How long the hub may take from acknowledging a subscription to sending the roster; it does so within milliseconds."""


class RosterView(Feed[Change]):
    """The peers on a channel, kept up to date while the block runs, without this user itself.

    Iterate it plainly for who is there now, with ``async for`` for each `Joined` and `Left` since the block began.
    Whoever was cut off has two seconds to come back: within them it is still there, and nothing is told of it.
    While the connection is down the roster stays as it was, and `current` is false; after the reconnect whoever does not
    come back in that time has `Left` as `lost`, and whoever is new has `Joined`.
    """

    def __init__(self, source: Source, channel: str, limit: int, kind: str | None, wall_offset: float) -> None:
        """`wall_offset` turns the loop's clock into Unix seconds, for `Peer.since`."""
        if has_star(channel):
            raise ValueError(f"{channel!r} is a pattern, and patterns have no presence: name one channel")
        super().__init__(source, f"the presence on {channel!r}", limit)
        self.channel, self.include_sender_metadata = channel, False
        self._roster = Roster(kind, grace=GRACE, wall_offset=wall_offset)
        self._ticker = Ticker()
        self._attendance = Attendance(self._subject, self._roster, self._tell, self._ticker.rearm)
        self._ticker.add(self._attendance.next_tick, self._attendance.tick)
        self._told = asyncio.Event()
        """Set with the first roster, and when there will be none."""

    @property
    def current(self) -> bool:
        """Whether a whole roster has arrived on the present connection."""
        return self._roster.known

    @property
    def peers(self) -> Mapping[str, Peer]:
        """The peers by id, as they are now."""
        return MappingProxyType(self._roster.peers)

    def get(self, peer_id: str) -> Peer | None:
        return self._roster.peers.get(peer_id)

    def __len__(self) -> int:
        return len(self._roster.peers)

    def __bool__(self) -> bool:
        """A view is there, however many peers are."""
        return True

    def __iter__(self) -> Iterator[Peer]:
        return iter(self._roster.peers.values())

    def __contains__(self, peer: object) -> bool:
        """Tell whether a peer, or the one of that id, is there."""
        return (peer.id if isinstance(peer, Peer) else peer) in self._roster

    async def wait_for(self, agent: str, *, count: int = 1, timeout: float | None = None) -> list[Peer]:
        """Return the replicas of an agent that are there, by their numbers, as soon as they are at least `count`.

        At once when they are there already; those who are cut off do not count, and nobody does while the connection is
        down. After `timeout` seconds (`None`: never) it raises `PresenceTimeout`, which names who is there. When the view
        or its user is closed it raises `NotConnected`, when the connection ends for good what ended it.
        """
        if not self._entered:
            raise RuntimeError(f"{self._subject} is not open: enter it with `async with` before waiting for anybody")
        return await self._attendance.wait_for(agent, count, timeout)

    # -- what its source says

    async def ready(self) -> None:
        """Wait for the first roster. Raises `NotAuthorized` when none comes: the hub sends none to those who may not."""
        try:
            async with asyncio.timeout(ROSTER_SECONDS):
                await self._told.wait()
        except TimeoutError:
            raise lacks("presence", self.channel, ErrorCode.ACTION_NOT_PERMITTED) from None
        if not self._roster.known:
            if self._over:
                raise self._failure or NotConnected(f"the user was closed before {self._subject} was known")
            raise ConnectionLost(f"the connection was lost before {self._subject} was known")

    def message(self, _event: MessageReceived) -> Room:
        return Room.LEFT

    def presence(self, event: PresenceReceived) -> None:
        if not event.snapshot and not self._roster.known:
            return  # of another subscription to this channel: the whole roster is on its way, and holds it too
        self._attendance.present(event.joined, event.left, whole=event.snapshot)
        self._told.set()

    def disconnected(self) -> None:
        self._attendance.disconnected()
        self._told.set()

    def end(self, failure: ConnectionProblem | None) -> None:
        super().end(failure)
        self._told.set()
        self._ticker.close()
        self._attendance.end(failure or NotConnected(f"{self._subject} was closed while somebody was waited for"))

    def _tell(self, change: Change) -> None:
        if self._told.is_set():  # what the first roster holds is no news
            self.put(change)
