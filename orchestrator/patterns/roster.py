"""Who is present on a channel: frames in, joins and leaves out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from msgspec import UNSET

from orchestrator.protocol.frames import Present

GRACE: Final = 2.0
"""Seconds in which a peer that was cut off may come back, where a roster is for people and handlers to follow."""
_MAY_RETURN: Final = frozenset({"lost", "draining"})
"""Reasons for which a connection ends without a word of its peer's."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Somebody present. Everything but `id` and `since` is what the peer's token says of it, as stamped by the hub."""

    id: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    since: float = field(default=0.0, compare=False)
    """Unix seconds at which whoever looks first saw it there, by its own clock: hubs do not tell when somebody came."""

    @property
    def kind(self) -> str:
        """`agent`, `user`, or an empty string for a program that says nothing of itself."""
        return str(self.metadata.get("kind", ""))

    @property
    def agent(self) -> str:
        """The agent's name in the topology; an empty string for a peer that is no agent of one."""
        return str(self.metadata.get("agent", ""))

    @property
    def replica(self) -> int | None:
        """Which copy of its agent it is, from 1; `None` where there is but one."""
        number = self.metadata.get("replica")
        return number if isinstance(number, int) and not isinstance(number, bool) else None

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
    """A peer is gone.

    `reason` is `left` (it said so), `lost` (its connection ended without a word), `draining` (the hub was shut down, and
    it did not come back) or `replaced` (another process took over its id, and joins in its place).
    """

    peer: Peer
    reason: str


Change: TypeAlias = Joined | Left


@dataclass(slots=True)
class _Missing:
    """A peer that was cut off and may come back."""

    reason: str
    until: float
    """By the caller's clock; counts while the roster is known."""


class Roster:
    """The peers on one channel, as far as the hub has told.

    `known` is false until a whole roster has arrived on the present connection: until then an absence says nothing.

    With a `grace`, a peer that was cut off (`lost`, `draining`, or absent when the own connection is back) stays among
    the `peers` for that many seconds: if it is back by then, neither its leave nor its join is told. One that comes back
    with other metadata is another one, and both are told. `left` and `replaced` are told at once. Whoever gives a grace
    calls `tick` at `next_tick`.
    """

    def __init__(
        self,
        kind: str | None = None,
        *,
        agents: Collection[str] | None = None,
        grace: float = 0.0,
        wall_offset: float = 0.0,
    ) -> None:
        """Keep only peers of `kind`, so that visible watchers are not taken for members; `None` keeps all.

        `agents` keeps only peers of these agents; `None` keeps all. `wall_offset` turns the times that are handed in
        into Unix seconds, for `Peer.since`.
        """
        self._kind, self._agents, self._grace, self._wall_offset = kind, agents, grace, wall_offset
        self._peers: dict[str, Peer] = {}
        self._passed_over: dict[str, Peer] = {}
        """Those who are there and of other agents than are kept."""
        self._missing: dict[str, _Missing] = {}
        self.known = False

    @property
    def peers(self) -> dict[str, Peer]:
        """The peers by id; a copy."""
        return dict(self._peers)

    def __contains__(self, peer_id: object) -> bool:
        return peer_id in self._peers

    def __len__(self) -> int:
        return len(self._peers)

    def of_agent(self, agent: str) -> list[Peer]:
        """Return the replicas of an agent that are surely there, in the order of their numbers.

        Those that are cut off are not; while the roster is not known, nobody is.
        """
        there = self._peers.values() if self.known else ()
        found = [peer for peer in there if peer.agent == agent and peer.id not in self._missing]
        return sorted(found, key=lambda peer: peer.replica or 0)

    def keep(self, agents: Collection[str]) -> list[Change]:
        """Keep peers of these agents from now on, and return the joins of those who are there already.

        Those of other agents stay until they leave.
        """
        self._agents = agents
        found = [peer_id for peer_id, peer in self._passed_over.items() if peer.agent in agents]
        return [change for peer_id in found for change in self._here(peer_id, self._passed_over.pop(peer_id))]

    def disconnected(self) -> None:
        """Keep what was known, but draw no conclusion from it until a whole roster arrives."""
        self.known = False

    def update(
        self, joined: Iterable[Present], left: Iterable[Present], *, whole: bool, now: float = 0.0
    ) -> list[Change]:
        """Apply one presence frame and return what it changed; `whole` says that `joined` is the complete roster.

        `now` is in seconds of the clock by which `tick` is called; it matters to `Peer.since` and to a grace only.
        """
        changes: list[Change] = []
        if whole:
            self._passed_over.clear()
        arrived = {entry.peer_id: peer for entry in joined if (peer := self._admit(entry, now)) is not None}
        if whole:
            if not self.known:  # the graces of those who were missing before begin anew
                for missing in self._missing.values():
                    missing.until = now + self._grace
            self.known = True
            for peer_id in list(self._peers):
                if peer_id not in arrived and peer_id not in self._missing:
                    changes += self._gone(peer_id, "lost", now)
        for entry in left:
            self._passed_over.pop(entry.peer_id, None)
            if entry.peer_id in self._peers:
                changes += self._gone(entry.peer_id, entry.reason or "left", now)
        for peer_id, peer in arrived.items():
            changes += self._here(peer_id, peer)
        return changes

    def tick(self, now: float) -> list[Change]:
        """Return the leaves of those who have not come back in time."""
        if not self.known:
            return []
        late = [peer_id for peer_id, missing in self._missing.items() if missing.until <= now]
        return [self._remove(peer_id, self._missing[peer_id].reason) for peer_id in late]

    def next_tick(self) -> float | None:
        """When `tick` is due; `None` = not before something else happens."""
        return min((missing.until for missing in self._missing.values()), default=None) if self.known else None

    def _admit(self, entry: Present, now: float) -> Peer | None:
        peer = Peer(entry.peer_id, {} if entry.metadata is UNSET else entry.metadata, now + self._wall_offset)
        if self._kind is not None and peer.kind != self._kind:
            return None
        if self._agents is None or peer.agent in self._agents:
            self._passed_over.pop(peer.id, None)
            return peer
        self._passed_over[peer.id] = peer
        return None

    def _here(self, peer_id: str, peer: Peer) -> list[Change]:
        before, missing = self._peers.get(peer_id), self._missing.get(peer_id)
        if before is None:
            self._peers[peer_id] = peer
            return [Joined(peer)]
        if self._grace and before != peer:
            gone = self._remove(peer_id, "replaced" if missing is None else missing.reason)
            self._peers[peer_id] = peer
            return [gone, Joined(peer)]
        self._missing.pop(peer_id, None)
        self._peers[peer_id] = Peer(peer_id, peer.metadata, before.since)
        return []

    def _gone(self, peer_id: str, reason: str, now: float) -> list[Change]:
        if self._grace and reason in _MAY_RETURN:
            self._missing.setdefault(peer_id, _Missing(reason, now + self._grace))
            return []
        return [self._remove(peer_id, reason)]

    def _remove(self, peer_id: str, reason: str) -> Left:
        self._missing.pop(peer_id, None)
        return Left(self._peers.pop(peer_id), reason)
