"""What the other hubs hold, found by what it is about: who is listed where, which hub has a peer, who listens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from orchestrator.hub.ledger import INTEREST, LISTED, PEER, Holding, Key, holding, number
from orchestrator.hub.pattern_index import PatternIndex
from orchestrator.protocol.frames import encode_json
from orchestrator.protocol.globs import has_star
from orchestrator.protocol.names import is_reserved

if TYPE_CHECKING:
    from collections.abc import Iterable

_K = TypeVar("_K")
_V = TypeVar("_V")


class Member:
    """A peer that another hub lists in a channel: what a roster knows of it."""

    __slots__ = ("entry", "node", "peer_id", "peer_json")
    local: Final = False

    def __init__(self, node: str, peer_id: str, entry: bytes) -> None:
        self.node, self.peer_id, self.entry = node, peer_id, entry
        self.peer_json = encode_json(peer_id)


class _App:
    """Of one app, everything by hub."""

    __slots__ = ("interest", "members", "patterns", "peers")

    def __init__(self) -> None:
        self.members: dict[str, dict[tuple[str, str], Member]] = {}
        """By channel, then by hub and peer."""
        self.peers: dict[str, dict[str, Holding]] = {}
        self.interest: dict[str, dict[str, int]] = {}
        """Subscribers by channel or pattern."""
        self.patterns: PatternIndex[dict[str, int]] = PatternIndex()


class Directory:
    """Copies of no order and no time: whoever records a fact has seen to its being the latest."""

    def __init__(self) -> None:
        self._apps: dict[str, _App] = {}

    def record(self, node: str, key: Key, value: bytes) -> tuple[Member | None, Member | None]:
        """Take over a fact of a hub. Return the member that it makes, and the one that was there in its place."""
        app = self._apps.get(key.app)
        if app is None:
            app = self._apps[key.app] = _App()
        if key.kind == LISTED:
            members = app.members.setdefault(key.text, {})
            before = members.get((node, key.peer))
            member = members[node, key.peer] = Member(node, key.peer, value)
            return member, before
        if key.kind == PEER and (held := holding(value)) is not None:
            app.peers.setdefault(key.peer, {})[node] = held
        elif key.kind == INTEREST:
            interest = app.interest.get(key.text)
            if interest is None:
                interest = app.interest[key.text] = {}
                if has_star(key.text):
                    app.patterns.add(key.text, interest)
            interest[node] = number(value)
        return None, None

    def erase(self, node: str, key: Key) -> Member | None:
        """Forget a fact of a hub; return the member that it made."""
        app = self._apps.get(key.app)
        if app is None:
            return None
        member = None
        if key.kind == LISTED:
            member = _take(app.members, key.text, (node, key.peer))
        elif key.kind == PEER:
            _take(app.peers, key.peer, node)
        elif key.kind == INTEREST:
            _take(app.interest, key.text, node)
            if has_star(key.text) and key.text not in app.interest and app.patterns.get(key.text) is not None:
                app.patterns.remove(key.text)
        if not (app.members or app.peers or app.interest):
            del self._apps[key.app]
        return member

    def members(self, app: str, channel: str) -> Iterable[Member]:
        """Return who is listed in a channel, a peer once for each hub that lists it."""
        found = self._apps.get(app)
        return () if found is None else tuple(found.members.get(channel, {}).values())

    def holders(self, app: str, peer: str) -> dict[str, Holding]:
        """Return the hubs that have a peer; not to be changed."""
        found = self._apps.get(app)
        return {} if found is None else found.peers.get(peer, {})

    def receivers(self, app: str, channel: str) -> int:
        """Return how many subscriptions of other hubs take in a channel."""
        found = self._apps.get(app)
        if found is None:
            return 0
        count = sum(found.interest.get(channel, {}).values())
        if found.patterns and not is_reserved(channel):
            count += sum(sum(interest.values()) for interest in found.patterns.matching(channel))
        return count


def _take(tables: dict[str, dict[_K, _V]], name: str, key: _K) -> _V | None:
    table = tables.get(name)
    if table is None:
        return None
    taken = table.pop(key, None)
    if not table:
        del tables[name]
    return taken
