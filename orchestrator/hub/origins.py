"""Of which connection of which hub a message comes: what was on its way by a connection that is lost comes too late."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from typing import Final

STAMP: Final = 12
"""Bytes that stand before each message on an engine: eight for the hub's end, four for the number of its connection."""
_END: Final = 8
_MOST: Final = 4096


class Origins:
    """An engine may read the rest of a lost connection while it already reads the next one, and so break the order of
    a hub's messages; it may also hand a hub's messages back to it. Either shows in the stamp.
    """

    def __init__(self) -> None:
        self._own = secrets.token_bytes(_END)
        self._number = 0
        self._latest: OrderedDict[bytes, bytes] = OrderedDict()
        """By end, the number of the connection that it speaks by; of the 4096 that were last new."""

    def stamp(self) -> bytes:
        """Return what stands before all messages of a new connection."""
        self._number += 1
        return self._own + self._number.to_bytes(STAMP - _END, "big")

    def takes(self, stamp: bytes) -> bool:
        """Tell whether a message with this stamp is another hub's, and not behind what came by a later connection."""
        end, number = stamp[:_END], stamp[_END:]
        latest = self._latest.get(end)
        if latest == number:
            return True
        if end == self._own or (latest is not None and number < latest) or len(stamp) < STAMP:
            return False
        self._latest[end] = number
        self._latest.move_to_end(end)
        if len(self._latest) > _MOST:
            self._latest.popitem(last=False)
        return True
