"""What a hub holds, as it tells the others: its peers, what they subscribe to, and where they are listed.

Only this hub changes it. What is new is told at the end of a turn, and while much is new, together with what follows
within a moment.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final

from orchestrator.hub.backplane import Kind, Topic
from orchestrator.hub.envelopes import Delta, Op, Snapshot
from orchestrator.hub.ledger import INTEREST, LISTED, PEER, Holding, Key, Ledger, holding
from orchestrator.hub.neighbours import parts

if TYPE_CHECKING:
    from orchestrator.hub.connections import Connection
    from orchestrator.hub.outbox import Outbox, Turn
    from orchestrator.hub.rosters import Reason
    from orchestrator.hub.timers import Timers
    from orchestrator.hub.voice import Voice

EVERYBODY: Final = Topic(Kind.EVERYBODY)
_GATHER: Final = 0.02
"""Seconds in which changes are gathered after some were told."""
_PATIENCE: Final = 1.0
"""Seconds that somebody is kept waiting until the engine knows what was asked of it; then it goes on all the same."""
_PART: Final = 256 * 1024
"""Bytes of changes in one message, about."""
_SAY_AGAIN: Final = 60.0
_log: Final = logging.getLogger("orchestrator.hub")


class Holdings:
    """The facts of this hub, and whoever waits until the engine knows them."""

    def __init__(self, voice: Voice, turn: Turn, timers: Timers) -> None:
        self._voice = voice
        self._backplane = voice.backplane
        self._turn = turn
        self._timers = timers
        self._facts = Ledger()
        self._ops: list[Op] = []
        """Changes that were not told yet."""
        self._gathering = False
        self.state = 0
        """How many times changes were told."""
        self._new: list[Outbox] = []
        """Outboxes that are to wait for what was asked of the engine in this turn."""
        self._waiting: dict[int, list[Outbox]] = {}
        """Outboxes that wait for the engine, by the ticket of a barrier."""
        self._complained = float("-inf")

    @property
    def checksum(self) -> int:
        return self._facts.checksum

    # -- what changes

    def connected(self, connection: Connection, others: int, generation: int) -> None:
        """Have the peer's sends come here; its connection hears nothing before that is so, nor of its welcome.

        `others` are the connections of the peer that were here before, and `generation` is the least that it may have.
        """
        app, peer = connection.app.name, connection.peer_id
        own = self.holding(app, peer)
        generation = max(generation, 0 if own is None else own.generation + 1)
        held = Holding(others + 1, connection.identity.instance or ("" if own is None else own.instance), generation)
        self._note(Key(PEER, app, "", peer), held.encoded())
        if not others:
            self._backplane.listen(Topic(Kind.PEER, app, peer))
            self._await_engine(connection.outbox)

    def disconnected(self, connection: Connection, others: int) -> None:
        app, peer = connection.app.name, connection.peer_id
        held = self.holding(app, peer)
        if others and held is not None:
            self._note(Key(PEER, app, "", peer), held._replace(connections=others).encoded())
        else:
            self._note(Key(PEER, app, "", peer), None)
            self._backplane.ignore(Topic(Kind.PEER, app, peer))

    def subscribed(self, connection: Connection, text: str, count: int) -> None:
        """Have messages come here; the connection hears of its subscription when they do."""
        app = connection.app.name
        self._note(Key(INTEREST, app, text, ""), b"%d" % count)
        if count == 1:
            self._backplane.listen(Topic(Kind.CHANNEL, app, text))
            self._await_engine(connection.outbox)

    def unsubscribed(self, app: str, text: str, count: int) -> None:
        if count:
            self._note(Key(INTEREST, app, text, ""), b"%d" % count)
        else:
            self._note(Key(INTEREST, app, text, ""), None)
            self._backplane.ignore(Topic(Kind.CHANNEL, app, text))

    def listed(self, app: str, channel: str, peer: str, entry: bytes | None, reason: Reason | None = None) -> None:
        """Tell of a peer's line in a roster of this hub's; `None` = no connection of its is listed here any more."""
        self._note(Key(LISTED, app, channel, peer), entry, "" if reason is None else reason.value)

    def holding(self, app: str, peer: str) -> Holding | None:
        value = self._facts.get(Key(PEER, app, "", peer))
        return None if value is None else holding(value)

    def _note(self, key: Key, value: bytes | None, reason: str = "") -> None:
        if self._facts.set(key, value) != value:
            self._ops.append(Op(*key, value, reason))
            if not self._gathering:
                self._turn.owed = True

    # -- who waits for the engine

    def _await_engine(self, outbox: Outbox) -> None:
        if self._backplane.up:
            outbox.cork()
            self._new.append(outbox)
            self._turn.owed = True

    def speak(self) -> None:
        """Tell of all changes of a turn, and let those wait for the engine who have asked for something in it."""
        if not self._new:
            if not self._gathering:
                self.tell()
            return
        self.tell()  # whoever hears of it is to be counted, and found, wherever that is asked
        ticket = self._voice.next_ticket()
        self._waiting[ticket], self._new = self._new, []
        self._backplane.barrier(ticket)
        self._timers.at(self._turn.now + _PATIENCE, partial(self._go_on, ticket))

    def passed(self, ticket: int) -> None:
        for outbox in self._waiting.pop(ticket, ()):
            outbox.uncork()

    def _go_on(self, ticket: int, now: float) -> None:
        if ticket in self._waiting and now >= self._complained + _SAY_AGAIN:
            self._complained = now
            _log.warning("the backplane takes more than %g s to confirm what is subscribed to", _PATIENCE)
        self.passed(ticket)

    def let_go(self) -> None:
        """Let nobody wait any longer."""
        new, self._new = self._new, []
        for outbox in new:
            outbox.uncork()
        for ticket in list(self._waiting):
            self.passed(ticket)

    # -- what is told

    @property
    def _part(self) -> int:
        return min(_PART, self._backplane.largest // 2)

    def tell(self) -> None:
        """Tell of all changes: nobody is to hear from a peer, or be told to find it, before knowing of it."""
        if not self._ops:
            return
        ops, self._ops = self._ops, []
        for some in parts(ops, self._part):
            self.state += 1
            self._voice.say(EVERYBODY, Delta(self._voice.node, self._voice.next_number(), self.state, some))
        if not self._gathering:
            self._gathering = True
            self._timers.at(self._turn.now + _GATHER, self._gathered)

    def _gathered(self, _now: float) -> None:
        self._gathering = False
        self.tell()

    def send_all(self, node: str) -> None:
        """Send everything to one hub, which asks again if some of it is lost."""
        self.tell()
        voice, divided = self._voice, list(parts(self._facts.ops(), self._part))
        for number, some in enumerate(divided):
            last = number == len(divided) - 1
            snapshot = Snapshot(voice.node, voice.next_number(), self.state, number, last, some)
            if not voice.say(Topic(Kind.NODE, text=node), snapshot):
                return
