"""Who works on an item, agreed by messages alone: the earliest claim by Lamport time wins, then the lower peer id.

A claimant hears nothing of its own message, so it waits for the settle time: whoever claimed at about the same
moment is heard of by then, and whoever holds the item already says so. All members that hear each other within
the settle time agree on one holder; members that do not can both hold an item.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeAlias

from orchestrator.patterns.effects import Publish
from orchestrator.protocol.payloads import ClaimNotice, RejectNotice, ReleaseNotice

SETTLE_SECONDS: Final = 0.15
RETURN_SECONDS: Final = 3.0
"""Seconds after a reconnect in which no bid is decided: a holder that comes back as well may still say so."""
KNOWN_ITEMS: Final = 100_000
"""Items whose holder is remembered; beyond it the one that was heard of longest ago is forgotten."""


@dataclass(frozen=True, slots=True)
class Won:
    item: str
    fence: int


@dataclass(frozen=True, slots=True)
class Lost:
    """Somebody else has the item; `holder` is their peer id."""

    item: str
    holder: str


Verdict: TypeAlias = Won | Lost
ClaimEffect: TypeAlias = Publish | Won | Lost


@dataclass(frozen=True, slots=True, order=True)
class _Bid:
    """The smaller one wins."""

    lamport: int
    peer: str
    heard: float = field(compare=False)
    """When it was heard of here, in seconds of the caller's clock."""


