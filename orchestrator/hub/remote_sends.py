"""Sends to peers that other hubs hold: each ends with what became of it, or with not knowing that in time."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from orchestrator.hub import wire
from orchestrator.protocol.codes import ErrorCode

if TYPE_CHECKING:
    from orchestrator.hub.connections import Connection

PATIENCE: Final = 0.9
"""Seconds that an answer may take: its sender is to know within one."""
MOST: Final = 20_000
"""Sends of one hub that may be without their answer."""


class Outcome(Enum):
    """What became of a send."""

    DELIVERED = "delivered"
    """It is in an outbox of the peer's."""
    NOT_FOUND = "not found"
    """Nobody holds the peer."""
    UNKNOWN = "unknown"
    """It was delivered or not."""


@dataclass(slots=True)
class Pending:
    """A send that is to be answered."""

    connection: Connection
    to: str
    request_id: str | None
    message_id: str | None
    due: float
    here: int
    """Connections of this hub's own that have it."""
    denials: int = 0
    """Hubs that were asked and did not hold the peer any more."""


class RemoteSends:
    """Those without an answer yet, each of which gets one."""

    def __init__(self) -> None:
        self._pending: dict[int, Pending] = {}
        """By ticket, oldest first."""

    def __len__(self) -> int:
        return len(self._pending)

    @property
    def full(self) -> bool:
        return len(self._pending) >= MOST

    def add(self, ticket: int, pending: Pending) -> None:
        self._pending[ticket] = pending

    def get(self, ticket: int) -> Pending | None:
        return self._pending.get(ticket)

    def end(self, ticket: int, outcome: Outcome, now: float) -> None:
        """Tell the sender; nothing, when it was told before."""
        pending = self._pending.pop(ticket, None)
        if pending is not None:
            tell(pending, outcome, now)

    def end_late(self, now: float) -> float | None:
        """End those that have waited too long; return when the next one has, `None` = there is none."""
        while self._pending:
            ticket = next(iter(self._pending))
            due = self._pending[ticket].due
            if due > now:
                return due
            self.end(ticket, Outcome.UNKNOWN, now)
        return None

    def end_all(self, now: float) -> None:
        """End all with not knowing what became of them."""
        for ticket in list(self._pending):
            self.end(ticket, Outcome.UNKNOWN, now)


def tell(pending: Pending, outcome: Outcome, now: float) -> None:
    """Answer a send; one that some connection of the peer has got is delivered, whatever became of it elsewhere."""
    connection, request_id = pending.connection, pending.request_id
    if outcome is Outcome.DELIVERED or pending.here:
        connection.app.repeats.note(connection.peer_id, pending.message_id, max(pending.here, 1), now)
        if request_id is not None:
            connection.outbox.put(wire.ack(request_id))
    elif outcome is Outcome.NOT_FOUND:
        connection.outbox.put(wire.error(ErrorCode.PEER_NOT_FOUND, "the peer is not connected", request_id))
    else:
        text = "whether the peer has got it is not known: the hub that may hold it did not answer"
        connection.outbox.put(wire.error(ErrorCode.BACKEND_ERROR, text, request_id))
