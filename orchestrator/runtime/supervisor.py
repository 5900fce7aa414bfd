"""Decides what happens to processes: facts in, actions out. No process, no clock and no randomness in here.

Children are started at once and in order, restarted when they fail, given up when they keep failing, and stopped
rank by rank: all of rank 0, then all of rank 1, so that agents can say goodbye to a hub that still listens.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final, TypeAlias

from orchestrator.errors import ExitCode
from orchestrator.protocol.codes import CloseCode, closing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchestrator.topology.replica import RestartPolicy

HOPELESS_CLOSES: Final = frozenset({CloseCode.ACCOUNT_SUSPENDED, CloseCode.ADMIN_DISCONNECT})
"""Closings after which a fresh token changes nothing: the app is disabled, or another process holds the peer id."""


# -- facts


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended: by `code`, by `signal`, or, with neither, without ever having been started."""

    code: int | None = None
    signal: int | None = None
    sentence: str = ""
    """What it said itself, or, of a process that could not be started, why."""
    close_code: int | None = None

    @classmethod
    def of(cls, returncode: int, sentence: str = "", close_code: int | None = None) -> Ended:
        """Read a return code as `subprocess` gives it: negative for a signal."""
        if returncode < 0:
            return cls(signal=-returncode, sentence=sentence, close_code=close_code)
        return cls(code=returncode, sentence=sentence, close_code=close_code)

    def __str__(self) -> str:
        if self.signal is not None:
            how = f"killed by {signal_name(self.signal)}"
        elif self.code is not None:
            how = f"exit {self.code}"
        else:
            how = "not started"
        return f"{how}: {self.sentence}" if self.sentence else how


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


@dataclass(frozen=True, slots=True)
class Exited:
    name: str
    ended: Ended
    at: float
    """Seconds on any clock that only grows."""


@dataclass(frozen=True, slots=True)
class Proven:
    """A child has done what it is for: whatever ends it after this may pass."""

    name: str


@dataclass(frozen=True, slots=True)
class Due:
    """The delay of a `SpawnAfter` is over."""

    name: str


@dataclass(frozen=True, slots=True)
class StopAsked:
    """End everything in peace. Asked again, it kills."""


@dataclass(frozen=True, slots=True)
class GraceOver:
    """The time that a `Drain` of this rank gave is over."""

    rank: int


Fact: TypeAlias = Exited | Proven | Due | StopAsked | GraceOver

# -- actions


@dataclass(frozen=True, slots=True)
class Spawn:
    name: str


@dataclass(frozen=True, slots=True)
class SpawnAfter:
    name: str
    delay: float
    attempt: int
    """Which restart within the policy's window this is, from 1."""
    because: str


@dataclass(frozen=True, slots=True)
class Drain:
    """Tell these processes to end, and report `GraceOver(rank)` when they have had their time."""

    names: tuple[str, ...]
    rank: int


@dataclass(frozen=True, slots=True)
class Kill:
    name: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """This child has failed for good."""

    name: str
    because: str
    exit_code: int


@dataclass(frozen=True, slots=True)
class Finished:
    """This child ended of its own accord, in peace, and its policy leaves it at that."""

    name: str


@dataclass(frozen=True, slots=True)
class AllStopped:
    """Nothing runs, and nothing will."""


Action: TypeAlias = Spawn | SpawnAfter | Drain | Kill | GiveUp | Finished | AllStopped


class State(Enum):
    RUNNING = "running"
    WAITING = "waiting"
    """Its restart has a date."""
    OVER = "over"


@dataclass(slots=True)
class Child:
    """What the supervisor knows of one process."""

    name: str
    policy: RestartPolicy
    rank: int = 0
    essential: bool = False
    """Nothing can go on without it: when it is given up, everything is stopped."""
    proven: bool = False
    state: State = State.WAITING
    restarts: list[float] = field(default_factory=list)
    """When it was restarted, within the policy's window."""


