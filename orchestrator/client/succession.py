"""How a connection is replaced by its successor before its token expires: when, and what waits for what meanwhile.

The hub moves a peer's subscriptions over in one step, when it admits the successor. So that nothing is lost, doubled
or overtaken in that step, no request is under way then: what the program asks for from the moment the successor's
socket is open waits in `unwritten` until the hub has welcomed it, and what the hub says to the successor waits in
`unheard` until the old connection has said its last.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from orchestrator.protocol.limits import EXPIRY_LEAD

if TYPE_CHECKING:
    import random

    from orchestrator.protocol.frames import Welcome

RENEWAL_SHARE: Final = 0.8
"""Of a token's life, after which a connection is continued under a fresh one."""
RECONNECT_SHARE: Final = 0.9
"""Of a token's life, after which a connection to a hub that cannot continue it is given up for another one."""
SPREAD: Final = 0.02
"""Of a token's life: peers that were started together do not ask for tokens together."""
SHORTEST_LIFE: Final = 1.0
"""Seconds: a token that lives no longer is left to expire."""
LEAST_PAUSE: Final = 0.25
"""Seconds between two tries to renew."""
QUIET_TIMEOUT: Final = 2.0
"""Seconds that the requests under way have to be answered, before the connection goes on as it is."""
LAST_WORDS_TIMEOUT: Final = 5.0
"""Seconds that the hub has to flush and close the old connection after it has welcomed the successor."""
_ROUNDED: Final = 1.0
"""Seconds by which `serverTime`, a whole number on the wire, may be too early."""


class Schedule:
    """When to fetch a fresh token, by the hub's own clock: that of this machine may be wrong."""

    def __init__(self, rng: random.Random) -> None:
        self.due: float | None = None
        """`None` = the credential does not expire, or cannot be replaced, or is being replaced."""
        self._rng = rng
        self._end = 0.0

    def welcomed(self, frame: Welcome, seamless: bool, now: float) -> None:
        self.due = None
        if frame.expires_at is None:
            return
        life = frame.expires_at - frame.server_time - _ROUNDED - EXPIRY_LEAD
        if life > SHORTEST_LIFE:
            share = RENEWAL_SHARE if seamless else RECONNECT_SHARE
            self._end = now + life
            self.due = now + life * (share + self._rng.uniform(0.0, SPREAD))

    def failed(self, now: float) -> None:
        """Try again after a part of the time that is left, unless there is too little of it."""
        left = self._end - now
        pause = max(left * self._rng.uniform(0.2, 0.3), LEAST_PAUSE)
        self.due = now + pause if pause < left else None


class Stage(Enum):
    FETCHING = auto()
    """A token is asked for."""
    DIALING = auto()
    """A socket is being opened."""
    QUIETING = auto()
    """The socket is open; the requests under way on the old connection are still to be answered."""
    ASKED = auto()
    """The hub is asked to admit the successor."""
    WELCOMED = auto()
    """The hub has admitted it; the old connection says its last."""

    @property
    def between(self) -> bool:
        """Whether nothing new is written on the old connection."""
        return self not in (Stage.FETCHING, Stage.DIALING)


@dataclass(slots=True)
class Succession:
    """The successor of a connection, until it is the connection."""

    epoch: int
    deadline: float
    """For the stage under way."""
    stage: Stage = Stage.FETCHING
    predecessor_ended: bool = False
    """The hub has closed the old connection, normally, before the successor's welcome was read."""
    welcome: Welcome | None = None
    welcomed: float = 0.0
    heard: float = 0.0
    unwritten: dict[str, bytes] = field(default_factory=dict)
    """The frames of requests by their ids, in the order in which they were made."""
    unheard: deque[str] = field(default_factory=deque)

    def enter(self, stage: Stage, deadline: float) -> None:
        self.stage, self.deadline = stage, deadline
