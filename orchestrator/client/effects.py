"""What a session asks of whoever owns the sockets, and the durations that it measures."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from msgspec import Struct

from orchestrator.protocol import limits

if TYPE_CHECKING:
    from orchestrator.errors import ConnectionProblem


class State(StrEnum):
    IDLE = "idle"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    RECONNECTING = "reconnecting"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds."""

    token: float = limits.TOKEN_TIMEOUT
    """For the token provider to answer."""
    welcome: float = limits.WELCOME_TIMEOUT
    """From the start of dialling to the hub's first frame."""
    ack: float = limits.ACK_TIMEOUT
    inactivity: float | None = limits.INACTIVITY_TIMEOUT
    """Without any frame from the hub, until the connection counts as dead; a ping goes out after each third of it.
    `None` waits for ever and sends no pings."""
    replay: float = 2.0
    """Between two tries to restore a subscription."""
    close: float = 1.0
    """For the hub to answer a close before the socket is cut."""

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"timeouts: {entry.name} is a number of seconds above 0, not {value!r}")

    @property
    def ping(self) -> float:
        """Seconds of silence after which a ping goes out, at least 1."""
        return math.inf if self.inactivity is None else max(self.inactivity / 3, 1.0)


@dataclass(frozen=True, slots=True)
class Attempt:
    """Fetch a credential, then open a socket; report both under this epoch, and ask for nothing on it yet."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the hub for a WebSocket on the socket of this epoch, which is open."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Write:
    """Send one text frame on the socket of this epoch."""

    epoch: int
    frame: bytes


@dataclass(frozen=True, slots=True)
class Drop:
    """Close the socket of this epoch, or abandon the attempt; nothing that it still says matters."""

    epoch: int
    code: int
    reason: str


class Settled(Struct, frozen=True):
    """A request has ended: with the hub's ack, or with `error`."""

    request: str
    receivers: int | None = None
    error: ConnectionProblem | None = None


@dataclass(frozen=True, slots=True)
class Noted:
    """One record for the log."""

    level: Literal["debug", "info", "warning", "error"]
    event: str
    fields: dict[str, Any] = field(default_factory=dict)


Effect: TypeAlias = Attempt | Ask | Write | Drop | Settled | Noted


class Request(NamedTuple):
    """A request that was just made: its frame is to be written now, and `Settled` with its id will follow."""

    id: str
    epoch: int
    frame: bytes
    """Empty: the session itself has it written, as soon as a continued connection takes it."""
