"""Whom a member asks for what it lacks of its team's state, and when.

A newcomer asks a few members one after the other. Later, whoever says another hash than one's own is asked. One question
at a time goes to each, and what an answer names but does not hold is asked for next.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Final

from orchestrator.patterns.effects import Send
from orchestrator.patterns.reconcile import PAGE_BYTES
from orchestrator.patterns.versioned import VersionedMap
from orchestrator.protocol.payloads import StateSync

ANSWER_SECONDS: Final = 0.5
"""Of silence after which a member is taken not to answer."""
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
    listed: bool = False
    """Whether it told any versions. An answer without them may have lost them."""
    start: int = 0


class Inquiry:
    """The questions of one member."""

    def __init__(self, known: VersionedMap, channel: str, rng: Random) -> None:
        self._map, self._channel, self._rng = known, channel, rng
        self.heard: dict[str, str] = {}
        """What each member said last that it has; nothing, if that was on an earlier connection."""
        self._others: frozenset[str] = frozenset()
        self._pulls: dict[str, _Pull] = {}
        self._suspects: dict[str, float] = {}
        """Members that have something else, and when each is asked for it."""
        self._futile: dict[str, int] = {}
        self._asked: set[str] = set()
        self._to_ask = self._rounds = 0
        self._ask_at = 0.0

    # -- who is there

    def begin(self, now: float) -> None:
        """Begin to catch up, as a newcomer does."""
        self._asked.clear()
        self._to_ask, self._rounds = MEMBERS_ASKED, 0
        self._ask_at = now

    def disconnected(self) -> None:
        self.heard = dict.fromkeys(self.heard, "")  # some may begin anew meanwhile
        self._pulls.clear()
        self._suspects.clear()

    def members(self, others: Collection[str]) -> None:
        """Take who else is online."""
        for gone in self._others.difference(others):
            for known in (self.heard, self._pulls, self._suspects, self._futile):
                known.pop(gone, None)
        self._others = frozenset(others)

    def somebody_came(self, now: float) -> None:
        if self._to_ask:
            self._ask_at = now

    def nobody_is_there(self) -> None:
        self._to_ask = 0

    def learned_something(self) -> None:
        """Whoever was asked in vain may now be worth a question."""
        self._futile.clear()

    def unreachable(self, peer: str, now: float) -> None:
        """Take that a message for a member was refused."""
        if self._pulls.pop(peer, None) is not None:
            self.somebody_came(now)

    # -- time

    def next_tick(self, synced: bool) -> list[float]:
        """Return when somebody may be asked; `synced`: whether the newcomer's questions are over."""
        times = [self._ask_at] if self._to_ask and not self._pulls else []
        return [*times, *self._suspects.values()] if synced and len(self._pulls) < ASKED_AT_ONCE else times

    def answers_due(self) -> list[float]:
        return [pull.due for pull in self._pulls.values()]

    def expire(self, now: float) -> None:
        """Give up those who do not answer."""
        for peer in [peer for peer, pull in self._pulls.items() if pull.due <= now]:
            del self._pulls[peer]
            self._ask_at = now

    def ask(self, now: float, synced: bool) -> list[Send]:
        effects: list[Send] = []
        if self._to_ask and not self._pulls and self._ask_at <= now:
            chosen = self._choose(now, synced)
            if chosen is not None:
                effects.append(self._pull(chosen, now))
        for peer in [peer for peer, due in self._suspects.items() if due <= now and synced]:
            if len(self._pulls) >= ASKED_AT_ONCE:
                break
            del self._suspects[peer]
            if peer not in self._pulls and self.heard.get(peer) != self._map.root:
                effects.append(self._pull(peer, now))
        return effects

    def _choose(self, now: float, synced: bool) -> str | None:
        """Return whom to ask next; `None` = everybody was asked."""
        left = sorted(self._others - self._asked)
        if left:
            chosen = self._rng.choice([peer for peer in left if peer in self.heard] or left)
            self._asked.add(chosen)
            return chosen
        if synced and self._to_ask < MEMBERS_ASKED:
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
            told = StateSync(self._channel, self._map.root, self._map.clock, wants=_some(pull.wants))
        else:
            pull.round_began = pull.learned
            told = StateSync(self._channel, self._map.root, self._map.clock, self._map.hashes, pull.start)
        return Send(pull.peer, told, pull.peer, in_parts=True)

    # -- what the others say

    def hear(self, peer: str, root: str, now: float, patience: float) -> None:
        """Note what a member has; what it has and this one has not is asked for after `patience` seconds."""
        self.heard[peer] = root
        if self._rounds and self._to_ask:  # nobody has answered yet, but somebody speaks after all
            self._rounds, self._ask_at = 1, min(self._ask_at, now)
        if root == self._map.root:
            self._suspects.pop(peer, None)
            return
        futile = self._futile.get(peer, 0)
        patience += self._rng.uniform(0.02, 0.12)
        if futile:
            patience += min(FUTILE_SECONDS * 2 ** min(futile, 10), FUTILE_MOST)
        self._suspects[peer] = min(self._suspects.get(peer, now + patience), now + patience)

    def versions(self, peer: str, lacking: dict[str, None], now: float) -> None:
        """Take the keys of which a member has listed a later write."""
        pull = self._pulls.get(peer)
        if pull is None:
            if lacking:  # the end of the answer came first, so there was something to learn after all
                self._futile.pop(peer, None)
                self._suspects[peer] = now
            return
        pull.due, pull.listed = now + ANSWER_SECONDS, True
        before = len(pull.wants)
        pull.wants.update(lacking)
        if pull.wanted:  # what is wanted since then was not asked for
            pull.wanted += len(pull.wants) - before

    def page(self, peer: str, keys: Iterable[str], learned: int, now: float) -> None:
        """Take that a page with these keys came, of which so many entries were news."""
        pull = self._pulls.get(peer)
        if pull is None:
            return
        pull.due = now + ANSWER_SECONDS
        pull.learned += learned
        for key in keys:
            pull.wants.pop(key, None)

    def answer_over(self, peer: str, resume: int | None, now: float) -> Send | bool:
        """Return the next question to a member; or whether, with this, it has told all that it has."""
        pull = self._pulls.get(peer)
        if pull is None:
            return False
        if resume is not None:
            pull.resume = resume
        if len(pull.wants) == pull.wanted:
            pull.wants.clear()  # it has none of them any more
        if pull.wants:
            return self._sync(pull, now)
        if pull.resume is not None:
            # A bucket of which a whole answer brought nothing new holds nothing that can be had.
            pull.start = pull.resume + (pull.learned == pull.round_began and pull.resume == pull.start)
            pull.resume = None
            return self._sync(pull, now)
        del self._pulls[peer]
        self._suspects.pop(peer, None)  # it says its digest again, should it still have something else
        if pull.listed and not pull.learned and self.heard.get(peer) != self._map.root:
            self._futile[peer] = self._futile.get(peer, 0) + 1
        if self._to_ask:
            self._to_ask -= 1
            self._ask_at = now
        return True


def _some(wants: dict[str, None]) -> tuple[str, ...]:
    """Return as many keys as fit into a message, however they are written in JSON."""
    found, room = [], PAGE_BYTES
    for key in wants:
        room -= 6 * len(key) + 3
        if room < 0:
            break
        found.append(key)
    return tuple(found)
