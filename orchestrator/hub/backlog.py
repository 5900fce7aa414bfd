"""What all readers that lag have not taken yet, in bytes, and who goes when that is too much for the machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from orchestrator.hub.outbox import Outbox

_ROOM: Final = 0.9
"""The part of the limit that is left in use by shedding, so that not every further frame sheds again."""


class Backlog:
    """Of one hub. A frame that waits for many readers counts for each of them: what it costs is at most this."""

    __slots__ = ("_holders", "_limit", "shed", "total")

    def __init__(self, limit: int) -> None:
        """`limit` is in bytes; 0 = none."""
        self._limit = limit
        self._holders: dict[Outbox, None] = {}
        self.total = 0
        self.shed = 0
        """Readers that were given up for the sake of memory."""

    def change(self, outbox: Outbox, by: int) -> None:
        """Note that an outbox has that many bytes more waiting, or fewer; beyond the limit, room is made."""
        self.total += by
        if by > 0:
            self._holders[outbox] = None
            if 0 < self._limit < self.total:
                self._make_room()
        elif not outbox.backlog:
            self._holders.pop(outbox, None)

    def _make_room(self) -> None:
        """Give up the slowest readers, those with most waiting, until enough is free.

        Those who were given up before, and have still to read why, go first. A reader whose frames are not enough
        loses what its socket holds too, and so the reason: it is better than to give up the next one.
        """
        target = int(self._limit * _ROOM)
        slowest = sorted(self._holders, key=lambda outbox: (outbox.closing is None, -outbox.backlog))
        for outbox in slowest:
            if self.total <= target:
                return
            if outbox.closing is None:
                self.shed += 1
                outbox.overflow()
            if self.total > target:
                outbox.abort()
