"""Who works on an item, agreed by messages alone: the earliest bid by Lamport time wins, then the lower peer id.

A claimant hears nothing of its own message. So it waits until the hub has taken its bid, then for the settle time and
once more for as long as the hub's answer took: whoever bid without having heard of it is heard of by then, or is told
by whoever holds the item, be the link of either as slow as it may. Whoever hears that somebody else has won has lost.

A holder gives a sign of life at every third of `ttl`. Its claim ends for itself when the hub took none for a `ttl`, for
the others no sooner than that. Of two that hold an item after they could not hear each other, the later bid loses as
soon as they do: the one with the greater Lamport time, then with the greater peer id.

Programs that know no Lamport time come after the bids that the hub carried before theirs, and before all others. They
give no signs of life, so what they hold is theirs until they say otherwise or leave.
"""

from __future__ import annotations

from collections import ChainMap
from dataclasses import dataclass
from math import inf
from typing import Any, Final, TypeAlias

from orchestrator.patterns.alarms import Alarms
from orchestrator.patterns.effects import Accepted, Answer, Publish, Refused, Unsent
from orchestrator.patterns.rivals import KNOWN_ITEMS, Bid, Rivals
from orchestrator.protocol.payloads import ClaimNotice, ClaimTalk, HoldNotice, RejectNotice, ReleaseNotice

SETTLE_SECONDS: Final = 0.15
RETURN_SECONDS: Final = 3.0
"""Seconds in which whoever was cut off comes back with its claims: until then what it held is not free, and after a
reconnect of ours no bid is decided, since a holder that comes back as well may still say so."""
TTL_SECONDS: Final = 30.0
LEAST_TTL: Final = 1.0
"""Seconds below which a claim would end between two signs of life; a shorter `ttl` counts as this."""
_GREATEST: Final = 2**53
"""Beyond every Lamport time that a program in any language can count to."""


@dataclass(frozen=True, slots=True)
class Won:
    item: str
    fence: int


@dataclass(frozen=True, slots=True)
class Lost:
    """Somebody else has the item; `holder` is their peer id."""

    item: str
    holder: str


@dataclass(frozen=True, slots=True)
class Unheard:
    """The hub did not take a bid, so it is none."""

    item: str
    answer: Answer


@dataclass(frozen=True, slots=True)
class Revoked:
    """An item that was held is held no more; `holder` has it, `None` = the team heard nothing of us for too long."""

    item: str
    holder: str | None


ClaimEffect: TypeAlias = Publish | Won | Lost | Unheard | Revoked


@dataclass(frozen=True, slots=True)
class Said:
    """What the hub was asked to carry, and when."""

    notice: ClaimNotice | HoldNotice | ReleaseNotice
    at: float


@dataclass(slots=True)
class _Wanted:
    lamport: int
    said: float
    due: float | None = None
    """When it is decided; `None` until the hub has taken it."""


@dataclass(slots=True)
class _Held:
    lamport: int
    says: float
    """When the next sign of life is due."""
    ends: float


