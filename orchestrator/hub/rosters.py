"""Who is present on a channel: counted per peer, told as one whole roster and then as changes to it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final, TypeAlias

from orchestrator.hub import wire
from orchestrator.protocol.frames import encode_json

if TYPE_CHECKING:
    from orchestrator.hub.connections import Connection
    from orchestrator.hub.directory import Member

    Present: TypeAlias = Connection | Member
    """Who may be listed: a connection, or a peer that another hub lists."""

SNAPSHOT_BYTES: Final = 900 * 1024
"""Of a roster's frame, above which the largest entries lose their metadata: clients close on 1 MiB."""
MAX_HELD: Final = 1_000
"""Frames held for one waiting roster; at more, the roster is taken when it is sent instead."""


class Reason(Enum):
    """Why a peer left a channel."""

    LEFT = "left"
    """It said so."""
    LOST = "lost"
    """Its connection ended without a word of its own; it may be back soon."""
    DRAINING = "draining"
    """The hub is shutting down."""
    REPLACED = "replaced"
    """Another process has taken over its id."""


@dataclass(slots=True, eq=False)
class Pending:
    """A roster that waits for its gap after the ack, and the changes that were told since it was taken."""

    snapshot: bytes | None = None
    """`None` = it is taken when it is sent, and holds the changes that are told until then."""
    held: list[bytes] = field(default_factory=list)

    def hold(self, frames: list[bytes]) -> None:
        self.held += frames
        if len(self.held) > MAX_HELD:
            self.forget()

    def forget(self) -> None:
        """Let go of everything, since the time to send it may be far off while a socket stalls."""
        self.snapshot = None
        self.held.clear()


class Roster:
    """The peers of one channel, each with its listed connections, and the other hubs that list it."""

    __slots__ = ("_entries", "_peers")

    def __init__(self) -> None:
        self._peers: dict[str, dict[Present, None]] = {}
        self._entries: dict[str, bytes] = {}

    def __len__(self) -> int:
        return len(self._peers)

    def __contains__(self, peer_id: str) -> bool:
        return peer_id in self._peers

    def entry(self, peer_id: str) -> bytes:
        return self._entries[peer_id]

    def entries(self) -> Iterable[bytes]:
        """Return what is listed, as JSON objects."""
        return self._entries.values()

    def own_entry(self, peer_id: str) -> bytes | None:
        """Return the line of the peer's newest connection to this hub; `None` = none is listed."""
        return next((held.entry for held in reversed(self._peers.get(peer_id, {})) if held.local), None)

    def add(self, connection: Present) -> bool:
        """List a connection, whose metadata becomes its peer's; tell whether the peer is new here."""
        connections = self._peers.setdefault(connection.peer_id, {})
        new = not connections
        connections.pop(connection, None)
        connections[connection] = None
        self._entries[connection.peer_id] = connection.entry
        return new

    def remove(self, connection: Present) -> bool:
        """Take a connection off the list; tell whether its peer is gone with it."""
        connections = self._peers.get(connection.peer_id)
        if connections is None or connection not in connections:
            return False
        del connections[connection]
        if connections:
            self._entries[connection.peer_id] = next(reversed(connections)).entry
            return False
        del self._peers[connection.peer_id], self._entries[connection.peer_id]
        return True

    def snapshot(self, channel: bytes, reader: str) -> bytes:
        """Return the frame that tells the whole roster to `reader`, who is not in it; `channel` comes as JSON."""
        entries = [entry for peer_id, entry in self._entries.items() if peer_id != reader]
        if sum(map(len, entries)) > SNAPSHOT_BYTES:
            ids = [peer_id for peer_id in self._entries if peer_id != reader]
            entries = _fitting(ids, entries)
        return wire.presence(channel, entries, ())


def _fitting(ids: list[str], entries: list[bytes]) -> list[bytes]:
    """Drop metadata, from the largest entries first, and then peers, until the roster fits into one frame."""
    excess = sum(map(len, entries)) + len(entries) - SNAPSHOT_BYTES
    for at in sorted(range(len(entries)), key=lambda at: -len(entries[at])):
        if excess <= 0:
            return entries
        bare = wire.entry(encode_json(ids[at]), None)
        excess -= len(entries[at]) - len(bare)
        entries[at] = bare
    while excess > 0:
        excess -= len(entries.pop()) + 1
    return entries


def departure(peer_id: bytes, reason: Reason) -> bytes:
    """Return one line of those who left; `peer_id` comes as JSON."""
    return b'{"peerId":%b,"reason":"%b"}' % (peer_id, reason.value.encode())


def empty(channel: bytes) -> bytes:
    """Return the roster of a pattern, which nobody is a member of; `channel` comes as JSON."""
    return wire.presence(channel, (), ())
