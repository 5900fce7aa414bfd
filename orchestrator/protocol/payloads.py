"""What our agents say to each other inside `data`. The shapes extend those of plain messaging programs.

Such a program, in any language, leaves out what it does not know of (attempts, loads, Lamport times) and adds
what we do not: every field beyond the oldest ones is optional here, and unknown fields are passed over.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Raw, Struct, field

UNKNOWN_TASK: Final = "UnknownTask"
"""The type of the failure with which a worker answers for a task that it knows nothing of."""


class Payload(Struct, frozen=True, omit_defaults=True, tag_field="type", rename="camel"):
    """The `data` of one publish or send."""


class Load(Struct, frozen=True):
    """Tasks that a worker has taken and not ended, and how many it takes at once."""

    inflight: int
    capacity: int


class Failure(Struct, frozen=True):
    """What a handler raised: the type's name, its message, and whether trying again could help."""

    type: str
    message: str
    retryable: bool = False


class TaskOffer(Payload, tag="task", frozen=True):
    """A task for one worker. `payload` is the JSON of the task's fields; older programs send `prompt` alone.

    Attempts count from 1; 0 is a sender's that knows of none.
    """

    task_id: str
    origin: str = field(name="from", default="")
    """Who the sender says it is; never trusted, the hub's stamp is."""
    task: str = ""
    payload: Raw = Raw(b"")
    prompt: str | None = None
    attempt: int = 0
    deadline: float | None = None
    """Unix seconds after which the caller no longer waits."""
    traceparent: str | None = None
    """What it is a part of (W3C Trace Context)."""


class TaskAccepted(Payload, tag="task-accepted", frozen=True):
    task_id: str
    attempt: int = 0
    load: Load | None = None
    idempotent: bool = False
    """Doing it twice is harmless, as its handler says: a caller from outside has not seen that."""


class TaskRefused(Payload, tag="task-refused", frozen=True):
    """`reason` is `full`, `draining` or `unknown task`, or a sentence about a payload that does not fit its task."""

    task_id: str
    attempt: int = 0
    reason: str = ""
    load: Load | None = None


class TaskProgress(Payload, tag="task-progress", frozen=True):
    """A sign of life of a running task, with what its handler last said of its progress."""

    task_id: str
    attempt: int = 0
    progress: float | None = None
    message: str | None = None


class TaskResult(Payload, tag="task-result", frozen=True):
    task_id: str
    result: Raw = Raw(b"null")
    attempt: int | None = None
    load: Load | None = None


class TaskError(Payload, tag="task-error", frozen=True):
    task_id: str
    error: Failure
    attempt: int = 0
    load: Load | None = None
    remembers: float | None = None
    """From a worker that does not know the task: seconds for which it has known of every task that it got."""


class TaskCancel(Payload, tag="task-cancel", frozen=True):
    task_id: str


class Wake(Payload, tag="wake", frozen=True):
    """There is work in the store. A hint: whoever misses it looks there by itself, a little later."""


class Ask(Payload, tag="ask", frozen=True):
    """A question in words; the answer is a stream under `task_id`, or under an id of the answerer's choice."""

    prompt: str
    task_id: str | None = None
    attempt: int = 0
    """As of a task; 0 is a sender's that knows of none."""
    traceparent: str | None = None


class CompletionChunk(Payload, tag="completion-chunk", frozen=True):
    """One numbered piece of a stream; `seq` counts from 0, and the last piece, `done`, has a number of its own."""

    stream_id: str = ""
    seq: int | None = None
    # Readers in other languages look for both in every chunk; unlike a plain default, a factory's is never left out.
    content: Raw = field(default_factory=lambda: Raw(b'""'))
    done: bool = field(default_factory=bool)
    error: Failure | None = None
    more: tuple[Raw, ...] = ()
    """The pieces that follow, numbered on from `seq`: only for a reader that has said that it takes many at a time."""
    traceparent: str | None = None
    """Of whoever produces the stream, in its first piece."""


class StreamResume(Payload, tag="stream-resume", frozen=True):
    """The reader has every chunk below `start` and asks for the rest again."""

    stream_id: str
    start: int = field(name="from")


class StreamAck(Payload, tag="stream-ack", frozen=True):
    """The reader has every chunk up to and with `seq`."""

    stream_id: str
    seq: int
    many: bool = False
    """This reader takes many pieces in one message."""


