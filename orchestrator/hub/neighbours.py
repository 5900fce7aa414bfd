"""The other hubs of a cluster: copies of their facts, kept true by numbers and checksums, and given up when they are dead.

Nothing here waits for a single message: what is lost is noticed by the next one, or by the next sign of life.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from orchestrator.hub.ledger import Key, Ledger

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orchestrator.hub.envelopes import Beat, Delta, Op, Snapshot

BEAT: Final = 2.0
"""Seconds between two signs of life."""
SUSPECT: Final = 6.0
"""Seconds of silence after which it is asked whether anybody is still there; what is known of a hub is stale then."""
DEAD: Final = 9.0
"""Seconds of silence after which a hub is dead: its last sign may be as old as its end, and everybody is to know of that
within ten."""
_ASK_AGAIN: Final = 1.0
"""Seconds after which a hub that has not sent its facts is asked for them again."""
_LOOKS: Final = 6
"""Looks, about half a second apart, after which silence means something."""
_log: Final = logging.getLogger("orchestrator.hub")


@dataclass(slots=True)
class Neighbour:
    """What is known of one other hub."""

    node: str
    heard: float
    ledger: Ledger = field(default_factory=Ledger)
    state: int | None = None
    """That of the copy; `None` = there is none yet, or a change was missed."""
    last: int = -1
    """The number of its message that came last."""
    looks: int = 0
    """How often it was looked at since it was heard."""
    stale: bool = False
    usage: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    asked: float = float("-inf")
    """When its facts were asked for."""
    parts: list[Op] = field(default_factory=list)
    """Of the facts that are on their way."""
    next_part: int = 0

    @property
    def out_of_date(self) -> bool:
        """Whether what is known of it may not be what is so."""
        return self.stale or self.state is None


class Follower(Protocol):
    """Whoever acts on what changes with the other hubs."""

    def recorded(self, node: str, key: Key, value: bytes) -> None:
        """A fact is new, or has another value."""

    def erased(self, node: str, key: Key, reason: str) -> None:
        """A fact is none any more; `reason` is of a presence, and empty where nobody knows it."""

    def want(self, node: str) -> None:
        """Ask a hub for all its facts."""

    def suspected(self, node: str) -> None:
        """A hub has been silent for long: find out whether anybody is there."""


class Neighbours:
    """All hubs that were heard of and are not dead. Times are those of one clock, in seconds."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self._nodes: dict[str, Neighbour] = {}

    def __iter__(self) -> Iterator[Neighbour]:
        return iter(self._nodes.values())

    def __len__(self) -> int:
        return len(self._nodes)

    def is_stale(self, node: str) -> bool:
        """Tell whether what is known of a hub may be out of date."""
        neighbour = self._nodes.get(node)
        return neighbour is not None and neighbour.out_of_date

    def meet(self, node: str, now: float) -> Neighbour:
        """Return what is known of a hub that was just heard of."""
        neighbour = self._nodes.get(node)
        if neighbour is None:
            neighbour = self._nodes[node] = Neighbour(node, now)
            self._want(neighbour, now)
        neighbour.heard, neighbour.looks = now, 0
        return neighbour

    def beat(self, neighbour: Neighbour, beat: Beat, now: float) -> None:
        neighbour.usage = beat.usage
        if neighbour.state != beat.state:
            self._want(neighbour, now)
        elif neighbour.ledger.checksum != beat.checksum:
            _log.warning("what is known of hub %s is not what it says; its facts are asked for again", beat.node)
            neighbour.state = None
            self._want(neighbour, now)
        else:
            neighbour.stale = False

    def delta(self, neighbour: Neighbour, delta: Delta, now: float) -> None:
        if neighbour.state is None or delta.state <= neighbour.state:
            return  # all facts are on their way, and hold this
        if delta.state > neighbour.state + 1:
            neighbour.state = None
            self._want(neighbour, now)
            return
        neighbour.state = delta.state
        for op in delta.ops:
            self._set(neighbour, Key(op.kind, op.app, op.text, op.peer), op.value, op.reason)

    def snapshot(self, neighbour: Neighbour, snapshot: Snapshot, now: float) -> None:
        """Take a part of all facts; those that are not among them are none any more."""
        neighbour.asked = now  # the rest is on its way
        if snapshot.part == 0:
            neighbour.parts, neighbour.next_part = [], 0
        if snapshot.part != neighbour.next_part:
            return  # one was lost, and it is asked again in time
        neighbour.parts += snapshot.ops
        neighbour.next_part += 1
        if not snapshot.last:
            return
        facts = {Key(op.kind, op.app, op.text, op.peer): op.value for op in neighbour.parts}
        neighbour.parts = []
        gone = [key for key, _ in neighbour.ledger if key not in facts]
        for key, value in facts.items():
            self._set(neighbour, key, value, "")
        for key in gone:
            self._set(neighbour, key, None, "")
        neighbour.state, neighbour.stale = snapshot.state, False

    def leave(self, node: str, reason: str) -> None:
        """Give up a hub and all its facts."""
        neighbour = self._nodes.pop(node, None)
        if neighbour is not None:
            for key, _ in list(neighbour.ledger):
                self._follower.erased(node, key, reason)

    def away(self) -> None:
        """Note that nobody can be heard: what is known is stale, and nobody's silence means anything."""
        for neighbour in self._nodes.values():
            neighbour.stale = True

    def back(self, now: float) -> None:
        """Note that everybody can be heard again."""
        for neighbour in self._nodes.values():
            neighbour.heard = now

    def look(self, now: float) -> None:
        """Find those who are silent; to be called about twice a second, and not while nobody can be heard."""
        for neighbour in list(self._nodes.values()):
            silence = now - neighbour.heard
            neighbour.looks += 1
            if neighbour.state is None:
                self._want(neighbour, now)
            if neighbour.looks < _LOOKS:
                continue  # it may be this hub that was held up
            if silence >= DEAD:
                _log.warning("hub %s is gone: nothing was heard of it for %.0f seconds", neighbour.node, silence)
                self.leave(neighbour.node, "lost")
            elif silence >= SUSPECT:
                neighbour.stale = True
                self._follower.suspected(neighbour.node)

    def _want(self, neighbour: Neighbour, now: float) -> None:
        if now >= neighbour.asked + _ASK_AGAIN:
            neighbour.asked = now
            self._follower.want(neighbour.node)

    def _set(self, neighbour: Neighbour, key: Key, value: bytes | None, reason: str) -> None:
        before = neighbour.ledger.set(key, value)
        if before == value:
            return
        if value is None:
            self._follower.erased(neighbour.node, key, reason)
        else:
            self._follower.recorded(neighbour.node, key, value)


def parts(ops: Iterable[Op], most: int) -> Iterator[tuple[Op, ...]]:
    """Divide changes among messages of at most about `most` bytes."""
    some: list[Op] = []
    size = 0
    for op in ops:
        by = len(op.app) + len(op.text) + len(op.peer) + len(op.value or b"") + 40
        if some and size + by > most:
            yield tuple(some)
            some, size = [], 0
        some.append(op)
        size += by
    yield tuple(some)
