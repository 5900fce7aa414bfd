"""What a parent and its child tell each other over their private socket pair: JSON, one message a line.

The end of the stream is a message too: to the child it says that its parent is gone, to the parent that the child is.
"""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Annotated, Any, Final, Generic, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Meta, Struct

from orchestrator.errors import OrchestratorError
from orchestrator.protocol.tokens import SecretKey
from orchestrator.store.shared import Needs
from orchestrator.topology.replica import Replica
from orchestrator.topology.store_access import Access

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable

MAX_LINE: Final = 4_194_304
"""Bytes of one message: the spec of a coordinator names every worker of its pools."""
MAX_UNSENT: Final = 2 * MAX_LINE
"""Bytes that may wait for a side that does not read; beyond them the channel is closed."""
BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Seconds that separate the steps of a histogram of what tasks took."""


Count = Annotated[int, Meta(ge=0, le=1 << 53)]
"""What a process that runs somebody's code may count in one message: sums of it never fall, and stay numbers of every reader."""


class ControlError(OrchestratorError):
    """The other side of a control socket sent something that is no message."""


class Control(Struct, frozen=True, tag_field="type", omit_defaults=True):
    """One line on the control socket."""


# -- what replicas do, as numbers


class TaskNews(Struct, frozen=True, omit_defaults=True):
    """What has become of one task of a replica."""

    id: str
    task: str
    state: Literal["running", "done", "failed", "cancelled", "lost"]
    time: float
    """Unix seconds of when that came to be so."""
    origin: str = ""
    """The peer that gave it out."""
    attempt: int = 1
    seconds: float | None = None
    error: str = ""
    """``Type: message`` of its failure, shortened."""
    kept: bool = False


class ReplicaFigures(Struct, frozen=True, omit_defaults=True):
    """What a replica has done since its process began, for `/metrics`: totals, never differences."""

    agent: str
    peer: str
    restarts: int = 0
    inflight: int = 0
    capacity: int = 0
    counts: dict[str, int] = {}
    """By series: ``chunks`` and ``reconnects``; ``claims/`` and won, lost, failed or revoked; ``tasks/Research/`` and how
    they ended; ``asks/reader``, what users of a kind have given to the replica, who report nothing themselves."""
    seconds: dict[str, tuple[int, ...]] = {}
    """By task, how many took up to each of `BUCKETS` and longer than the one before it, and last how many took longer
    than all: each task is counted in one place."""
    total_seconds: dict[str, float] = {}


# -- from the parent


class Engine(Struct, frozen=True):
    """A store that several machines share, as each process that needs it opens it by itself."""

    url: str
    """It may hold a password."""
    namespace: str
    """What keeps topologies apart at one engine: their names."""
    needs: Needs
    """What it is to keep beyond what every store does; one that cannot is refused."""

    def __repr__(self) -> str:
        return f"Engine(url=…, namespace={self.namespace!r}, needs={self.needs!r})"


class Spec(Control, frozen=True, tag="spec"):
    """The first line to an agent process: everything it needs to be one replica."""

    replica: Replica
    hub_url: str
    directory: str
    """Absolute path of the folder that holds the topology file."""
    instance: str
    """Differs at each start of a replica."""
    log_level: str = "info"
    grace: float = 10.0
    """Seconds in which it has to be gone when its parent is gone without having said so."""
    private: str = ""
    """Absolute path of a directory, yet to be made, that no other user can read, for what a `command` is handed in files;
    its parent removes it, too. Empty for a handler, which needs none."""
    app_dir: str = ""
    """Where handlers are looked for instead of there and in the project around it; empty = as usual."""
    store: str = ""
    """Absolute path of the store's socket; empty where it needs no store, or one that machines share."""
    engine: Engine | None = None
    """The store that it needs, where that is one which machines share."""
    trusted: str = ""
    """Absolute path of the hub's certificate, where that is one of the run's own; empty = whom the system trusts is trusted."""
    waits: bool = False
    """Once it is connected it says `AwaitingTurn`, and begins when it hears `Begin`."""
    topology: str = ""
    """The name of the topology."""


class Standing(Control, frozen=True, tag="standing"):
    """How many replicas of a run are ready, which its hub tells whoever asks it."""

    ready: int
    planned: int
    lacking: tuple[str, ...] = ()
    """Peer ids of those that are not ready; of many, the first 20."""


