"""Everything that can go wrong, as types a caller can catch and sentences a stranger can act on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class ExitCode(IntEnum):
    """What a process of ours says by ending: the same for the command line and for agent processes."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    INVALID = 3
    """An invalid topology, or a handler that does not fit it; such a process is never restarted."""
    TERMINAL = 4
    """The hub closed the connection for good (4001, 4003, 4012 or 4020)."""
    UNREACHABLE = 5
    PEER_NOT_FOUND = 6
    TIMED_OUT = 124
    INTERRUPTED = 130
    TERMINATED = 143


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the nearest known name, or an empty string when none is near."""
    import difflib  # where it is needed: most commands have no mistake to tell of

    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""


def listed(names: Iterable[str]) -> str:
    """Return names as a reader would list them: ``'a', 'b' and 'c'``; ``none`` when there are none."""
    quoted = [repr(name) for name in names]
    if not quoted:
        return "none"
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"


class OrchestratorError(Exception):
    """The root of every error that this package raises on purpose."""

    exit_code: ClassVar[ExitCode] = ExitCode.FAILED


# -- the topology and the handlers it names


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake in one place. Lines and columns count from 1; 0 means that the place is the file as a whole."""

    source: str
    line: int
    column: int
    path: str
    sentence: str
    code: str = ""
    """``ORC101`` and its like, where a page explains it."""

    def __str__(self) -> str:
        where = f"{self.source}:{self.line}:{self.column}" if self.line else self.source
        told = f"{self.path}: {self.sentence}" if self.path else self.sentence
        return f"{where}: {told} [{self.code}]" if self.code else f"{where}: {told}"


class TopologyError(OrchestratorError):
    """A topology cannot be used; `problems` holds every mistake found, in the order of the file.

    `texts` is what was read, by the name of the file, as far as it got; it may hold secrets, and no message repeats it.
    """

    exit_code = ExitCode.INVALID

    def __init__(self, problems: Sequence[Problem], *, texts: Mapping[str, str] | None = None) -> None:
        self.problems = tuple(problems)
        self.texts: Mapping[str, str] = {} if texts is None else texts
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


class SeveralReasons(OrchestratorError):
    """Something cannot be done, for one reason or more: a sentence for each."""

    def __init__(self, *sentences: str) -> None:
        self.sentences = sentences
        super().__init__(*sentences)

    def __str__(self) -> str:
        return "\n".join(self.sentences)


class HandlerError(SeveralReasons):
    """A handler is not what the topology, or the rules for handlers, expect of it."""

    exit_code = ExitCode.INVALID


# -- the connection to a hub


class ConnectionProblem(OrchestratorError):
    """The root of what can happen to a connection and to the requests made over it."""


class NotConnected(ConnectionProblem):
    """The request never left: there was no connection to the hub when it was made."""


class ConnectionLost(ConnectionProblem):
    """The connection ended before the hub answered; the hub may or may not have processed the request."""


class AckTimeout(ConnectionProblem):
    """The hub did not answer a request in time; it may or may not have processed it."""

    exit_code = ExitCode.TIMED_OUT


class TerminalDisconnect(ConnectionProblem):
    """The hub closed the connection with a code that forbids coming back."""

    exit_code = ExitCode.TERMINAL

    def __init__(self, code: int, meaning: str) -> None:
        self.code, self.meaning = code, meaning
        super().__init__(code, meaning)

    def __str__(self) -> str:
        return f"the hub closed the connection for good: {self.code} {self.meaning}"


class HubUnreachable(ConnectionProblem):
    """No attempt to connect succeeded, and no further one will be made."""

    exit_code = ExitCode.UNREACHABLE

    def __init__(self, url: str, attempts: int, last: str) -> None:
        self.url, self.attempts, self.last = url, attempts, last
        super().__init__(url, attempts, last)

    def __str__(self) -> str:
        tries = "1 attempt" if self.attempts == 1 else f"{self.attempts} attempts"
        return f"the hub at {self.url} could not be reached after {tries}; the last one failed: {self.last}"