class Supervisor:
    """The children of one run. `jitter` returns a factor for each delay: random, around 1."""

    def __init__(self, children: Sequence[Child], jitter: Callable[[], float]) -> None:
        self._children = {child.name: child for child in children}
        self._jitter = jitter
        self._rank: int | None = None  # the rank that is being stopped; None = nobody asked
        self.restarts = 0
        self.failed: dict[str, GiveUp] = {}
        self.unclean: dict[str, Ended] = {}
        """Children that were asked to end, and did so in another way than in peace."""

    @property
    def stopping(self) -> bool:
        return self._rank is not None

    def start(self) -> list[Action]:
        for child in self._children.values():
            child.state = State.RUNNING
        return [Spawn(name) for name in self._children]

    def handle(self, fact: Fact) -> list[Action]:
        match fact:
            case Exited():
                return self._exited(self._children[fact.name], fact.ended, fact.at)
            case Proven():
                self._children[fact.name].proven = True
                return []
            case Due():
                return self._due(self._children[fact.name])
            case StopAsked():
                return self._kill(self._alive()) if self.stopping else self._stop()
            case GraceOver():
                return self._kill([child for child in self._alive() if child.rank == fact.rank == self._rank])

    def _alive(self) -> list[Child]:
        return [child for child in self._children.values() if child.state is State.RUNNING]

    def _due(self, child: Child) -> list[Action]:
        if child.state is not State.WAITING or self.stopping:
            return []
        child.state = State.RUNNING
        return [Spawn(child.name)]

    def _exited(self, child: Child, ended: Ended, at: float) -> list[Action]:
        child.state = State.OVER
        if self.stopping:
            if ended.code != ExitCode.DONE:
                self.unclean[child.name] = ended
            return self._next_rank()
        if ended.code == ExitCode.DONE and child.policy.condition != "always":
            return [Finished(child.name), *self._after_loss(child)]
        hopeless = self._why_hopeless(child, ended, at)
        if hopeless:
            gone = GiveUp(child.name, hopeless, ended.code or ExitCode.FAILED)
            self.failed[child.name] = gone
            return [gone, *self._after_loss(child)]
        child.state = State.WAITING
        delay = self._delay(child.policy, len(child.restarts))
        child.restarts.append(at)
        self.restarts += 1
        return [SpawnAfter(child.name, delay, len(child.restarts), str(ended))]

    def _why_hopeless(self, child: Child, ended: Ended, at: float) -> str:
        """Return why there is no point in another start; an empty string when there is one."""
        policy = child.policy
        if ended.code == ExitCode.INVALID:
            return ended.sentence or f"{ended}: its handler does not fit the topology"
        if ended.code == ExitCode.TERMINAL and ended.close_code in HOPELESS_CLOSES:
            return f"{ended.close_code} {closing(ended.close_code).meaning}: {closing(ended.close_code).advice}"
        if child.essential and not child.proven and ended.code is not None and ended.sentence:
            return ended.sentence  # what it could not do at its first start, it will not be able to do at the next
        if policy.condition == "never":
            return f"{ended}; its policy is never to restart"
        child.restarts = [then for then in child.restarts if at - then < policy.window]
        if policy.max_attempts is not None and len(child.restarts) >= policy.max_attempts:
            times = "once" if policy.max_attempts == 1 else f"{policy.max_attempts} times"
            return f"{ended}; it was restarted {times} within {policy.window:g} s"
        return ""

    def _delay(self, policy: RestartPolicy, before: int) -> float:
        factor = 0.25 if before == 0 else 2.0 ** min(before - 1, 63)
        return min(policy.max_delay, policy.delay * factor * self._jitter())

    def _after_loss(self, child: Child) -> list[Action]:
        """Stop everything when an essential child is gone, or when only what serves the others is left."""
        working = any(other.state is not State.OVER for other in self._children.values() if not other.essential)
        return self._stop() if child.essential or not working else []

    def _stop(self) -> list[Action]:
        for child in self._children.values():
            if child.state is State.WAITING:
                child.state = State.OVER
        self._rank = -1
        return self._next_rank()

    def _next_rank(self) -> list[Action]:
        """Go on to the lowest rank that still runs, once the one before is gone."""
        alive = self._alive()
        if not alive:
            return [AllStopped()]
        lowest = min(child.rank for child in alive)
        if lowest == self._rank:
            return []
        self._rank = lowest
        return [Drain(tuple(child.name for child in alive if child.rank == lowest), lowest)]

    def _kill(self, children: Sequence[Child]) -> list[Action]:
        return [Kill(child.name) for child in children]
