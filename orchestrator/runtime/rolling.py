"""Restarts that were asked for: whose turn it is, and what each asking still waits for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.runtime.supervision import Rolled, RollStopped

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(slots=True)
class Roll:
    """One asking."""

    names: tuple[str, ...]
    left: list[str]
    """Those that have not proven themselves since they were asked for."""
    fresh: set[str] = field(default_factory=set)
    """Those of them that have been started since."""


class Rolls:
    """Askings in their order, each at its first name that is left. One waits for those before it with which it shares a
    name, and for no others: somebody who never gets ready is not in everybody's way."""

    def __init__(self) -> None:
        self._rolls: list[Roll] = []

    def ask(self, names: tuple[str, ...], known: Iterable[str]) -> None:
        """Take an asking. One that is being waited for since it was started is started once more, for all who asked:
        whatever keeps it from getting ready may have been mended."""
        roll = Roll(names, list(dict.fromkeys(known)))
        for other in self._rolls:
            if other.left[0] in roll.left:
                other.fresh.discard(other.left[0])
        self._rolls.append(roll)

    def turns(self) -> tuple[str, ...]:
        """Return those whose turn it is, and who have not been started since they were asked for."""
        heads: dict[str, None] = {}
        before: set[str] = set()
        for roll in self._rolls:
            if not before.intersection(roll.left) and roll.left[0] not in roll.fresh:
                heads[roll.left[0]] = None
            before.update(roll.left)
        return tuple(heads)

    def started(self, name: str) -> None:
        for roll in self._rolls:
            if name in roll.left:
                roll.fresh.add(name)

    def settled(self, name: str) -> None:
        """The latest life of this child needs no more waiting: all who asked before it began have what they wanted."""
        for roll in self._rolls:
            if name in roll.fresh:
                self._strike(roll, name)

    def forget(self, name: str) -> None:
        for roll in self._rolls:
            if name in roll.left:
                self._strike(roll, name)

    def failed(self, name: str, because: str) -> list[RollStopped]:
        """Stop the askings in whose turn it failed, and those that this start was to serve too.

        Whoever asked after that start, or has it failing before its turn, sees it started again in its turn.
        """
        if not any(roll.left[0] == name for roll in self._rolls if roll.left):
            for roll in self._rolls:
                roll.fresh.discard(name)
            return []
        stopped = [roll for roll in self._rolls if name in roll.fresh]
        self._rolls = [roll for roll in self._rolls if name not in roll.fresh]
        return [
            RollStopped(name, tuple(other for other in roll.left if other != name), because, roll.names)
            for roll in stopped
        ]

    def complete(self) -> list[Rolled]:
        """Take off the list, and return, what is complete."""
        done = [Rolled(roll.names) for roll in self._rolls if not roll.left]
        self._rolls = [roll for roll in self._rolls if roll.left]
        return done

    def clear(self) -> None:
        self._rolls.clear()

    def _strike(self, roll: Roll, name: str) -> None:
        roll.left.remove(name)
        roll.fresh.discard(name)
