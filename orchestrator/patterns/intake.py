"""The worker's side of dispatch: takes tasks up to its capacity, each attempt once, and sees that its caller hears."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from orchestrator.errors import PeerNotFound, is_transient
from orchestrator.patterns.alarms import Alarms
from orchestrator.patterns.effects import Accepted, Answer, Note, Refused, Send
from orchestrator.protocol.payloads import (
    UNKNOWN_TASK,
    Failure,
    Load,
    TaskAccepted,
    TaskError,
    TaskOffer,
    TaskProgress,
    TaskRefused,
    TaskResult,
)

BEAT_SECONDS: Final = 5.0
"""Seconds between two signs of life of a running task."""
CALLER_GRACE: Final = 30.0
"""Seconds that a caller which vanished has to come back before its tasks are cancelled and their outcomes dropped."""
DRAIN_PATIENCE: Final = 1.0
"""The same while the worker is about to end: callers that went before it do not come back for their outcomes."""
RETRY_SECONDS: Final = 0.5
"""Seconds after which an outcome that did not reach its caller is sent again, doubled each time up to `BEAT_SECONDS`."""
BACKLOG: Final = 16
"""Tasks beyond its capacity that a worker queues, for callers that do not know of each other."""
REMEMBERED: Final = 4_096
"""Outcomes kept for callers that offer the same attempt again; the oldest are forgotten first."""
REMEMBERED_BYTES: Final = 64 * 1024 * 1024
"""The same for the bytes of their results."""

OVERDUE: Final = "its deadline passed"
"""Why the handler of a task is stopped whose caller does not wait any more."""


@dataclass(frozen=True, slots=True)
class Run:
    """Start the handler for this offer."""

    offer: TaskOffer
    sender: str
    streams: bool


@dataclass(frozen=True, slots=True)
class Abort:
    """Cancel the handler of this task; `told` says that its caller asked for it and expects no outcome."""

    task_id: str
    reason: str
    told: bool = False


@dataclass(frozen=True, slots=True)
class Resend:
    """The caller of a stream that is running, or has ended, offers it again: it wants the chunks from the start."""

    task_id: str
    sender: str


@dataclass(frozen=True, slots=True)
class LookUp:
    """Somebody says that this task, which is kept in a store, is not wanted any more: the store knows."""

    task_id: str


@dataclass(frozen=True, slots=True)
class Unread:
    """Whoever reads what this task streams is gone; the task, which is kept in a store, goes on."""

    task_id: str


@dataclass(frozen=True, slots=True)
class HandBack:
    """This task, which is kept in a store, was not begun and will not be: others may have it."""

    task_id: str


Effect: TypeAlias = Send | Note | Run | Abort | Resend | LookUp | Unread | HandBack
Outcome: TypeAlias = TaskResult | TaskError | None
"""`None`: a stream has ended, and its last chunk said so."""


@dataclass(slots=True)
class _Job:
    offer: TaskOffer
    sender: str
    streams: bool
    kept: bool = False
    """It is in a store, which decides whether it goes on; its sender is told, and may be gone."""
    running: bool = False
    beat_at: float = 0.0
    progress: float | None = None
    message: str | None = None
    telling: bool = False
    """A sign of life is on its way; what the handler says meanwhile waits, and only the last of it goes out."""
    untold: bool = False
    gone_since: float | None = None
    unread: bool = False
    """Nobody has read what it streams for too long."""
    aborted: str = ""
    """Why its handler is being stopped."""


_Key: TypeAlias = tuple[str, str, int]
"""Caller, task id and attempt: callers that do not know of each other may choose the same ids."""


@dataclass(slots=True)
class _Unheard:
    """An outcome on its way to a caller."""

    to: str
    payload: TaskResult | TaskError
    kept: bool = False
    """The store has it too."""
    gone_since: float | None = None
    retry_at: float | None = None
    delay: float = field(default=RETRY_SECONDS)


class Intake:
    """The tasks of one worker. Times are seconds of one clock of the caller's."""

    def __init__(
        self,
        handles: Callable[[str], bool | None],
        capacity: int,
        backlog: int = BACKLOG,
        *,
        wall_offset: float = 0.0,
        idempotent: Callable[[str], bool] = lambda _task: False,
    ) -> None:
        """`handles` tells of a task type whether it streams, or `None` for one that is not taken here.

        `idempotent` tells whether doing one twice is harmless. `wall_offset` turns a time of the caller's clock into
        Unix seconds.
        """
        self._idempotent = idempotent
        self._handles, self._capacity, self._backlog, self._wall_offset = handles, capacity, backlog, wall_offset
        self._jobs: dict[str, _Job] = {}
        self._queue: deque[str] = deque()
        self._outcomes: OrderedDict[_Key, Outcome] = OrderedDict()
        self._remembered_bytes = 0
        self._unheard: dict[_Key, _Unheard] = {}
        self._running = 0
        self._alarms = Alarms()
        self._knows_since: float | None = None
        """From when on every task that was offered is known here; `None` = nothing could be offered yet."""
        self._offered_at = float("-inf")
        self._draining = False
        self._over = False

    @property
    def load(self) -> Load:
        return Load(len(self._jobs), self._capacity)

    def load_without(self, task_id: str) -> Load:
        """Return what it will be when this task has ended."""
        return Load(len(self._jobs) - (task_id in self._jobs), self._capacity)

    @property
    def room(self) -> int:
        """How many tasks could be begun at once."""
        return 0 if self._draining else max(self._capacity - len(self._jobs), 0)

    @property
    def idle(self) -> bool:
        """Whether nothing runs, nothing waits, and every outcome has been heard."""
        return not self._jobs and not self._unheard

    @property
    def draining(self) -> bool:
        """Whether nothing new is taken."""
        return self._draining

    def drain(self) -> None:
        """Take nothing new, and wait for callers that are gone no longer than `DRAIN_PATIENCE`."""
        self._draining = True
        for unheard in self._unheard.values():
            if unheard.gone_since is not None:
                self._alarms.set(unheard.gone_since + self._patience)

    @property
    def _patience(self) -> float:
        return DRAIN_PATIENCE if self.draining else CALLER_GRACE

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, task_id: object) -> bool:
        """Whether a task runs or waits here."""
        return task_id in self._jobs

    def offered(self, offer: TaskOffer, sender: str, now: float) -> list[Effect]:
        """Take a task, or say why not."""
        self._offered_at = now
        key = (sender, offer.task_id, offer.attempt)
        if key in self._outcomes:
            outcome = self._outcomes[key]
            if outcome is None:
                return [Resend(offer.task_id, sender)]
            return [self._tell(key, outcome)]
        job = self._jobs.get(offer.task_id)
        if job is not None:
            if job.sender != sender:
                return [
                    Send(sender, TaskRefused(offer.task_id, offer.attempt, "the id of this task is taken", self.load))
                ]
            if job.aborted:  # it is still being stopped, and will have no outcome
                return [Send(sender, TaskRefused(offer.task_id, offer.attempt, "full", self.load))]
            again: list[Effect] = [Resend(offer.task_id, sender)] if job.streams else []
            return [self._accepted(offer, sender), *again]
        streams = self._handles(offer.task)
        if streams is None:
            return [Send(sender, TaskRefused(offer.task_id, offer.attempt, f"unknown task {offer.task!r}", self.load))]
        if self.draining or len(self._jobs) >= self._capacity + self._backlog:
            reason = "draining" if self.draining else "full"
            return [Send(sender, TaskRefused(offer.task_id, offer.attempt, reason, self.load))]
        return self._take(_Job(offer, sender, streams), now)

    def claimed(self, offer: TaskOffer, sender: str, now: float) -> list[Effect]:
        """Take a task that is this worker's in the store. `sender` stored it, and is told how it goes."""
        return self._take(_Job(offer, sender, bool(self._handles(offer.task)), kept=True), now)

    def _take(self, job: _Job, now: float) -> list[Effect]:
        offer = job.offer
        job.beat_at = now + BEAT_SECONDS
        self._jobs[offer.task_id] = job
        self._alarms.set(job.beat_at, offer.task_id)
        if offer.deadline is not None:
            self._alarms.set(offer.deadline - self._wall_offset, offer.task_id)
        self._queue.append(offer.task_id)
        return [self._accepted(offer, job.sender), *self._start()]

    def _accepted(self, offer: TaskOffer, sender: str) -> Send:
        idempotent = self._handles(offer.task) is not None and self._idempotent(offer.task)
        return Send(sender, TaskAccepted(offer.task_id, offer.attempt, self.load, idempotent))

    def cancelled(self, task_id: str, sender: str) -> list[Effect]:
        """Stop a task on the word of the one who gave it."""
        job = self._jobs.get(task_id)
        if job is not None and job.kept:
            return [LookUp(task_id), *([Unread(task_id)] if job.sender == sender else [])]
        if job is None or job.sender != sender:
            return []
        return self._abort(job, "cancelled by its caller", told=True)

    def lost(self, task_id: str, reason: str) -> list[Effect]:
        """A task that is kept in a store is not this worker's any more."""
        job = self._jobs.get(task_id)
        return [] if job is None or job.aborted else self._abort(job, reason)

    def hand_back(self) -> list[Effect]:
        """Let go of what is kept in a store and was not begun."""
        waiting = [task_id for task_id, job in self._jobs.items() if job.kept and not job.running]
        for task_id in waiting:
            del self._jobs[task_id]
            self._queue.remove(task_id)
        return [HandBack(task_id) for task_id in waiting]

    def stop(self) -> list[Effect]:
        """Take nothing new and start nothing more: what still waits has not been begun, so that others may have it."""
        self.drain()
        effects = self.hand_back()
        for task_id, job in list(self._jobs.items()):
            if not job.running:
                del self._jobs[task_id]
                effects.append(Send(job.sender, TaskRefused(task_id, job.offer.attempt, "draining", self.load)))
        self._queue.clear()
        return effects

    def progressed(self, task_id: str, progress: float | None, message: str | None) -> list[Effect]:
        job = self._jobs.get(task_id)
        if job is None:
            return []
        job.progress, job.message = progress, message
        if job.telling:
            job.untold = True
            return []
        return [self._alive(job)]

    def finished(self, task_id: str, outcome: Outcome) -> list[Effect]:
        """A handler has ended, and this is what it came to."""
        job = self._jobs.pop(task_id, None)
        if job is None:
            return []
        self._running -= job.running
        self._alarms.sweep(self)
        effects: list[Effect] = []
        key = (job.sender, task_id, job.offer.attempt)
        if job.kept:  # the store remembers it
            if outcome is not None:
                effects.append(self._tell(key, outcome, kept=True))
        elif job.aborted:  # it was begun, and whoever asks after all is to hear that it came to nothing
            failure = Failure("TaskCancelled", job.aborted)
            self._remember(key, TaskError(task_id, failure, job.offer.attempt))
        else:
            self._remember(key, outcome)
            if outcome is not None:
                effects.append(self._tell(key, outcome))
        return [*effects, *self._start()]

    def _remember(self, key: _Key, outcome: Outcome) -> None:
        self._outcomes[key] = outcome
        self._remembered_bytes += _size(outcome)
        while len(self._outcomes) > REMEMBERED or (
            self._remembered_bytes > REMEMBERED_BYTES and len(self._outcomes) > 1
        ):
            _, forgotten = self._outcomes.popitem(last=False)
            self._remembered_bytes -= _size(forgotten)
            self._knows_since = self._offered_at

    def unheard(self) -> list[Effect]:
        """Wait for no caller any more: none will hear anything again."""
        self._over = True
        dropped = [key for key, unheard in self._unheard.items() if not unheard.kept]
        self._unheard.clear()
        return [
            Note("warning", "the outcome of a task was not heard", {"task_id": task_id, "peer": caller})
            for caller, task_id, _ in dropped
        ]

    def asked_about(self, task_id: str, sender: str, now: float) -> list[Effect]:
        """Answer a caller that wants to know whether a task is still known here."""
        job = self._jobs.get(task_id)
        if job is not None:
            return [Send(sender, self._beat(job))] if job.sender == sender else []
        for (caller, known, attempt), outcome in reversed(self._outcomes.items()):
            if (caller, known) == (sender, task_id):
                gone = Failure("StreamBroken", "its chunks are no longer kept by the agent that produced them")
                return [Send(sender, outcome or TaskError(task_id, gone, attempt))]
        message = "the agent knows nothing of this task; it may have been started anew since it took it"
        since = None if self._knows_since is None else max(now - self._knows_since, 0.0)
        return [Send(sender, TaskError(task_id, Failure(UNKNOWN_TASK, message), remembers=since))]

    def answered(self, ref: tuple[str, ...], answer: Answer, now: float) -> list[Effect]:
        """Follow the hub's answer to a heartbeat or an outcome."""
        if ref[0] == "beat":
            job = self._jobs.get(ref[1])
            if job is None:
                return []
            job.telling = False
            self._caller_heard(job, answer, now)
            return [self._alive(job)] if job.untold and isinstance(answer, Accepted) else []
        key = (ref[1], ref[2], int(ref[3]))
        unheard = self._unheard.get(key)
        if unheard is None:
            return []
        if isinstance(answer, Accepted):
            del self._unheard[key]
            return []
        absent = isinstance(answer, Refused) and isinstance(answer.error, PeerNotFound)
        if isinstance(answer, Refused) and not absent and not is_transient(answer.error):
            del self._unheard[key]
            fields = {"task_id": ref[2], "peer": unheard.to, "error": str(answer.error)}
            told = self._refused_outcome(unheard, answer.error)
            return [Note("error", "the outcome of a task cannot be sent", fields), told]
        if absent and unheard.gone_since is None:
            unheard.gone_since = now
        unheard.retry_at = now + unheard.delay
        self._alarms.set(unheard.retry_at)
        if unheard.gone_since is not None:
            self._alarms.set(unheard.gone_since + self._patience)
        unheard.delay = min(unheard.delay * 2, BEAT_SECONDS)
        return []

    def connected(self, now: float) -> list[Effect]:
        """Speak to every caller at once: they may have taken this worker for gone."""
        if self._knows_since is None:
            self._knows_since = now
        effects: list[Effect] = []
        for job in self._jobs.values():
            job.beat_at, job.gone_since = now + BEAT_SECONDS, None
            self._alarms.set(job.beat_at, job.offer.task_id)
            effects.append(self._alive(job))
        for key, unheard in self._unheard.items():
            unheard.retry_at = unheard.gone_since = None
            effects.append(_outcome(key, unheard.payload))
        return effects

    def tick(self, now: float) -> list[Effect]:
        """Send what heartbeats and outcomes are due; give up on callers that are gone and on passed deadlines."""
        if not self._alarms.due(now):
            return []
        effects: list[Effect] = []
        for job in list(self._jobs.values()):
            if job.aborted:
                continue
            if job.offer.deadline is not None and now >= job.offer.deadline - self._wall_offset:
                effects += self._abort(job, OVERDUE, told=True)
            elif job.gone_since is not None and now - job.gone_since >= CALLER_GRACE and not job.kept:
                effects += self._abort(job, "its caller is gone")
            elif job.gone_since is not None and now - job.gone_since >= CALLER_GRACE and not job.unread:
                job.unread = True
                effects.append(Unread(job.offer.task_id))
            elif job.beat_at <= now:
                job.beat_at = now + BEAT_SECONDS
                self._alarms.set(job.beat_at, job.offer.task_id)
                effects.append(self._alive(job))
        for key, unheard in list(self._unheard.items()):
            if unheard.gone_since is not None and now - unheard.gone_since >= self._patience:
                del self._unheard[key]
                fields = {"task_id": key[1], "peer": unheard.to}
                if not unheard.kept:
                    effects.append(Note("warning", "the caller of a task is gone, its outcome is dropped", fields))
            elif unheard.retry_at is not None and unheard.retry_at <= now:
                unheard.retry_at = None
                effects.append(_outcome(key, unheard.payload))
        return effects

    def next_tick(self) -> float | None:
        """Return when `tick` has something to do, or less; `None` when nothing is under way."""
        return self._alarms.next() if self._jobs or self._unheard else None

    def caller_gone(self, task_id: str, now: float) -> None:
        """A chunk found nobody under the caller's id."""
        job = self._jobs.get(task_id)
        if job is not None and job.gone_since is None:
            self._gone(job, now)

    def caller_there(self, task_id: str) -> None:
        job = self._jobs.get(task_id)
        if job is not None:
            job.gone_since = None

    def _start(self) -> list[Effect]:
        effects: list[Effect] = []
        while self._queue and self._running < self._capacity:
            job = self._jobs.get(self._queue.popleft())
            if job is None or job.running:
                continue
            job.running = True
            self._running += 1
            effects.append(Run(job.offer, job.sender, job.streams))
        return effects

    def _abort(self, job: _Job, reason: str, *, told: bool = False) -> list[Effect]:
        job.aborted = reason
        if job.running:
            return [Abort(job.offer.task_id, reason, told)]
        del self._jobs[job.offer.task_id]
        self._queue.remove(job.offer.task_id)
        given_back = [HandBack(job.offer.task_id)] if job.kept else []
        return [*given_back, *self._start()]

    def _tell(self, key: _Key, outcome: TaskResult | TaskError, *, kept: bool = False) -> Send:
        if not self._over:
            self._unheard[key] = _Unheard(key[0], outcome, kept)
        return _outcome(key, outcome)

    def _refused_outcome(self, unheard: _Unheard, error: Exception) -> Send:
        """The result cannot travel, its caller must hear at least that: a failure in its place is small and plain."""
        payload = unheard.payload
        failure = Failure(type(error).__name__, f"its outcome cannot be sent: {error}")
        return Send(unheard.to, TaskError(payload.task_id, failure, payload.attempt or 1, self.load))

    def _alive(self, job: _Job) -> Send:
        job.telling, job.untold = True, False
        return Send(job.sender, self._beat(job), ref=("beat", job.offer.task_id))

    def _beat(self, job: _Job) -> TaskProgress:
        return TaskProgress(job.offer.task_id, job.offer.attempt, job.progress, job.message)

    def _caller_heard(self, job: _Job, answer: Answer, now: float) -> None:
        if isinstance(answer, Accepted):
            job.gone_since = None
        elif isinstance(answer, Refused) and isinstance(answer.error, PeerNotFound) and job.gone_since is None:
            self._gone(job, now)

    def _gone(self, job: _Job, now: float) -> None:
        job.gone_since = now
        self._alarms.set(now + CALLER_GRACE, job.offer.task_id)


def _size(outcome: Outcome) -> int:
    return memoryview(outcome.result).nbytes if isinstance(outcome, TaskResult) else 0


def _outcome(key: _Key, payload: TaskResult | TaskError) -> Send:
    """Return what tells a caller; one that counts attempts is of this package, and joins parts."""
    caller, _, attempt = key
    return Send(caller, payload, ("outcome", *key), in_parts=attempt > 0)
