"""Who is present on a channel: frames in, joins and leaves out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from msgspec import UNSET

from orchestrator.protocol.frames import Present


@dataclass(frozen=True, slots=True)
class Peer:
    """Somebody present. Everything but `id` is what the peer's token says of it, as stamped by the hub."""

    id: str
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """`agent`, `user`, or an empty string for a program that says nothing of itself."""
        return str(self.metadata.get("kind", ""))

    @property
    def agent(self) -> str:
        """The agent's name in the topology; an empty string for a peer that is no agent of one."""
        return str(self.metadata.get("agent", ""))

    @property
    def name(self) -> str:
        return str(self.metadata.get("name") or self.id)

    @property
    def capabilities(self) -> tuple[str, ...]:
        listed = self.metadata.get("capabilities")
        return tuple(map(str, listed)) if isinstance(listed, list) else ()


@dataclass(frozen=True, slots=True)
class Joined:
    """A peer appeared on the channel."""

    peer: Peer


@dataclass(frozen=True, slots=True)
class Left:
    """A peer is gone; `reason` is `left`, `lost`, `draining` or `replaced`."""

    peer: Peer
    reason: str


Change: TypeAlias = Joined | Left


class Roster:
    """The peers on one channel, as far as the hub has told.

    `known` is false until a whole roster has arrived on the present connection: until then an absence says nothing.
    """

    def __init__(self, kind: str | None = None) -> None:
        """Keep only peers of `kind`, so that visible watchers are not taken for members; `None` keeps all."""
        self._kind = kind
        self._peers: dict[str, Peer] = {}
        self.known = False

    @property
    def peers(self) -> dict[str, Peer]:
        """The peers by id; a copy."""
        return dict(self._peers)

    def __contains__(self, peer_id: object) -> bool:
        return peer_id in self._peers

    def disconnected(self) -> None:
        """Keep what was known, but draw no conclusion from it until a whole roster arrives."""
        self.known = False

    def update(self, joined: Iterable[Present], left: Iterable[Present], *, whole: bool) -> list[Change]:
        """Apply one presence frame and return what it changed; `whole` says that `joined` is the complete roster."""
        changes: list[Change] = []
        arrived = {entry.peer_id: peer for entry in joined if (peer := self._admit(entry)) is not None}
        if whole:
            self.known = True
            changes += [self._remove(peer_id, "lost") for peer_id in list(self._peers) if peer_id not in arrived]
        for entry in left:
            if entry.peer_id in self._peers:
                changes.append(self._remove(entry.peer_id, entry.reason or "left"))
        for peer_id, peer in arrived.items():
            if peer_id not in self._peers:
                changes.append(Joined(peer))
            self._peers[peer_id] = peer
        return changes

    def _admit(self, entry: Present) -> Peer | None:
        peer = Peer(entry.peer_id, {} if entry.metadata is UNSET else entry.metadata)
        return peer if self._kind is None or peer.kind == self._kind else None

    def _remove(self, peer_id: str, reason: str) -> Left:
        return Left(self._peers.pop(peer_id), reason)
