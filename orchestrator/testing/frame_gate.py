"""Where the bytes of one direction become frames, and rules decide what becomes of those."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from orchestrator.testing.faults import UPSTREAM
from orchestrator.testing.frame_rules import CloseOnFrame, DelayFrame, DropFrame, DuplicateFrame
from orchestrator.testing.frame_splitter import MAX_HEAD, Frame, FrameSplitter, close_frame

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator, Mapping

    from orchestrator.testing.chaos_log import What
    from orchestrator.testing.faults import Direction
    from orchestrator.testing.frame_rules import Farewell, FrameRule, RuleInForce


class Passed(NamedTuple):
    """Bytes to pass on, `delay` seconds after they came."""

    data: bytes
    delay: float = 0.0


class CutOff(NamedTuple):
    """The end of the connection, in this place of the stream; `last` goes out before it."""

    how: Farewell
    last: bytes
    why: str


Outcome: TypeAlias = Passed | CutOff


class Noted(NamedTuple):
    """Something about a frame that belongs into the log."""

    what: What
    size: int
    opcode: str | None = None
    frame_type: str | None = None
    detail: str = ""


@dataclass(slots=True)
class Opening:
    """What both directions of a connection know of its opening handshake."""

    asked: bool = False
    """The client asked for a WebSocket."""
    compressed: bool = False
    """The two sides agreed on compression, so that no text frame can be read."""


class FrameGate:
    """Follows one direction of one connection.

    While no rule concerns the direction, bytes pass as they come, and frames are only told of. While one does, a frame
    waits until it is whole; one above `LARGEST` bytes passes in parts, and no rule sees it. The HTTP heads of the
    opening handshake always pass as they come, and so does all that is not a WebSocket.
    """

    def __init__(
        self,
        direction: Direction,
        opening: Opening,
        rules: Mapping[int, RuleInForce],
        rng_for: Callable[[int], random.Random],
        note: Callable[[Noted], None],
    ) -> None:
        """`rules` are the proxy's, and change under way; `rng_for` gives the random numbers of a rule, by its number."""
        self._direction, self._opening, self._rules = direction, opening, rules
        self._rng_for, self._note = rng_for, note
        self._head: bytearray | None = bytearray()
        self._splitter: FrameSplitter | None = None
        self._ahead = 0
        """Bytes of the unfinished frame that were passed on already."""
        self._chances: dict[int, random.Random] = {}
        self._counts: dict[int, int] = {}

    @property
    def ruled(self) -> bool:
        """A rule concerns this direction."""
        return any(held.rule.touches(self._direction) for held in self._rules.values())

    def feed(self, data: bytes) -> list[Outcome]:
        if self._head is not None:
            return self._opening_bytes(data)
        return self._frame_bytes(data) if self._splitter is not None else [Passed(data)]

    def release(self) -> list[Outcome]:
        """Give what waits for the rest of its frame, if no rule concerns this direction any more."""
        if self._splitter is None or self.ruled:
            return []
        pending = self._splitter.pending
        held, self._ahead = pending[self._ahead :], len(pending)
        return [Passed(held)] if held else []

    # -- the opening handshake

    def _opening_bytes(self, data: bytes) -> list[Outcome]:
        """Look for the end of the HTTP head. It may hold a credential: nothing of it is kept."""
        assert self._head is not None
        before = len(self._head)
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            if len(self._head) > MAX_HEAD:
                self._head = None
            return [Passed(data)]
        head = bytes(self._head[: end + 2])
        self._head = None
        if self._is_opened_by(head):
            self._splitter = FrameSplitter()
        inside = end + 4 - before
        rest = self.feed(data[inside:]) if inside < len(data) else []
        return [Passed(data[:inside]), *rest]

    def _is_opened_by(self, head: bytes) -> bool:
        """Tell whether frames follow this head."""
        start, *lines = head.lower().split(b"\r\n")
        fields = [tuple(part.strip() for part in line.partition(b":")[::2]) for line in lines]
        if self._direction == UPSTREAM:
            self._opening.asked = (b"upgrade", b"websocket") in fields
            return self._opening.asked
        if not (self._opening.asked and start.startswith(b"http/1.1 101")):
            return False
        self._opening.compressed = any(
            name == b"sec-websocket-extensions" and b"deflate" in value for name, value in fields
        )
        if self._opening.compressed and any(held.rule.type is not None for held in self._rules.values()):
            self._note(Noted("unreadable", 0, detail=UNREADABLE))
        return True

    # -- frames

    def _frame_bytes(self, data: bytes) -> list[Outcome]:
        assert self._splitter is not None
        if not self.ruled:
            for piece in self._splitter.feed(data):
                if isinstance(piece, Frame):
                    self._tell("frame", piece, piece.type)
            self._ahead = len(self._splitter.pending)
            return [Passed(data)]
        outcomes: list[Outcome] = []
        for piece in self._splitter.feed(data):
            ahead, self._ahead = self._ahead, 0
            if ahead or not isinstance(piece, Frame):
                outcomes.append(Passed(piece.raw[ahead:]))
                if isinstance(piece, Frame):
                    self._tell("frame", piece, piece.type)
                continue
            outcomes += self._decided(piece)
            if outcomes and isinstance(outcomes[-1], CutOff):
                break
        return outcomes

    def _decided(self, frame: Frame) -> Iterator[Outcome]:
        frame_type = frame.type
        self._tell("frame", frame, frame_type)
        rule = self._acting(frame, frame_type)
        if rule is not None:
            self._tell(rule.did, frame, frame_type, repr(rule))
        match rule:
            case DropFrame():
                pass
            case DelayFrame(delay=delay):
                yield Passed(frame.raw, delay)
            case DuplicateFrame(copies=copies):
                yield from [Passed(frame.raw)] * (1 + copies)
            case CloseOnFrame(how=how, deliver=deliver):
                last = frame.raw if deliver else b""
                if isinstance(how, int):
                    last += close_frame(how, b"\0\0\0\0" if self._direction == UPSTREAM else None)
                yield CutOff("fin" if isinstance(how, int) else how, last, repr(rule))
            case _:
                yield Passed(frame.raw)

    def _acting(self, frame: Frame, frame_type: str | None) -> FrameRule | None:
        """Let every rule that fits count the frame, and return the first that acts on it."""
        acting: FrameRule | None = None
        for number, held in self._rules.items():
            if not held.rule.fits(frame, frame_type, self._direction):
                continue
            if held.rule.each_connection:
                count = self._counts[number] = self._counts.get(number, 0) + 1
            else:
                held.count += 1
                count = held.count
            chance = self._chances.setdefault(number, self._rng_for(number))
            if held.rule.acts(count, chance) and acting is None:
                acting = held.rule
        return acting

    def _tell(self, what: What, frame: Frame, frame_type: str | None, detail: str = "") -> None:
        self._note(Noted(what, len(frame.raw), frame.opcode, frame_type, detail))


UNREADABLE = (
    "client and hub agreed on compression, so the type of a frame cannot be read and rules by type do not act; "
    "switch compression off on one of the sides"
)
