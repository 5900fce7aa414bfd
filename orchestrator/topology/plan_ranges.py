"""Which replicas a word of a command means: ``researcher``, ``researcher.3``, ``researcher.1-4``, ``researcher.5-``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.errors import did_you_mean
from orchestrator.topology.guesses import some

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from orchestrator.topology.plan import Plan
    from orchestrator.topology.replica import Replica

_WORD: Final = re.compile(r"([^.\[\]]*)(?:\.([^\[\]]*)|\[([^\[\]]*)\])?")
_NUMBERS: Final = re.compile(r"([0-9]{1,9})(?:(-)([0-9]{1,9})?)?", re.ASCII)


class NoRange(ValueError):
    """A word that names no agent, and none of its replicas. The text is a sentence."""


class Range(NamedTuple):
    """Some replicas of one agent, or all of them."""

    agent: str
    first: int | None = None
    """`None` = the whole agent, however many replicas it has, or none that are counted."""
    last: int | None = None
    """`None` = as many as there are."""

    def __str__(self) -> str:
        """Return the word for it, which `read_range` reads."""
        if self.first is None:
            return self.agent
        if self.first == self.last:
            return f"{self.agent}.{self.first}"
        return f"{self.agent}.{self.first}-{'' if self.last is None else self.last}"

    def holds(self, replica: Replica) -> bool:
        if replica.agent != self.agent:
            return False
        number = 1 if replica.replica is None else replica.replica
        return (self.first or 1) <= number and (self.last is None or number <= self.last)

    def meets(self, other: Range) -> bool:
        """Tell whether some replica is in both, as far as there are that many."""
        if self.agent != other.agent:
            return False
        return (self.last is None or self.last >= (other.first or 1)) and (
            other.last is None or other.last >= (self.first or 1)
        )


def read_range(word: str) -> Range:
    """Read ``AGENT``, ``AGENT.N``, ``AGENT.N-M`` or ``AGENT.N-``; ``AGENT[N-M]`` is the same. Raises `NoRange`."""
    found = _WORD.fullmatch(word)
    agent, numbers = (word, None) if found is None else (found[1], found[2] if found[2] is not None else found[3])
    if found is None or not agent:
        raise NoRange(f"{word!r} names no agent: write AGENT, AGENT.3, AGENT.1-4 or AGENT.5-")
    if numbers is None:
        return Range(agent)
    written = _NUMBERS.fullmatch(numbers)
    if written is None:
        raise NoRange(f"{word!r} names no replicas: write {agent}.3, {agent}.1-4 or {agent}.5-")
    first = int(written[1])
    last = int(written[3]) if written[3] else None if written[2] else first
    if first < 1:
        raise NoRange(f"{word!r}: replicas are counted from 1")
    if last is not None and last < first:
        raise NoRange(f"{word!r} counts down: write {agent}.{last}-{first}")
    return Range(agent, first, last)


def chosen(
    plan: Plan, words: Iterable[str], option: str, *, strict: bool = True
) -> tuple[tuple[Range, ...], list[str]]:
    """Return the ranges that words mean, and a sentence for each word that means nothing in this plan.

    `strict`: every number of a range has to be there; else those that are not are passed over.
    """
    ranges, wrong = [], []
    for word in words:
        try:
            found = read_range(word)
        except NoRange as error:
            wrong.append(f"{option}: {error}")
            continue
        sentence = _unknown(plan, found, strict=strict)
        if sentence:
            wrong.append(f"{option}: {sentence}")
        else:
            ranges.append(found)
    return tuple(ranges), wrong


def replicas_in(plan: Plan, ranges: Collection[Range]) -> tuple[Replica, ...]:
    """Return the replicas of any of these, in the order of the plan."""
    return tuple(replica for replica in plan.replicas if any(each.holds(replica) for each in ranges))


def _unknown(plan: Plan, wanted: Range, *, strict: bool) -> str:
    replicas = plan.replicas_of(wanted.agent)
    if not replicas:
        agents = dict.fromkeys(replica.agent for replica in plan.replicas)
        hint = did_you_mean(wanted.agent, agents) or f"; there are {some(agents)}"
        return f"there is no agent {wanted.agent!r}{hint}"
    if wanted.first is None:
        return ""
    if replicas[0].replica is None:
        return (
            f"{str(wanted)!r} is none: {wanted.agent!r} has no 'replicas', and its one copy is called {wanted.agent!r}"
        )
    greatest = max(wanted.first, wanted.last or 0)
    if strict and greatest > len(replicas):
        there = f"{wanted.agent}.1" if len(replicas) == 1 else f"{wanted.agent}.1 to {replicas[-1].peer_id}"
        return (
            f"there is no {wanted.agent}.{greatest}: {wanted.agent!r} has {there}, and 'replicas' in the file says so"
        )
    return ""


def written(replicas: Iterable[Replica], plan: Plan) -> Iterator[str]:
    """Yield the fewest words that mean these replicas of a plan, and no others."""
    numbers: dict[str, list[int]] = {}
    for replica in replicas:
        numbers.setdefault(replica.agent, []).append(replica.replica or 1)
    for agent, own in numbers.items():
        if len(own) == len(plan.replicas_of(agent)):
            yield agent
            continue
        for first, last in _runs(sorted(own)):
            yield str(Range(agent, first, last))


def _runs(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and last of each run of numbers without a gap."""
    first = last = numbers[0]
    for number in numbers[1:]:
        if number != last + 1:
            yield first, last
            first = number
        last = number
    yield first, last
