"""What this client is subscribed to, across connections, and which rosters are about to be sent whole."""

from __future__ import annotations

from collections import deque
from typing import Final

REPLAYS: Final = 3
"""How often restoring a subscription is tried again on one connection."""


class Subscriptions:
    """Channels with their latest options. A connection's share of the state ends with `disconnected`."""

    def __init__(self) -> None:
        self.wanted: dict[str, bool] = {}
        """Channel → whether the senders' metadata is asked for."""
        self.forgotten: dict[str, str] = {}
        """Channels that the hub may still hold for us, with the latest request to end each, or an empty text: it has not
        acknowledged that they are not wanted any more."""
        self._roster_due: set[str] = set()
        self._retries: deque[tuple[float, str, int]] = deque()

    def remember(self, channel: str, include_sender_metadata: bool) -> None:
        self.wanted[channel] = include_sender_metadata
        self.forgotten.pop(channel, None)

    def forget(self, channel: str) -> None:
        if self.wanted.pop(channel, None) is not None:  # else the hub has never been asked for it, or to end it
            self.forgotten[channel] = ""
        self._roster_due.discard(channel)

    def acknowledged(self, channel: str) -> None:
        if channel in self.wanted:
            self._roster_due.add(channel)

    def asked_to_end(self, channel: str, request_id: str) -> None:
        if channel in self.forgotten:
            self.forgotten[channel] = request_id

    def released(self, channel: str, request_id: str) -> None:
        """Note that the hub has ended `channel` for us. It may have begun again since, unless nothing was asked since."""
        if self.forgotten.get(channel) == request_id:
            del self.forgotten[channel]

    def is_snapshot(self, channel: str) -> bool:
        """Tell whether a presence frame of `channel`, arriving now, is the first since a subscribe was acknowledged."""
        if channel in self._roster_due:
            self._roster_due.remove(channel)
            return True
        return False

    def retry_at(self, when: float, channel: str, tries_left: int) -> None:
        """Restore `channel` later. Calls come in the order of `when`."""
        self._retries.append((when, channel, tries_left))

    def deadline(self) -> float | None:
        return self._retries[0][0] if self._retries else None

    def due(self, now: float) -> list[tuple[str, int]]:
        """Take out the channels whose time has come and that are still wanted."""
        ready = []
        while self._retries and self._retries[0][0] <= now:
            _, channel, tries_left = self._retries.popleft()
            if channel in self.wanted:
                ready.append((channel, tries_left))
        return ready

    def continued(self) -> None:
        """Expect every roster anew, on the connection that continues the one before."""
        self._retries.clear()
        self._roster_due = set(self.wanted)

    def disconnected(self) -> None:
        self._roster_due.clear()
        self._retries.clear()
