"""A team whose messages pass through a hub that a test slows down, makes lossy, cuts and splits, in virtual time."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from orchestrator.patterns.claim import ClaimEffect, Claims, Lost, Revoked, Said, Unheard, Won
from orchestrator.patterns.effects import Accepted, Answer, Publish, Unanswered, Unsent
from orchestrator.protocol.payloads import ClaimNotice, HoldNotice, RejectNotice

CHANNEL: Final = "teams/desk/state"
PLAIN_SETTLE: Final = 0.5
"""Seconds for which a program of the oldest kind waits for rejects."""


@dataclass
class Member:
    """One member and its connection: what it says reaches the hub in order, and so does what it hears reach it."""

    name: str
    up: Callable[[], float]
    down: Callable[[], float]
    claims: Claims | None
    """`None` = a program of the oldest kind."""
    online: bool = True
    hub_hears_at: float = 0.0
    hears_at: float = 0.0
    waiting: dict[int, Said] = field(default_factory=dict)
    """What the hub has not answered."""
    claimed: set[str] = field(default_factory=set)
    """Of a program: items that it takes for taken."""
    mine: set[str] = field(default_factory=set)
    """Of a program: items that it has bid for and not been told off."""


@dataclass(frozen=True)
class Verdict:
    at: float
    peer: str
    item: str
    outcome: Won | Lost | Unheard
    settled: bool
    """False for whoever knew of somebody before it bid."""


class Field:
    """`loses(sender, receiver)` decides of each message to each receiver whether it is lost on the way."""

    def __init__(self, loses: Callable[[str, str, float], bool] = lambda _s, _r, _now: False) -> None:
        self.now = 0.0
        self.members: dict[str, Member] = {}
        self.holders: dict[str, set[str]] = {}
        self.crowded: list[tuple[float, str, frozenset[str]]] = []
        """Whenever an item came to have more than one holder."""
        self.verdicts: list[Verdict] = []
        self.revoked: list[tuple[str, Revoked]] = []
        self.lost_of: set[str] = set()
        """Items of which somebody missed a message that is no sign of life."""
        self._loses = loses
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def add(
        self,
        name: str,
        *,
        up: Callable[[], float],
        down: Callable[[], float],
        plain: bool = False,
        ttl: float = 30.0,
        wall_offset: float | None = None,
    ) -> None:
        claims = None if plain else Claims(name, CHANNEL, ttl=ttl, wall_offset=wall_offset)
        self.members[name] = Member(name, up, down, claims)

    # -- time

    def at(self, when: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (when, next(self._numbers), what))

    def run(self, until: float) -> None:
        while self._queue and self._queue[0][0] <= until:
            self.now, _, what = heapq.heappop(self._queue)
            what()
        self.now = until

    # -- what members want

    def claim(self, name: str, item: str, then: Callable[[bool], None] = lambda _won: None) -> None:
        """Have a member claim an item; `then` is called with the verdict of a program."""
        member = self.members[name]
        if member.claims is not None:
            self._apply(member, member.claims.claim(item, self.now), settled=False)
            return
        if item in member.claimed:
            then(False)
            return
        member.claimed.add(item)
        member.mine.add(item)
        self._publish(member, ClaimNotice(item, name), None)

        def decide() -> None:
            if item in member.mine:
                self._holds(name, item)
            then(item in member.mine)

        self.at(self.now + PLAIN_SETTLE, decide)

    def release(self, name: str, item: str) -> None:
        member = self.members[name]
        self._holds_no_more(name, item)
        if member.claims is not None:
            self._apply(member, member.claims.release(item, self.now))

    # -- what the network does

    def cut(self, name: str, *, noticed: bool = True) -> None:
        """End a connection; `noticed` = the others are told that the member is gone."""
        member = self.members[name]
        if not member.online:
            return
        member.online = False
        unanswered, member.waiting = member.waiting, {}
        claims = member.claims
        if claims is not None:
            for said in unanswered.values():
                self._apply(member, claims.answered(said, Unanswered(), self.now))
            self._apply(member, claims.disconnected(self.now))
        for other in self._others(name) if noticed else ():
            if other.claims is not None and other.online:
                self._later(other, lambda claims: self._left(claims, name))

    def restore(self, name: str) -> None:
        member = self.members[name]
        if member.online:
            return
        member.online = True
        member.hears_at = member.hub_hears_at = self.now
        if member.claims is not None:
            self._apply(member, member.claims.rejoined(self.now))

    def _left(self, claims: Claims, name: str) -> list[ClaimEffect]:
        claims.member_left(name, self.now, lost=True)
        return []

    # -- how

    def _others(self, name: str) -> Iterable[Member]:
        return [member for member in self.members.values() if member.name != name]

    def _apply(self, member: Member, effects: list[ClaimEffect], *, settled: bool = True) -> None:
        for effect in effects:
            if isinstance(effect, Publish):
                self._publish(member, effect.payload, effect.ref)
            elif isinstance(effect, Revoked):
                self.revoked.append((member.name, effect))
                self._holds_no_more(member.name, effect.item)
            else:
                self.verdicts.append(Verdict(self.now, member.name, effect.item, effect, settled))
                if isinstance(effect, Won):
                    self._holds(member.name, effect.item)
        claims = member.claims
        if claims is not None and (due := claims.next_tick()) is not None:
            self.at(max(due, self.now), lambda: self._tick(member, due))

    def _tick(self, member: Member, due: float) -> None:
        assert member.claims is not None
        if member.claims.next_tick() == due:
            self._apply(member, member.claims.tick(self.now))

    def _publish(self, member: Member, payload: Any, ref: Said | None) -> None:
        if not member.online:
            if ref is not None:
                self.at(self.now, lambda: self._answer(member, ref, Unsent()))
            return
        number = next(self._numbers)
        if ref is not None:
            member.waiting[number] = ref
        member.hub_hears_at = max(member.hub_hears_at, self.now + member.up())
        self.at(member.hub_hears_at, lambda: self._arrived(member, payload, number, ref))

    def _arrived(self, member: Member, payload: Any, number: int, ref: Said | None) -> None:
        if ref is not None and number not in member.waiting:
            return  # of a connection that has ended
        if ref is None and not member.online:
            return

        def acknowledged(claims: Claims) -> list[ClaimEffect]:
            said = member.waiting.pop(number, None)
            return [] if said is None else claims.answered(said, Accepted(), self.now)

        if ref is not None:
            self._later(member, acknowledged)
        for other in self._others(member.name):
            if not other.online or self._loses(member.name, other.name, self.now):
                if not isinstance(payload, HoldNotice):
                    self.lost_of.add(payload.item_id)
            elif other.claims is None:
                self._later_plain(other, payload)
            else:
                self._later(other, lambda claims: claims.receive(member.name, payload, self.now))

    def _answer(self, member: Member, said: Said, answer: Answer) -> None:
        if member.claims is not None:
            self._apply(member, member.claims.answered(said, answer, self.now))

    def _later(self, member: Member, what: Callable[[Claims], list[ClaimEffect]]) -> None:
        """Have something reach a member, after whatever is on its way to it already."""
        member.hears_at = max(member.hears_at, self.now + member.down())

        def hear() -> None:
            if member.online and member.claims is not None:
                self._apply(member, what(member.claims))

        self.at(member.hears_at, hear)

    # -- programs of the oldest kind

    def _later_plain(self, member: Member, payload: Any) -> None:
        member.hears_at = max(member.hears_at, self.now + member.down())

        def hear() -> None:
            item = payload.item_id
            if isinstance(payload, RejectNotice):
                member.mine.discard(item)
            elif isinstance(payload, ClaimNotice):
                if item in member.claimed:
                    self._publish(member, RejectNotice(item, member.name), None)
                else:
                    member.claimed.add(item)

        self.at(member.hears_at, hear)

    # -- who holds what

    def _holds(self, name: str, item: str) -> None:
        holders = self.holders.setdefault(item, set())
        holders.add(name)
        if len(holders) > 1:
            self.crowded.append((self.now, item, frozenset(holders)))

    def _holds_no_more(self, name: str, item: str) -> None:
        self.holders.get(item, set()).discard(name)
