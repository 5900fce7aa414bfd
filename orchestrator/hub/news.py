"""What has changed in a roster and was not told yet: a few changes go out at once, and many are merged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from orchestrator.hub import rosters, wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchestrator.hub.rosters import Present, Reason, Roster

AT_ONCE: Final = 8
"""Changes of a channel that was quiet for a window which are told as they come; those that follow are merged."""


@dataclass(slots=True)
class Change:
    """What became of one peer since its channel's readers were last told."""

    peer_json: bytes
    known: bool
    """Readers were told that it is there."""
    reason: Reason | None = None
    """Why it left last; `None` = it did not."""


@dataclass(slots=True)
class News:
    """The untold changes of one channel. A peer that comes and goes between two tellings is not among them.

    One that goes and comes back is: whatever was sent to it meanwhile is lost, and it may be another process.
    """

    changes: dict[str, Change] = field(default_factory=dict)
    waiting: list[Callable[[float], None]] = field(default_factory=list)
    """Rosters that are to be taken, and sent, as soon as nothing is untold."""
    open: bool = False
    """A window is open: something was told, or is to be, less than one window ago."""
    _spent: int = 0

    def joined(self, connection: Present) -> None:
        if connection.peer_id not in self.changes:
            self.changes[connection.peer_id] = Change(connection.peer_json, known=False)

    def left(self, connection: Present, reason: Reason) -> None:
        change = self.changes.setdefault(connection.peer_id, Change(connection.peer_json, known=True))
        if change.known:
            change.reason = reason
        else:
            del self.changes[connection.peer_id]

    def due(self) -> bool:
        """Tell whether what is untold may be told at once; that is counted until the channel is quiet again."""
        self._spent += 1
        return self._spent <= AT_ONCE

    def quiet(self) -> None:
        """Note that a whole window has brought nothing that had to wait for its end."""
        self.open, self._spent = False, 0

    def take(self) -> dict[str, Change]:
        taken, self.changes = self.changes, {}
        return taken


def told(channel: bytes, changes: dict[str, Change], roster: Roster, reader: str | None = None) -> list[bytes]:
    """Return the frames that tell of `changes`, but not to `reader` of itself; `channel` comes as JSON.

    Who went and came back is in two frames: nothing says which list of one frame is to be read first.
    """
    joined: list[bytes] = []
    left: list[bytes] = []
    back: list[bytes] = []
    for peer_id, change in changes.items():
        if peer_id == reader:
            continue
        if change.reason is not None:
            left.append(rosters.departure(change.peer_json, change.reason))
        if peer_id in roster:
            (joined if change.reason is None else back).append(roster.entry(peer_id))
    frames = [wire.presence(channel, some, ()) for some in _by_size(joined)]
    frames += [wire.presence(channel, (), some) for some in _by_size(left)]
    if joined and left and len(frames) == 2:
        frames = [wire.presence(channel, joined, left)]
    return frames + [wire.presence(channel, some, ()) for some in _by_size(back)]


def _by_size(entries: list[bytes]) -> Iterator[list[bytes]]:
    """Divide entries among frames that no client takes for too large."""
    some: list[bytes] = []
    size = 0
    for entry in entries:
        size += len(entry) + 1
        if size > rosters.SNAPSHOT_BYTES // 2 and some:
            yield some
            some, size = [], len(entry) + 1
        some.append(entry)
    if some:
        yield some
