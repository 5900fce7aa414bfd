"""The workers of a coordinator as it sees them, and the choice among them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

from orchestrator.patterns.roster import Change, Joined, Roster
from orchestrator.protocol.frames import Present
from orchestrator.protocol.payloads import Load

FULL_PAUSE: Final = 0.25
"""Seconds for which a worker that refused a task as full is not tried again."""
ABSENT_PAUSE: Final = 2.0
"""The most seconds after which one that was not found, and may come, is looked for again."""
LEAST_APPETITE: Final = 8
MOST_APPETITE: Final = 1_000
"""Tasks that a coordinator has under way at once where nobody says how many."""
RETURN_SECONDS: Final = 3.0
"""Seconds after each connect in which absence proves nothing: workers start, or come back, at about the same time."""


@dataclass(frozen=True, slots=True)
class Pool:
    """One worker agent: which tasks it takes, and where its replicas are found.

    `channel` is where they are present; without one they are the `peers`, who are there until the hub says
    otherwise: a program that joins no pool, or an agent as a user sees it. `direct` pools get their tasks by send.
    """

    agent: str
    handles: Mapping[str, bool] | None
    """For each task type, whether doing it twice is harmless; `None` = whatever it is sent."""
    channel: str | None = None
    peers: tuple[str, ...] = ()
    concurrency: int = 1
    direct: bool = False
    capabilities: frozenset[str] = frozenset()
    """Of the `peers`, who tell nobody what they are able to do."""
    in_parts: bool = False
    """Its workers are of this package: what is too large for one message may go to them in several."""

    @property
    def silent(self) -> bool:
        """Its workers are programs that send their outcomes and nothing else: their silence says nothing."""
        return self.channel is None and not self.direct

    def takes(self, task: str) -> bool:
        return self.handles is None or task in self.handles


@dataclass(slots=True)
class Seat:
    """One worker: what it has of ours, and what it last said of itself."""

    peer: str
    pool: Pool
    capabilities: frozenset[str] = frozenset()
    present: bool = True
    outstanding: set[str] = field(default_factory=set)
    """Ids of our tasks that it holds, or that are on their way to it."""
    foreign: int = 0
    """Tasks of others that it held when it last spoke."""
    capacity: int = 1
    pause_until: float = float("-inf")
    missing: int = 0
    """How often in a row it was not found; meanwhile one task at a time looks for it."""
    last_chosen: int = 0
    retired: bool = False
    """It is about to end: it keeps what it has, and gets nothing more."""

    @property
    def takes_more(self) -> bool:
        return self.present and not self.retired

    def missed(self, now: float) -> None:
        """Note that it was not found, though it may come: the longer it is away, the less often it is looked for."""
        if self.pause_until <= now:
            self.missing += 1
            self.pause_until = now + min(FULL_PAUSE * 2 ** (self.missing - 1), ABSENT_PAUSE)

    def heard(self, load: Load | None) -> None:
        self.missing = 0
        if load is not None:
            self.capacity = max(load.capacity, 1)
            self.foreign = max(load.inflight - len(self.outstanding), 0)

    def is_free(self, now: float) -> bool:
        room = 1 if self.missing else self.capacity
        return self.takes_more and len(self.outstanding) < room and self.pause_until <= now


class Workforce:
    """All workers of one coordinator, by the presence of their pools."""

    def __init__(self, pools: Iterable[Pool]) -> None:
        self.pools = tuple(pools)
        self._rosters = {pool.channel: Roster("agent") for pool in self.pools if pool.channel is not None}
        self.seats: dict[str, Seat] = {}
        self._settled_at = float("-inf")
        self._turn = 0
        self._retired: set[str] = set()
        """Peers that the pools had, and have no more; they may still be there."""
        for pool in self.pools:
            if pool.channel is None:
                for peer in pool.peers:
                    self._seat(peer, pool)

    def _seat(self, peer: str, pool: Pool) -> None:
        self.seats[peer] = Seat(peer, pool, pool.capabilities, capacity=pool.concurrency)

    def revise(self, pools: Sequence[Pool], now: float) -> None:
        """Have the same pools with other `peers`.

        Those that are new are to be had at once where there is no roster of them, and may be on their way. Those that are
        gone get nothing more, and keep their seats for as long as they hold something.
        """
        for old, new in zip(self.pools, pools, strict=True):
            self._retired |= set(old.peers) - set(new.peers)
            self._retired -= set(new.peers)
            for seat in [seat for seat in self.seats.values() if seat.pool is old]:
                seat.pool, seat.retired = new, seat.peer in self._retired
                if new.channel is None and seat.retired:
                    seat.present = False
                    self.vacated(seat.peer)
            if new.channel is None and (fresh := set(new.peers) - set(old.peers)):
                self._settled_at = max(self._settled_at, now + RETURN_SECONDS)
                for peer in (peer for peer in new.peers if peer in fresh):
                    if peer in self.seats:
                        self.seats[peer].present = True
                    else:
                        self._seat(peer, new)
        self.pools = tuple(pools)

    def agents_for(self, task: str) -> list[str]:
        return [pool.agent for pool in self.pools if pool.takes(task)]

    def is_idempotent(self, task: str) -> bool:
        return any(pool.handles.get(task, False) for pool in self.pools if pool.handles is not None)

    def present(self, channel: str, joined: Sequence[Present], left: Sequence[Present], *, whole: bool) -> list[Change]:
        """Apply a presence frame; `whole` says that it is the complete roster of that pool."""
        roster = self._rosters.get(channel)
        if roster is None:
            return []
        pool = next(pool for pool in self.pools if pool.channel == channel)
        changes = roster.update(joined, left, whole=whole)
        for change in changes:
            seat = self.seats.get(change.peer.id)
            if isinstance(change, Joined):
                retired = change.peer.id in self._retired
                seat = seat or Seat(change.peer.id, pool, capacity=pool.concurrency, retired=retired)
                seat.present, seat.foreign, seat.pause_until = True, 0, float("-inf")
                seat.capabilities = frozenset(change.peer.capabilities)
                self.seats[seat.peer] = seat
            elif seat is not None:
                seat.present = False
        return changes

    def appetite(self) -> int:
        """Return how many tasks are worth having under way: what the workers take at once, and as many behind those."""
        capacity = sum(seat.capacity for seat in self.seats.values() if seat.takes_more)
        return min(max(2 * capacity, LEAST_APPETITE), MOST_APPETITE)

    def vacated(self, peer: str) -> None:
        """Forget a worker that is gone and holds nothing of ours any more."""
        seat = self.seats.get(peer)
        if seat is None or seat.present or seat.outstanding:
            return
        if seat.pool.channel is not None or seat.retired:
            del self.seats[peer]

    def disconnected(self) -> None:
        for roster in self._rosters.values():
            roster.disconnected()

    def connected(self, now: float) -> None:
        self._settled_at = now + RETURN_SECONDS
        for seat in self.seats.values():
            if seat.pool.channel is None and not seat.retired:
                seat.present, seat.missing = True, 0

    def settles_at(self) -> float:
        return self._settled_at

    def choose(
        self, task: str, requires: frozenset[str], now: float, avoid: frozenset[str] = frozenset()
    ) -> Seat | None:
        """Return the free worker with the least to do, the one not chosen for longest among equals; or `None`."""
        free = [seat for seat in self._able(task, requires) if seat.peer not in avoid and seat.is_free(now)]
        if not free:
            return None
        seat = min(free, key=lambda seat: (len(seat.outstanding) + seat.foreign, seat.last_chosen))
        self.chosen(seat)
        return seat

    def chosen(self, seat: Seat) -> None:
        """Have a worker's turn come last again."""
        self._turn += 1
        seat.last_chosen = self._turn

    def owner(self, task: str, requires: frozenset[str], key: str, avoid: frozenset[str] = frozenset()) -> Seat | None:
        """Return the worker to which the tasks with this key go, busy or not; `None` when nobody able is there.

        The one with the highest hash of key and peer id: who joins takes over its share of all keys, and who leaves
        gives up its own, while the others keep theirs.
        """
        there = [seat for seat in self._able(task, requires) if seat.takes_more and seat.peer not in avoid]
        return max(there, key=lambda seat: _rank(key, seat.peer), default=None)

    def somebody_may_come(self, task: str, requires: frozenset[str], now: float, avoid: frozenset[str]) -> bool:
        """Tell whether waiting makes sense: somebody able is there and busy, or it is not yet known who is there."""
        there = [seat for seat in self._able(task, requires) if seat.takes_more and seat.peer not in avoid]
        if any(not seat.missing or (seat.pool.channel is None and now < self._settled_at) for seat in there):
            return True
        rosters = [self._rosters[pool.channel] for pool in self.pools if pool.takes(task) and pool.channel]
        if not rosters:
            return False
        return now < self._settled_at or any(not roster.known for roster in rosters)

    def _able(self, task: str, requires: frozenset[str]) -> Iterator[Seat]:
        for seat in self.seats.values():
            if seat.pool.takes(task) and requires <= seat.capabilities:
                yield seat


def _rank(key: str, peer: str) -> bytes:
    return blake2b(f"{len(key)}:{key}{peer}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
