"""One open connection as the hub sees it, and what it may send and have sent on to others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.hub import wire
from orchestrator.protocol.frames import encode_json

if TYPE_CHECKING:
    from orchestrator.hub.admission import Identity
    from orchestrator.hub.apps import App
    from orchestrator.hub.channels import Subscription
    from orchestrator.hub.outbox import Outbox


_ENVELOPE: Final = 100
"""Bytes that go around the data of a message, about."""


class FanOut:
    """How much may be written to others for the sake of one publisher: a bucket of bytes, times their receivers.

    It may be overdrawn by one message, whatever that costs, and is then shut until it is even again.
    """

    __slots__ = ("_left", "_most", "_per_second", "_refilled")

    def __init__(self, per_second: int, now: float) -> None:
        self._per_second = float(per_second)
        self._most = self._left = 2.0 * per_second
        self._refilled = now

    def allows(self, now: float) -> bool:
        self._left = min(self._most, self._left + (now - self._refilled) * self._per_second)
        self._refilled = now
        return self._left > 0

    def spend(self, size: int, receivers: int) -> None:
        self._left -= (size + _ENVELOPE) * receivers


class Connection:
    """What the hub remembers of one connection. Times are monotonic seconds."""

    __slots__ = (
        "__weakref__",
        "_budget",
        "_refilled",
        "age_watched",
        "app",
        "around_direct",
        "entry",
        "expires",
        "fan_out",
        "heard",
        "identity",
        "limited",
        "open",
        "outbox",
        "peer_id",
        "peer_json",
        "pinged",
        "rights",
        "subscriptions",
    )
    local: Final = True
    """It is no `Member`."""

    def __init__(
        self,
        identity: Identity,
        app: App,
        outbox: Outbox,
        now: float,
        expires: float | None,
        fan_out: FanOut | None = None,
    ) -> None:
        self.identity = identity
        self.app = app
        self.outbox = outbox
        self.peer_id = identity.peer_id
        self.peer_json = encode_json(identity.peer_id)
        self.rights = identity.rights
        self.around_direct = wire.around_direct(self.peer_json, identity.peer_metadata)
        """What comes before and after the data of each direct message that it sends."""
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
        self.limited = identity.rate is not None
        self.fan_out = fan_out
        """`None` = as much as it likes."""
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
