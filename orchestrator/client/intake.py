"""What a hub sends by itself, as the events that the program is told of: a bounded inbox, and payloads in parts joined."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from msgspec import UNSET, Raw

from orchestrator.client.effects import Effect, Noted
from orchestrator.client.events import ClientEvent, DirectReceived, GoingAway, MessageReceived, PresenceReceived
from orchestrator.patterns.parts import Assembly, Joined, Outcome, is_part
from orchestrator.protocol import frames
from orchestrator.protocol.limits import GOING_AWAY_RETRY_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LONGEST_RETRY_AFTER: Final = 300.0
"""Seconds: a hub that asks its clients to stay away longer is not believed."""

_NOTHING: Final[tuple[Effect, ...]] = ()


class Intake:
    """Turns frames into events, in the order in which they came."""

    def __init__(self, hub: str, limit: int, is_snapshot: Callable[[str], bool]) -> None:
        """`is_snapshot` tells whether a presence frame that arrives now holds the whole roster of its channel."""
        self.inbox: deque[ClientEvent] = deque()
        self.limit = limit
        self.retry_after = 0.0
        """Seconds that the hub has asked to stay away for, when it said that it goes."""
        self.is_snapshot = is_snapshot
        self._hub = hub
        self._assembly = Assembly()

    def take(self, frame: frames.HubFrame | None, now: float) -> Sequence[Effect] | None:
        """Take a frame that answers no request; `None` = there is no room for what it tells."""
        match frame:
            case frames.Message() | frames.Direct():
                channel = frame.channel if isinstance(frame, frames.Message) else None
                metadata = None if frame.from_metadata is UNSET else frame.from_metadata
                if is_part(frame.data):
                    return self._join(frame.sender, channel, frame.data, metadata, now)
                event: ClientEvent = _message(frame.sender, channel, frame.data, metadata)
            case frames.Presence():
                event = PresenceReceived(frame.channel, frame.joined, frame.left, self.is_snapshot(frame.channel))
            case frames.GoingAway():
                asked = GOING_AWAY_RETRY_MS if frame.retry_after_ms is None else frame.retry_after_ms
                self.retry_after = min(max(asked / 1000, 0.0), LONGEST_RETRY_AFTER)
                event = GoingAway(self.retry_after)
            case _:
                return _NOTHING
        if len(self.inbox) >= self.limit:
            return None
        self.inbox.append(event)
        return _NOTHING

    def _join(
        self, sender: str, channel: str | None, data: Raw, metadata: frames.JsonObject | None, now: float
    ) -> Sequence[Effect] | None:
        noted: list[Effect] = []
        for outcome in self._assembly.receive(sender, channel, data, now):
            if not isinstance(outcome, Joined):
                noted.append(self._note(outcome))
            elif len(self.inbox) >= self.limit:
                return None
            else:
                self.inbox.append(_message(sender, channel, outcome.data, metadata))
        return noted

    def deadline(self) -> float | None:
        return self._assembly.deadline()

    def tick(self, now: float) -> list[Effect]:
        """Give up payloads of which no further part comes."""
        return [self._note(outcome) for outcome in self._assembly.tick(now)]

    def _note(self, outcome: Outcome) -> Noted:
        assert not isinstance(outcome, Joined)
        what = {"hub": self._hub, "sender": outcome.sender, "channel": outcome.channel, "why": outcome.why}
        return Noted("warning", "a payload in parts was given up", {**what, "parts": outcome.got, "of": outcome.of})


def _message(sender: str, channel: str | None, data: Raw, metadata: frames.JsonObject | None) -> ClientEvent:
    if channel is None:
        return DirectReceived(sender, data, metadata)
    return MessageReceived(channel, sender, data, metadata)
