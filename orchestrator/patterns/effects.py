"""What an engine asks of whoever drives it, and how the hub's answers come back to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from orchestrator.protocol.payloads import Payload


@dataclass(frozen=True, slots=True)
class Publish:
    """Publish `payload`; a `ref` that is not `None` asks for the hub's answer, given back under it."""

    channel: str
    payload: Payload
    ref: Any = None
    in_parts: bool = False
    """Who gets it joins parts: what is too large for one message may go in several."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send `payload` to one peer; a `ref` that is not `None` asks for the hub's answer, given back under it."""

    to: str
    payload: Payload
    ref: Any = None
    in_parts: bool = False


@dataclass(frozen=True, slots=True)
class Note:
    """Something that whoever reads the log should know."""

    level: str
    event: str
    fields: dict[str, Any]


# -- the hub's answers


@dataclass(frozen=True, slots=True)
class Accepted:
    """The hub took the message; `receivers` is `None` where the hub does not count them."""

    receivers: int | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """The hub did not take the message, so nobody got it."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Unanswered:
    """The connection ended before the hub answered: somebody may have got the message, or nobody."""


@dataclass(frozen=True, slots=True)
class Unsent:
    """There was no connection, so the message never left."""


Answer: TypeAlias = Accepted | Refused | Unanswered | Unsent
