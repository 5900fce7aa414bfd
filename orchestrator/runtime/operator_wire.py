"""What a command and a run tell each other over the run's socket: JSON, one message a line.

A connection is for one command: its first line is `Hello`, its second the request. The run says `Hello` too, and then
answers: `Progress` as often as it likes, and one of the others last, but for `Logs`, which is answered by `LogLine`,
`Missed` and `UpToNow`, and then `Done`; and for `Stop`, where the end of the connection is the answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Struct

from orchestrator.errors import ExitCode, OrchestratorError, did_you_mean, listed
from orchestrator.runtime.records import Record, Source

if TYPE_CHECKING:
    from collections.abc import Collection

VERSION: Final = 1
MAX_REQUEST: Final = 65_536
"""Bytes of one line to the run."""
MAX_ANSWER: Final = 33_554_432
"""Bytes of one line from it: the view of some ten thousand replicas."""
MAX_NAMES: Final = 1_000
MAX_LINES: Final = 1_000_000
MAX_REPLICAS: Final = 10_000
MAX_SUB: Final = 64
_MANY: Final = 20
"""Names after which listing them all helps nobody."""

Where: TypeAlias = Literal["here", "external", "elsewhere"]
State: TypeAlias = Literal[
    "starting", "ready", "offline", "waiting", "stopping", "failed", "finished", "awaited", "unseen"
]  # fmt: skip


class NotUnderstood(OrchestratorError):
    """A line on the run's socket is no message."""

    exit_code = ExitCode.USAGE


class NotInRun(OrchestratorError):
    """A command names an agent or a replica that a run does not have."""

    exit_code = ExitCode.USAGE

    def __init__(self, name: str, known: Collection[str]) -> None:
        self.name, self.known = name, tuple(known)
        super().__init__(name, self.known)

    def __str__(self) -> str:
        hint = did_you_mean(self.name, self.known)
        if not hint and len(self.known) <= _MANY:
            hint = f"; there are {listed(self.known)}"
        return f"there is no agent or replica {self.name!r} in this run{hint}"


class Hello(Struct, frozen=True, tag_field="type", tag="hello"):
    """The first line of either side. What later versions say besides is left alone."""

    version: int
    pid: int = 0
    """Of the run; 0 from a command."""


# -- from a command


class Request(Struct, frozen=True, tag_field="type", omit_defaults=True, forbid_unknown_fields=True):
    """What a command wishes of a run. Each field that is not known is refused: it may be what matters."""


class Ps(Request, frozen=True, tag="ps"):
    """Answered by `RunView`."""


class Top(Request, frozen=True, tag="top"):
    """Answered by `TopView`."""


class Logs(Request, frozen=True, tag="logs"):
    """What agents, replicas or the run's own processes have said last."""

    agents: tuple[str, ...] = ()
    """Names of any of these; none = all."""
    lines: int = 0
    follow: bool = False
    """Go on until either side leaves."""
    level: Literal["debug", "info", "warning", "error"] = "debug"
    """Lines of this level or a worse one; `lines` counts those that pass this, and `since`."""
    since: float | None = None
    """Unix seconds: lines that were said from then on; `None` = whenever."""
    marked: bool = False
    """With `follow`: say `UpToNow` between what was said before and what is said from now on."""


class Scale(Request, frozen=True, tag="scale"):
    wished: dict[str, int]
    """Replicas by agent."""


class Restart(Request, frozen=True, tag="restart"):
    names: tuple[str, ...]
    """Agents or replicas, or ``(hub)`` or ``(store)``."""


class Stop(Request, frozen=True, tag="stop"):
    grace: float | None = None
    """Seconds; `None` = those that the run was started with."""


class Reload(Request, frozen=True, tag="reload"):
    """Read the topology again, and apply what is different."""


class Enter(Request, frozen=True, tag="enter"):
    """Be let in to the run's hub, as the built-in user. Answered by `Entry`."""

    sub: str = ""
    """Who it is let in as, behind ``cli/``, and which start of that: those of an earlier `Enter`, so that its connection goes
    on. Empty = somebody new."""
    instance: str = ""


class Link(Request, frozen=True, tag="link"):
    """Have a link to the dashboard that signs in once. Answered by `Linked`."""


AnyRequest: TypeAlias = Ps | Top | Logs | Scale | Restart | Stop | Reload | Enter | Link


# -- from a run


class Answer(Struct, frozen=True, tag_field="type", omit_defaults=True):
    """What a run says to a command. Fields that are not known are left alone."""


