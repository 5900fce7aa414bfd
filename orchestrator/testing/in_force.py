"""The faults and rules that are in force, and the connections that they take hold of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from orchestrator.errors import listed
from orchestrator.testing.faults import Down, Fault, takes_hold
from orchestrator.testing.frame_rules import FrameRule, RuleInForce

if TYPE_CHECKING:
    from orchestrator.testing.chaos_link import Link

Trouble: TypeAlias = Fault | FrameRule


@dataclass(slots=True, eq=False)
class _FaultInForce:
    fault: Fault
    taken: int = 0
    """Connections that it has taken hold of."""


class InForce:
    """Numbers, from 1, are given in the order of adding; what chance decides depends on them."""

    def __init__(self, seed: int) -> None:
        self.rules: dict[int, RuleInForce] = {}
        self._seed = seed
        self._faults: dict[int, _FaultInForce] = {}
        self._added = 0

    @property
    def refuses(self) -> bool:
        return any(isinstance(held.fault, Down) and held.fault.how == "refuse" for held in self._faults.values())

    def add(self, trouble: Trouble) -> int:
        self._added += 1
        if isinstance(trouble, FrameRule):
            self.rules[self._added] = RuleInForce(trouble)
        else:
            self._faults[self._added] = _FaultInForce(trouble)
        return self._added

    def number_of(self, trouble: Trouble) -> int:
        """Return the number of what was added last of what equals this. Raises `ValueError` if there is none."""
        known = self._known()
        for number in sorted(known, reverse=True):
            if known[number] == trouble:
                return number
        there = ", ".join(map(repr, known.values())) or listed(())
        raise ValueError(f"{trouble!r} is not in force; what is: {there}")

    def remove(self, number: int) -> Trouble | None:
        """Forget a fault or rule and return it; `None` = it was removed before."""
        gone = self._known().get(number)
        self.rules.pop(number, None)
        self._faults.pop(number, None)
        return gone

    def meet(self, link: Link) -> None:
        """Let everything that is in force take hold of a new connection, or not."""
        for number in list(self._faults):
            self.take_hold(number, link)

    def take_hold(self, number: int, link: Link) -> None:
        """Draw whether one fault concerns a connection; a rule concerns them all."""
        held = self._faults.get(number)
        if held is None or not link.passing:
            return
        fault = held.fault
        if fault.connections is not None and held.taken >= fault.connections:
            return
        if not takes_hold(fault, self._seed, number, link.number):
            return
        held.taken += 1
        if isinstance(fault, Down):
            link.end("fin" if fault.how == "close" else "reset", repr(fault))
        else:
            link.take_hold(number, fault)

    def _known(self) -> dict[int, Trouble]:
        faults: dict[int, Trouble] = {number: held.fault for number, held in self._faults.items()}
        return faults | {number: held.rule for number, held in self.rules.items()}
