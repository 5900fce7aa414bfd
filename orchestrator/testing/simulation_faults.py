"""The bad day of a topology as a value: what goes wrong and when, drawn from a seed. Nothing here touches a clock."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, fields
from typing import Final, TypeAlias

START_SECONDS: Final = 5.0
"""After a heal, until whoever was only cut is back."""
FINDING_OUT: Final = 75.0
"""After a heal, until heartbeats have told everybody that a connection which looked open is gone, and it is back."""


@dataclass(frozen=True, slots=True)
class Mishap:
    """The root of what can go wrong."""

    lasting: float
    """Seconds until it is over, though its consequences may not be."""

    @property
    def aftermath(self) -> float:
        """Seconds from its end until everything is as it was."""
        return 3 * START_SECONDS + self.lasting

    @property
    def touches(self) -> tuple[str, ...]:
        """Return the peers whose messages or lives it concerns; nothing = everybody's."""
        return tuple(str(getattr(self, field.name)) for field in fields(self) if field.name in ("peer", "other"))


@dataclass(frozen=True, slots=True)
class OfOne(Mishap):
    """A mishap of one peer: a replica's id, or the name of a user, all of that name meant."""

    peer: str


@dataclass(frozen=True, slots=True)
class Cut(OfOne):
    """The connection is cut on both sides, and cut again until it is over."""


@dataclass(frozen=True, slots=True)
class Crash(OfOne):
    """The agent is killed without a goodbye, and another one is started in its place."""


@dataclass(frozen=True, slots=True)
class Gone(OfOne):
    """The agent is killed, and nobody starts another one."""

    @property
    def aftermath(self) -> float:
        return math.inf


@dataclass(frozen=True, slots=True)
class Restart(OfOne):
    """The agent ends in good order, what it works on included, and another one is started in its place."""


@dataclass(frozen=True, slots=True)
class HalfOpen(OfOne):
    """Nothing passes either way, while both sides take the connection for open."""

    @property
    def aftermath(self) -> float:
        return FINDING_OUT


@dataclass(frozen=True, slots=True)
class SlowReader(OfOne):
    """Nothing that the hub says is taken in, while what the peer says goes out."""

    @property
    def aftermath(self) -> float:
        return FINDING_OUT


@dataclass(frozen=True, slots=True)
class Late(OfOne):
    """Each frame is up to `by` seconds late, so that others, said later, are heard before."""

    by: float

    @property
    def aftermath(self) -> float:
        return 3 * START_SECONDS + self.lasting + 10 * self.by


@dataclass(frozen=True, slots=True)
class Lossy(OfOne):
    """The hub takes every message for the peer and acknowledges it, and that share of them never arrives."""

    share: float


@dataclass(frozen=True, slots=True)
class Parted(OfOne):
    """Neither of the two hears what the other says, and the hub acknowledges all of it."""

    other: str


@dataclass(frozen=True, slots=True)
class NoStore(OfOne):
    """The agent gets no answer from the store."""


@dataclass(frozen=True, slots=True)
class HubCrash(Mishap):
    """The hub is gone, and comes back without memory. `silent`: no connection is reset, as when a machine loses power."""

    silent: bool

    @property
    def aftermath(self) -> float:
        return FINDING_OUT if self.silent else 3 * START_SECONDS + 2 * self.lasting


Schedule: TypeAlias = tuple[tuple[float, Mishap], ...]
"""What goes wrong, each at its seconds since the workload has begun."""

KINDS: Final[tuple[type[Mishap], ...]] = (
    Cut,
    Crash,
    Restart,
    Gone,
    HalfOpen,
    SlowReader,
    Late,
    Lossy,
    Parted,
    NoStore,
    HubCrash,
)
_TWICE: Final = (Cut, Crash, Lossy, Parted)
"""Kinds that come twice as often."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Whom mishaps can happen to."""

    agents: tuple[str, ...]
    """Peer ids of those that can be started and ended."""
    users: tuple[str, ...] = ()
    """Names of users, whose lives belong to the workload."""
    store: bool = False
    """There is a store, which can be out of reach."""


