"""The lines of a recording: what they hold, and how what a hub tells becomes them, without secrets.

`docs/record.md` says what each kind means.
"""

from __future__ import annotations

import base64
import json
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw, Struct

from orchestrator.hub.json_depth import too_deep
from orchestrator.hub.record_details import check
from orchestrator.hub.scrubbing import scrubbed, shape_of
from orchestrator.protocol.limits import MAX_DEPTH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.hub.admission import Identity
    from orchestrator.hub.recording import Event

FORMAT: Final = 1
INPUTS: Final = frozenset(
    (
        "connect",
        "in",
        "binary",
        "ping",
        "pong",
        "fragment",
        "violation",
        "disconnect",
        "lost",
        "abort",
        "sent",
        "stalled",
        "resumed",
        "tick",
        "rekey",
        "attempt",
        "broadcast",
        "kick",
        "end",
        "drain",
    )
)
"""What a hub is called with; feeding them to another one repeats everything."""
OUTCOMES: Final = frozenset(("out", "closed", "cut", "result"))
"""What it did."""
KNOWN_FRAMES: Final = 2_048
"""Frames that are written once and named by their numbers as long as they are among the latest."""
_TEXT: Final = 0x81
_WELCOME: Final = b'{"type":"welcome"'


class Heading(Struct, tag="recording", tag_field="k", omit_defaults=True):
    """The first line of a file."""

    format: int
    began: float
    """Unix seconds."""
    versions: dict[str, str] = {}
    outline: Raw = Raw(b"null")
    """A `RunOutline`; `null` where the hub was by itself."""


class Line(Struct, omit_defaults=True, gc=False):
    """Any other line. What a kind has no use for is left out."""

    k: str
    t: float
    """Monotonic seconds, exactly as the hub was told; the line ``hub`` says what they are in Unix seconds."""
    c: int = 0
    """The number of a connection, in the order of their beginnings; 0 = none."""
    x: str | None = None
    """Text."""
    b: str | None = None
    """Bytes that are no text, in base64."""
    n: int = 0
    f: tuple[int, ...] = ()
    """Numbers of frames."""
    d: Any = None


encode_line: Final = msgspec.json.Encoder().encode
_line: Final = msgspec.json.Decoder(Line).decode
decode_heading: Final = msgspec.json.Decoder(Heading).decode


def decode_line(text: bytes) -> Line:
    """Read a line that holds what its kind has. Raises `ValueError` for any other."""
    try:
        line = _line(text)
        if line.k == "connect" and too_deep(text, MAX_DEPTH):
            raise ValueError("it is nested more deeply than a token can be")
        check(line)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return line


class Spelling:
    """Turns what one hub tells into lines. Each frame is looked at for secrets once, however many connections get it."""

    def __init__(self, max_frame: int = 0) -> None:
        self._max_frame = max_frame
        self._numbers = 0
        self._known: OrderedDict[bytes, int] = OrderedDict()
        """The latest frames, as the hub wrote them, with their numbers."""
        self._last: tuple[bytes, tuple[int, ...]] = (b"", ())
        """What was written last, which often goes to many."""

    def lines(self, event: Event) -> Iterator[Line]:
        kind, now, number, detail = event
        match kind:
            case "in":
                yield self._received(now, number, detail)
            case "out":
                yield from self._written(now, number, detail)
            case "connect":
                yield Line(kind, now, number, d=_described(*detail))
            case "ping":
                yield Line(kind, now, number, b=base64.b64encode(detail).decode())
            case "binary" | "violation" | "stalled" | "result":
                yield Line(kind, now, number, n=detail)
            case "disconnect" | "attempt":
                yield Line(kind, now, number, x=detail)
            case "closed" | "refused":
                yield Line(kind, now, number, n=detail[0], x=detail[1])
            case "hub":
                wall, settings, joined = detail
                self._max_frame = settings["max_frame"]
                yield Line(kind, now, d={"wall": wall, "settings": settings, "joined": joined})
            case "broadcast":
                app, channel, sender, data, metadata, message_id = detail
                yield Line(
                    kind,
                    now,
                    d={
                        "app": app,
                        "channel": channel,
                        "from": sender,
                        "data": scrubbed(data).decode(),
                        "metadata": None if metadata is None else scrubbed(metadata).decode(),
                        "id": message_id,
                    },
                )
            case _:
                yield Line(kind, now, number, d=detail)

    def _received(self, now: float, number: int, text: bytes) -> Line:
        if len(text) > self._max_frame > 0:  # its size is what counts
            return Line("in", now, number, n=len(text))
        return _with_text(Line("in", now, number), scrubbed(text))

    def _written(self, now: float, number: int, data: bytes) -> Iterator[Line]:
        if data is self._last[0]:
            frames = self._last[1]
            if frames and frames[0] > self._numbers - KNOWN_FRAMES:
                yield Line("out", now, number, f=frames)
                return
        numbers: list[int] = []
        for frame in frames_in(data):
            known = self._known.get(frame)
            if known is None:
                known = self._numbers = self._numbers + 1
                self._known[frame] = known
                if len(self._known) > KNOWN_FRAMES // 2:
                    self._known.popitem(last=False)
                yield _frame(now, known, frame)
            numbers.append(known)
        if numbers:
            self._last = (data, tuple(numbers))
            yield Line("out", now, number, f=tuple(numbers))


def frames_in(data: bytes) -> Iterator[bytes]:
    """Take what a hub writes apart; the answer to the opening handshake, which may come first, is left out."""
    at = data.index(b"\r\n\r\n") + 4 if data.startswith(b"HTTP/") else 0
    while at < len(data):
        start, size = _header(data, at)
        yield data[at : start + size]
        at = start + size


def _header(data: bytes, at: int) -> tuple[int, int]:
    """Return where the payload of a frame starts, and its size."""
    size = data[at + 1]
    if size == 126:
        return at + 4, int.from_bytes(data[at + 2 : at + 4], "big")
    if size == 127:
        return at + 10, int.from_bytes(data[at + 2 : at + 10], "big")
    return at + 2, size


def _frame(now: float, number: int, frame: bytes) -> Line:
    start, _ = _header(frame, 0)
    if frame[0] != _TEXT:
        return Line("frame", now, n=number, b=base64.b64encode(frame).decode())
    payload = frame[start:]
    text = _welcome(payload) if payload.startswith(_WELCOME) else scrubbed(payload)
    return _with_text(Line("frame", now, n=number), text)


def _with_text(line: Line, text: bytes) -> Line:
    try:
        line.x = text.decode()
    except UnicodeDecodeError:
        line.b = base64.b64encode(text).decode()
    return line


def _welcome(payload: bytes) -> bytes:
    """Return a welcome with nothing of the private metadata in it but its form."""
    said = json.loads(payload)
    if "metadata" in said:
        said["metadata"] = shape_of(said["metadata"])
    return compact(said)


def compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _described(identity: Identity, wall: float) -> dict[str, Any]:
    """Return all of an identity but what it has shown to be let in."""
    actions, scopes, grants = identity.rights.spelt()
    rate = identity.rate
    public = identity.peer_metadata
    return {
        "peer": identity.peer_id,
        "wall": wall,
        "app": identity.app,
        "instance": identity.instance,
        "expires": identity.expires_at,
        "rate": None if rate is None else [rate.per_second, rate.burst],
        "actions": [str(action) for action in actions],
        "scopes": scopes,
        "grants": grants,
        "public": None if public is None else scrubbed(public).decode(),
        "private": None if identity.metadata is None else shape_of(json.loads(identity.metadata)),
    }
