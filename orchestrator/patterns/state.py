"""A team's state: a map that every member has, and that comes to be the same with all of them.

A write is published to those who are there. What is lost of that (a message, a connection, a partition) is made good by
digests: whoever has changed says the hash of what it has, and again, until every member it has heard of has said the same;
whoever hears another hash than its own asks for what it lacks. Once all agree nothing is said but a rare digest.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, TypeAlias

from msgspec import Raw

from orchestrator.errors import PayloadTooLarge, PeerNotFound, StateFull
from orchestrator.patterns.effects import Accepted, Answer, Note, Publish, Refused, Send
from orchestrator.patterns.reconcile import MAX_VALUE, PAGE_BYTES, Packing, answer, lacking, packed, sound, unpacked
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
IDLE_SECONDS: Final = 60.0
CROWD: Final = 30
"""Members from which on digests are said more seldom, so that each member hears no more of them."""
AWAITED_NAMES: Final = 16

ANSWER_SECONDS: Final = 0.5
"""Of silence after which a member is taken not to answer."""
ALONE_SECONDS: Final = 3.0
"""Of silence of everybody after which a member takes itself for caught up."""
ASK_AGAIN_SECONDS: Final = 1.0
ASK_SELDOM_SECONDS: Final = 15.0
OFTEN: Final = 60
"""How often everybody is asked again soon, while nobody has answered, and how often after that."""
MEMBERS_ASKED: Final = 3
"""Of whom a newcomer learns one after the other: the first may itself have just come."""
ASKED_AT_ONCE: Final = 3
FUTILE_SECONDS: Final = 0.3
FUTILE_MOST: Final = 30.0
"""Before somebody is asked again of whom there was nothing to learn although it has something else; doubling."""


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


@dataclass(slots=True)
class _Pull:
    """One member is being asked for what it has."""

    peer: str
    due: float
    resume: int | None = None
    wants: dict[str, None] = field(default_factory=dict)
    wanted: int = 0
    """How many wants there were when it was last asked for them; 0 = it was asked by hashes."""
    round_began: int = 0
    """How much had been learned of it when it was last asked by hashes."""
    learned: int = 0
    start: int = 0


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
        self._heard: dict[str, str] = {}
        """What each member said last that it has."""
        self._unsent: dict[str, None] = {}
        self._flush_at = 0.0
        self._said: str | None = None
        self._said_at = self._changed_at = self._unsaid_since = float("-inf")
        self._pulls: dict[str, _Pull] = {}
        self._suspects: dict[str, float] = {}
        """Members that have something else, and when each is asked for it."""
        self._futile: dict[str, int] = {}
        self._asked: set[str] = set()
        self._to_ask = self._rounds = 0
        self._ask_at = self._alone_at = 0.0
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
        self._futile.clear()
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
        self._pulls.clear()
        self._suspects.clear()

    def members(self, others: Collection[str], now: float) -> list[StateEffect]:
        """Take who else is online; the first time on a connection, begin to catch up."""
        for gone in self._others.difference(others):
            for known in (self._heard, self._pulls, self._suspects, self._futile):
                known.pop(gone, None)
        came = not self._others.issuperset(others)
        self._others = frozenset(others)
        if not self._online:
            return []
        if not self._told:
            self._told = True
            self._asked.clear()
            self._to_ask, self._rounds = MEMBERS_ASKED, 0
            self._ask_at, self._alone_at = now, now + ALONE_SECONDS
        elif came and self._to_ask:
            self._ask_at = now
        if not self._others:
            self._to_ask = 0
            return self._caught_up(now)
        return []

    def answered(self, peer: str, told: Answer, now: float) -> list[StateEffect]:
        """Take what the hub said of a message for a member, or, with an empty `peer`, for all of them."""
        if isinstance(told, Accepted):
            return []
        if peer and self._pulls.pop(peer, None) is not None and self._to_ask:
            self._ask_at = now
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
                pull = self._pulls.get(sender)
                if pull is not None:
                    pull.due = now + ANSWER_SECONDS
                    pull.wants.update(dict.fromkeys(key for key in lacking(self.map, told.items) if self._open(key)))
                return []
            case StatePage():
                return self._page(sender, told, now)

    # -- time

    def next_tick(self) -> float | None:
        times = [pull.due for pull in self._pulls.values()]
        oldest = self.map.oldest_deletion()
        if oldest is not None:
            times.append(oldest + DELETION_SECONDS)
        if self._online and self._told:
            if self._unsent and self._joined:
                times.append(self._flush_at)
            if self._to_ask and not self._pulls:
                times.append(self._ask_at)
            if not self.synced:
                times.append(self._alone_at)
            if len(self._pulls) < ASKED_AT_ONCE and self.synced:
                times += self._suspects.values()
            digest = self._digest_due()
            if digest is not None:
                times.append(digest)
        return min(times, default=None)

    def tick(self, now: float, *, thrifty: bool = False) -> list[StateEffect]:
        """Do what is due; `thrifty`: in as few messages as possible."""
        self.map.forget(now)
        for peer in [peer for peer, pull in self._pulls.items() if pull.due <= now]:
            del self._pulls[peer]
            self._ask_at = now
        if not self._online or not self._told:
            return []
        effects: list[StateEffect] = []
        if not self.synced and self._alone_at <= now:
            effects += self._caught_up(now)
        if self._unsent and self._joined and self._flush_at <= now:
            effects += self._flush(now, 1 if thrifty else SINGLE_WRITES)
        effects += self._ask(now)
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
        """Note what a member has; what it has and this one has not is asked for after `patience` seconds."""
        if clock <= int((now + self._wall_offset + SKEW_SECONDS) * LAMPORT_PER_SECOND):
            self.map.clock = max(self.map.clock, clock)
        self._heard[peer] = root
        if root == self.map.root:
            self._suspects.pop(peer, None)
            return
        if self._rounds > 1 and self._to_ask:  # somebody speaks after all
            self._rounds, self._ask_at = 1, min(self._ask_at, now)
        futile = self._futile.get(peer, 0)
        patience += self._rng.uniform(0.02, 0.12)
        if futile:
            patience += min(FUTILE_SECONDS * 2 ** min(futile, 10), FUTILE_MOST)
        self._suspects[peer] = min(self._suspects.get(peer, now + patience), now + patience)

    def _digest(self, sender: str, told: StateDigest, now: float) -> list[StateEffect]:
        self._hear(sender, told.root, told.clock, now)
        if told.root == self.map.root and self._me in told.awaiting:
            return [Send(sender, StateDigest(self.map.root, self.map.clock, (), self._channel))]
        return []

    def _awaited(self) -> list[str]:
        root = self.map.root
        return [peer for peer, theirs in self._heard.items() if theirs != root]

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
        return self._said_at + IDLE_SECONDS * self._spread * crowd if len(self.map) else None

    def _say(self, now: float) -> Publish:
        self._said, self._said_at = self.map.root, now
        self._spread = self._rng.uniform(0.75, 1.25)
        return Publish(
            self._channel, StateDigest(self.map.root, self.map.clock, tuple(self._awaited()[:AWAITED_NAMES])), ""
        )

    # -- asking

    def _ask(self, now: float) -> list[StateEffect]:
        effects: list[StateEffect] = []
        if self._to_ask and not self._pulls and self._ask_at <= now:
            chosen = self._choose(now)
            if chosen is not None:
                effects.append(self._pull(chosen, now))
        for peer in [peer for peer, due in self._suspects.items() if due <= now and self.synced]:
            if len(self._pulls) >= ASKED_AT_ONCE:
                break
            del self._suspects[peer]
            if peer not in self._pulls and self._heard.get(peer) != self.map.root:
                effects.append(self._pull(peer, now))
        return effects

    def _choose(self, now: float) -> str | None:
        """Return whom to ask next; `None` = everybody was asked."""
        left = sorted(self._others - self._asked)
        if left:
            chosen = self._rng.choice([peer for peer in left if peer in self._heard] or left)
            self._asked.add(chosen)
            return chosen
        if self.synced and self._to_ask < MEMBERS_ASKED:
            self._to_ask = 0
            return None
        self._asked.clear()
        self._rounds += 1
        self._ask_at = now + (ASK_AGAIN_SECONDS if self._rounds <= OFTEN else ASK_SELDOM_SECONDS)
        return None

    def _pull(self, peer: str, now: float) -> Send:
        self._suspects.pop(peer, None)
        pull = self._pulls[peer] = _Pull(peer, now + ANSWER_SECONDS)
        return self._sync(pull, now)

    def _sync(self, pull: _Pull, now: float) -> Send:
        """Ask for the next of what is lacking: first for what is known to lack, then for more."""
        pull.due, pull.wanted = now + ANSWER_SECONDS, len(pull.wants)
        if pull.wants:
            told = StateSync(self._channel, self.map.root, self.map.clock, wants=_some(pull.wants))
        else:
            pull.round_began = pull.learned
            told = StateSync(self._channel, self.map.root, self.map.clock, self.map.hashes, pull.start)
        return Send(pull.peer, told, pull.peer, in_parts=True)

    def _page(self, sender: str, told: StatePage, now: float) -> list[StateEffect]:
        pull = self._pulls.get(sender)
        entries = list(unpacked(told.entries))
        effects = self._take(entries, now)
        self._hear(sender, told.root, told.clock, now, patience=0.4)
        if pull is None:
            return effects
        pull.due = now + ANSWER_SECONDS
        pull.learned += sum(isinstance(effect, Changed) for effect in effects)
        for entry in entries:
            pull.wants.pop(entry.key, None)
        if told.last:
            effects += self._answer_over(pull, told.resume, now)
        return effects

    def _answer_over(self, pull: _Pull, resume: int | None, now: float) -> list[StateEffect]:
        if resume is not None:
            pull.resume = resume
        if len(pull.wants) == pull.wanted:
            pull.wants.clear()  # it has none of them any more
        if pull.wants:
            return [self._sync(pull, now)]
        if pull.resume is not None:
            # A bucket of which a whole answer brought nothing new holds nothing that can be had.
            pull.start = pull.resume + (pull.learned == pull.round_began and pull.resume == pull.start)
            pull.resume = None
            return [self._sync(pull, now)]
        del self._pulls[pull.peer]
        self._suspects.pop(pull.peer, None)  # it says its digest again, should it still have something else
        if not pull.learned and self._heard.get(pull.peer) != self.map.root:
            self._futile[pull.peer] = self._futile.get(pull.peer, 0) + 1
        if self._to_ask:
            self._to_ask -= 1
            self._ask_at = now
        return [] if self.synced else self._caught_up(now)


def _notice(entry: Entry) -> StateNotice:
    version = (entry.lamport, entry.peer)
    if entry.value is None:
        return StateNotice(entry.key, version, deleted=True)
    return StateNotice(entry.key, version, Raw(entry.value))


def _some(wants: dict[str, None]) -> tuple[str, ...]:
    """Return as many keys as fit into a message, however they are written in JSON."""
    found, room = [], PAGE_BYTES
    for key in wants:
        room -= 6 * len(key) + 3
        if room < 0:
            break
        found.append(key)
    return tuple(found)
