"""What an engine asks of whoever drives it, and how the hub's answers come back to it.

Structs, where one is made for every message: a dataclass takes five times as long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from msgspec import Struct

from orchestrator.protocol.payloads import Payload


class Publish(Struct, frozen=True):
    """Publish `payload`; a `ref` that is not `None` asks for the hub's answer, given back under it."""

    channel: str
    payload: Payload
    ref: Any = None
    in_parts: bool = False
    """Who gets it joins parts: what is too large for one message may go in several."""


class Send(Struct, frozen=True):
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


class Accepted(Struct, frozen=True):
    """The hub took the message; `receivers` is `None` where the hub does not count them."""

    receivers: int | None = None


class Refused(Struct, frozen=True):
    """The hub did not take the message, so nobody got it."""

    error: Exception


class Unanswered(Struct, frozen=True):
    """The connection ended before the hub answered: somebody may have got the message, or nobody."""


class Unsent(Struct, frozen=True):
    """There was no connection, so the message never left."""


Answer: TypeAlias = Accepted | Refused | Unanswered | Unsent