class HubSpec(Control, frozen=True, tag="hub"):
    """The first line to a hub process."""

    listening: int
    """File descriptor of the listening socket that the parent owns."""
    keys: tuple[SecretKey, ...]
    log_level: str = "info"
    grace: float = 10.0
    standing: Standing | None = None
    """How the run stands until its hub is told otherwise; `None` = the hub is ready when it listens."""
    backplane: str = ""
    """Address of what joins it to other hubs, which may hold a password; empty = it is alone."""
    tls: tuple[str, ...] | None = None
    """Absolute paths of its certificate and of the key to that."""
    record: str = ""
    """Absolute path of the recording that it goes on with; empty = it writes none."""

    def __repr__(self) -> str:
        return f"HubSpec(listening={self.listening}, keys=…, joined={bool(self.backplane)})"


class StoreSpec(Control, frozen=True, tag="store"):
    """The first line to a store process."""

    listening: int
    """File descriptor of the Unix socket that the parent owns."""
    address: str
    """``memory:``, or ``sqlite:///`` and a path."""
    directory: str
    """Absolute path of the folder that a relative path starts from."""
    keys: tuple[SecretKey, ...]
    """Those that agents' tokens are signed with."""
    operator: str
    """What the parent and the commands of its user show instead of a token."""
    access: dict[str, Access]
    """What each peer may do; those that are not in it may do nothing."""
    log_level: str = "info"
    grace: float = 10.0

    def __repr__(self) -> str:
        return f"StoreSpec(address={self.address!r}, directory={self.directory!r}, operator=…)"


class TokenGranted(Control, frozen=True, tag="token"):
    request: int
    token: str

    def __repr__(self) -> str:
        return f"TokenGranted(request={self.request}, token=…)"


class Drain(Control, frozen=True, tag="drain"):
    """Take nothing new, end what runs, say goodbye and exit."""

    grace: float
    """Seconds in which to be gone; a little later the parent kills."""


class Begin(Control, frozen=True, tag="begin"):
    """Whoever this replica needs is there, or will not come: set up, and join."""


class Revised(Control, frozen=True, tag="revised"):
    """Who else is there has changed, and nothing that the replica itself is."""

    replica: Replica


class AccessChanged(Control, frozen=True, tag="access"):
    """Who may do what with the store from now on, instead of what its spec said."""

    access: dict[str, Access]


class Watched(Control, frozen=True, tag="watched"):
    """Somebody looks at the run, so that `Figures` are wanted often; or nobody does any more."""

    watched: bool = True


class SignedIn(Control, frozen=True, tag="signed-in"):
    """The answer to `SignIn`: a token for the dashboard, or a sentence that says why there is none."""

    request: int
    token: str = ""
    expires_at: int = 0
    """Unix seconds."""
    refusal: str = ""

    def __repr__(self) -> str:
        return f"SignedIn(request={self.request}, granted={bool(self.token)})"


class MetricsTold(Control, frozen=True, tag="metrics-told"):
    """The answer to `MetricsWanted`."""

    request: int
    replicas: tuple[ReplicaFigures, ...]


# -- from the child


class TokenWanted(Control, frozen=True, tag="token-wanted"):
    request: int


class Ready(Control, frozen=True, tag="ready"):
    """The process does what its plan says: a replica is present on all of its channels, a hub accepts connections."""

    seconds: float
    """Since the child's own start."""


class Loaded(Control, frozen=True, tag="loaded"):
    """Which files of the handler's project its process has imported, with their times of change in nanoseconds."""

    files: dict[str, int]


class AwaitingTurn(Control, frozen=True, tag="awaiting-turn"):
    """It could begin."""


class Beat(Control, frozen=True, tag="beat"):
    """The event loop goes round; first said when it begins to serve."""


class Online(Control, frozen=True, tag="online"):
    """The connection to the hub came or went; of interest after the first `Ready`."""

    online: bool
    detail: str = ""


class Ending(Control, frozen=True, tag="ending"):
    """Why the process is about to exit by itself; the exit code says only which kind of reason it is."""

    sentence: str
    close_code: int | None = None
    """The hub's close code, where that is the reason."""


class Tally(Control, frozen=True, tag="tally"):
    """What the process did in its life, for the closing summary: ``{"tasks done": 41}``; told before it exits."""

    counts: dict[str, int]


