"""How one hub speaks to the others: everything it says has a number, and what is to be answered a ticket."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.hub.envelopes import encode

if TYPE_CHECKING:
    from orchestrator.hub.backplane import Backplane, Topic
    from orchestrator.hub.envelopes import Said


class Voice:
    """One hub's: whoever speaks for the hub shares it, so that numbers follow one another."""

    def __init__(self, node: str, backplane: Backplane) -> None:
        self.node = node
        self.backplane = backplane
        self.silent = False
        """It has said goodbye."""
        self._number = 0
        self._ticket = 0

    def next_number(self) -> int:
        self._number += 1
        return self._number

    def next_ticket(self) -> int:
        self._ticket += 1
        return self._ticket

    def say(self, topic: Topic, said: Said) -> bool:
        """Send to all hubs that listen; `False` = it was not taken."""
        return not self.silent and self.backplane.publish(topic, encode(said))

    def ask(self, topic: Topic, said: Said, ticket: int) -> bool:
        """Do the same, and have it said when there is no hub that listens."""
        return not self.silent and self.backplane.ask(topic, encode(said), ticket)
