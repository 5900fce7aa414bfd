"""Where a replay stands in its recording: it moves on line by line, and back to states that it has kept on its way."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.hub.record_reading import NoRecording
from orchestrator.runtime.replaying import Replaying

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.hub.record_lines import Line
    from orchestrator.hub.record_reading import Block, Recording

EVERY: Final = 20_000
"""Lines between two states that are kept, to begin with."""
KEPT: Final = 64
"""States; with more, every other one is let go of, and further ones are kept half as often."""
_PASSED = tuple(b'{"k":"%b"' % kind for kind in (b"frame", b"out", b"tick", b"sent", b"pong", b"stalled", b"resumed"))
"""How lines begin that change nothing of what is shown, so that they need not be read."""


class _Kept(NamedTuple):
    position: float
    """Seconds, of the last line before it."""
    offset: int
    state: Replaying


class Player:
    """Starts without reading more of the recording than its two ends. Raises `NoRecording`."""

    def __init__(self, recording: Recording, *, speed: float = 1.0, every: int = EVERY) -> None:
        self.recording = recording
        heading = recording.heading
        hub = next((line for line in recording.lines() if line.k == "hub"), None)
        last = recording.last()
        # Where a machine was started anew in between, its clock did too, and the length is not known yet.
        seconds = 0.0 if hub is None or last is None else max(0.0, last.t - hub.t + hub.d["wall"] - heading.began)
        name = recording.path.name
        try:
            self.state = Replaying(bytes(heading.outline), name=name, began=heading.began, seconds=seconds, speed=speed)
        except (ValueError, RecursionError):
            raise NoRecording(f"{recording.path} is no recording: its first line does not say what was run") from None
        self.over = False
        """There is nothing more."""
        self._every = every
        self._kept = [_Kept(0.0, 0, self.state.copy())]
        self._blocks: Iterator[Block]
        self._lines: Iterator[bytes]
        self._end: int | None
        self._ahead: Line | None
        self._since: int
        self._begin(0)

    @property
    def position(self) -> float:
        return self.state.position

    @property
    def seconds(self) -> float:
        return self.state.seconds

    def move(self, position: float) -> None:
        """Go to a moment, in seconds from the beginning: forwards through all that lies between, backwards from a state
        that was kept before it."""
        position = max(0.0, min(position, self.seconds))
        if position < self.position:
            self._go_back(position)
        elif (index := bisect_right(self._kept, position, key=_position) - 1) >= 0 and (
            self._kept[index].position > self.position
        ):
            self._restore(self._kept[index])
        while not self.over:
            line = self._ahead or self._next()
            self._ahead = None
            if line is None:
                self.over = True
            elif line.k != "hub" and self.state.seconds_of(line) > position:
                self._ahead = line
                break
            else:
                self.state.feed(line)
        self.state.move(position)

    def _go_back(self, position: float) -> None:
        index = bisect_right(self._kept, position, key=_position) - 1
        self._restore(self._kept[max(0, index)])

    def _restore(self, kept: _Kept) -> None:
        speed = self.state.speed
        self.state = kept.state.copy()
        self.state.speed = speed
        self._begin(kept.offset)

    def _begin(self, offset: int) -> None:
        self._blocks = self.recording.blocks(offset)
        self._lines = iter(())
        self._end = self._ahead = None
        self._since = 0
        self.over = False

    def _next(self) -> Line | None:
        """Return the next line that matters; `None` at the end."""
        while True:
            for text in self._lines:
                self._since += 1
                if not text.startswith(_PASSED) and (line := self.recording.line(text)) is not None:
                    return line
            self._keep()
            block = next(self._blocks, None)
            if block is None:
                return None
            self._lines, self._end = iter(block.lines), block.end

    def _keep(self) -> None:
        """Keep the state at the end of a block, if the last one is far away."""
        if self._end is None or self._since < self._every or self._end <= self._kept[-1].offset:
            return
        self._kept.append(_Kept(self.position, self._end, self.state.copy()))
        self._since = 0
        if len(self._kept) > KEPT:
            self._kept = self._kept[::2]
            self._every *= 2


def _position(kept: _Kept) -> float:
    return kept.position
