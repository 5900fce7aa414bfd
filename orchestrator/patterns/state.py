"""A team's state: a map that every member has, and that comes to be the same with all of them.

A write is published to those who are there. What is lost of that (a message, a connection, a partition) is made good by
digests: whoever has changed says the hash of what it has, and again, until every member it has heard of has said the same;
whoever hears another hash than its own asks for what it lacks. Members that nobody has heard of (cut off ever since they
came, or programs that know of no state) are told by one of those who agree. Once all have, nothing is said but a rare digest.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, TypeAlias

from msgspec import Raw

from orchestrator.errors import PayloadTooLarge, PeerNotFound, StateFull
from orchestrator.patterns.effects import Accepted, Answer, Note, Publish, Refused, Send
from orchestrator.patterns.inquiry import Inquiry
from orchestrator.patterns.reconcile import MAX_VALUE, Packing, answer, lacking, packed, sound, unpacked
from orchestrator.patterns.versioned import DELETION_SECONDS, Entry, VersionedMap
from orchestrator.protocol.payloads import (
    StateDigest,
    StateMany,
    StateNotice,
    StatePage,
    StateSync,
    StateTalk,
    StateVersions,
    plain,
)

MAX_KEYS: Final = 100_000
MAX_BYTES: Final = 32 * 1_048_576
"""Keys, and bytes of keys and values, that a writer may fill; of what others write, twice as much is taken."""
LAMPORT_PER_SECOND: Final = 2**20
"""No team writes as often. Lamport times above as many for each second since 1970 are nobody's: taken for true, one of them
would leave no room above it. One just below does no harm, because the limit moves away faster than anybody writes."""
SKEW_SECONDS: Final = 60.0

FLUSH_SECONDS: Final = 0.02
SINGLE_WRITES: Final = 16
PAGES_PER_FLUSH: Final = 4
"""Writes go out every so often: a few each in its own message, more of them together, in so many pages at most."""
QUIET_SECONDS: Final = 0.25
"""After the last change before a digest is said of it."""
LATEST_SECONDS: Final = 2.0
"""After the first one, however many follow."""
AGAIN_SECONDS: Final = 0.6
"""Between digests while somebody has not said the same."""
UNHEARD_SECONDS: Final = 1.0
"""Between digests for those who never said anything."""
IDLE_SECONDS: Final = 60.0
CROWD: Final = 30
"""Members from which on digests are said more seldom, so that each member hears no more of them."""
AWAITED_NAMES: Final = 16

ALONE_SECONDS: Final = 3.0
"""Of silence of everybody after which a member takes itself for caught up."""


@dataclass(frozen=True, slots=True)
class Changed:
    """A write that is now the latest one to its key."""

    key: str
    by: str
    """The peer id of the member that wrote it, as told by whoever passed it on."""
    json: bytes | None = field(repr=False)
    """The value as JSON; `None` = deleted."""

    @property
    def deleted(self) -> bool:
        return self.json is None

    @property
    def value(self) -> Any:
        """The value, made anew whenever it is asked for; `None` for a deletion."""
        return None if self.json is None else plain(self.json)


StateEffect: TypeAlias = Publish | Send | Note | Changed


class SharedState:
    """One member's part in the state of one team."""

    def __init__(self, me: str, channel: str, rng: Random, wall_offset: float = 0.0) -> None:
        """`rng` spreads what members say in time; `wall_offset` turns the caller's clock into Unix seconds."""
        self._me, self._channel, self._rng, self._wall_offset = me, channel, rng, wall_offset
        self.map = VersionedMap()
        self.synced = False
        """Whether it has caught up with somebody on the present connection, or is alone."""
        self._joined = False
        """Whether it ever had. Until then its writes wait, and count as made when it has."""
        self._online = self._told = self._full = self._forbidden = False
        self._others: frozenset[str] = frozenset()
        self._unsent: dict[str, None] = {}
        self._flush_at = 0.0
        self._said: str | None = None
        self._said_at = self._changed_at = self._unsaid_since = self._came_at = float("-inf")
        self._inquiry = Inquiry(self.map, channel, rng)
        self._alone_at = 0.0
        self._spread = 1.0

    # -- writing

    def write(self, key: str, value: bytes | None, now: float) -> list[StateEffect]:
        """Write JSON, or delete. Raises `StateFull`, `PayloadTooLarge`, and `ValueError` for what cannot travel."""
        entry = Entry(key, self.map.clock + 1, self._me, value)
        if value is not None:
            if len(value) > MAX_VALUE:
                raise PayloadTooLarge(len(value), MAX_VALUE)
            if not sound(entry):
                raise ValueError(f"the value of {key!r} is nested too deeply to be shared")
            if not self._fits(entry, 1):
                raise StateFull(key, MAX_KEYS, MAX_BYTES)
        self._unsent[key] = None
        return self._merge(entry, now)

    def _fits(self, entry: Entry, times: int) -> bool:
        growth = self.map.growth(entry)
        if growth > 0 and self.map.size + growth > times * MAX_BYTES:
            return False
        return self.map.get(entry.key) is not None or len(self.map) < times * MAX_KEYS

    def _merge(self, entry: Entry, now: float) -> list[StateEffect]:
        before = self.map.get(entry.key)
        if not self.map.merge(entry, now):
            return []
        if self._changed_at <= self._said_at:
            self._unsaid_since = now
        self._changed_at = now
        self._inquiry.learned_something()
        if before is None and entry.value is None:
            return []
        return [Changed(entry.key, entry.peer, entry.value)]

    # -- what the connection says

    def connected(self) -> None:
        self._online = True

    def disconnected(self) -> None:
        """Nothing is said and nobody asked until the members are known again."""
        self._online = self._told = self.synced = False
        self._said = None  # some may have taken this member for gone, and would not wait for its word any more
        self._inquiry.disconnected()

    def members(self, others: Collection[str], now: float) -> list[StateEffect]:
        """Take who else is online; the first time on a connection, begin to catch up."""
        self._inquiry.members(others)
        came = not self._others.issuperset(others)
        self._others = frozenset(others)
        if came:
            self._came_at = now
        if not self._online:
            return []
        if not self._told:
            self._told = True
            self._inquiry.begin(now)
            self._alone_at = now + ALONE_SECONDS
        elif came:
            self._inquiry.somebody_came(now)
        if not self._others:
            self._inquiry.nobody_is_there()
            return self._caught_up(now)
        return []

    def answered(self, peer: str, told: Answer, now: float) -> list[StateEffect]:
        """Take what the hub said of a message for a member, or, with an empty `peer`, for all of them."""
        if isinstance(told, Accepted):
            return []
        if peer:
            self._inquiry.unreachable(peer, now)
        if isinstance(told, Refused) and not isinstance(told.error, PeerNotFound) and not self._forbidden:
            self._forbidden = True  # the next ones would say the same
            return [Note("warning", "the team's state is not shared", {"error": str(told.error)})]
        return []

    def receive(self, sender: str, told: StateTalk, now: float) -> list[StateEffect]:
        """Take what another member says; `sender` is the hub's stamp."""
        match told:
            case StateNotice(key=key, version=(lamport, peer)):
                value = bytes(told.value)
                if peer != sender or bool(value) == told.deleted:
                    return []
                entry = Entry(key, lamport, peer, value or None)
                return self._take([entry] if sound(entry) else [], now)
            case StateMany():
                return self._take([entry for entry in unpacked(told.entries) if entry.peer == sender], now)
            case StateDigest():
                return self._digest(sender, told, now)
            case StateSync():
                self._hear(sender, told.root, told.clock, now, patience=0.4)
                return [Send(sender, each, sender, in_parts=True) for each in answer(self.map, told)]
            case StateVersions():
                wants = dict.fromkeys(key for key in lacking(self.map, told.items) if self._open(key))
                self._inquiry.versions(sender, wants, now)
                return []
            case StatePage():
                return self._page(sender, told, now)

    # -- time

    def next_tick(self) -> float | None:
        times = self._inquiry.answers_due()
        oldest = self.map.oldest_deletion()
        if oldest is not None:
            times.append(oldest + DELETION_SECONDS)
        if self._online and self._told:
            if self._unsent and self._joined:
                times.append(self._flush_at)
            times += self._inquiry.next_tick(self.synced)
            if not self.synced:
                times.append(self._alone_at)
            digest = self._digest_due()
            if digest is not None:
                times.append(digest)
        return min(times, default=None)

    def tick(self, now: float, *, thrifty: bool = False) -> list[StateEffect]:
        """Do what is due; `thrifty`: in as few messages as possible."""
        self.map.forget(now)
        self._inquiry.expire(now)
        if not self._online or not self._told:
            return []
        effects: list[StateEffect] = []
        if not self.synced and self._alone_at <= now:
            effects += self._caught_up(now)
        if self._unsent and self._joined and self._flush_at <= now:
            effects += self._flush(now, 1 if thrifty else SINGLE_WRITES)
        effects += self._inquiry.ask(now, self.synced)
        due = self._digest_due()
        if due is not None and due <= now:
            effects.append(self._say(now))
        return effects

    # -- writes on their way

    def _flush(self, now: float, singles: int) -> list[StateEffect]:
        self._flush_at = now + FLUSH_SECONDS
        entries = [entry for key in self._unsent if (entry := self.map.known(key)) is not None]
        # What another member has overwritten meanwhile is that one's to tell.
        mine = [entry for entry in entries if entry.peer == self._me]
        if len(mine) <= singles:
            self._unsent.clear()
            return [Publish(self._channel, _notice(entry), "") for entry in mine]
        packing = Packing(PAGES_PER_FLUSH)
        left = next((number for number, entry in enumerate(mine) if not packing.add(packed(entry))), len(mine))
        self._unsent = dict.fromkeys(entry.key for entry in mine[left:])
        return [Publish(self._channel, StateMany(tuple(page)), "") for page in packing.pages]

    def _take(self, entries: list[Entry], now: float) -> list[StateEffect]:
        effects: list[StateEffect] = []
        limit = int((now + self._wall_offset + SKEW_SECONDS) * LAMPORT_PER_SECOND)
        for entry in entries:
            if entry.lamport > limit:
                continue
            if not self._open(entry.key):
                self.map.clock = max(self.map.clock, entry.lamport)
            elif self._fits(entry, 2) or entry.value is None:
                effects += self._merge(entry, now)
            elif not self._full:
                self._full = True
                effects.append(Note("error", "the team's state is overfull, and part of it is not kept", {}))
        return effects

    def _open(self, key: str) -> bool:
        """Tell whether others may write a key: not if it was written here and waits for this member to catch up."""
        return self._joined or key not in self._unsent

    def _caught_up(self, now: float) -> list[StateEffect]:
        self.synced = True
        if self._said is None:
            self._changed_at = self._unsaid_since = now
        if self._joined:
            return []
        self._joined, self._flush_at = True, now
        for key in self._unsent:
            entry = self.map.known(key)
            if entry is not None:
                self.map.merge(entry._replace(lamport=self.map.clock + 1), now)
        return []

    # -- digests

    def _hear(self, peer: str, root: str, clock: int, now: float, patience: float = 0.0) -> None:
        if clock <= int((now + self._wall_offset + SKEW_SECONDS) * LAMPORT_PER_SECOND):
            self.map.clock = max(self.map.clock, clock)
        self._inquiry.hear(peer, root, now, patience)

    def _digest(self, sender: str, told: StateDigest, now: float) -> list[StateEffect]:
        self._hear(sender, told.root, told.clock, now)
        if told.root == self.map.root and self._me in told.awaiting:
            return [Send(sender, StateDigest(self.map.root, self.map.clock, (), self._channel))]
        return []

    def _awaited(self) -> list[str]:
        root = self.map.root
        return [peer for peer, theirs in self._inquiry.heard.items() if theirs != root]

    def _unheard(self) -> list[str]:
        """Return the members that never said anything, if it is for this one to tell them what there is.

        Of those who have said the same the first by name does. Each speaks whose words the others may have missed.
        """
        silent = [peer for peer in self._others if peer not in self._inquiry.heard]
        if not silent or not (len(self.map) or self.map.oldest_deletion() is not None):
            return []
        root, heard = self.map.root, self._inquiry.heard
        return [] if any(heard.get(peer) == root for peer in self._others if peer < self._me) else sorted(silent)

    def _digest_due(self) -> float | None:
        if not self.synced or not self._others:
            return None
        crowd = max(1.0, len(self._others) / CROWD)
        if self._said != self.map.root:
            quiet = self._changed_at + QUIET_SECONDS * self._spread * crowd
            due = min(quiet, self._unsaid_since + LATEST_SECONDS * crowd)
            return max(due, self._said_at + QUIET_SECONDS * crowd)
        if self._awaited():
            return self._said_at + AGAIN_SECONDS * self._spread * crowd
        if self._unheard():
            return max(self._said_at, self._came_at) + UNHEARD_SECONDS * self._spread * crowd
        return self._said_at + IDLE_SECONDS * self._spread * crowd if len(self.map) else None

    def _say(self, now: float) -> Publish:
        self._said, self._said_at = self.map.root, now
        self._spread = self._rng.uniform(0.75, 1.25)
        awaited = [*self._awaited(), *self._unheard()][:AWAITED_NAMES]
        return Publish(self._channel, StateDigest(self.map.root, self.map.clock, tuple(awaited)), "")

    def _page(self, sender: str, told: StatePage, now: float) -> list[StateEffect]:
        entries = list(unpacked(told.entries))
        effects = self._take(entries, now)
        self._hear(sender, told.root, told.clock, now, patience=0.4)
        news = sum(isinstance(effect, Changed) for effect in effects)
        self._inquiry.page(sender, [entry.key for entry in entries], news, now)
        if told.last:
            over = self._inquiry.answer_over(sender, told.resume, now)
            if isinstance(over, Send):
                effects.append(over)
            elif over and not self.synced:
                effects += self._caught_up(now)
        return effects


def _notice(entry: Entry) -> StateNotice:
    version = (entry.lamport, entry.peer)
    if entry.value is None:
        return StateNotice(entry.key, version, deleted=True)
    return StateNotice(entry.key, version, Raw(entry.value))
