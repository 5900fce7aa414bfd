"""A recording held against a fresh hub: the same calls at the same times, and what comes of them beside what came then.

A hub's core takes time, peer ids and everything else that chance gives from outside, and all of it is in the recording: what
comes of it is the same, byte by byte, or something has changed.
"""

from __future__ import annotations

import base64
import contextlib
from collections import deque
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final, cast

from msgspec import Raw

from orchestrator.hub.admission import Identity
from orchestrator.hub.intake import Refused
from orchestrator.hub.keys import KeyRing
from orchestrator.hub.record_lines import INPUTS, KNOWN_FRAMES, OUTCOMES, Line, Spelling, compact
from orchestrator.hub.record_reading import Recording
from orchestrator.hub.recording import RecordingHub
from orchestrator.hub.rights import Rights
from orchestrator.hub.rosters import Reason
from orchestrator.hub.settings import Settings
from orchestrator.protocol.codes import Action, CloseCode
from orchestrator.protocol.tokens import Grants, Rate, SecretKey

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.hub.connections import Connection
    from orchestrator.hub.outbox import Outbox
    from orchestrator.hub.recording import Event

SHOWN: Final = 10
"""Differences that are told, the first ones; the rest follow from them more often than not."""
NOTHING: Final = "nothing"


@dataclass(frozen=True, slots=True)
class Difference:
    seconds: float
    """From the beginning of the recording."""
    peer: str
    recorded: str
    now: str

    def __str__(self) -> str:
        return f"at {self.seconds:.3f} s, to {self.peer}:\n  recorded: {self.recorded}\n  now:      {self.now}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a recording and a fresh hub have in common."""

    inputs: int
    """Frames that connections sent."""
    outputs: int
    """Frames that were put to them."""
    differences: tuple[Difference, ...] = ()
    """The first ones."""
    unequal: int = 0
    """How many there are in all."""
    ends: str = ""
    """Why it goes no further than it does: a sentence; empty = it goes to the end of the recording."""

    @property
    def same(self) -> bool:
        return not self.unequal and not self.ends

    def __str__(self) -> str:
        counted = f"{self.inputs} frames in, {self.outputs} frames out"
        if self.same:
            return f"{counted}: the same"
        told = [*map(str, self.differences)]
        if self.unequal > len(told):
            told.append(f"and {self.unequal - len(told)} more differences")
        found = f"{self.unequal} differences" if self.unequal != 1 else "1 difference"
        first = f"{counted}: {found if self.unequal else 'the same as far as it goes'}"
        return "\n".join([first, *told, *([self.ends] if self.ends else [])])


def replay_check(path: Path) -> Comparison:
    """Feed what a recorded hub was called with to a fresh one, and compare what comes of it.

    Raises `NoRecording` for a file that is none.
    """
    recording = Recording(path)
    rehearsal = Rehearsal(recording.heading.began)
    for line in recording.lines():
        rehearsal.feed(line)
        if rehearsal.ends:
            break
    if recording.torn:
        rehearsal.ends = rehearsal.ends or f"{recording.torn} lines of {path} are torn and could not be compared"
    return rehearsal.comparison()


