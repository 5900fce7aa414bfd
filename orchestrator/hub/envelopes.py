"""What hubs say to one another: each message names its hub, and its place among everything that this hub has said.

Unknown kinds of messages, and fields behind those that are known, are passed over, so that hubs of neighbouring versions
understand one another; what is no longer understood at all goes under another version in the topics of the engine.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec


class _Said(msgspec.Struct, array_like=True, frozen=True, gc=False):
    node: str
    number: int
    """Grows by one with each message of this hub, whatever its topic is."""


class Published(_Said, frozen=True, tag="m"):
    """A message on a channel."""

    app: str
    channel: str
    sender: str
    frame: bytes
    """Complete, for those who do not ask for the sender's metadata."""
    metadata: bytes | None
    """Public, of the sender, as JSON."""
    id: str | None


class Sent(_Said, frozen=True, tag="d"):
    """A message to one peer, to be answered by `Answers`."""

    app: str
    to: str
    sender: str
    frame: bytes
    id: str | None
    ticket: int


class Answers(_Said, frozen=True, tag="a"):
    """What became of sends of the hub that this is for."""

    delivered: tuple[int, ...]
    """Tickets of those that are in an outbox now."""
    not_found: tuple[int, ...]


class Op(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One change of a hub's own facts; see `ledger`."""

    kind: str
    app: str
    text: str
    peer: str
    value: bytes | None
    """`None` = it is no fact any more."""
    reason: str = ""
    """Why a presence ended."""


class Delta(_Said, frozen=True, tag="x"):
    """Changes in their order, which lead from one state of a hub's facts to the next."""

    state: int
    """The number of the state that they lead to; they belong to the one before it."""
    ops: tuple[Op, ...]


class Beat(_Said, frozen=True, tag="b"):
    """A sign of life."""

    state: int
    checksum: int
    """Of all facts, to be compared."""
    usage: dict[str, tuple[int, int, int]]
    """Connections, most connections at one time and attempted messages, by app."""


class Want(_Said, frozen=True, tag="w"):
    """Asks the hub that it is for to send all its facts."""


class Snapshot(_Said, frozen=True, tag="s"):
    """A part of all facts of a hub, for the one that asked."""

    state: int
    part: int
    """From 0."""
    last: bool
    ops: tuple[Op, ...]


class Bye(_Said, frozen=True, tag="q"):
    """The hub ends; all its facts are void. Its peers were told to go elsewhere, and may have done so already."""


class Kick(_Said, frozen=True, tag="k"):
    """All hubs are to close the connections of a peer for good."""

    app: str
    peer: str


class Takeover(_Said, frozen=True, tag="t"):
    """The peer has a new connection elsewhere: the hub that it is for is to close those of other instances, and to hold
    that of this one, which is continued, until `Release`."""

    app: str
    peer: str
    instance: str
    ticket: int
    generation: int
    """Of the new connection: a hub whose own is greater gives up nothing."""


class Held(_Said, frozen=True, tag="h"):
    """What a connection subscribes to that is to be continued elsewhere, and whether with the metadata of senders."""

    ticket: int
    subscriptions: tuple[tuple[str, bool], ...] | None
    """`None` = there is no such connection."""


class Release(_Said, frozen=True, tag="e"):
    """The subscriptions are in force elsewhere: the connection is to be closed."""

    app: str
    peer: str
    instance: str
    ticket: int


class Released(_Said, frozen=True, tag="f"):
    """It is."""

    ticket: int
    seen: dict[str, int]
    """The number of the last message that was heard of each hub before."""


Said: TypeAlias = (
    Published | Sent | Answers | Delta | Beat | Want | Snapshot | Bye | Kick | Takeover | Held | Release | Released
)

encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Said).decode


def decode(message: bytes) -> Said | None:
    """Read a message; `None` = it is of a kind that is not known here, or no message of a hub."""
    try:
        said: Said = _decode(message)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return said
