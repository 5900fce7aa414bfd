"""What is to happen to single WebSocket frames, as values, and when it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias, get_args

from orchestrator.testing.faults import (
    Direction,
    Directions,
    check_one_of,
    check_range,
    check_seconds,
    check_whole,
)
from orchestrator.testing.frame_splitter import Opcode

if TYPE_CHECKING:
    import random

    from orchestrator.testing.chaos_log import What
    from orchestrator.testing.frame_splitter import Frame

Farewell: TypeAlias = Literal["reset", "fin"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRule:
    """The root of all rules; which frames they are about.

    Frames count from when the rule was added. Without `nth` and `every`, each frame that fits is meant. Of several
    rules that mean the same frame the one added first acts. Raises `ValueError` for what cannot be meant.
    """

    did: ClassVar[What]
    """What the log says when the rule acts."""

    type: str | None = None
    """Of a text frame that holds a JSON object: the value of its `type`, such as ``"ack"`` or ``"publish"``."""
    opcode: Opcode | None = None
    direction: Directions = "both"
    nth: int | None = None
    """Only the n-th frame that fits, counted from 1: a rule that acts once."""
    every: int | None = None
    """Each n-th frame that fits."""
    each_connection: bool = False
    """Count anew for each connection, rather than over all of them."""
    probability: float = 1.0
    """Drawn for each frame that is meant."""

    def __post_init__(self) -> None:
        check_one_of(self, "direction", self.direction, get_args(Directions))
        if self.opcode is not None:
            check_one_of(self, "opcode", self.opcode, get_args(Opcode))
        if self.type is not None and self.opcode not in (None, "text"):
            raise ValueError(
                f"{_name(self)}: only text frames have a type; opcode is 'text' or None, not {self.opcode!r}"
            )
        if self.nth is not None and self.every is not None:
            raise ValueError(f"{_name(self)}: nth means one frame and every means many; give one of them")
        for name in ("nth", "every"):
            value = getattr(self, name)
            if value is not None:
                check_whole(self, name, value, 1)
        check_range(self, "probability", self.probability, 0.0, "number from 0 to 1", 1.0)
        self._check()

    def _check(self) -> None:
        """Look at the fields that a kind of rule adds."""

    def touches(self, direction: Direction) -> bool:
        return self.direction in (direction, "both")

    def fits(self, frame: Frame, frame_type: str | None, direction: Direction) -> bool:
        """Tell whether a frame counts for this rule; `frame_type` is `frame.type`, read once for all rules."""
        return self.touches(direction) and self.opcode in (None, frame.opcode) and self.type in (None, frame_type)

    def acts(self, count: int, rng: random.Random) -> bool:
        """Decide about the frame that is number `count`, from 1, of those that fit."""
        if self.nth is not None and count != self.nth:
            return False
        if self.every is not None and count % self.every:
            return False
        return rng.random() < self.probability


@dataclass(frozen=True, slots=True, kw_only=True)
class DropFrame(FrameRule):
    """The frame never arrives."""

    did = "dropped"


@dataclass(frozen=True, slots=True, kw_only=True)
class DelayFrame(FrameRule):
    """The frame arrives `delay` seconds late, and what follows it the same way not before it."""

    did = "delayed"
    delay: float

    def _check(self) -> None:
        check_seconds(self, "delay", self.delay)


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicateFrame(FrameRule):
    """The frame arrives again, `copies` times, right behind itself."""

    did = "duplicated"
    copies: int = 1

    def _check(self) -> None:
        check_whole(self, "copies", self.copies, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseOnFrame(FrameRule):
    """The connection ends in place of the frame, or right behind it if that is to be delivered.

    `how` is ``"reset"``, ``"fin"``, or a WebSocket close code, which whoever the frame was for receives in a close
    frame; the other side is closed without one.
    """

    did = "cut off"
    how: Farewell | int = "reset"
    deliver: bool = False

    def _check(self) -> None:
        if isinstance(self.how, str):
            check_one_of(self, "how", self.how, get_args(Farewell))
        elif isinstance(self.how, bool) or not 1000 <= self.how <= 4999:
            raise ValueError(f"CloseOnFrame: how is 'reset', 'fin' or a close code from 1000 to 4999, not {self.how!r}")


def _name(owner: object) -> str:
    return type(owner).__name__


@dataclass(slots=True, eq=False)
class RuleInForce:
    rule: FrameRule
    count: int = 0
    """Frames that fitted it so far, over all connections."""
