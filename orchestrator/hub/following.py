"""What follows here from the facts of other hubs: rosters change, and a peer that is newer elsewhere is given up."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from orchestrator.hub.ledger import PEER
from orchestrator.hub.rosters import Reason

if TYPE_CHECKING:
    from orchestrator.hub.directory import Directory, Member
    from orchestrator.hub.holdings import Holdings
    from orchestrator.hub.ledger import Holding, Key
    from orchestrator.hub.outbox import Turn
    from orchestrator.hub.timers import Timers

_HAND_OVER: Final = 3.0
"""Seconds after which a connection that another one continues elsewhere is closed, if it was not handed over."""
_RETURN: Final = 5.0
"""Seconds in which a peer may turn up elsewhere when its hub shuts down, without anybody hearing that it was gone."""
_REASONS: Final = {reason.value: reason for reason in Reason}


class Rosters(Protocol):
    """What is asked of the hub."""

    def appear(self, app: str, channel: str, member: Member) -> None: ...

    def vanish(self, app: str, channel: str, member: Member, reason: Reason) -> None: ...

    def give_up(self, app: str, peer: str, instance: str) -> None:
        """Close the connections of a peer that has a newer one, of `instance`, elsewhere."""


class Following:
    """Keeps the directory of what other hubs hold."""

    def __init__(
        self, node: str, holdings: Holdings, directory: Directory, core: Rosters, turn: Turn, timers: Timers
    ) -> None:
        self._node = node
        self._holdings = holdings
        self._directory = directory
        self._core = core
        self._turn = turn
        self._timers = timers
        self._departing: dict[tuple[str, str, str], Member] = {}
        """Of hubs that shut down, who may turn up elsewhere, by app, channel and peer."""

    def recorded(self, node: str, key: Key, value: bytes) -> None:
        member, before = self._directory.record(node, key, value)
        if member is not None:
            self._core.appear(key.app, key.text, member)
            self.returned(key.app, key.text, key.peer)
        if before is not None:
            self._core.vanish(key.app, key.text, before, Reason.LEFT)
        if key.kind == PEER:
            self._settle_rivalry(node, key)

    def erased(self, node: str, key: Key, reason: str) -> None:
        member = self._directory.erase(node, key)
        if member is None:
            return
        why = _REASONS.get(reason, Reason.LOST)
        if why is Reason.DRAINING:
            place = (key.app, key.text, key.peer)
            self.returned(*place)
            self._departing[place] = member
            self._timers.at(self._turn.now + _RETURN, partial(self._depart, place, member))
        else:
            self._core.vanish(key.app, key.text, member, why)

    def returned(self, app: str, channel: str, peer: str) -> None:
        """Note that a peer which its hub has sent elsewhere is there, and no longer where it was."""
        member = self._departing.pop((app, channel, peer), None)
        if member is not None:
            self._core.vanish(app, channel, member, Reason.DRAINING)

    def _depart(self, place: tuple[str, str, str], member: Member, _now: float) -> None:
        if self._departing.get(place) is member:
            self.returned(*place)

    def _settle_rivalry(self, node: str, key: Key) -> None:
        """Give up a peer that has named its process, and has done so at another hub since."""
        theirs, own = self._directory.holders(key.app, key.peer).get(node), self._holdings.holding(key.app, key.peer)
        if theirs is None or own is None or not theirs.instance or not own.instance:
            return
        if (theirs.generation, node) > (own.generation, self._node):
            if theirs.instance != own.instance:
                self._core.give_up(key.app, key.peer, theirs.instance)
            else:  # it is handed over; should that fail, it is not to stay for ever
                again = partial(self._settle_handover, node, key, theirs)
                self._timers.at(self._turn.now + _HAND_OVER, again)

    def _settle_handover(self, node: str, key: Key, theirs: Holding, _now: float) -> None:
        own = self._holdings.holding(key.app, key.peer)
        if own is None or own.instance != theirs.instance or own.generation > theirs.generation:
            return
        if self._directory.holders(key.app, key.peer).get(node) == theirs:
            self._core.give_up(key.app, key.peer, theirs.instance)
