"""One direction of one connection: what is passed on, and when. No socket and no clock: time comes as an argument."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from orchestrator.testing.faults import Bandwidth, Latency, LimitData, Reset, Slicer, SlowClose, Timeout
from orchestrator.testing.frame_gate import Passed

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable

    from orchestrator.testing.faults import Fault
    from orchestrator.testing.frame_gate import FrameGate, Outcome

READ_AHEAD: Final = 65_536
"""Bytes that are taken from one side before the other has taken them."""
_QUANTUM: Final = 0.02
"""Seconds of a bandwidth that go out in one piece."""

Ending: TypeAlias = Literal["eof", "fin", "reset"]
"""The end of this direction alone, or of the whole connection: orderly or not."""


class Send(NamedTuple):
    """Write this, and say with `sent` how much of it was taken."""

    data: bytes


class Wait(NamedTuple):
    """Ask again at `until`, or when something has changed; `None` = only then."""

    until: float | None


class End(NamedTuple):
    how: Ending
    why: str
    last: bytes = b""
    """To be written before, as far as the socket takes it."""


Step: TypeAlias = Send | Wait | End


@dataclass(slots=True, eq=False)
class _Hold:
    """A fault that has taken hold of this direction."""

    fault: Fault
    since: float
    rng: random.Random
    passed: int = 0
    free_at: float = -math.inf
    """When the next bytes may go out."""
    piece: int = 0
    """Bytes that are left of a slice; 0 = the next one is still to be drawn."""
    breath: bool = False
    """One turn of the event loop is due, so that what is cut stays cut."""


@dataclass(slots=True)
class _Item:
    """Bytes, or the end of the stream, with what makes them late."""

    content: bytes | End
    at: float
    late: list[tuple[_Hold, float]]
    offset: int = 0

    def due(self, holds: dict[int, _Hold]) -> float:
        """Return when this may go out; what was removed since delays no more."""
        in_force = list(holds.values())
        return self.at + sum(delay for hold, delay in self.late if hold in in_force)


@dataclass(slots=True)
class Lane:
    gate: FrameGate
    stalled: bool = False
    """Nothing passes for the time being, and nothing is lost."""
    _holds: dict[int, _Hold] = field(default_factory=dict)
    _queue: deque[_Item] = field(default_factory=deque)
    _held: int = 0

    @property
    def room(self) -> int:
        """Bytes that are taken in now."""
        return max(0, READ_AHEAD - self._held)

    # -- in

    def receive(self, data: bytes, now: float) -> None:
        self._put(self.gate.feed(data), now)

    def receive_end(self, how: Literal["eof", "reset"], why: str, now: float) -> None:
        """Note that the sender has ended its stream, or reset the connection."""
        late = self._latencies()
        if how == "eof":
            late += [(hold, hold.fault.delay) for hold in self._holds.values() if isinstance(hold.fault, SlowClose)]
        self._queue.append(_Item(End(how, why), now, late))

    def _put(self, outcomes: Iterable[Outcome], now: float) -> None:
        for outcome in outcomes:
            late = self._latencies()
            if isinstance(outcome, Passed):
                self._queue.append(_Item(outcome.data, now + outcome.delay, late))
                self._held += len(outcome.data)
            else:
                self._queue.append(_Item(End(outcome.how, outcome.why, outcome.last), now, late))

    def _latencies(self) -> list[tuple[_Hold, float]]:
        return [(hold, hold.fault.drawn(hold.rng)) for hold in self._holds.values() if isinstance(hold.fault, Latency)]

    # -- faults

    def take_hold(self, number: int, fault: Fault, rng: random.Random, now: float) -> None:
        self._holds[number] = _Hold(fault, now, rng)

    def let_go(self, number: int, now: float) -> None:
        """Note that a fault or rule is in force no longer: what waits for nothing else goes on."""
        self._holds.pop(number, None)
        self._put(self.gate.release(), now)

    # -- out

    def step(self, now: float) -> Step:
        """Return what is to be done now; asking changes nothing but the draw of a slice."""
        ending = self._ending(now)
        if isinstance(ending, End):
            return ending
        held_back = self.stalled or any(isinstance(hold.fault, Timeout) for hold in self._holds.values())
        if held_back or not self._queue:
            return _wait(ending)
        item = self._queue[0]
        if (due := item.due(self._holds)) > now:
            return _wait(min(due, ending))
        if isinstance(item.content, End):
            return item.content
        return self._piece(item.content, item.offset, now, ending)

    def sent(self, size: int, now: float) -> None:
        """Note that this many bytes of the last `Send` are gone."""
        item = self._queue[0]
        assert isinstance(item.content, bytes)
        item.offset += size
        self._held -= size
        if item.offset == len(item.content):
            self._queue.popleft()
        for hold in self._holds.values():
            hold.passed += size
            match hold.fault:
                case Bandwidth(rate=rate):
                    hold.free_at = now + size / rate
                case Slicer(delay=delay):
                    hold.piece -= size
                    if not hold.piece:
                        hold.free_at, hold.breath = now + delay, True

    def eof_sent(self) -> None:
        """Note that the `End` of this direction alone was carried out."""
        self._queue.popleft()

    def _ending(self, now: float) -> End | float:
        """Return the end that a fault makes now, or when it will, which may be never."""
        earliest = math.inf
        for hold in self._holds.values():
            match hold.fault:
                case Reset(after=after) | Timeout(after=after):
                    if isinstance(hold.fault, Timeout) and not after:
                        continue
                    if hold.since + after <= now:
                        return End("reset" if isinstance(hold.fault, Reset) else "fin", repr(hold.fault))
                    earliest = min(earliest, hold.since + after)
                case LimitData(after=after, reset=reset) if hold.passed >= after:
                    return End("reset" if reset else "fin", repr(hold.fault))
        return earliest

    def _piece(self, data: bytes, offset: int, now: float, ending: float) -> Step:
        size = len(data) - offset
        for hold in self._holds.values():
            if hold.free_at > now:
                return _wait(min(hold.free_at, ending))
            if hold.breath:
                hold.breath = False
                return Wait(now)
            match hold.fault:
                case LimitData(after=after):
                    size = min(size, after - hold.passed)
                case Bandwidth(rate=rate):
                    size = min(size, max(1, int(rate * _QUANTUM)))
                case Slicer() as slicer:
                    hold.piece = hold.piece or slicer.drawn(hold.rng)
                    size = min(size, hold.piece)
        return Send(data[offset : offset + size])


def _wait(until: float) -> Wait:
    return Wait(None if until == math.inf else until)
