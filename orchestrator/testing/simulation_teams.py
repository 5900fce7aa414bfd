"""What holds for the claims and the state of teams: who holds what, and that all members come to have the same."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final

from orchestrator.testing.simulation_faults import in_force

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from orchestrator.agents.relations import Claim
    from orchestrator.runtime.team import HubTeam
    from orchestrator.testing.simulation_faults import Schedule
    from orchestrator.testing.simulation_hub import World
    from orchestrator.testing.simulation_record import Record
    from orchestrator.topology.replica import TeamSeat

FEW: Final = 3
"""Keys that a sentence names."""
SETTLING: Final = 5.0
"""Seconds beyond a sign of life within which one of two holders that hear each other gives up."""


@dataclass(slots=True, eq=False)
class Hold:
    """One block in which a member had an item."""

    seat: TeamSeat
    item: str
    peer: str
    bid: float
    """When it asked for the item, and when it had it."""
    won: float
    fence: int
    ended: float | None = None

    @property
    def named(self) -> str:
        return f"{self.peer} (since {self.won:.3f} s, fence {self.fence})"


class Holds:
    """All of one simulation."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self.all: dict[tuple[str, str], list[Hold]] = {}
        """By team and item."""

    def tap(self, team: HubTeam, seat: TeamSeat, peer: str) -> None:
        """Record every claim that a member wins, and for how long."""
        claim = team.claim

        @asynccontextmanager
        async def claimed(item: str) -> AsyncIterator[Claim | None]:
            bid = self._record.clock()
            async with claim(item) as won:
                if won is None:
                    yield None
                    return
                hold = self._began(Hold(seat, item, peer, bid, self._record.clock(), won.fence))
                try:
                    yield won
                finally:
                    if hold.ended is None:
                        hold.ended = self._record.clock()

        vars(team).update(claim=claimed)

    def died(self, peer: str) -> None:
        """Note that a peer holds nothing any more, whatever its cancelled blocks still do."""
        for holds in self.all.values():
            for hold in holds:
                if hold.peer == peer and hold.ended is None:
                    hold.ended = self._record.clock()

    def _began(self, hold: Hold) -> Hold:
        before = self.all.setdefault((hold.seat.name, hold.item), [])
        if hold.seat.strong:
            there = [other for other in before if other.ended is None]
            if there:
                self._record.violate(
                    "one strong holder at a time", f"{hold.named} and {there[0].named} both hold {hold.item!r}"
                )
            if before and hold.fence <= before[-1].fence:
                self._record.violate("fences grow", f"{hold.named} holds {hold.item!r} after {before[-1].named}")
        before.append(hold)
        self._record.note(hold.peer, f"holds {hold.item!r} with fence {hold.fence}")
        return hold


def claims_hold(world: World, schedule: Schedule) -> Iterator[tuple[str, str]]:
    """See that best-effort claims have one holder wherever messages arrive, and again after they did not."""
    for holds in world.holds.all.values():
        for one, other in combinations(sorted(holds, key=lambda hold: hold.won), 2):
            since, until = other.won, min(_end(world, one), _end(world, other))
            if one.seat.strong or until <= since:
                continue
            both = f"{one.named} and {other.named} both held {one.item!r} until {until:.3f} s"
            if not in_force(schedule, other.bid - 1.0, other.won, one.peer, other.peer):
                yield "best-effort claims agree", f"{both}, and they heard each other"
            patience = one.seat.ttl / 3 + SETTLING
            if until - since > patience and not in_force(schedule, until - patience, until, one.peer, other.peer):
                yield "best-effort claims agree", f"{both}, and had heard each other again for {patience:g} s"


def _end(world: World, hold: Hold) -> float:
    return world.elapsed() if hold.ended is None else hold.ended


def states_hold(world: World) -> Iterator[tuple[str, str]]:
    """See that all members of a team have the same map."""
    seen: dict[str, tuple[str, dict[str, Any]]] = {}
    for peer, replica in world.running.items():
        for seat in world.planned(peer).teams:
            mine = dict(replica._teams[seat.name].state)
            first, theirs = seen.setdefault(seat.name, (peer, mine))
            if mine != theirs:
                keys = sorted(key for key in {*mine, *theirs} if mine.get(key, _NONE) != theirs.get(key, _NONE))
                few = ", ".join(
                    f"{key!r}: {theirs.get(key, _NONE)!r} and {mine.get(key, _NONE)!r}" for key in keys[:FEW]
                )
                yield "state converges", f"{first} and {peer} differ in {len(keys)} keys of {seat.name!r}: {few}"


_NONE: Final = "nothing"