class Done(Answer, frozen=True, tag="done"):
    sentence: str = ""


class Refused(Answer, frozen=True, tag="refused"):
    sentence: str
    exit_code: int = int(ExitCode.FAILED)


class Progress(Answer, frozen=True, tag="progress"):
    sentence: str


class ReplicaView(Answer, frozen=True, tag="replica"):
    """One replica, or the hub or the store, as it is now."""

    agent: str
    """Empty for the hub and the store."""
    peer: str
    """Its peer id; ``(hub)`` and ``(store)`` for those."""
    where: Where
    state: State
    pid: int | None = None
    since: float | None = None
    """Unix seconds since when its process, or its presence, has been what it is; `None` = it never was."""
    restarts: int = 0
    detail: str = ""
    ready_since: float | None = None
    """Unix seconds since when it has been ready; `None` = it is not."""
    inflight: int = 0
    """Tasks that it has taken and not ended, as far as its process has said."""
    capacity: int = 0
    done: int = 0
    """Tasks that ended well since its process began."""
    failed: int = 0
    memory: int = 0
    """Bytes of its process that are resident; 0 = not known."""
    last_error: str = ""
    """How its process last ended badly."""


class RunView(Answer, frozen=True, tag="run"):
    """A run as it is now, with all that its topology plans, whoever runs it."""

    name: str
    source: str
    """Path of the topology."""
    pid: int
    hub_url: str
    began: float
    """Unix seconds."""
    ready: bool
    replicas: tuple[ReplicaView, ...]


class WorkCounts(Struct, frozen=True, omit_defaults=True):
    """What a replica has done in all of its processes: totals, which never fall."""

    done: int = 0
    failed: int = 0
    cancelled: int = 0
    lost: int = 0
    """Tasks that ended with their process, or were taken away."""
    chunks: int = 0
    reconnects: int = 0
    steps: tuple[int, ...] = ()
    """How many tasks took up to each of `TopView.bounds` and longer than the one before it, and longer than all."""


class ProcessUse(Struct, frozen=True):
    memory: int
    """Bytes that are resident; 0 = not known."""
    cpu: float
    """Seconds of processor time since it began."""


class TopView(Answer, frozen=True, tag="counts"):
    """What a run has done until now: two of them give the rates of the time between."""

    run: RunView
    time: float
    """Unix seconds."""
    bounds: tuple[float, ...]
    """Seconds between the steps of what tasks took."""
    work: dict[str, WorkCounts]
    """By peer id; of those that are no part of the run any more, too."""
    processes: dict[int, ProcessUse]
    """By pid: those of its children, and its own. Replicas may share one."""


class LogLine(Answer, frozen=True, tag="log"):
    """A record and who said it, as `Source` and `Record` have them."""

    source: str
    time: float
    level: str
    event: str
    agent: str | None = None
    replica: int | None = None
    fields: dict[str, Any] = {}
    exception: str = ""
    stream: Literal["stdout", "stderr"] | None = None


class Missed(Answer, frozen=True, tag="missed"):
    """So many records came faster than they were read, and were not kept for this reader."""

    count: int


class KeptTasks(Struct, frozen=True, omit_defaults=True):
    """How the tasks of an agent are tried again that are kept in the store."""

    max_attempts: int
    delay: float
    """Seconds before the second attempt; doubled with each that follows, up to `max_delay`."""
    max_delay: float
    timeout: float | None = None
    """Seconds that an attempt may take."""


class UpToNow(Answer, frozen=True, tag="up-to-now"):
    """All lines before this one had been said when they were asked for; said where a request is `marked`."""


class Entry(Answer, frozen=True, tag="entry"):
    """What a command connects to the hub with."""

    url: str
    token: str
    """Of the built-in user: it may ask every agent, see every channel, publish to it, and send to everybody."""
    expires_at: int
    """Unix seconds."""
    trusted: str = ""
    """Path of the certificate that is trusted besides those of the system; empty = none is."""
    lobbies: dict[str, str] = {}
    """The channel of each lobby."""
    agents: dict[str, tuple[str, ...]] = {}
    """The peer ids of each agent."""
    tasks: dict[str, dict[str, bool]] = {}
    """By agent, the tasks that it is known to take, and whether each is answered in chunks."""
    kept: dict[str, KeptTasks] = {}
    """The agents whose tasks are kept in the store until they are done."""

    def __repr__(self) -> str:
        return f"Entry(url={self.url!r}, token=…)"


class Linked(Answer, frozen=True, tag="linked"):
    url: str
    """It holds a secret that is good once."""

    def __repr__(self) -> str:
        return "Linked(url=…)"


