"""What joins several hubs into one: the port to an engine that carries messages between them, and what it promises."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from orchestrator.errors import ExitCode, OrchestratorError

if TYPE_CHECKING:
    from types import TracebackType


class BackplaneProblem(OrchestratorError):
    """The engine cannot be used: it is not there, or refuses us. The text is a sentence, and holds no credential."""

    exit_code = ExitCode.UNREACHABLE


class NoSuchBackplane(BackplaneProblem):
    """What was given as a backplane is none, or lacks something on this machine: waiting will not mend it."""

    exit_code = ExitCode.USAGE


class Kind(Enum):
    """What a topic stands for."""

    CHANNEL = "c"
    """Messages on one channel, or on all that a pattern matches."""
    PEER = "p"
    """Directed sends to one peer."""
    NODE = "n"
    """What is meant for one hub."""
    EVERYBODY = "e"
    """What is meant for all hubs."""


class Topic(NamedTuple):
    """What a hub may listen to, or speak to."""

    kind: Kind
    app: str = ""
    text: str = ""
    """A channel, a pattern (any star makes it one; to be listened to only), a peer id, or the id of a hub."""


class Listener(Protocol):
    """The hub's side. It is called on the event loop, and what one hub has sent comes in the order of its sending,
    whatever the topics were.
    """

    def heard(self, message: bytes) -> None:
        """Take a message. One that was sent to several topics of ours, or to one that several patterns of ours take in,
        may come more than once, and then with nothing of the same hub in between; so may one of our own.
        A pattern may bring messages of channels that it does not match.
        """

    def nobody(self, ticket: int) -> None:
        """Be told that no hub at all listens to the topic of an `ask`."""

    def passed(self, ticket: int) -> None:
        """Be told that everything that was listened to before a `barrier` is in force with the whole engine."""

    def turned(self, up: bool, why: str) -> None:
        """Be told that the engine is away (`why` is a sentence), or that it is back and all topics are in force again.

        What was sent meanwhile, by us or by others, is lost, and so are the answers to asks and barriers.
        """


class Backplane(Protocol):
    """One hub's end of the engine. Everything but opening and closing returns at once, and never raises.

    - `listen` to a topic twice is an error of the caller, as is `ignore` of one that is not listened to.
    - While the engine is away, topics are remembered, and are in force again before `turned(True, …)` is called.
    - What waits to be written is bounded; what there is no room for is refused, and never dropped in silence.
    """

    async def __aenter__(self) -> Backplane:
        """Connect, and be up. Raises `BackplaneProblem` when that does not come about in the time there is."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what waits, for a second at most, and disconnect."""

    @property
    def up(self) -> bool: ...

    @property
    def largest(self) -> int:
        """Bytes that one message may have."""
        ...

    def listen(self, topic: Topic) -> None: ...

    def ignore(self, topic: Topic) -> None: ...

    def barrier(self, ticket: int) -> None:
        """Have `passed(ticket)` called once all of the above is in force."""

    def publish(self, topic: Topic, message: bytes) -> bool:
        """Send to all hubs that listen; `False` = it was not taken, since the engine is away or too much waits."""
        ...

    def ask(self, topic: Topic, message: bytes, ticket: int) -> bool:
        """Do what `publish` does, and have `nobody(ticket)` called when no hub listens; otherwise it is not called."""
        ...
