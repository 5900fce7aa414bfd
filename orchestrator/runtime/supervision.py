"""What a supervisor and its shell tell each other: children, facts about them, and what is to be done."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from orchestrator.topology.replica import RestartPolicy

# -- children


class State(Enum):
    RUNNING = "running"
    WAITING = "waiting"
    """Its restart has a date."""
    OVER = "over"


@dataclass(slots=True)
class Child:
    """What the supervisor knows of one process. Who hands one over says the first four; the rest follows from facts."""

    name: str
    policy: RestartPolicy
    rank: int = 0
    """When it is told to end, in a stop of everything: the lowest first."""
    essential: bool = False
    """Nothing can go on without it: when it is given up, everything is stopped."""
    proven: bool = False
    state: State = State.WAITING
    retiring: bool = False
    """It has been told to end, though the others go on."""
    leaving: bool = False
    """It is retiring, and will be forgotten."""
    restarts: list[float] = field(default_factory=list)
    """When it was restarted, within the policy's window."""


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
    number: int | None = None
    """That of the `SpawnAfter`, so that an early start makes it void; `None` = of whichever is pending."""


@dataclass(frozen=True, slots=True)
class StopAsked:
    """End everything in peace. Asked again, it kills."""


@dataclass(frozen=True, slots=True)
class GraceOver:
    """The time that a `Drain` of this rank gave is over."""

    rank: int


@dataclass(frozen=True, slots=True)
class RetireOver:
    """The time that a `Retire` gave is over."""

    name: str
    number: int
    """That of the `Retire`."""


@dataclass(frozen=True, slots=True)
class Enlisted:
    """Children that come to those that run, and are started at once, in this order.

    One whose name is still being dismissed is started when that process has ended; of one that is there already, only
    the policy and the rank are taken.
    """

    children: tuple[Child, ...]


@dataclass(frozen=True, slots=True)
class Dismissed:
    """End these in peace and forget them, also their failures. Where others come in their place, tell of those first:
    a run that is left with nobody to serve ends."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RestartAsked:
    """Restart these one after the other, in this order: the next once the one before is proven again.

    One that waits for its restart is started in its turn without waiting on; one that is over, too, as if it had never
    failed. Each asking is answered by one `Rolled` or `RollStopped`, unless everything is stopped; a start that comes
    after two askings counts for both. Names of no child are passed over.
    """

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Replaced:
    """As `RestartAsked`; policies and ranks are these from now on."""

    children: tuple[Child, ...]


@dataclass(frozen=True, slots=True)
class Repolicied:
    """This child has another policy or rank from now on; its process does not notice."""

    child: Child


Fact: TypeAlias = (
    Exited
    | Proven
    | Due
    | StopAsked
    | GraceOver
    | RetireOver
    | Enlisted
    | Dismissed
    | RestartAsked
    | Replaced
    | Repolicied
)

# -- actions


@dataclass(frozen=True, slots=True)
class Spawn:
    name: str


@dataclass(frozen=True, slots=True)
class SpawnAfter:
    """Report `Due(name, number)` after this delay."""

    name: str
    delay: float
    attempt: int
    """Which restart within the policy's window this is, from 1."""
    because: str
    number: int
    """Which life has ended, from 1."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Tell these processes to end, and report `GraceOver(rank)` when they have had their time.

    Some of them may have been told before, by a `Retire`.
    """

    names: tuple[str, ...]
    rank: int


@dataclass(frozen=True, slots=True)
class Retire:
    """Tell this one process to end, and report `RetireOver(name, number)` when it has had its time."""

    name: str
    number: int
    """Which life it is that ends, from 1: a report that comes late ends no later one."""


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
class Rolled:
    """The restart that was asked for is complete."""

    names: tuple[str, ...]
    """As they were asked for."""


@dataclass(frozen=True, slots=True)
class RollStopped:
    """The restart that was asked for went no further, because `name` failed for good in its turn."""

    name: str
    remaining: tuple[str, ...]
    """Those whose turn was yet to come: they are as they were."""
    because: str
    names: tuple[str, ...]
    """As they were asked for."""


@dataclass(frozen=True, slots=True)
class AllStopped:
    """Nothing runs, and nothing will."""


Action: TypeAlias = Spawn | SpawnAfter | Drain | Retire | Kill | GiveUp | Finished | Rolled | RollStopped | AllStopped