class Figures(Control, frozen=True, tag="figures"):
    """What a replica did since it last said so; nothing is said where nothing was done."""

    inflight: Count = 0
    capacity: Count = 0
    counts: dict[str, Count] = {}
    """As in `ReplicaFigures`, but differences."""
    seconds: dict[str, Annotated[tuple[Count, ...], Meta(max_length=len(BUCKETS) + 1)]] = {}
    total_seconds: dict[str, Annotated[float, Meta(ge=0, le=1e15)]] = {}
    flows: tuple[tuple[str, str, int], ...] = ()
    """How many messages it sent: to whom (an agent, a user, or ``team/NAME``), of which kind (`FlowKind`)."""
    tasks: tuple[TaskNews, ...] = ()
    missed: int = 0
    """Tasks that ended and are not among `tasks`, because there were too many."""


class SignIn(Control, frozen=True, tag="sign-in"):
    """Somebody wants a token for the dashboard of the hub, which says what it knows of them."""

    request: int
    code: str = ""
    """Of a link that the run has printed."""
    token: str = ""
    """One that is to be renewed."""
    local: bool = False
    """It is the run's own user, on this machine."""

    def __repr__(self) -> str:
        return f"SignIn(request={self.request}, local={self.local})"


class MetricsWanted(Control, frozen=True, tag="metrics-wanted"):
    """Somebody asks the hub for the figures of the run's replicas."""

    request: int


ToChild: TypeAlias = (
    Spec
    | HubSpec
    | Standing
    | StoreSpec
    | TokenGranted
    | Drain
    | Begin
    | Revised
    | AccessChanged
    | Watched
    | SignedIn
    | MetricsTold
)
ToParent: TypeAlias = (
    TokenWanted | Loaded | AwaitingTurn | Ready | Beat | Online | Ending | Tally | Figures | SignIn | MetricsWanted
)

Incoming = TypeVar("Incoming", ToChild, ToParent)

_encode: Final = msgspec.json.Encoder().encode


def encode_control(message: ToChild | ToParent) -> bytes:
    """Return the line for `message`, with its newline (JSON text holds none of its own)."""
    return _encode(message) + b"\n"


@functools.cache
def decoder_of(incoming: Any) -> Callable[[bytes], Any]:
    """Return what reads `ToChild`, or `ToParent`; made once, since that looks into every type that it may find."""
    return msgspec.json.Decoder(incoming).decode


class ControlChannel(Generic[Incoming]):
    """One end of a control socket, for one event loop: iterate over it for what the other side says."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, incoming: Any) -> None:
        self._reader, self._writer = reader, writer
        self._decode = decoder_of(incoming)

    @classmethod
    async def of_child(cls, end: socket.socket) -> ControlChannel[ToChild]:
        """Open the end that a child was given; what it hears comes from its parent."""
        return ControlChannel(*await _streams(end), ToChild)

    @classmethod
    async def of_parent(cls, end: socket.socket) -> ControlChannel[ToParent]:
        return ControlChannel(*await _streams(end), ToParent)

    def send(self, message: ToChild | ToParent) -> None:
        """Queue `message`, without waiting. To a side that is gone, or reads nothing, it is not delivered:
        the iteration then ends, which is how either side learns of it."""
        if self._writer.is_closing():
            return
        if self._writer.transport.get_write_buffer_size() > MAX_UNSENT:
            self._writer.transport.abort()
            return
        self._writer.write(encode_control(message))

    async def __aiter__(self) -> AsyncIterator[Incoming]:
        """Yield each message until the other side is gone. Raises `ControlError` for what is no message."""
        while True:
            try:
                line = await self._reader.readline()
            except ConnectionError:
                return
            except ValueError:
                raise ControlError(f"a control message exceeds {MAX_LINE} bytes") from None
            if not line.endswith(b"\n"):
                return
            try:
                message: Incoming = self._decode(line)
            except (msgspec.DecodeError, RecursionError) as error:
                # The line may hold a token or a key, so only what msgspec says about its shape is repeated.
                raise ControlError(f"a control message cannot be read: {error}") from None
            yield message

    async def close(self) -> None:
        """Send what is queued, then close this end."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            return


async def _streams(end: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    end.setblocking(False)
    return await asyncio.open_unix_connection(sock=end, limit=MAX_LINE)
