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
    """Askings in their order. The first name that is left of the first one is the one whose turn it is."""

    def __init__(self) -> None:
        self._rolls: list[Roll] = []
        self._turn: str | None = None

    def ask(self, names: tuple[str, ...], known: Iterable[str]) -> None:
        self._rolls.append(Roll(names, list(dict.fromkeys(known))))

    def next_turn(self) -> str | None:
        """Give the next one its turn and return it; `None` while somebody else has it, and when nobody is left."""
        if self._turn is not None or not self._rolls:
            return None
        self._turn = self._rolls[0].left[0]
        return self._turn

    def has_turn(self, name: str) -> bool:
        return name == self._turn

    def is_fresh(self, name: str) -> bool:
        """Return whether the one whose turn it is has been started since it was asked for."""
        return name in self._rolls[0].fresh

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
        """Stop the asking in whose turn it failed, and those that this start was to serve too.

        Whoever asked after that start, or has it failing before its turn, sees it started again in its turn.
        """
        if name != self._turn:
            return []
        self._turn = None
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
        self._turn = None

    def _strike(self, roll: Roll, name: str) -> None:
        roll.left.remove(name)
        roll.fresh.discard(name)
        if name == self._turn:  # what is struck from a later asking is struck from the first one too
            self._turn = None