AnyAnswer: TypeAlias = Done | Refused | Progress | RunView | TopView | LogLine | Missed | UpToNow | Entry | Linked
_FromRun: TypeAlias = (
    Hello | Done | Refused | Progress | RunView | TopView | LogLine | Missed | UpToNow | Entry | Linked
)

_decode_hello: Final = msgspec.json.Decoder(Hello).decode
_decode_request: Final = msgspec.json.Decoder(AnyRequest).decode
_decode_answer: Final = msgspec.json.Decoder(_FromRun).decode


def line_of(message: Hello | AnyRequest | AnyAnswer) -> bytes:
    """Return the line for a message, with its newline. Whatever a log record holds, it does not raise."""
    try:
        return msgspec.json.encode(message, enc_hook=_shown) + b"\n"
    except (TypeError, ValueError, RecursionError):  # keys that are no strings, lone surrogates, a value in itself
        return msgspec.json.encode(_plain(msgspec.structs.asdict(message), type(message))) + b"\n"


def read_hello(line: bytes) -> Hello:
    """Raises `NotUnderstood`; for another version than ours as well."""
    hello: Hello = _read(_decode_hello, line)
    if hello.version != VERSION:
        raise NotUnderstood(
            f"the run and the command speak different versions, {VERSION} and {hello.version}: use the `orchestrator` "
            "that started the run, or restart it with this one"
        )
    return hello


def read_request(line: bytes) -> AnyRequest:
    """Raises `NotUnderstood` with what is wrong."""
    request: AnyRequest = _read(_decode_request, line)
    match request:
        case Logs(agents=names, lines=lines):
            _limit("names", len(names), 0, MAX_NAMES)
            _limit("lines", lines, 0, MAX_LINES)
        case Scale(wished=wished):
            _limit("agents to scale", len(wished), 1, MAX_NAMES)
            for agent, count in wished.items():
                _limit(f"replicas of {agent!r}", count, 0, MAX_REPLICAS)
        case Restart(names=names):
            _limit("names to restart", len(names), 1, MAX_NAMES)
        case Stop(grace=grace) if grace is not None and not 0 <= grace <= 86_400:
            raise NotUnderstood(f"a grace is 0 to 86400 seconds, not {grace:g}")
        case Enter(sub=sub, instance=instance):
            _limit("characters of a user's name", len(sub), 0, MAX_SUB)
            _limit("characters of its instance", len(instance), 0, MAX_SUB)
    return request


def read_answer(line: bytes) -> Hello | AnyAnswer:
    """Raises `NotUnderstood`."""
    answer: Hello | AnyAnswer = _read(_decode_answer, line)
    return answer


def line_for(source: Source, record: Record) -> LogLine:
    return LogLine(
        source.name,
        record.time,
        record.level,
        record.event,
        source.agent,
        source.replica,
        dict(record.fields),
        record.exception,
        record.stream,
    )


def record_of(line: LogLine) -> tuple[Source, Record]:
    return (
        Source(line.source, line.agent, line.replica),
        Record(line.time, line.level, line.event, line.fields, line.exception, line.stream),
    )


def _read(decode: Any, line: bytes) -> Any:
    try:
        return decode(line)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise NotUnderstood(f"that is no message for a run: {error}") from None


def _limit(what: str, count: int, least: int, most: int) -> None:
    if not least <= count <= most:
        raise NotUnderstood(f"a request has {least} to {most} {what}, not {count}")


def _plain(fields: dict[str, Any], kind: type[Struct]) -> dict[str, Any]:
    """Return what a message holds in such a way that it can be written."""
    config = kind.__struct_config__
    assert config.tag_field is not None
    return {config.tag_field: config.tag, **{name: _writable(value) for name, value in fields.items()}}


def _writable(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case None | bool() | float():
            return value
        case int() if -(2**63) <= value < 2**64:
            return value
        case dict():
            return {_writable(str(name)): _shallow(each) for name, each in value.items()}
        case Struct():
            return _plain(msgspec.structs.asdict(value), type(value))
        case tuple() | list():
            return [_writable(each) for each in value]
    return _writable(_shown(value))


def _shallow(value: Any) -> Any:
    """Return a value of a record's fields: what is more than one piece, as text."""
    return _writable(value if isinstance(value, str | float | int | None) else _shown(value))


def _shown(value: Any) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - whatever a stranger's __repr__ raises is told in its place
        return f"<{type(value).__name__} whose repr raises {type(error).__name__}>"