class EventNotice(Payload, tag="event", frozen=True):
    event: str
    payload: Raw = Raw(b"{}")
    traceparent: str | None = None


class ClaimNotice(Payload, tag="claim", frozen=True):
    item_id: str
    origin: str = field(name="from", default="")
    lamport: int | None = None


class RejectNotice(Payload, tag="reject", frozen=True):
    item_id: str
    origin: str = field(name="from", default="")
    winner: str | None = None


class ReleaseNotice(Payload, tag="release", frozen=True):
    item_id: str
    origin: str = field(name="from", default="")


class HoldNotice(Payload, tag="hold", frozen=True):
    """A holder's sign of life, with the Lamport time of the claim that it won."""

    item_id: str
    origin: str = field(name="from", default="")
    lamport: int = 0


ClaimTalk: TypeAlias = ClaimNotice | RejectNotice | ReleaseNotice | HoldNotice


class StateNotice(Payload, tag="state", frozen=True):
    """One write to a team's state: a `value`, or `deleted` and none. `version` is a Lamport time and who wrote it."""

    key: str
    version: tuple[int, str]
    value: Raw = Raw(b"")
    deleted: bool = False


class StateMany(Payload, tag="state-many", frozen=True):
    """Writes of a burst; each is the JSON of `[key, lamport, peer, value]`, without `value` = deleted."""

    entries: tuple[Raw, ...]


class StateDigest(Payload, tag="state-digest", frozen=True):
    """What a member has, in one hash; `awaiting` names members of whom it has not heard that they have the same."""

    root: str
    clock: int = 0
    awaiting: tuple[str, ...] = ()
    channel: str = ""
    """Of the team, where the message itself was sent to one peer."""


class StateSync(Payload, tag="state-sync", frozen=True):
    """Asks a member for what the sender lacks: by the hashes of what it has, or by `wants`, the keys.

    `hashes` is a text of as many digits for each bucket, from bucket 0 on; an empty one = nothing is there. Buckets
    below `start` are left out of the answer.
    """

    channel: str
    root: str
    clock: int = 0
    hashes: str = ""
    start: int = 0
    wants: tuple[str, ...] = ()


class StateVersions(Payload, tag="state-versions", frozen=True):
    """What there is in buckets that differ; each item is the JSON of `[key, lamport, peer, hash]`."""

    channel: str
    items: tuple[Raw, ...]


class StatePage(Payload, tag="state-page", frozen=True):
    """A part of what was asked for, in the form of a burst; `last` ends one answer.

    With `resume` the asker asks again, from that bucket on; `None` = there is no more.
    """

    channel: str
    root: str
    entries: tuple[Raw, ...] = ()
    clock: int = 0
    last: bool = False
    resume: int | None = None


StateDirect: TypeAlias = StateDigest | StateSync | StateVersions | StatePage
"""What members say to one another about a state; the first of them to all, too."""
StateTalk: TypeAlias = StateNotice | StateMany | StateDirect


class Part(Payload, tag="part", frozen=True):
    """A piece of the JSON text of another payload, one that is larger than the hub takes; `seq` counts from 0.

    Not among the payloads below: whoever handles those gets the whole, and never sees a part.
    """

    id: str
    """Shared by the parts of one payload, and by no other of the same sender."""
    seq: int
    of: int
    text: str


AnyPayload: TypeAlias = (
    TaskOffer
    | TaskAccepted
    | TaskRefused
    | TaskProgress
    | TaskResult
    | TaskError
    | TaskCancel
    | Wake
    | Ask
    | CompletionChunk
    | StreamResume
    | StreamAck
    | EventNotice
    | ClaimNotice
    | RejectNotice
    | ReleaseNotice
    | HoldNotice
    | StateNotice
    | StateMany
    | StateDigest
    | StateSync
    | StateVersions
    | StatePage
)

_payloads: Final[msgspec.json.Decoder[AnyPayload]] = msgspec.json.Decoder(AnyPayload)


def decode_payload(data: bytes | Raw) -> AnyPayload | None:
    """Return what `data` says, or `None` when it is not one of our shapes: somebody else's message, not an error."""
    try:
        return _payloads.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None


def plain(data: bytes | Raw) -> Any:
    """Return JSON bytes as Python values. Raises `ValueError` for what is not JSON or is nested too deeply."""
    try:
        return msgspec.json.decode(data)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None