class RequestRefused(ConnectionProblem):
    """The hub answered a request with an error; `code` is one of the protocol's, or one newer than this client."""

    def __init__(self, code: str, message: str, subject: str = "") -> None:
        self.code, self.message, self.subject = code, message, subject
        super().__init__(code, message, subject)

    def __str__(self) -> str:
        about = f" {self.subject!r}" if self.subject else ""
        return f"the hub refused the request{about}: {self.message or self.code} ({self.code})"


def is_transient(error: BaseException) -> bool:
    """Tell whether the hub refused a request for a reason of its own that passes by itself."""
    return isinstance(error, RequestRefused) and error.code in ("backend_error", "internal_error")


class PeerNotFound(RequestRefused):
    """Nobody is connected under the peer id that a message was sent to."""

    exit_code = ExitCode.PEER_NOT_FOUND


class NotAuthorized(RequestRefused):
    """The token does not allow the request; `subject` is the channel, peer or action that it lacks."""

    def __str__(self) -> str:
        return f"{self.message} ({self.code})" if self.message else super().__str__()


class PayloadTooLarge(ConnectionProblem):
    """A payload exceeds what can be sent; nothing was."""

    def __init__(self, size: int, limit: int) -> None:
        self.size, self.limit = size, limit
        super().__init__(size, limit)

    def __str__(self) -> str:
        return f"the payload has {self.size} bytes, and at most {self.limit} can be sent; nothing was"


class TokenUnavailable(ConnectionProblem):
    """The token provider raised, answered too late, or answered with something that is no token."""


class SubscriberTooSlow(OrchestratorError):
    """More arrived than a reader took: `missed` items came while `limit` of them waited, and were not kept.

    Everything that came before has been read by then; reading on begins with what came after.
    """

    def __init__(self, subject: str, missed: int, limit: int) -> None:
        self.subject, self.missed, self.limit = subject, missed, limit
        super().__init__(subject, missed, limit)

    def __str__(self) -> str:
        were = "1 arrived and was" if self.missed == 1 else f"{self.missed} arrived and were"
        return (
            f"{self.subject} was read too slowly: {were} not kept, because {self.limit} waited to be read already; "
            "hand long work to a task of its own, or ask for a larger buffer"
        )


# -- presence


class PresenceTimeout(OrchestratorError):
    """Fewer of an agent's replicas were online together than were waited for; `there` are the ids of those who are."""

    exit_code = ExitCode.TIMED_OUT

    def __init__(self, agent: str, count: int, there: Sequence[str], where: str, seconds: float) -> None:
        self.agent, self.count, self.there, self.where, self.seconds = agent, count, tuple(there), where, seconds
        super().__init__(agent, count, self.there, where, seconds)

    def __str__(self) -> str:
        online = f"{listed(self.there)} {'is' if len(self.there) == 1 else 'are'}" if self.there else "nobody is"
        return (
            f"{self.count} of {self.agent!r} did not come to be in {self.where} within {self.seconds:g} s: "
            f"{online} there"
        )


# -- tasks, streams and claims


class DispatchError(OrchestratorError):
    """The root of the ways in which a task can end without its reply."""


class NoWorkerAvailable(DispatchError):
    """Nobody who can take the task is online."""

    def __init__(self, task: str, agents: Sequence[str], requires: Sequence[str] = ()) -> None:
        self.task, self.agents, self.requires = task, tuple(agents), tuple(requires)
        super().__init__(task, self.agents, self.requires)

    def __str__(self) -> str:
        able = f" with {listed(self.requires)}" if self.requires else ""
        if not self.agents:
            return f"no worker of this agent handles {self.task}"
        return f"no worker{able} is online for {self.task}; it is handled by {listed(self.agents)}"


class TaskTimeout(DispatchError):
    """A task did not end before its deadline; its worker has been told to stop."""

    exit_code = ExitCode.TIMED_OUT

    def __init__(self, task: str, seconds: float, worker: str | None) -> None:
        self.task, self.seconds, self.worker = task, seconds, worker
        super().__init__(task, seconds, worker)

    def __str__(self) -> str:
        where = f"at {self.worker}" if self.worker else "while it waited for a worker"
        return f"{self.task} did not end within {self.seconds:g} s ({where})"


