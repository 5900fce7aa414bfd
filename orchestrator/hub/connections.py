"""One open connection as the hub sees it, and the budget of messages that it may send."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.hub import wire
from orchestrator.protocol.frames import encode_json

if TYPE_CHECKING:
    from orchestrator.hub.admission import Identity
    from orchestrator.hub.apps import App
    from orchestrator.hub.channels import Subscription
    from orchestrator.hub.outbox import Outbox


class Connection:
    """What the hub remembers of one connection. Times are monotonic seconds."""

    __slots__ = (
        "_budget",
        "_refilled",
        "age_watched",
        "app",
        "entry",
        "expires",
        "heard",
        "identity",
        "open",
        "outbox",
        "peer_id",
        "peer_json",
        "pinged",
        "rights",
        "subscriptions",
    )

    def __init__(self, identity: Identity, app: App, outbox: Outbox, now: float, expires: float | None) -> None:
        self.identity = identity
        self.app = app
        self.outbox = outbox
        self.peer_id = identity.peer_id
        self.peer_json = encode_json(identity.peer_id)
        self.rights = identity.rights
        self.entry = wire.entry(self.peer_json, identity.peer_metadata)
        """Its line in rosters."""
        self.subscriptions: dict[str, Subscription] = {}
        """By channel, or by the exact text of a pattern."""
        self.open = True
        self.expires = expires
        self.heard = now
        """When anything last came from the other side."""
        self.pinged: float | None = None
        """When it was last asked for a sign of life, while it has not given one."""
        self.age_watched = False
        """A timer looks at the age of its outbox already."""
        self._refilled = now
        self._budget = float(identity.rate.burst) if identity.rate else 0.0

    def __repr__(self) -> str:
        return f"<connection of {self.peer_id!r} in {self.app.name!r}>"

    def spend(self, now: float) -> bool:
        """Take one message from the budget; tell whether it allowed that."""
        rate = self.identity.rate
        if rate is None:
            return True
        self._budget = min(float(rate.burst), self._budget + (now - self._refilled) * rate.per_second)
        self._refilled = now
        if self._budget < 1.0:
            return False
        self._budget -= 1.0
        return True
