"""Payloads above the hub's limit: cut into parts where they leave, joined again where they arrive.

The parts of one payload arrive in the order in which they left, which the connection and the hub see to; some may
come twice, and some not at all. A payload is handed on whole or not at all, and what is given up is said.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import msgspec
from msgspec import Raw, Struct

from orchestrator.errors import PayloadTooLarge
from orchestrator.protocol.frames import encode_json
from orchestrator.protocol.limits import MAX_JOINED_SIZE, MAX_MESSAGE_ID
from orchestrator.protocol.payloads import Part

PATIENCE_SECONDS: Final = 30.0
"""How long an unfinished payload is kept after its last part."""
UNFINISHED_PER_SENDER: Final = 4
"""Payloads of one sender that may be unfinished at a time."""
UNFINISHED_BYTES: Final = 64 * 1024 * 1024
"""What the unfinished payloads of all senders may take together."""
UNFINISHED_COST: Final = 1_024
"""Bytes that each of them counts for beside its text."""
ENDED_KNOWN: Final = 1_024
"""Payloads, joined or given up, of which further parts are known to be late."""

_LONGEST_CHARACTER: Final = 4
"""Bytes of UTF-8; an escape has two."""
_EDGE: Final = 256
"""Bytes at either end of a part that hold everything but its text."""

# True of our own parts and of whatever does not begin like our own payloads; it is asked of every message.
_may_be_part: Final = re.compile(rb'(?!\{"type":"(?!part"))').match
_names_part: Final = re.compile(rb'"part"').search
_UNREADABLE: Final = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)


class _Outline(Struct):
    """What an object has that is meant as a part, whatever the values are."""

    type: str
    id: Raw
    seq: Raw
    of: Raw
    text: Raw


_outline: Final = msgspec.json.Decoder(_Outline).decode
_part: Final = msgspec.json.Decoder(Part).decode
_json: Final = msgspec.json.Decoder(Raw).decode


def is_part(data: Raw) -> bool:
    """Tell whether a payload is meant as a part: an object of that type with all of a part's fields.

    The fields may be in any order, beside few others, and hold anything: `Assembly.receive` says what is wrong.
    """
    if _may_be_part(data) is None:
        return False
    view = memoryview(data)
    if _names_part(view[:_EDGE]) is None and _names_part(view[-_EDGE:]) is None:
        return False
    try:
        return _outline(data).type == "part"
    except _UNREADABLE:
        return False


def cut(data: Raw | bytes, limit: int, part_id: str) -> list[Raw]:
    """Return the parts of a payload, in order, each of at most `limit` bytes and as full as that allows.

    `part_id` is to differ from every other that this sender has used, also in an earlier life of its process. Raises
    `PayloadTooLarge` for more than 8 MiB, or where the limit leaves no room, and `ValueError` for what is no JSON.
    """
    view = memoryview(data)
    if view.nbytes > MAX_JOINED_SIZE:
        raise PayloadTooLarge(view.nbytes, MAX_JOINED_SIZE)
    fault = _fault_of_json(data)
    if fault:
        raise ValueError(f"the payload is no JSON: {fault}")
    escaped = encode_json(str(view, "utf-8"))
    most = len(escaped)
    room = limit - len(encode_json(Part(part_id, most, most, "")))
    if room < _LONGEST_CHARACTER:
        raise PayloadTooLarge(view.nbytes, limit)
    pieces = []
    start, last = 1, len(escaped) - 1  # without the quotes
    while start < last:
        end = _end_of_piece(escaped, start, min(start + room, last))
        pieces.append(escaped[start:end])
        start = end
    of = len(pieces)
    return [
        Raw(b"".join((encode_json(Part(part_id, seq, of, "")).removesuffix(b'"}'), piece, b'"}')))
        for seq, piece in enumerate(pieces)
    ]


def _end_of_piece(escaped: bytes, start: int, end: int) -> int:
    """Return the last place up to `end` that is inside neither a UTF-8 character nor an escape.

    No escape is longer than two bytes: the control characters that would need more are no part of JSON text.
    """
    while escaped[end] & 0b1100_0000 == 0b1000_0000:
        end -= 1
    piece = escaped[start:end]
    trailing_backslashes = len(piece) - len(piece.rstrip(b"\\"))
    return end - trailing_backslashes % 2


@dataclass(frozen=True, slots=True)
class Joined:
    """A whole payload, byte by byte what was cut."""

    data: Raw


@dataclass(frozen=True, slots=True)
class Dropped:
    """A payload that is given up: `got` of its `of` parts had come. Said once, however many more of them come.

    `channel` is `None` for what was sent to this peer alone; `id` is empty and `of` is 0 where none could be read.
    """

    sender: str
    channel: str | None
    id: str
    got: int
    of: int
    why: str


Outcome: TypeAlias = Joined | Dropped
_Key: TypeAlias = tuple[str, str | None, str]
"""Sender, channel and the id that the sender gave."""


@dataclass(slots=True)
class _Unfinished:
    of: int
    got: int = 0
    heard: float = 0.0
    text: bytearray = field(default_factory=bytearray)

    @property
    def cost(self) -> int:
        return UNFINISHED_COST + len(self.text)


class Assembly:
    """The payloads of which a part is still to come. `now` is in seconds and never goes back.

    When a sender has too many of them, the one that was silent longest is given up; when all together take more than
    `budget` bytes, the same is done to the sender that holds most.
    """

    def __init__(self, budget: int = UNFINISHED_BYTES) -> None:
        self._budget = budget
        self._unfinished: dict[_Key, _Unfinished] = {}
        """Silent longest first."""
        self._held = 0
        self._ended: dict[_Key, None] = {}

    @property
    def held(self) -> int:
        """Bytes that count against the budget."""
        return self._held

    def receive(self, sender: str, channel: str | None, data: Raw, now: float) -> list[Outcome]:
        """Take what `is_part` says is one; `sender` is the hub's stamp, and `channel` is `None` for a direct message."""
        try:
            part = _part(data)
        except _UNREADABLE as error:
            return [Dropped(sender, channel, "", 0, 0, f"a part of it cannot be read: {error}")]
        if not 0 < len(part.id) <= MAX_MESSAGE_ID:
            why = f"its id has {len(part.id)} characters, and may have 1 to {MAX_MESSAGE_ID}"
            return [Dropped(sender, channel, part.id[:MAX_MESSAGE_ID], 0, part.of, why)]
        key = (sender, channel, part.id)
        if key in self._ended:
            return []
        known = self._unfinished.get(key)
        text = part.text.encode()
        fault = _fault_of_part(part, len(text), known)
        if fault:
            return [self._drop(key, fault, part.of)]
        if known is None:
            return [*self._make_room_for(sender), *self._take(key, _Unfinished(part.of), text, now)]
        return self._take(key, known, text, now) if part.seq == known.got else []

    def tick(self, now: float) -> list[Outcome]:
        """Give up what has been silent for too long."""
        why = f"no further part came within {PATIENCE_SECONDS:g} s"
        outcomes: list[Outcome] = []
        while (due := self.deadline()) is not None and due <= now:
            outcomes.append(self._drop(next(iter(self._unfinished)), why))
        return outcomes

    def deadline(self) -> float | None:
        """Return when `tick` has something to do; `None` while nothing is unfinished."""
        return next(iter(self._unfinished.values())).heard + PATIENCE_SECONDS if self._unfinished else None

    def _take(self, key: _Key, known: _Unfinished, text: bytes, now: float) -> list[Outcome]:
        """Add the next part of a payload."""
        self._held += len(text) if self._unfinished.pop(key, None) else UNFINISHED_COST + len(text)
        self._unfinished[key] = known
        known.text += text
        known.got += 1
        known.heard = now
        return [self._finish(key, known)] if known.got == known.of else self._keep_to_budget()

    def _finish(self, key: _Key, whole: _Unfinished) -> Outcome:
        fault = _fault_of_json(whole.text)
        if fault:
            return self._drop(key, f"its parts together are no JSON: {fault}")
        self._end(key)
        return Joined(Raw(bytes(whole.text)))

    def _make_room_for(self, sender: str) -> list[Outcome]:
        mine = [key for key in self._unfinished if key[0] == sender]
        if len(mine) < UNFINISHED_PER_SENDER:
            return []
        return [self._drop(mine[0], f"its sender has begun more than {UNFINISHED_PER_SENDER} payloads at a time")]

    def _keep_to_budget(self) -> list[Outcome]:
        outcomes: list[Outcome] = []
        while self._held > self._budget:
            holds: Counter[str] = Counter()
            for key, unfinished in self._unfinished.items():
                holds[key[0]] += unfinished.cost
            most = max(holds, key=holds.__getitem__)
            oldest = next(key for key in self._unfinished if key[0] == most)
            outcomes.append(self._drop(oldest, f"unfinished payloads take more than {self._budget} bytes"))
        return outcomes

    def _drop(self, key: _Key, why: str, of: int = 0) -> Dropped:
        known = self._end(key)
        sender, channel, part_id = key
        return Dropped(sender, channel, part_id, known.got if known else 0, known.of if known else of, why)

    def _end(self, key: _Key) -> _Unfinished | None:
        """Let go of a payload, and know its further parts for late ones."""
        known = self._unfinished.pop(key, None)
        if known is not None:
            self._held -= known.cost
        self._ended[key] = None
        if len(self._ended) > ENDED_KNOWN:
            del self._ended[next(iter(self._ended))]
        return known


def _fault_of_part(part: Part, size: int, known: _Unfinished | None) -> str:
    """Return why a payload cannot be finished after this part, or an empty string."""
    got, held = (known.got, len(known.text)) if known else (0, 0)
    if not 0 <= part.seq < part.of:
        return f"a part has number {part.seq}, counted from 0, of {part.of}"
    if known is not None and part.of != known.of:
        return f"its parts disagree on how many they are: {known.of} and {part.of}"
    if not size:
        return f"part {part.seq} is empty"
    if part.seq > got:
        return f"part {got} did not arrive" if part.seq == got + 1 else f"parts {got} to {part.seq - 1} did not arrive"
    if part.seq == got and held + size > MAX_JOINED_SIZE:
        return f"it has more than {MAX_JOINED_SIZE} bytes"
    return ""


def _fault_of_json(text: Raw | bytes | bytearray) -> str:
    try:
        _json(text)
    except RecursionError:
        return "it is nested too deeply"
    except msgspec.DecodeError as error:
        return str(error)
    return ""
