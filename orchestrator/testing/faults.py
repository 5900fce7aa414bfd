"""What can be wrong with a connection, as values: nothing here touches a socket or a clock."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, TypeGuard, get_args

from orchestrator.errors import did_you_mean, listed

Direction: TypeAlias = Literal["upstream", "downstream"]
"""From the client to the hub, or back."""
Directions: TypeAlias = Literal["upstream", "downstream", "both"]
Outage: TypeAlias = Literal["refuse", "close", "reset"]
UPSTREAM: Final[Direction] = "upstream"
DOWNSTREAM: Final[Direction] = "downstream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """The root of all faults; what every one of them can be told. Raises `ValueError` for what cannot be meant."""

    toxicity: float = 1.0
    """The probability with which the fault takes hold of a connection, drawn once for each of them."""
    connections: int | None = None
    """How many connections the fault takes hold of at most, since it was added; `None` = all."""

    def __post_init__(self) -> None:
        check_range(self, "toxicity", self.toxicity, 0.0, "probability from 0 to 1", 1.0)
        if self.connections is not None:
            check_whole(self, "connections", self.connections, 1)
        self._check()

    def _check(self) -> None:
        """Look at the fields that a kind of fault adds."""

    def touches(self, direction: Direction) -> bool:  # noqa: ARG002
        """Tell whether this concerns the bytes that go one way."""
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectedFault(Fault):
    """A fault of what goes one way, or of both ways, each by itself."""

    direction: Directions = "both"

    def __post_init__(self) -> None:
        check_one_of(self, "direction", self.direction, get_args(Directions))
        Fault.__post_init__(self)

    def touches(self, direction: Direction) -> bool:
        return self.direction in (direction, "both")


@dataclass(frozen=True, slots=True)
class Latency(DirectedFault):
    """Everything arrives `delay` seconds late, give or take `jitter`, in order; throughput stays as it is.

    What is under way when the fault is removed arrives at once.
    """

    delay: float
    jitter: float = 0.0

    def _check(self) -> None:
        check_seconds(self, "delay", self.delay)
        check_seconds(self, "jitter", self.jitter)

    def drawn(self, rng: random.Random) -> float:
        """Return the seconds by which the next bytes are late."""
        return max(0.0, self.delay + self.jitter * rng.uniform(-1.0, 1.0))


@dataclass(frozen=True, slots=True)
class Down(Fault):
    """The hub is not there. Open connections end when the fault takes hold of them, and new ones do not come about.

    With ``"refuse"`` nobody listens; with ``"close"`` and ``"reset"`` connections are accepted and ended at once.
    """

    how: Outage = "refuse"

    def _check(self) -> None:
        check_one_of(self, "how", self.how, get_args(Outage))
        if self.how == "refuse" and (self.toxicity < 1.0 or self.connections is not None):
            raise ValueError(
                "Down: toxicity and connections choose among accepted connections, and refusing accepts none; "
                "use how='close' or how='reset'"
            )


@dataclass(frozen=True, slots=True)
class Bandwidth(DirectedFault):
    """No more than `rate` bytes per second pass."""

    rate: float

    def _check(self) -> None:
        if not (_is_number(self.rate) and self.rate > 0):
            raise ValueError(f"Bandwidth: rate is a number of bytes per second above 0, not {self.rate!r}")


@dataclass(frozen=True, slots=True)
class SlowClose(DirectedFault):
    """When one side ends its stream, the other hears of it `delay` seconds later."""

    delay: float

    def _check(self) -> None:
        check_seconds(self, "delay", self.delay)


@dataclass(frozen=True, slots=True)
class Timeout(DirectedFault):
    """Nothing passes any more; after `after` seconds the connection is closed, with 0 never.

    What is held back goes on when the fault is removed.
    """

    after: float = 0.0

    def _check(self) -> None:
        check_seconds(self, "after", self.after)


@dataclass(frozen=True, slots=True)
class Reset(Fault):
    """Both sockets are reset `after` seconds after the fault took hold; until then everything passes."""

    after: float = 0.0

    def _check(self) -> None:
        check_seconds(self, "after", self.after)


@dataclass(frozen=True, slots=True)
class Slicer(DirectedFault):
    """Bytes go out in pieces of `size`, give or take `variation`, with `delay` seconds after each."""

    size: int
    variation: int = 0
    delay: float = 0.0

    def _check(self) -> None:
        check_whole(self, "size", self.size, 1)
        check_whole(self, "variation", self.variation, 0)
        if self.variation >= self.size:
            raise ValueError(f"Slicer: variation is below size, which is {self.size}, not {self.variation}")
        check_seconds(self, "delay", self.delay)

    def drawn(self, rng: random.Random) -> int:
        """Return the bytes of the next piece."""
        return self.size + rng.randint(-self.variation, self.variation)


@dataclass(frozen=True, slots=True)
class LimitData(DirectedFault):
    """The connection ends as soon as `after` bytes have passed since the fault took hold; with 0, at once.

    Both sockets are closed, or reset. A direction of ``"both"`` counts each way by itself.
    """

    after: int
    reset: bool = False

    def _check(self) -> None:
        check_whole(self, "after", self.after, 0)


def stream(seed: int, *names: object) -> random.Random:
    """Return the random numbers of one purpose: the same for the same seed and names, in every process."""
    return random.Random("/".join(map(str, (seed, *names))))  # noqa: S311  # chance, not secrecy


def takes_hold(fault: Fault, seed: int, fault_number: int, connection: int) -> bool:
    """Draw whether a fault takes hold of a connection, whichever of the two came first."""
    return stream(seed, connection, fault_number).random() < fault.toxicity


# -- what may be said


def check_seconds(owner: object, name: str, value: object) -> None:
    check_range(owner, name, value, 0.0, "number of seconds of at least 0")


def check_range(owner: object, name: str, value: object, least: float, what: str, most: float = math.inf) -> None:
    if not (_is_number(value) and least <= value <= most):
        raise ValueError(f"{type(owner).__name__}: {name} is a {what}, not {value!r}")


def check_whole(owner: object, name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{type(owner).__name__}: {name} is a whole number of at least {least}, not {value!r}")


def check_one_of(owner: object, name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        guess = did_you_mean(str(value), known)
        raise ValueError(f"{type(owner).__name__}: {name} is one of {listed(known)}, not {value!r}{guess}")


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