class Rehearsal:
    """Takes the lines of a recording one after the other."""

    def __init__(self, began: float) -> None:
        """`began` is the time of the heading."""
        self.ends = ""
        self._began = began
        self._hub: RecordingHub | None = None
        self._offset = 0.0
        self._settings = Settings()
        self._spelling = Spelling()
        self._told: deque[Line] = deque()
        """What the fresh hub did since the last call, as it would be recorded."""
        self._frames: dict[int, str] = {}
        """Of the recording, by number."""
        self._own_frames: dict[int, str] = {}
        self._outboxes: dict[int, Outbox] = {}
        self._connections: dict[int, Connection] = {}
        self._peers: dict[int, str] = {}
        self._inputs = self._outputs = self._unequal = 0
        self._differences: list[Difference] = []
        self._at = 0.0

    def comparison(self) -> Comparison:
        return Comparison(self._inputs, self._outputs, tuple(self._differences), self._unequal, self.ends)

    def feed(self, line: Line) -> None:
        kind = line.k
        if kind == "frame":
            _note(self._frames, line)
        elif kind in OUTCOMES:
            self._expect(line)
        elif kind in INPUTS:
            self.settle()
            self._at = line.t
            if self._hub is None:
                self.ends = "the recording does not say which hub it is of: its beginning is missing"
                return
            self._call(self._hub, line)
            self._hub.turn.dirty.clear()
        elif kind == "hub":
            self._begin(line)
        elif kind == "closed-file":
            self.settle()
        elif kind == "gap":
            missing = line.d["missing"]
            seconds = self._seconds(line.d["since"])
            self.ends = (
                f"{missing} events are missing from the recording at {seconds:.3f} s: it is compared until there"
            )

    def settle(self) -> None:
        """Note what was done and is not in the recording, before something else is done."""
        while self._told:
            line = self._told.popleft()
            self._differ(line.t, line.c, NOTHING, self._in_words(line, self._own_frames))

    def _begin(self, line: Line) -> None:
        self._told.clear()  # what a hub did last that was killed is not in the recording
        if line.d["joined"]:
            self.ends = (
                "the hub was joined to others, whose messages are no part of the recording: only the recording of a "
                "hub by itself can be compared"
            )
            return
        self._offset = line.d["wall"] - line.t - self._began
        known = {field.name for field in fields(Settings)}
        unknown = sorted(set(line.d["settings"]) - known)
        if unknown:
            self.ends = f"the hub had settings that this version does not know: {', '.join(unknown)}"
            return
        self._settings = Settings(**line.d["settings"])
        self._spelling = Spelling(self._settings.max_frame)
        self._hub = RecordingHub(self._settings, self._hear)
        for table in (self._frames, self._own_frames, self._outboxes, self._connections, self._peers):
            cast("dict[int, Any]", table).clear()

    def _hear(self, event: Event) -> None:
        if event[0] in OUTCOMES:
            for line in self._spelling.lines(event):
                if line.k == "frame":
                    _note(self._own_frames, line)
                else:
                    self._told.append(line)

    # -- what was done

    def _expect(self, line: Line) -> None:
        """Hold one thing that the recorded hub did against what this one does."""
        if line.k == "out":
            self._outputs += len(line.f)
            outbox = self._outboxes.get(line.c)
            if outbox is not None:
                outbox.take(line.t)
                outbox.cleaned()
        recorded = self._in_words(line, self._frames)
        for index, told in enumerate(self._told):
            if told.k == line.k and told.c == line.c:
                del self._told[index]
                now = self._in_words(told, self._own_frames)
                break
        else:
            now = NOTHING
        if now != recorded:
            self._differ(line.t, line.c, recorded, now)

    def _in_words(self, line: Line, frames: dict[int, str]) -> str:
        match line.k:
            case "out":
                return " ".join(frames.get(number, "?") for number in line.f)
            case "closed":
                return f"closed with {line.n} ({line.x})"
            case "cut":
                return "cut off"
        return f"answered {line.n}"

    def _differ(self, time: float, number: int, recorded: str, now: str) -> None:
        self._unequal += 1
        if len(self._differences) < SHOWN:
            peer = self._peers.get(number, "whoever asked")
            self._differences.append(Difference(self._seconds(time), peer, *_excerpts(recorded, now)))

    def _seconds(self, time: float) -> float:
        return time + self._offset

    # -- what is done again

    def _call(self, hub: RecordingHub, line: Line) -> None:
        kind, now = line.k, line.t
        if line.c == 0:
            self._call_for_nobody(hub, line)
            return
        if kind == "connect":
            self._connect(hub, line)
            return
        outbox, connection = self._outboxes.get(line.c), self._connections.get(line.c)
        if outbox is None:
            return
        match kind:
            case "lost":
                outbox.lost()
            case "abort":
                outbox.abort()
            case "sent":
                outbox.sent(now)
        if connection is None:
            return
        match kind:
            case "in":
                self._inputs += 1
                hub.receive(connection, _text(line), now)
            case "binary":
                self._inputs += 1
                hub.receive_binary(connection, bytes(line.n), now)
            case "ping":
                self._inputs += 1
                hub.receive_ping(connection, base64.b64decode(line.b or ""), now)
            case "pong":
                self._inputs += 1
                hub.receive_pong(connection, now)
            case "fragment":
                self._inputs += 1
                hub.receive_fragment(connection, now)
            case "violation":
                hub.violation(connection, CloseCode(line.n), now)
            case "disconnect":
                hub.disconnect(connection, now, Reason(line.x))
            case "stalled":
                hub.stalled(connection, line.n, now)
            case "resumed":
                hub.resumed(connection, now)
            case "end":
                code, text, reason = line.d
                hub.turn.now = now
                hub.end(connection, CloseCode(code), text, Reason(reason))

    def _call_for_nobody(self, hub: RecordingHub, line: Line) -> None:
        now, said = line.t, line.d
        match line.k:
            case "tick":
                hub.tick(now)
            case "attempt":
                hub.attempt(line.x or "")
            case "kick":
                hub.kick_here(said[0], said[1], now)
            case "rekey":
                hub.rekey(_Objections({f"{number}": CloseCode(code) for number, code in said}), now)
            case "drain":
                window, rate, retry = said
                hub.settings = replace(hub.settings, drain_window=window, drain_rate=rate, retry_after_ms=retry)
                hub.drain(now)
            case "broadcast":
                metadata = None if said["metadata"] is None else said["metadata"].encode()
                data = Raw(said["data"].encode())
                with contextlib.suppress(Refused):  # which is told as an outcome
                    hub.broadcast(said["app"], said["channel"], said["from"], data, metadata, now, said["id"])

    def _connect(self, hub: RecordingHub, line: Line) -> None:
        outbox = hub.outbox()
        self._outboxes[line.c] = outbox
        identity = _identity(line)
        self._peers[line.c] = identity.peer_id
        connection = hub.connect(identity, outbox, line.t, line.d["wall"])
        if connection is not None:
            self._connections[line.c] = connection