class Claims:
    """One member's view of who holds what in one team."""

    def __init__(
        self,
        me: str,
        channel: str,
        *,
        ttl: float = TTL_SECONDS,
        settle: float = SETTLE_SECONDS,
        wall_offset: float | None = None,
    ) -> None:
        """`wall_offset` turns the caller's clock into Unix seconds. With it a Lamport time is never less than the Unix
        milliseconds, so that whoever has just started, and heard nothing yet, does not come before all others."""
        self._me, self._channel, self._settle = me, channel, settle
        self._wall_offset = wall_offset
        self._ttl = max(ttl, LEAST_TTL)
        self._clock = 0
        """The greatest Lamport time that I know, my own bids included."""
        self._passed = 0
        """The same of what the hub has carried until now, as all others know it too."""
        self._wanted: dict[str, _Wanted] = {}
        self._held: dict[str, _Held] = {}
        self._others = Rivals(self._ttl, settle)
        self._unsaid: dict[str, None] = {}
        """Items whose release the others did not hear; bounded like those that are known."""
        self._alarms = Alarms()
        self._decides_from = -inf

    @property
    def held(self) -> frozenset[str]:
        return frozenset(self._held)

    # -- what its owner wants

    def claim(self, item: str, now: float) -> list[ClaimEffect]:
        """Bid for an item. The verdict comes at once when somebody is known to have it, else when it has settled."""
        if item in self._held or item in self._wanted:
            return [Lost(item, self._me)]
        known = self._others.best(item, now)
        if known is not None:
            return [Lost(item, known.peer)]
        self._clock = max(self._clock + 1, self._unix_milliseconds(now))
        self._wanted[item] = _Wanted(self._clock, now)
        notice = ClaimNotice(item, self._me, self._clock)
        return [Publish(self._channel, notice, ref=Said(notice, now))]

    def release(self, item: str, now: float) -> list[ClaimEffect]:
        """Give an item back, or withdraw a bid for it; the others may claim it from then on."""
        if self._held.pop(item, None) is None and self._wanted.pop(item, None) is None:
            return []
        self._others.ended(item)
        return [self._release(item, now)]

    # -- what the others say

    def receive(self, sender: str, notice: ClaimTalk, now: float) -> list[ClaimEffect]:
        """Take another member's word; `sender` is the hub's stamp, and the only identity that counts."""
        item = notice.item_id
        if isinstance(notice, ReleaseNotice):
            self._others.released(item, sender, now)
            return []
        if isinstance(notice, RejectNotice):
            return self._rejected(item, sender, notice.winner, now)
        if isinstance(notice, HoldNotice):
            return self._holds(item, sender, notice.lamport, now) if 0 < notice.lamport < _GREATEST else []
        return self._bids(item, sender, notice.lamport, now)

    def member_left(self, peer_id: str, now: float, *, lost: bool = False) -> None:
        """Free what a member had that is gone; `lost` = its connection was cut, so that it may be back soon."""
        self._others.left(peer_id, now, now + RETURN_SECONDS if lost else None)

    # -- what the connection says

    def answered(self, said: Said, answer: Answer, now: float) -> list[ClaimEffect]:
        """Take the hub's answer to something that was published with a `ref`."""
        notice = said.notice
        item = notice.item_id
        if isinstance(notice, ClaimNotice):
            wanted = self._wanted.get(item)
            if wanted is None or wanted.lamport != notice.lamport:
                return []
            if not isinstance(answer, Accepted):
                return [Unheard(item, answer), *self.release(item, now)]
            self._passed = max(self._passed, wanted.lamport)
            wanted.due = max(now + self._settle + (now - said.at), self._decides_from)
            self._alarms.set(wanted.due, item)
        elif isinstance(notice, HoldNotice):
            held = self._held.get(item)
            if held is not None and held.lamport == notice.lamport and isinstance(answer, Accepted):
                self._lives(item, held, said.at)
        elif not isinstance(answer, Accepted | Refused):
            self._unsaid[item] = None
            if len(self._unsaid) > KNOWN_ITEMS:
                del self._unsaid[next(iter(self._unsaid))]
        return []

    def disconnected(self, now: float) -> list[ClaimEffect]:
        """Give up all bids that are not decided: whoever bids against them now is not heard."""
        said: list[ClaimEffect] = []
        for item in list(self._wanted):
            said += [Unheard(item, Unsent()), *self.release(item, now)]
        return said

    def rejoined(self, now: float) -> list[ClaimEffect]:
        """Say again what is held, and what is not any more, after a time in which nothing was heard in either direction.

        What the others held is forgotten, for they may have released it meanwhile: who still holds it says so.
        """
        self._decides_from = now + RETURN_SECONDS
        for item, wanted in self._wanted.items():
            if wanted.due is not None:
                wanted.due = max(wanted.due, self._decides_from)
                self._alarms.set(wanted.due, item)
        self._others.forget_all()
        said: list[ClaimEffect] = []
        for item, held in list(self._held.items()):
            if held.ends <= now + self._settle:  # nobody is to give way to a claim that ends before this is answered
                said += [Revoked(item, None), *self.release(item, now)]
                continue
            said.append(self._sign_of_life(item, held, now))
            said.append(self._mine(item))  # for programs that bid for it right now
        said += [
            self._release(item, now)
            for item in self._unsaid
            if item not in ChainMap[str, Any](self._held, self._wanted)
        ]
        self._unsaid.clear()
        return said

    # -- what the clock says

    def tick(self, now: float) -> list[ClaimEffect]:
        """Decide the bids that have settled, give the signs of life that are due, and end what outlived them."""
        done: list[ClaimEffect] = []
        for item in dict.fromkeys(self._alarms.due(now)):
            wanted, held = self._wanted.get(item), self._held.get(item)
            if wanted is not None and wanted.due is not None and wanted.due <= now:
                done += self._decided(item, wanted, now)
            elif held is not None and held.ends <= now:
                done += [Revoked(item, None), *self.release(item, now)]
            elif held is not None and held.says <= now:
                done.append(self._sign_of_life(item, held, now))
        self._alarms.sweep(ChainMap[str, Any](self._held, self._wanted))
        return done

    def next_tick(self) -> float | None:
        return self._alarms.next()

    def _decided(self, item: str, wanted: _Wanted, now: float) -> list[ClaimEffect]:
        del self._wanted[item]
        best = self._others.best(item, now)
        if best is not None and not self._is_mine_before(wanted.lamport, best):
            # Should the winner go away now, the others must not take this bid for the next holder's.
            return [Lost(item, best.peer), self._release(item, now)]
        # The others heard the bid itself, which is the first sign of life; after a reconnect that may be long ago.
        held = self._held[item] = _Held(wanted.lamport, wanted.said + self._ttl / 3, now + self._ttl / 3)
        self._lives(item, held, wanted.said)
        told = [self._mine(item)] if self._others.won(item) else []
        return [Won(item, wanted.lamport), *told]

    def _is_mine_before(self, lamport: int, bid: Bid) -> bool:
        return bid.waiting and (lamport, False, self._me) < (bid.lamport, bid.plain, bid.peer)

    # -- bids, rejects and signs of life of the others

    def _bids(self, item: str, sender: str, lamport: int | None, now: float) -> list[ClaimEffect]:
        plain = lamport is None or not 0 < lamport < _GREATEST
        if lamport is None or plain:
            lamport = self._passed
        self._hear(lamport)
        if item in self._held:
            return [self._mine(item)]
        bid = self._others.bids(item, sender, lamport, now, plain=plain)
        wanted = self._wanted.get(item)
        if plain and wanted is not None and self._is_mine_before(wanted.lamport, bid):
            return [Publish(self._channel, RejectNotice(item, self._me))]  # who wins instead is not decided yet
        return []

    def _rejected(self, item: str, sender: str, winner: str | None, now: float) -> list[ClaimEffect]:
        if winner is None:
            return self._told_off(item, sender, now)
        if winner == self._me:
            return []
        held = self._held.get(item)
        if held is not None:
            return [self._sign_of_life(item, held, now)]  # whoever of us two is later learns of it
        return self._taken(item, winner, None, now)

    def _told_off(self, item: str, sender: str, now: float) -> list[ClaimEffect]:
        """A program says that the item is taken: by itself, or by whoever was the first of whom it has ever heard."""
        if item not in self._wanted or self._others.best(item, now) is not None:
            return []  # that is not meant for me, or Lamport time decides
        if self._others.remembers_another(item, sender):
            return []  # it remembers a claim that has ended
        del self._wanted[item]
        return [Lost(item, sender), self._release(item, now)]

    def _holds(self, item: str, sender: str, lamport: int, now: float) -> list[ClaimEffect]:
        self._hear(lamport)
        held = self._held.get(item)
        if held is None:
            return self._taken(item, sender, lamport, now)
        if (held.lamport, self._me) < (lamport, sender):
            return [self._sign_of_life(item, held, now)]
        del self._held[item]
        self._others.holds(item, sender, lamport, now)
        return [Revoked(item, sender), self._release(item, now)]

    def _taken(self, item: str, holder: str, lamport: int | None, now: float) -> list[ClaimEffect]:
        self._others.holds(item, holder, lamport, now)
        return [] if self._wanted.pop(item, None) is None else [Lost(item, holder)]

    # -- what is said

    def _mine(self, item: str) -> Publish:
        return Publish(self._channel, RejectNotice(item, self._me, self._me))

    def _sign_of_life(self, item: str, held: _Held, now: float) -> Publish:
        held.says = now + self._ttl / 3
        self._alarms.set(held.says, item)
        notice = HoldNotice(item, self._me, held.lamport)
        return Publish(self._channel, notice, ref=Said(notice, now))

    def _release(self, item: str, now: float) -> Publish:
        notice = ReleaseNotice(item, self._me)
        return Publish(self._channel, notice, ref=Said(notice, now))

    # -- the times

    def _unix_milliseconds(self, now: float) -> int:
        return 0 if self._wall_offset is None else int((now + self._wall_offset) * 1_000)

    def _lives(self, item: str, held: _Held, at: float) -> None:
        """The hub took a sign of life that was given at that time."""
        held.ends = max(held.ends, at + self._ttl)
        held.says = max(held.says, at + self._ttl / 3)
        self._alarms.set(held.says, item)
        self._alarms.set(held.ends, item)

    def _hear(self, lamport: int) -> None:
        self._passed = max(self._passed, lamport)
        self._clock = max(self._clock, lamport)
