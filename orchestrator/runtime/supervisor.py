"""Decides what happens to processes: facts in, actions out. No process, no clock and no randomness in here.

Children are started at once and in order, restarted when they fail, given up when they keep failing, and stopped
rank by rank: all of rank 0, then all of rank 1, so that agents can say goodbye to a hub that still listens. While they
run, others may come, some may go, and any may be restarted on request; a stop wins over all of it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from orchestrator.errors import ExitCode
from orchestrator.runtime.causes import HOPELESS_CLOSES, in_peace, restart_delay, why_hopeless
from orchestrator.runtime.rolling import Rolls
from orchestrator.runtime.supervision import (
    Action,
    AllStopped,
    Child,
    Dismissed,
    Drain,
    Due,
    Ended,
    Enlisted,
    Exited,
    Fact,
    Finished,
    GiveUp,
    GraceOver,
    Kill,
    Proven,
    Replaced,
    Repolicied,
    RestartAsked,
    Retire,
    RetireOver,
    Rolled,
    RollStopped,
    Spawn,
    SpawnAfter,
    State,
    StopAsked,
    signal_name,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = [
    "HOPELESS_CLOSES",
    "Action",
    "AllStopped",
    "Child",
    "Dismissed",
    "Drain",
    "Due",
    "Ended",
    "Enlisted",
    "Exited",
    "Fact",
    "Finished",
    "GiveUp",
    "GraceOver",
    "Kill",
    "Proven",
    "Replaced",
    "Repolicied",
    "RestartAsked",
    "Retire",
    "RetireOver",
    "RollStopped",
    "Rolled",
    "Spawn",
    "SpawnAfter",
    "State",
    "StopAsked",
    "Supervisor",
    "signal_name",
]


class Supervisor:
    """The children of one run. `jitter` returns a factor for each delay: random, around 1."""

    def __init__(
        self, children: Sequence[Child], jitter: Callable[[], float], *, abort_on_failure: bool = False
    ) -> None:
        self._children = {child.name: child for child in children}
        self._jitter = jitter
        self._abort_on_failure = abort_on_failure
        """The first that fails for good ends everything."""
        self._rank: int | None = None  # the rank that is being stopped; None = nobody asked
        self._lives: Counter[str] = Counter()  # by name, also of those that are forgotten: a name may come back
        self._rolls = Rolls()
        self.restarts = 0
        """Those that nobody asked for."""
        self.failed: dict[str, GiveUp] = {}
        self.unclean: dict[str, Ended] = {}
        """Children that were to end for good, and did so in another way than in peace."""

    @property
    def stopping(self) -> bool:
        return self._rank is not None

    def has(self, name: str) -> bool:
        """Tell whether this is one of the children, running or not."""
        return name in self._children

    def start(self) -> list[Action]:
        return [self._spawn(child) for child in self._children.values()]

    def handle(self, fact: Fact) -> list[Action]:
        return [*self._decide(fact), *self._go_on_rolling()]

    def _decide(self, fact: Fact) -> list[Action]:
        match fact:
            case Exited():
                return self._exited(self._children[fact.name], fact.ended, fact.at)
            case StopAsked():
                return [Kill(child.name) for child in self._alive()] if self.stopping else self._stop()
            case GraceOver():
                return [Kill(child.name) for child in self._alive() if child.rank == fact.rank == self._rank]
            case RetireOver():
                return self._retire_over(fact)
            case Proven():
                self._proven(fact.name)
                return []
            case _ if self.stopping:
                return []  # nothing new begins
            case Due():
                return self._due(fact)
            case Enlisted():
                return [action for child in fact.children for action in self._enlisted(child)]
            case Dismissed():
                return self._dismissed(fact.names)
            case RestartAsked():
                return self._restart_asked(fact.names)
            case Replaced():
                for child in fact.children:
                    self._repolicied(child)
                return self._restart_asked(tuple(child.name for child in fact.children))
            case Repolicied():
                self._repolicied(fact.child)
                return []

    # -- lives

    def _alive(self) -> list[Child]:
        return [child for child in self._children.values() if child.state is State.RUNNING]

    def _spawn(self, child: Child) -> Spawn:
        child.state, child.retiring = State.RUNNING, False
        self._lives[child.name] += 1
        self._rolls.started(child.name)
        return Spawn(child.name)

    def _spawn_anew(self, child: Child) -> Spawn:
        """Start it because somebody asked for that: whatever it did before is forgiven."""
        child.restarts.clear()
        self.failed.pop(child.name, None)
        return self._spawn(child)

    def _due(self, due: Due) -> list[Action]:
        child = self._children.get(due.name)
        if child is None or child.state is not State.WAITING or due.number not in (None, self._lives[due.name]):
            return []
        return [self._spawn(child)]

    def _proven(self, name: str) -> None:
        child = self._children.get(name)
        if child is not None and child.state is State.RUNNING and not child.retiring:
            child.proven = True
            self._rolls.settled(name)

    def _exited(self, child: Child, ended: Ended, at: float) -> list[Action]:
        child.state = State.OVER
        if (self.stopping or child.leaving) and ended.code != ExitCode.DONE:
            self.unclean[child.name] = ended
        if self.stopping:
            return self._next_rank()
        if child.leaving:
            del self._children[child.name]
            return self._after_loss(child)
        if child.retiring:
            return [self._spawn_anew(child)]
        if in_peace(ended, child.policy):
            self._rolls.settled(child.name)
            return [Finished(child.name), *self._after_loss(child)]
        child.restarts = [then for then in child.restarts if at - then < child.policy.window]
        hopeless = why_hopeless(child, ended, child.restarts)
        if hopeless:
            return self._give_up(child, hopeless, ended.code or ExitCode.FAILED)
        child.state = State.WAITING
        delay = restart_delay(child.policy, len(child.restarts), self._jitter())
        child.restarts.append(at)
        self.restarts += 1
        return [SpawnAfter(child.name, delay, len(child.restarts), str(ended), self._lives[child.name])]

    def _give_up(self, child: Child, because: str, exit_code: int) -> list[Action]:
        gone = GiveUp(child.name, because, exit_code)
        self.failed[child.name] = gone
        stopped = self._rolls.failed(child.name, because)
        return [gone, *stopped, *(self._stop() if self._abort_on_failure else self._after_loss(child))]

    # -- children that come, go and change

    def _enlisted(self, child: Child) -> list[Action]:
        known = self._children.get(child.name)
        if known is None:
            known = Child(child.name, child.policy, child.rank, child.essential)
            self._children[child.name] = known
            return [self._spawn(known)]
        if known.leaving:  # its process has been told to end: the next is started when it has done so
            known.leaving, known.proven = False, False
        self._repolicied(child)
        return []

    def _dismissed(self, names: Iterable[str]) -> list[Action]:
        actions: list[Action] = []
        gone: Child | None = None
        for name in names:
            child = self._children.get(name)
            if child is None or child.leaving:
                continue
            self._rolls.forget(name)
            self.failed.pop(name, None)
            child.leaving = True
            if child.state is State.RUNNING:
                actions += self._retire(child)
            else:
                gone = self._children.pop(name)
        return actions if gone is None else [*actions, *self._after_loss(gone)]

    def _repolicied(self, child: Child) -> None:
        known = self._children.get(child.name)
        if known is not None and not known.leaving:
            known.policy, known.rank, known.essential = child.policy, child.rank, child.essential

    def _retire(self, child: Child) -> list[Action]:
        """Tell it to end, unless it has been told already."""
        if child.retiring:
            return []
        child.retiring = True
        return [Retire(child.name, self._lives[child.name])]

    def _retire_over(self, over: RetireOver) -> list[Action]:
        child = self._children.get(over.name)
        if child is None or child.state is not State.RUNNING or not child.retiring:
            return []
        return [Kill(over.name)] if self._lives[over.name] == over.number else []

    # -- restarts that are asked for

    def _restart_asked(self, names: tuple[str, ...]) -> list[Action]:
        known = [name for name in names if name in self._children and not self._children[name].leaving]
        self._rolls.ask(names, known)
        return []  # whoever's turn it is, is started below

    def _go_on_rolling(self) -> list[Action]:
        """Say which restarts are complete, and begin with those whose turn has come."""
        actions: list[Action] = [*self._rolls.complete()]
        for name in self._rolls.turns():
            child = self._children[name]
            actions += self._retire(child) if child.state is State.RUNNING else [self._spawn_anew(child)]
        return actions

    # -- the end

    def _after_loss(self, child: Child) -> list[Action]:
        """Stop everything when an essential child is gone, or when only what serves the others is left."""
        working = any(other.state is not State.OVER for other in self._children.values() if not other.essential)
        lost = child.essential and not child.leaving
        return self._stop() if lost or not working else []

    def _stop(self) -> list[Action]:
        for child in self._children.values():
            if child.state is State.WAITING:
                child.state = State.OVER
        self._rolls.clear()
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
