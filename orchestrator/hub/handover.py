"""How a peer's connection is continued at another hub, with nothing of what it subscribes to lost, doubled or reordered.

The new hub asks the old one what the peer subscribes to, subscribes to the same, and once that is in force has the old
one close its connection. Until then the new connection is corked, and what comes for it is kept with the message that
brought it. The old hub says with its last word how far it has heard every hub; the rest is what the peer has not got.
Engines deliver in the order of publishing, so that nothing is between the two.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from orchestrator.hub.backplane import Kind, Topic
from orchestrator.hub.envelopes import Held, Release, Released, Takeover

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from orchestrator.hub.connections import Connection
    from orchestrator.hub.holdings import Holdings
    from orchestrator.hub.outbox import Turn
    from orchestrator.hub.timers import Timers
    from orchestrator.hub.voice import Voice

_PATIENCE: Final = 1.0
"""Seconds for the whole of it. Then the new connection goes on alone: its client finds that nobody has closed the old
one, and subscribes anew."""
_log: Final = logging.getLogger("orchestrator.hub")


class Holder(Protocol):
    """What a hub does for it."""

    def held(self, app: str, peer: str, instance: str) -> Sequence[tuple[str, bool]] | None:
        """Close the peer's connections of other instances; return what that of this one subscribes to, and whether
        with the metadata of senders. `None` = there is none."""

    def adopt(self, connection: Connection, subscriptions: Iterable[tuple[str, bool]]) -> None:
        """Subscribe a connection to what it may."""

    def release(self, app: str, peer: str, instance: str) -> None:
        """Close the connections of a peer's instance, which goes on elsewhere."""


@dataclass(slots=True)
class _Handover:
    connection: Connection
    node: str
    barrier: int = 0


class Handovers:
    def __init__(
        self,
        voice: Voice,
        holdings: Holdings,
        holder: Holder,
        turn: Turn,
        timers: Timers,
        seen: Callable[[], dict[str, int]],
    ) -> None:
        """`seen` returns the number of the message that came last of each hub."""
        self._voice = voice
        self._holdings = holdings
        self._seen = seen
        self._holder = holder
        self._turn = turn
        self._timers = timers
        self._open: dict[int, _Handover] = {}
        self._barriers: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._open)

    # -- at the new hub

    def begin(self, connection: Connection, node: str) -> None:
        """Continue what a peer has at `node`; nothing is written to `connection` before that is done."""
        app, peer, instance = connection.app.name, connection.peer_id, connection.identity.instance or ""
        voice = self._voice
        ticket = voice.next_ticket()
        own = self._holdings.holding(app, peer)
        generation = 0 if own is None else own.generation
        said = Takeover(voice.node, voice.next_number(), app, peer, instance, ticket, generation)
        if voice.ask(Topic(Kind.NODE, text=node), said, ticket):
            self._open[ticket] = _Handover(connection, node)
            connection.outbox.cork()
            connection.outbox.sift()
            self._timers.at(self._turn.now + _PATIENCE, partial(self._end_late, ticket))

    def held(self, said: Held) -> None:
        """The old hub has told what the peer subscribes to."""
        handover = self._open.get(said.ticket)
        if handover is None:
            return
        if said.subscriptions is None or not handover.connection.open:
            self._end(said.ticket, {})
            return
        self._holder.adopt(handover.connection, said.subscriptions)
        handover.barrier = self._voice.next_ticket()
        self._barriers[handover.barrier] = said.ticket
        self._voice.backplane.barrier(handover.barrier)

    def passed(self, barrier: int) -> None:
        """What was subscribed to is in force."""
        ticket = self._barriers.pop(barrier, None)
        handover = None if ticket is None else self._open.get(ticket)
        if ticket is None or handover is None:
            return
        connection, voice = handover.connection, self._voice
        app, peer, instance = connection.app.name, connection.peer_id, connection.identity.instance or ""
        self._holdings.tell()  # that it is listed here is to be known before that it is not there any more
        said = Release(voice.node, voice.next_number(), app, peer, instance, ticket)
        voice.say(Topic(Kind.NODE, text=handover.node), said)

    def released(self, said: Released) -> None:
        """The old hub has closed its connection, after what it had heard until then."""
        self._end(said.ticket, said.seen)

    def nobody(self, ticket: int) -> None:
        """The old hub is not there any more."""
        self._end(ticket, {})

    def end_all(self) -> None:
        for ticket in list(self._open):
            self._end(ticket, {})

    def _end_late(self, ticket: int, _now: float) -> None:
        handover = self._open.get(ticket)
        if handover is not None:
            _log.warning("hub %s has not handed over a connection in time", handover.node)
            self._end(ticket, {})

    def _end(self, ticket: int, seen: Mapping[str, int]) -> None:
        handover = self._open.pop(ticket, None)
        if handover is None:
            return
        self._barriers.pop(handover.barrier, None)
        outbox = handover.connection.outbox
        outbox.sifted(seen)
        outbox.uncork()

    # -- at the old hub

    def take_over(self, said: Takeover) -> None:
        own = self._holdings.holding(said.app, said.peer)
        newer = own is not None and (own.generation, self._voice.node) > (said.generation, said.node)
        held = None if newer else self._holder.held(said.app, said.peer, said.instance)
        voice = self._voice
        answer = Held(voice.node, voice.next_number(), said.ticket, None if held is None else tuple(held))
        voice.say(Topic(Kind.NODE, text=said.node), answer)

    def release(self, said: Release) -> None:
        self._holder.release(said.app, said.peer, said.instance)
        voice = self._voice
        seen = self._seen()
        number = voice.next_number()
        seen[voice.node] = number
        voice.say(Topic(Kind.NODE, text=said.node), Released(voice.node, number, said.ticket, seen))
