"""One app: its peers, its channels and its counters. Nothing is found from one app in another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.hub.channels import Channels
from orchestrator.hub.repeats import Repeats

if TYPE_CHECKING:
    from orchestrator.hub.channels import Channel
    from orchestrator.hub.connections import Connection


class App:
    __slots__ = ("channels", "connections", "messages", "name", "peak", "peers", "repeats", "untold")

    def __init__(self, name: str) -> None:
        self.name = name
        self.channels = Channels()
        self.peers: dict[str, dict[Connection, None]] = {}
        """The open connections of each peer id, oldest first."""
        self.connections = 0
        self.peak = 0
        """Most connections at one time."""
        self.messages = 0
        """Publishes and sends attempted."""
        self.repeats = Repeats()
        self.untold: dict[str, dict[Channel, None]] = {}
        """By peer id, the channels whose readers have still to be told that this peer is there."""

    def add(self, connection: Connection) -> None:
        self.peers.setdefault(connection.peer_id, {})[connection] = None
        self.connections += 1
        self.peak = max(self.peak, self.connections)

    def remove(self, connection: Connection) -> None:
        connections = self.peers[connection.peer_id]
        del connections[connection]
        self.connections -= 1
        if not connections:
            del self.peers[connection.peer_id]