class _Objections(KeyRing):
    """Objects to the connections that the recorded hub objected to, whose keys are their numbers here."""

    def __init__(self, codes: dict[str, CloseCode]) -> None:
        super().__init__()
        self._codes = codes

    def objection(self, key: Any) -> CloseCode | None:
        return self._codes.get(key.id)


def _identity(line: Line) -> Identity:
    said = line.d
    grants = None if said["grants"] is None else Grants(**{name: tuple(of) for name, of in said["grants"].items()})
    return Identity(
        app=said["app"],
        peer_id=said["peer"],
        key=SecretKey(str(line.c), "", said["app"]),
        rights=Rights(frozenset(map(Action, said["actions"])), said["scopes"], grants),
        expires_at=said["expires"],
        metadata=None if said["private"] is None else compact(said["private"]),
        peer_metadata=None if said["public"] is None else said["public"].encode(),
        instance=said["instance"],
        rate=None if said["rate"] is None else Rate(*said["rate"]),
    )


def _text(line: Line) -> bytes:
    if line.x is not None:
        return line.x.encode()
    return b" " * line.n if line.b is None else base64.b64decode(line.b)


def _note(frames: dict[int, str], line: Line) -> None:
    frames[line.n] = line.x if line.x is not None else f"bytes {line.b}"
    frames.pop(line.n - KNOWN_FRAMES, None)


def _excerpts(recorded: str, now: str, around: int = 60, most: int = 240) -> tuple[str, str]:
    """Return two texts from shortly before they begin to differ."""
    same = next((at for at, (one, other) in enumerate(zip(recorded, now, strict=False)) if one != other), 0)
    start = max(0, same - around)
    cuts = [("… " if start else "") + text[start : start + most] for text in (recorded, now)]
    ends = [" …" if len(text) > start + most else "" for text in (recorded, now)]
    return cuts[0] + ends[0], cuts[1] + ends[1]
