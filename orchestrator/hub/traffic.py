"""What a hub has done since it began, in plain numbers: counting costs next to nothing, whoever reads them and when."""

from __future__ import annotations

from collections import Counter
from typing import Final

FAN_OUTS: Final = 18
"""Sizes of fan-outs that are told apart: none, 1, 2 and 3, 4 to 7, and so on by powers of two, and all above."""


class Traffic:
    __slots__ = (
        "closes",
        "connects",
        "directs",
        "errors",
        "fan_outs",
        "messages",
        "pings",
        "presences",
        "publishes",
        "refusals",
        "requests",
        "sends",
        "slow",
        "subscribes",
        "unsubscribes",
    )

    def __init__(self) -> None:
        self.connects = 0
        """Connections that were welcomed."""
        self.closes: Counter[str] = Counter()
        """Of those, by the code that ended them; ``client`` for those that said goodbye."""
        self.slow = 0
        """Readers that were given up."""
        self.refusals: Counter[str] = Counter()
        """Those who were not let in, by cause."""
        self.errors: Counter[str] = Counter()
        """Requests of connections that were answered with an error, by its code."""
        self.requests: Counter[tuple[str, str]] = Counter()
        """Over HTTP, by route and class of the status, as in ``2xx``."""
        self.publishes = self.sends = self.subscribes = self.unsubscribes = self.pings = 0
        """What connections have asked for."""
        self.messages = self.directs = self.presences = 0
        """What was put into their outboxes for that."""
        self.fan_outs = [0] * 64
        """Publishes by the bits of the number of connections to this hub that they went to."""

    def fanned_out(self, receivers: int) -> None:
        """Note that a publish went to so many connections."""
        self.messages += receivers
        self.fan_outs[receivers.bit_length()] += 1
