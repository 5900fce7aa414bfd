"""The messages that were named by their senders and taken, remembered for a while, so that none is taken twice."""

from __future__ import annotations

from typing import Final, NamedTuple

from orchestrator.protocol.limits import MAX_MESSAGE_ID, REPEAT_COUNT, REPEAT_WINDOW

FROM_OUTSIDE: Final = ""
"""The sender of what comes from outside any connection; no peer has this id."""


class Taken(NamedTuple):
    until: float
    receivers: int
    """Connections that the message was queued to."""


class Repeats:
    """The names of one app, each within those of its sender: nobody can use up the names of another.

    When there are too many, the oldest are forgotten. Times are monotonic seconds that never go back.
    """

    __slots__ = ("_most", "_taken", "_window")

    def __init__(self, window: float = REPEAT_WINDOW, most: int = REPEAT_COUNT) -> None:
        self._window = window
        self._most = most
        self._taken: dict[tuple[str, str], Taken] = {}
        """Oldest first."""

    def __len__(self) -> int:
        return len(self._taken)

    def receivers(self, sender: str, message_id: str | None, now: float) -> int | None:
        """Return how many got the message when it came first; `None` for one that is new, or has no usable name."""
        if message_id is None:
            return None
        self._forget(now)
        taken = self._taken.get((sender, message_id))
        return None if taken is None else taken.receivers

    def note(self, sender: str, message_id: str | None, receivers: int, now: float) -> None:
        """Remember a message that was taken; what has no name of 1 to 128 characters is not."""
        if message_id is None or not 0 < len(message_id) <= MAX_MESSAGE_ID:
            return
        if len(self._taken) >= self._most:
            del self._taken[next(iter(self._taken))]
        self._taken[sender, message_id] = Taken(now + self._window, receivers)

    def _forget(self, now: float) -> None:
        taken = self._taken
        while taken and taken[oldest := next(iter(taken))].until <= now:
            del taken[oldest]
