"""What one member of a team remembers of the others' claims: who has an item, or may come to have it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import inf
from typing import Final

KNOWN_ITEMS: Final = 100_000
"""Items of which the others' claims are remembered; beyond it the one that was heard of longest ago is forgotten."""


@dataclass(frozen=True, slots=True, order=True)
class Bid:
    """Somebody else's claim. The smaller one wins."""

    waiting: bool
    """False once it is said to hold the item."""
    lamport: int
    plain: bool
    """Of a program that knows no Lamport time, and gives no signs of life. Its `lamport` is the greatest that the hub had
    carried before it: it comes after whoever bid with that one, and before all greater ones."""
    peer: str
    heard: float = field(compare=False)
    ends: float = field(compare=False)
    """When it counts no longer, in seconds of the caller's clock."""


class Rivals:
    """The claims of the others, by item."""

    def __init__(self, ttl: float, settle: float) -> None:
        self._ttl, self._settle = ttl, settle
        self._bids: dict[str, dict[str, Bid]] = {}
        self._past: dict[str, frozenset[str]] = {}
        """Items that were somebody's, with the programs that may still take them for theirs."""

    def best(self, item: str, now: float) -> Bid | None:
        """Return who has the item, or comes before all others to have it."""
        for bid in [bid for bid in self._bids.get(item, {}).values() if bid.ends <= now]:
            self.gone(item, bid.peer, now)
        return min(self._bids.get(item, {}).values(), default=None)

    def bids(self, item: str, peer: str, lamport: int, now: float, *, plain: bool) -> Bid:
        """Somebody bids."""
        bid = Bid(True, lamport, plain, peer, now, inf if plain else now + self._ttl)
        self._remember(item, bid)
        return bid

    def holds(self, item: str, peer: str, lamport: int | None, now: float) -> None:
        """Somebody holds the item, so that no bid for it counts any more; `lamport` is `None` where nobody has said it."""
        known = self._bids.get(item, {}).get(peer)
        for bid in [bid for bid in self._bids.get(item, {}).values() if bid.waiting]:
            self._forget(item, bid.peer)
        if known is None:
            known = Bid(False, 0, False, peer, now, now)
        ends = inf if known.plain else now + self._ttl
        told = known.lamport if lamport is None else lamport
        self._remember(item, replace(known, waiting=False, lamport=told, heard=now, ends=ends))

    def released(self, item: str, peer: str, now: float) -> None:
        """Somebody has given the item back, or takes its bid back."""
        self._drop(item, peer, now)
        if item in self._past:
            self._past[item] -= {peer}

    def gone(self, item: str, peer: str, now: float) -> None:
        """Somebody's claim has ended, and not by its own word."""
        bid = self._bids.get(item, {}).get(peer)
        self._drop(item, peer, now)
        if bid is not None and bid.plain:
            self.ended(item, peer)

    def left(self, peer: str, now: float, back_by: float | None) -> None:
        """Somebody is gone, or, until `back_by`, perhaps not for long."""
        for item in [item for item, bids in self._bids.items() if peer in bids]:
            bid = self._bids[item][peer]
            if back_by is None or not self._may_be_decided(bid, now):
                self.gone(item, peer, now)
            else:  # once a program is back, its own word defends what it holds
                self._bids[item][peer] = replace(bid, ends=min(bid.ends, back_by))

    def won(self, item: str) -> bool:
        """Forget the bids for an item that I have won; tells whether there were any."""
        return self._bids.pop(item, None) is not None

    def ended(self, item: str, program: str | None = None) -> None:
        """A claim has ended, mine or another; one of a `program` may still be one to itself."""
        known = self._past.pop(item, frozenset())
        self._past[item] = known if program is None else known | {program}
        if len(self._past) > KNOWN_ITEMS:
            del self._past[next(iter(self._past))]

    def remembers_another(self, item: str, program: str) -> bool:
        """Tell whether a program that takes an item for taken means a claim that has ended, and none of its own."""
        return item in self._past and program not in self._past[item]

    def forget_all(self) -> None:
        """What was heard says nothing any more."""
        self._bids.clear()
        self._past.clear()

    def _drop(self, item: str, peer: str, now: float) -> None:
        """Forget a claim, and the bids that had settled beside it: they had lost."""
        bids = self._bids.get(item, {})
        if peer not in bids:
            return
        if min(bids.values()).peer == peer:
            self.ended(item)
            for bid in [bid for bid in bids.values() if bid.waiting and self._may_be_decided(bid, now)]:
                self._forget(item, bid.peer)
        self._forget(item, peer)

    def _may_be_decided(self, bid: Bid, now: float) -> bool:
        return not bid.waiting or bid.heard + self._settle <= now

    def _remember(self, item: str, bid: Bid) -> None:
        bids = self._bids.pop(item, {})
        bids[bid.peer] = bid
        self._bids[item] = bids
        if len(self._bids) > KNOWN_ITEMS:
            del self._bids[next(iter(self._bids))]

    def _forget(self, item: str, peer: str) -> None:
        bids = self._bids.get(item, {})
        bids.pop(peer, None)
        if not bids:
            self._bids.pop(item, None)