class TaskFailed(DispatchError):
    """A handler raised; `error_type` and `message` are what it raised, as told by the worker."""

    def __init__(self, task: str, error_type: str, message: str, worker: str, attempt: int) -> None:
        self.task, self.error_type, self.message = task, error_type, message
        self.worker, self.attempt = worker, attempt
        super().__init__(task, error_type, message, worker, attempt)

    def __str__(self) -> str:
        return f"{self.task} failed at {self.worker} (attempt {self.attempt}): {self.error_type}: {self.message}"


class TaskCancelled(DispatchError):
    """A task was cancelled before it ended, by its caller or because its caller went away."""

    def __init__(self, task: str, worker: str | None) -> None:
        self.task, self.worker = task, worker
        super().__init__(task, worker)

    def __str__(self) -> str:
        return f"{self.task} was cancelled" + (f" at {self.worker}" if self.worker else "")


class WorkerLost(DispatchError):
    """The worker that held a task went away; whether the task had effects is unknown."""

    def __init__(self, task: str, worker: str, attempt: int) -> None:
        self.task, self.worker, self.attempt = task, worker, attempt
        super().__init__(task, worker, attempt)

    def __str__(self) -> str:
        return (
            f"{self.worker} went away while it held {self.task} (attempt {self.attempt}); "
            "it was not done again elsewhere, for it is not known that doing it twice is harmless"
        )


class StreamBroken(DispatchError):
    """A stream ended before its last chunk, after `count` of them.

    `received` holds those that arrived, in order; of more than 4 MiB only the last, from number `first` on.
    """

    def __init__(self, task: str, reason: str, received: Sequence[object], count: int | None = None) -> None:
        """`count` is how many arrived in all; `None` = those that are given."""
        self.task, self.reason, self.received = task, reason, tuple(received)
        self.count = len(self.received) if count is None else count
        super().__init__(task, reason, self.received, self.count)

    @property
    def first(self) -> int:
        return self.count - len(self.received)

    def __str__(self) -> str:
        return (
            f"the stream of {self.task} broke after {self.count} chunk{'' if self.count == 1 else 's'}: {self.reason}"
        )


class Declined(OrchestratorError):
    """Raised by a handler to say no: its caller gets the sentence, and the log no traceback."""


class StateFull(OrchestratorError):
    """A team's state has no room for another write; nothing was written."""

    def __init__(self, key: str, keys: int, size: int) -> None:
        """`keys` and `size`, in bytes, are what it may hold."""
        self.key, self.keys, self.size = key, keys, size
        super().__init__(key, keys, size)

    def __str__(self) -> str:
        return (
            f"there is no room for {self.key!r} in the team's state, which holds at most {self.keys:,} keys, and "
            f"{self.size // 1_048_576} MiB of keys and values: delete what is not needed any more"
        )


class ClaimLost(OrchestratorError):
    """A claim that this agent held is no longer its own, so what it did under it was stopped."""

    def __init__(self, item: str, reason: str) -> None:
        self.item, self.reason = item, reason
        super().__init__(item, reason)

    def __str__(self) -> str:
        return f"the claim on {self.item!r} is lost: {self.reason}"


class StoreUnavailable(OrchestratorError):
    """The store gave no answer; what it was asked for was done or not."""


class LeaseLost(OrchestratorError):
    """A task is no longer in the hands of whoever speaks of it; nothing was changed."""

    def __init__(self, task_id: str, fence: int, reason: str) -> None:
        self.task_id, self.fence, self.reason = task_id, fence, reason
        super().__init__(task_id, fence, reason)

    def __str__(self) -> str:
        return f"the lease on task {self.task_id} with fence {self.fence} is lost: {self.reason}"


class UnknownTask(OrchestratorError):
    """There is no such task, or none that the caller may know of."""

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        super().__init__(task_id)

    def __str__(self) -> str:
        return f"there is no task {self.task_id} in the store: it was never stored, or has been purged"
