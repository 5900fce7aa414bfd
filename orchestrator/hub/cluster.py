"""One hub's part in a cluster: what it holds is told to the others, and what reaches them of its peers goes there.

It stands between the hub's core and a backplane, and like the core it touches no socket and no clock. Each hub is the
only one that changes what is known of its own connections, so hubs need agree on nothing.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Protocol

from orchestrator.hub import neighbours, remote_sends
from orchestrator.hub.backplane import Kind, Topic
from orchestrator.hub.directory import Directory
from orchestrator.hub.envelopes import (
    Answers,
    Beat,
    Bye,
    Delta,
    Held,
    Kick,
    Published,
    Release,
    Released,
    Sent,
    Snapshot,
    Takeover,
    Want,
    decode,
)
from orchestrator.hub.following import Following, Rosters
from orchestrator.hub.handover import Handovers, Holder
from orchestrator.hub.holdings import EVERYBODY, Holdings
from orchestrator.hub.intake import Refused
from orchestrator.hub.neighbours import Neighbour, Neighbours
from orchestrator.hub.remote_sends import Outcome, Pending, RemoteSends
from orchestrator.hub.rosters import Reason
from orchestrator.hub.voice import Voice
from orchestrator.protocol.codes import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.hub.backplane import Backplane
    from orchestrator.hub.connections import Connection
    from orchestrator.hub.envelopes import Said
    from orchestrator.hub.ledger import Key
    from orchestrator.hub.outbox import Turn
    from orchestrator.hub.timers import Timers

_LOOK: Final = 0.5
"""Seconds between two looks at who is silent."""
_SAY_AGAIN: Final = 60.0
_log: Final = logging.getLogger("orchestrator.hub")


class Core(Holder, Rosters, Protocol):
    """What a cluster asks of its hub."""

    def usage(self) -> dict[str, tuple[int, int, int]]:
        """Connections, most connections at one time and attempted messages, by app."""

    def deliver_published(self, said: Published) -> None: ...

    def deliver_sent(self, said: Sent) -> int:
        """Return into how many outboxes it was put."""

    def kick_here(self, app: str, peer: str) -> None: ...


class Cluster:
    """`start` it when the backplane is up. Whoever runs the hub hands on what the backplane says: `heard`, `nobody`,
    `passed` and `turned`; and calls `speak` once per turn in which `turn.owed` was set.
    """

    def __init__(self, node: str, backplane: Backplane, core: Core, turn: Turn, timers: Timers) -> None:
        self.voice = Voice(node, backplane)
        self.holdings = Holdings(self.voice, turn, timers)
        self.directory = Directory()
        self.neighbours = Neighbours(self)
        self._following = Following(node, self.holdings, self.directory, core, turn, timers)
        self._core = core
        self._turn = turn
        self._timers = timers
        self._asked: dict[int, str] = {}
        """Silent hubs, by the ticket with which they were asked for a sign."""
        self._sends = RemoteSends()
        self._handovers = Handovers(self.voice, self.holdings, core, turn, timers, self._seen)
        self._sends_watched = False
        self._answers: dict[str, tuple[list[int], list[int]]] = {}
        """What became of the sends of others, which is to be told at the end of the turn."""
        self.unsent = 0
        """Messages on channels that could not be sent to the other hubs."""
        self._regretted = float("-inf")

    def start(self) -> None:
        self.voice.backplane.listen(EVERYBODY)
        self.voice.backplane.listen(Topic(Kind.NODE, text=self.voice.node))
        self._beat(self._turn.now)
        self._timers.at(self._turn.now + _LOOK, self._look)

    def end(self) -> None:
        """Say goodbye to the other hubs."""
        if not self.voice.silent:
            self.speak()
            self.voice.say(EVERYBODY, Bye(self.voice.node, self.voice.next_number()))
            self.voice.silent = True
            self._sends.end_all(self._turn.now)

    @property
    def stale(self) -> bool:
        """Whether what is known of other hubs may be out of date."""
        return not self.voice.backplane.up or any(neighbour.out_of_date for neighbour in self.neighbours)

    def connected(self, connection: Connection, others: int, wall: float) -> None:
        """Take note of a connection, before its welcome; `others` of the same peer were here before.

        `wall` is Unix seconds: of hubs that do not know of one another yet, the clock decides whose connection is newer.
        """
        holders = self.directory.holders(connection.app.name, connection.peer_id)
        known = max((held.generation for held in holders.values()), default=0)
        self.holdings.connected(connection, others, max(known + 1, int(wall * 1000)))
        if connection.identity.instance is not None:
            rivals = [node for node, held in holders.items() if held.instance]
            for node in sorted(rivals, key=lambda node: holders[node].generation, reverse=True):
                self._handovers.begin(connection, node)

    def _seen(self) -> dict[str, int]:
        """Return the number of the message that came last of each hub."""
        return {neighbour.node: neighbour.last for neighbour in self.neighbours}

    # -- what goes to others

    def receivers(self, app: str, channel: str) -> int:
        """Return how many subscriptions of other hubs take in a channel, as far as is known."""
        return self.directory.receivers(app, channel)

    def publish(
        self, app: str, channel: str, sender: str, frame: bytes, metadata: bytes | None, message_id: str | None
    ) -> bool:
        """Send a message to the other hubs; `False` = none of them has got it.

        Until `turn.origin` is reset, it is what this hub's own connections get too.
        """
        self.holdings.tell()
        number = self.voice.next_number()
        said = Published(self.voice.node, number, app, channel, sender, frame, metadata, message_id)
        taken = self.voice.say(Topic(Kind.CHANNEL, app, channel), said)
        if not taken:
            self._unsent()
        self._turn.origin = (self.voice.node, number)
        return taken

    def _unsent(self) -> None:
        """Say from time to time that messages do not reach the other hubs; that the engine is away was said."""
        self.unsent += 1
        if self.voice.backplane.up and self._turn.now >= self._regretted + _SAY_AGAIN:
            self._regretted = self._turn.now
            text = (
                "the backplane takes no more for now: of this hub's messages %d have not reached the other hubs so far"
            )
            _log.warning(text, self.unsent)

    def elsewhere(self, app: str, peer: str) -> int:
        """Return how many connections of a peer other hubs are known to hold."""
        return sum(held.connections for held in self.directory.holders(app, peer).values())

    def send(
        self, connection: Connection, to: str, frame: bytes, message_id: str | None, request_id: str | None, here: int
    ) -> None:
        """Send a message to the hubs that hold a peer, and answer its sender when it is known what became of it.

        `here` are the connections of this hub's own that get it, with `turn.origin` as it is then.
        """
        now = self._turn.now
        pending = Pending(connection, to, request_id, message_id, now + remote_sends.PATIENCE, here)
        if self._sends.full or not self.voice.backplane.up:
            remote_sends.tell(pending, Outcome.UNKNOWN, now)
            return
        self.holdings.tell()
        ticket, number = self.voice.next_ticket(), self.voice.next_number()
        app = connection.app.name
        said = Sent(self.voice.node, number, app, to, connection.peer_id, frame, message_id, ticket)
        self._turn.origin = (self.voice.node, number)
        self._sends.add(ticket, pending)
        if not self.voice.ask(Topic(Kind.PEER, app, to), said, ticket):
            self._sends.end(ticket, Outcome.UNKNOWN, now)
        elif not self._sends_watched:
            self._sends_watched = True
            self._timers.at(pending.due, self._end_late)

    def _end_late(self, now: float) -> None:
        due = self._sends.end_late(now)
        self._sends_watched = due is not None
        if due is not None:
            self._timers.at(due, self._end_late)

    def kick(self, app: str, peer: str) -> int:
        """Have a peer's connections closed everywhere else; return how many there are, as far as is known.

        Raises `Refused` when that cannot be said to the other hubs.
        """
        if not self.voice.say(EVERYBODY, Kick(self.voice.node, self.voice.next_number(), app, peer)):
            raise Refused(ErrorCode.BACKEND_ERROR, "the other hubs, where the peer may be, cannot be reached now", None)
        return self.elsewhere(app, peer)

    def usage(self, app: str) -> Iterable[tuple[int, int, int]]:
        """Return what the other hubs said last of their connections, most connections and messages of an app."""
        return [neighbour.usage[app] for neighbour in self.neighbours if app in neighbour.usage]

    def speak(self) -> None:
        """Tell the others what has gathered in a turn."""
        self._turn.owed = False
        self.holdings.speak()
        if self._answers:
            answers, self._answers = self._answers, {}
            for node, (delivered, not_found) in answers.items():
                said = Answers(self.voice.node, self.voice.next_number(), tuple(delivered), tuple(not_found))
                self.voice.say(Topic(Kind.NODE, text=node), said)

    # -- what the backplane says

    def heard(self, message: bytes) -> None:
        said = decode(message)
        if said is None or said.node == self.voice.node or self.voice.silent:
            return
        neighbour = self.neighbours.meet(said.node, self._turn.now)
        if said.number == neighbour.last:
            return  # it came by another topic too
        neighbour.last = said.number
        if self._asked:  # for a sign of life, and here it is
            self._asked = {ticket: node for ticket, node in self._asked.items() if node != said.node}
        match said:
            case Published():
                self._core.deliver_published(said)
            case Sent():
                self._take_sent(said)
            case Answers():
                self._answered(said)
            case _:
                self._heard_of_hubs(neighbour, said)

    def _heard_of_hubs(self, neighbour: Neighbour, said: Said) -> None:
        now = self._turn.now
        match said:
            case Delta():
                self.neighbours.delta(neighbour, said, now)
            case Beat():
                self.neighbours.beat(neighbour, said, now)
            case Snapshot():
                self.neighbours.snapshot(neighbour, said, now)
            case Want():
                self.holdings.send_all(said.node)
            case Bye():
                self.neighbours.leave(said.node, Reason.DRAINING.value)
            case Kick():
                self._core.kick_here(said.app, said.peer)
            case Takeover():
                self._handovers.take_over(said)
            case Held():
                self._handovers.held(said)
            case Release():
                self._handovers.release(said)
            case Released():
                self._handovers.released(said)

    def nobody(self, ticket: int) -> None:
        """No hub listens to what was asked."""
        node = self._asked.pop(ticket, None)
        if node is not None:
            _log.warning("hub %s is gone", node)
            self.neighbours.leave(node, Reason.LOST.value)
        self._sends.end(ticket, Outcome.UNKNOWN if self._in_doubt(ticket) else Outcome.NOT_FOUND, self._turn.now)
        self._handovers.nobody(ticket)

    def _in_doubt(self, ticket: int) -> bool:
        """Tell whether a send's receiver is at a hub that may be there, and just not listen again yet."""
        pending = self._sends.get(ticket)
        holders = () if pending is None else self.directory.holders(pending.connection.app.name, pending.to)
        return any(self.neighbours.is_stale(node) for node in holders)

    def passed(self, ticket: int) -> None:
        self._handovers.passed(ticket)
        self.holdings.passed(ticket)

    def turned(self, up: bool, why: str) -> None:
        """Be told that the engine is away: nobody waits for it any more. Or that it is back."""
        now = self._turn.now
        if up:
            _log.info("the backplane is back")
            self.neighbours.back(now)
            self._beat(now, again=False)
            return
        _log.warning("the backplane is away, and this hub works alone: %s", why)
        self.neighbours.away()
        self._asked.clear()
        self._sends.end_all(now)
        self._handovers.end_all()
        self.holdings.let_go()

    def _take_sent(self, said: Sent) -> None:
        answers = self._answers.get(said.node)
        if answers is None:
            answers = self._answers[said.node] = ([], [])
        found = self._core.deliver_sent(said)
        answers[0 if found else 1].append(said.ticket)
        self._turn.owed = True

    def _answered(self, said: Answers) -> None:
        now = self._turn.now
        for ticket in said.delivered:
            self._sends.end(ticket, Outcome.DELIVERED, now)
        for ticket in said.not_found:
            pending = self._sends.get(ticket)
            if pending is None:
                continue
            pending.denials += 1
            if pending.denials >= len(self.directory.holders(pending.connection.app.name, pending.to)):
                self._sends.end(ticket, Outcome.NOT_FOUND, now)

    # -- time

    def _beat(self, now: float, again: bool = True) -> None:
        if self.voice.silent:
            return
        self.holdings.tell()
        self.voice.say(
            EVERYBODY,
            Beat(
                self.voice.node,
                self.voice.next_number(),
                self.holdings.state,
                self.holdings.checksum,
                self._core.usage(),
            ),
        )
        if again:
            self._timers.at(now + neighbours.BEAT, self._beat)

    def _look(self, now: float) -> None:
        if self.voice.silent:
            return
        if self.voice.backplane.up:
            self.neighbours.look(now)
            if self._asked:
                there = {neighbour.node for neighbour in self.neighbours}
                self._asked = {ticket: node for ticket, node in self._asked.items() if node in there}
        self._timers.at(now + _LOOK, self._look)

    # -- the other hubs' facts

    def want(self, node: str) -> None:
        self.voice.say(Topic(Kind.NODE, text=node), Want(self.voice.node, self.voice.next_number()))

    def suspected(self, node: str) -> None:
        if node not in self._asked.values():
            ticket = self.voice.next_ticket()
            said = Want(self.voice.node, self.voice.next_number())
            if self.voice.ask(Topic(Kind.NODE, text=node), said, ticket):
                self._asked[ticket] = node

    def recorded(self, node: str, key: Key, value: bytes) -> None:
        self._following.recorded(node, key, value)

    def erased(self, node: str, key: Key, reason: str) -> None:
        self._following.erased(node, key, reason)

    def returned(self, app: str, channel: str, peer: str) -> None:
        """Note that a peer which its hub has sent elsewhere is listed here."""
        self._following.returned(app, channel, peer)