class Claims:
    """One member's view of who holds what in one team."""

    def __init__(self, me: str, channel: str, settle: float = SETTLE_SECONDS) -> None:
        self._me, self._channel, self._settle = me, channel, settle
        self._clock = 0
        self._bids: dict[str, dict[str, _Bid]] = {}
        """For each item, the bids of those who hold it or may come to hold it, my own included."""
        self._wanted: dict[str, float] = {}
        """When each of my bids that is still settling is decided."""
        self._held: set[str] = set()
        self._unsaid: dict[str, None] = {}
        """Items whose release the others did not hear; bounded like those that are known."""
        self._decides_from = float("-inf")

    @property
    def held(self) -> frozenset[str]:
        return frozenset(self._held)

    def claim(self, item: str, now: float) -> list[ClaimEffect]:
        """Bid for an item. The verdict comes at once when its holder is known, else at the settle time."""
        holder = self._holder(item)
        if holder is not None:
            return [Lost(item, holder)]
        self._clock += 1
        self._wanted[item] = max(now + self._settle, self._decides_from)
        self._remember(item, _Bid(self._clock, self._me, now))
        bid = ClaimNotice(item, self._me, self._clock)
        return [Publish(self._channel, bid, ref=bid)]

    def release(self, item: str, now: float) -> list[ClaimEffect]:
        """Give an item back, or withdraw a bid for it; the others may claim it from then on."""
        if item not in self._held and item not in self._wanted:
            return []
        self._held.discard(item)
        self._wanted.pop(item, None)
        self._released(item, self._me, now)
        notice = ReleaseNotice(item, self._me)
        return [Publish(self._channel, notice, ref=notice)]

    def unheard(self, notice: ReleaseNotice) -> None:
        """Remember a release that the others may not have heard of, to say it again after the reconnect."""
        self._unsaid[notice.item_id] = None
        if len(self._unsaid) > KNOWN_ITEMS:
            del self._unsaid[next(iter(self._unsaid))]

    def receive(self, sender: str, notice: ClaimNotice | RejectNotice | ReleaseNotice, now: float) -> list[ClaimEffect]:
        """Take another member's word; `sender` is the hub's stamp, and the only identity that counts."""
        item = notice.item_id
        if isinstance(notice, ReleaseNotice):
            self._released(item, sender, now)
            return []
        if isinstance(notice, RejectNotice):
            return self._rejected(item, notice.winner or sender, now)
        # A program that knows no Lamport time bids as if it had heard everything that we have.
        lamport = self._clock + 1 if notice.lamport is None else notice.lamport
        self._clock = max(self._clock, lamport)
        if item in self._held:
            return [Publish(self._channel, RejectNotice(item, self._me, self._me))]
        self._remember(item, _Bid(lamport, sender, now))
        return []

    def member_left(self, peer_id: str, now: float) -> None:
        """Free what a member held, or bid for, that is gone."""
        for item in [item for item, bids in self._bids.items() if peer_id in bids]:
            self._released(item, peer_id, now)

    def rejoined(self, now: float) -> list[ClaimEffect]:
        """Say again what is held, and what is not any more, after a time in which nothing was heard in either direction.

        What the others held is forgotten, for they may have released it meanwhile: who still holds it says so.
        """
        self._decides_from = now + RETURN_SECONDS
        for item in self._wanted:
            self._wanted[item] = max(self._wanted[item], self._decides_from)
        self._bids = {item: self._bids[item] for item in (*self._held, *self._wanted)}
        said: list[ClaimEffect] = []
        for item in self._held:
            said.append(Publish(self._channel, ClaimNotice(item, self._me, self._bids[item][self._me].lamport)))
            # Whoever bids for it right now has not bid against a holder, and would go by Lamport times alone.
            said.append(Publish(self._channel, RejectNotice(item, self._me, self._me)))
        for item in [item for item in self._unsaid if item not in self._held and item not in self._wanted]:
            notice = ReleaseNotice(item, self._me)
            said.append(Publish(self._channel, notice, ref=notice))
        self._unsaid.clear()
        return said

    def tick(self, now: float) -> list[ClaimEffect]:
        """Decide the bids whose settle time is over."""
        verdicts: list[ClaimEffect] = []
        for item in [item for item, due in self._wanted.items() if due <= now]:
            del self._wanted[item]
            best = min(self._bids[item].values())
            if best.peer == self._me:
                self._held.add(item)
                verdicts.append(Won(item, best.lamport))
            else:
                self._forget(item, self._me)
                verdicts.append(Lost(item, best.peer))
                # Should the winner go away now, the others must not take this bid for the next holder's.
                notice = ReleaseNotice(item, self._me)
                verdicts.append(Publish(self._channel, notice, ref=notice))
        return verdicts

    def next_tick(self) -> float | None:
        return min(self._wanted.values(), default=None)

    def _holder(self, item: str) -> str | None:
        bids = self._bids.get(item)
        return min(bids.values()).peer if bids else None

    def _rejected(self, item: str, winner: str, now: float) -> list[ClaimEffect]:
        """The winner has said so itself, or somebody who knows it: nobody else's bid counts any more."""
        if winner == self._me or item in self._held:
            return []
        known = self._bids.get(item, {}).get(winner)
        self._remember(item, known or _Bid(self._clock, winner, now), alone=True)
        if self._wanted.pop(item, None) is None:
            return []
        return [Lost(item, winner)]

    def _released(self, item: str, peer: str, now: float) -> None:
        """Forget a bid, and those that had settled beside it: they had lost."""
        bids = self._bids.get(item, {})
        was_holder = bool(bids) and min(bids.values()).peer == peer
        self._forget(item, peer)
        if was_holder:
            for bid in [bid for bid in bids.values() if bid.heard + self._settle <= now and bid.peer != self._me]:
                self._forget(item, bid.peer)

    def _remember(self, item: str, bid: _Bid, *, alone: bool = False) -> None:
        bids = {} if alone else self._bids.pop(item, {})
        bids[bid.peer] = bid
        self._bids.pop(item, None)
        self._bids[item] = bids
        if len(self._bids) > KNOWN_ITEMS:
            oldest = next(known for known in self._bids if known not in self._held and known not in self._wanted)
            del self._bids[oldest]

    def _forget(self, item: str, peer: str) -> None:
        bids = self._bids.get(item)
        if bids is not None:
            bids.pop(peer, None)
            if not bids:
                del self._bids[item]