def draw(seed: int, scene: Scene, *, duration: float, most: int, kinds: tuple[type[Mishap], ...] = KINDS) -> Schedule:
    """Return the schedule of a seed: at most `most` mishaps, all over within `duration` seconds. The same every time."""
    dice = random.Random(f"{seed}/schedule")  # noqa: S311 - to be repeated, not to be secret
    possible = [kind for kind in kinds if _possible(kind, scene)]
    weighted = [kind for kind in possible for _ in range(2 if kind in _TWICE else 1)]
    count = dice.randint(0, most) if weighted and dice.random() < 0.97 else 0
    found = [_one(dice, dice.choice(weighted), scene, duration) for _ in range(count)]
    return tuple(sorted(found, key=lambda entry: entry[0]))


def _possible(kind: type[Mishap], scene: Scene) -> bool:
    peers = len(scene.agents) + len(scene.users)
    if kind is HubCrash:
        return True
    if kind is NoStore and not scene.store:
        return False
    if kind in (Crash, Restart, Gone, NoStore):
        return bool(scene.agents)
    return peers >= (2 if kind is Parted else 1)


def _one(dice: random.Random, kind: type[Mishap], scene: Scene, duration: float) -> tuple[float, Mishap]:
    at = round(dice.uniform(0.0, duration * 0.8), 3)
    left = duration - at
    anybody = (*scene.agents, *scene.users)
    mishap: Mishap
    if kind is HubCrash:
        mishap = HubCrash(_short(dice, left), silent=dice.random() < 0.3)
    elif kind is Parted:
        mishap = Parted(_long(dice, left), *dice.sample(anybody, 2))
    elif kind is Late:
        mishap = Late(_long(dice, left), dice.choice(anybody), by=round(dice.uniform(0.02, 1.0), 3))
    elif kind is Lossy:
        mishap = Lossy(_long(dice, left), dice.choice(anybody), share=round(dice.uniform(0.05, 1.0), 2))
    elif kind is Crash:
        mishap = Crash(_short(dice, left), dice.choice(scene.agents))
    elif kind is NoStore:
        mishap = NoStore(_long(dice, left), dice.choice(scene.agents))
    elif kind is Gone:
        mishap = Gone(0.0, dice.choice(scene.agents))
    elif kind is Restart:
        mishap = Restart(_short(dice, left), dice.choice(scene.agents))
    elif kind is Cut:
        mishap = Cut(0.0 if dice.random() < 0.7 else _short(dice, left), dice.choice(anybody))
    else:
        mishap = (HalfOpen if kind is HalfOpen else SlowReader)(_long(dice, left), dice.choice(anybody))
    return at, mishap


def _short(dice: random.Random, left: float) -> float:
    """Return how long something takes that a process needs for coming back."""
    return round(min(dice.choice((0.05, 0.5, 3.0)) * dice.uniform(0.5, 2.0), left), 3)


def _long(dice: random.Random, left: float) -> float:
    """Return how long something takes that may take so long that others find out."""
    return round(min(dice.choice((0.3, 3.0, 30.0)) * dice.uniform(0.5, 2.0), left), 3)


def shown(schedule: Schedule) -> str:
    """Return Python that makes a schedule anew, a line for each mishap."""
    kinds = ", ".join(sorted({type(mishap).__name__ for _, mishap in schedule}))
    imported = f"from {__name__} import {kinds}\n" if kinds else ""
    lines = "".join(f"    ({at!r}, {mishap!r}),\n" for at, mishap in schedule)
    return f"{imported}schedule = (\n{lines})\n"


def in_force(schedule: Schedule, since: float, until: float, *peers: str) -> bool:
    """Tell whether any mishap, or what is left of one, may concern one of `peers` between two times."""
    for at, mishap in schedule:
        if at <= until and since <= at + mishap.lasting + mishap.aftermath:
            touched = mishap.touches
            if not touched or any(_is(peer, name) for peer in peers for name in touched):
                return True
    return False


def _is(peer: str, name: str) -> bool:
    return peer == name or peer.startswith(f"{name}/")
