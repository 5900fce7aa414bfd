"""Tasks that are kept in a store, as the one who gave them out follows them.

The store is the truth, and a message only a hint: a wake-up that is lost costs one look of a worker's, an outcome that
is lost one look of ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec
from msgspec import Raw

from orchestrator.errors import DispatchError, OrchestratorError, StreamBroken, TaskCancelled, TaskTimeout
from orchestrator.patterns.alarms import Alarms
from orchestrator.patterns.effects import Note, Publish, Send
from orchestrator.patterns.jobs import Chunked, Finished, Progressed, Received
from orchestrator.patterns.stream import Ended, Piece, Reader, Reading
from orchestrator.protocol.names import inbox
from orchestrator.protocol.payloads import (
    AnyPayload,
    CompletionChunk,
    TaskAccepted,
    TaskCancel,
    TaskError,
    TaskProgress,
    TaskResult,
    Wake,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orchestrator.patterns.roster import Change
    from orchestrator.patterns.workforce import Pool, Seat, Workforce

LOOK_SECONDS: Final = 10.0
"""Seconds without a word of a task after which the store is asked about it."""
RELAY_SECONDS: Final = 0.25
"""Seconds after which everybody who may be free is woken, if nobody has taken what the first were woken for."""
SETTLED_SECONDS: Final = 2.0
"""Seconds after which a worker that was started again has said in the store what became of what it had."""
UNREAD: Final = 1_024
"""Streams of which it is remembered that their writers know that nobody reads them."""
LOOKED_AT_ONCE: Final = 256
"""Tasks that one request to the store is about at most."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A task that is in the store."""

    id: str
    task: str
    queue: str
    """The agent that is to do it."""
    requires: frozenset[str] = frozenset()
    streams: bool = False
    """Its chunks are read as they come."""


@dataclass(frozen=True, slots=True)
class Look:
    """Ask the store how these tasks ended, and tell by `looked`."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """What the store says of a task. Neither a result nor an error = it has not ended."""

    result: Raw | None = None
    """Of a stream task, all of its chunks, as a JSON array."""
    error: OrchestratorError | None = None
    attempt: int = 0
    """The one that it ended in."""


Effect: TypeAlias = Publish | Send | Note | Finished | Chunked | Progressed | Look


@dataclass(slots=True)
class _Job:
    kept: Kept
    streams: bool
    worker: str | None = None
    """Who took it last, as far as was heard."""
    attempt: int = 0
    heard_at: float = 0.0
    reader: Reader | None = None
    received: Received = field(default_factory=Received)

    @property
    def started(self) -> bool:
        return self.reader is not None and self.reader.started


class KeptTasks:
    """All stored tasks that one coordinator waits for. Times are seconds of one clock of the caller's."""

    def __init__(self, workforce: Workforce) -> None:
        """`workforce`: the agents whose tasks are stored, and nobody else."""
        self.workforce = workforce
        self._peers = {pool.agent: set(pool.peers) for pool in workforce.pools}
        """Who may speak of the tasks of an agent: whoever is in its pool, and whoever was."""
        self._jobs: dict[str, _Job] = {}
        self._untaken: dict[str, dict[str, None]] = {}
        """Ids of tasks that nobody is known to have taken, by queue."""
        self._woken: dict[str, set[str]] = {}
        """Who was woken for them, by queue, until everybody is."""
        self._alarms = Alarms()
        self._relays = Alarms()
        """For queues: when to wake everybody."""
        self._again_at: dict[str, float] = {}
        """When to look at tasks whose workers went or came, however lately they were heard of."""
        self._unread: dict[str, None] = {}
        """Streams that nobody here reads, and whose writers were told so."""
        self._online = True

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, task_id: object) -> bool:
        return task_id in self._jobs

    def queue_for(self, task: str) -> str | None:
        """Return the agent to store a task for: of several, the one with the most free workers."""
        agents = self.workforce.agents_for(task)
        free = dict.fromkeys(agents, 0)
        for seat in self.workforce.seats.values():
            if seat.pool.agent in free and seat.takes_more:
                free[seat.pool.agent] += max(seat.capacity - len(seat.outstanding) - seat.foreign, 0)
        return max(agents, key=free.__getitem__, default=None)

    # -- what the caller does

    def stored(self, tasks: Iterable[Kept], now: float) -> list[Effect]:
        """Follow tasks that are in the store by now, and wake as many workers for them."""
        fresh: dict[str, list[Kept]] = {}
        for kept in tasks:
            if kept.id in self._jobs:
                continue
            self._follow(kept, now)
            self._untaken.setdefault(kept.queue, {})[kept.id] = None
            fresh.setdefault(kept.queue, []).append(kept)
        return [effect for queue, new in fresh.items() for effect in self._wake(queue, new, now)]

    def follow(self, kept: Kept, now: float) -> list[Effect]:
        """Follow a task that was stored some time ago, by whomever."""
        if kept.id not in self._jobs:
            self._follow(kept, now)
        return self._look([kept.id], now)

    def has_begun(self, task_id: str) -> bool:
        """Whether whoever comes now cannot read a stream from its beginning as it comes."""
        job = self._jobs.get(task_id)
        return job is not None and (not job.streams or job.started)

    def unread(self, task_id: str) -> list[Effect]:
        """Nobody reads what a task streams any more: from now on all of it is wanted at once, from the store."""
        job = self._jobs.get(task_id)
        if job is None or not job.streams:
            return []
        job.streams, job.reader = False, None
        return [] if job.worker is None else [Send(job.worker, TaskCancel(task_id))]

    def left(self, task_id: str) -> list[Effect]:
        """Nobody waits for a task any more; it goes on without."""
        job = self._jobs.get(task_id)
        if job is None:
            return []
        effects = self.unread(task_id)
        self._forget(job)
        return effects

    def too_late(self, task: str, task_id: str, seconds: float) -> DispatchError:
        """Return what a caller is told that has waited for so many seconds, and waits no longer."""
        job = self._jobs.get(task_id)
        error = TaskTimeout(task, seconds, None if job is None else job.worker)
        return error if job is None or not job.started else self._broken(job, str(error))

    def cancelled(self, task_id: str) -> list[Effect]:
        """A task was cancelled in the store: its worker had better know soon."""
        job = self._jobs.get(task_id)
        if job is None:
            return []
        effects: list[Effect] = [Send(job.worker, TaskCancel(task_id))] if job.worker is not None else []
        return [*effects, *self._end(job, error=TaskCancelled(job.kept.task, job.worker))]

    def abandoned(self, error: OrchestratorError) -> list[Effect]:
        """End every wait with `error`; the tasks go on."""
        return [effect for job in list(self._jobs.values()) for effect in self._end(job, error=error)]

    def looked(
        self, asked: Sequence[str], found: dict[str, Found], unknown: OrchestratorError, now: float
    ) -> list[Effect]:
        """Take what the store says. Those that were asked about and not found end with `unknown`."""
        effects: list[Effect] = []
        for task_id in asked:
            job = self._jobs.get(task_id)
            if job is None:
                continue
            if task_id not in found:
                effects += self._end(job, error=unknown)
            elif found[task_id].error is not None or found[task_id].result is not None:
                effects += self._found(job, found[task_id])
            elif job.reader is not None:  # some of its chunks may have been lost
                effects += [effect for effect in job.reader.resume(now) if isinstance(effect, Send)]
        return effects

    def consumed(self, task_id: str) -> list[Effect]:
        """The caller has taken one chunk: the worker is told now and then, and goes on producing."""
        job = self._jobs.get(task_id)
        return [] if job is None or job.reader is None else self._read(job, job.reader.consumed())

    def revise(self, pools: Sequence[Pool], now: float) -> None:
        """Have the same pools with other peers: see `Workforce.revise`. Those that come ask the store by themselves."""
        self.workforce.revise(pools, now)
        for pool in pools:
            self._peers[pool.agent].update(pool.peers)

    # -- what the connection reports

    def disconnected(self) -> None:
        self._online = False
        self.workforce.disconnected()

    def connected(self, now: float) -> list[Effect]:
        """Look at everything: whatever was said meanwhile was not heard."""
        self._online = True
        self.workforce.connected(now)
        effects = self._look(list(self._jobs), now)
        for queue, untaken in self._untaken.items():
            effects += self._wake(queue, [self._jobs[task_id].kept for task_id in untaken], now)
        for job in self._jobs.values():
            if job.reader is not None:
                effects += [Send(job.reader.producer, job.reader.missing())]
        return effects

    def presence(self, changes: Iterable[Change], now: float) -> list[Effect]:
        """Follow the changes that `Workforce.present` returned.

        A worker that goes may have ended its tasks without saying so, and one that comes asks the store by itself: what it
        had is looked at now, and again when either has had its time.
        """
        effects: list[Effect] = []
        for change in changes:
            seat = self.workforce.seats.get(change.peer.id)
            if seat is not None and seat.outstanding:
                had = [task_id for task_id in sorted(seat.outstanding) if task_id in self._jobs]
                effects += self._look(had, now)
                for task_id in had:
                    self._again_at[task_id] = now + SETTLED_SECONDS
                    self._alarms.set(now + SETTLED_SECONDS, task_id)
            self.workforce.vacated(change.peer.id)
        return effects

    def receive(self, sender: str, payload: AnyPayload, now: float) -> list[Effect] | None:
        """Take what a worker says; `None` = it is of no task here. `sender` is the hub's stamp."""
        stream_id = payload.stream_id if isinstance(payload, CompletionChunk) else ""
        task_id = stream_id.partition("/")[0] if stream_id else getattr(payload, "task_id", "")
        job = self._jobs.get(task_id)
        if job is None:
            return self._unknown(sender, task_id, payload)
        if sender not in self._peers.get(job.kept.queue, ()):
            return None
        job.heard_at = now
        match payload:
            case TaskAccepted():
                return self._taken(job, sender, payload)
            case TaskProgress():
                self._held_by(job, sender)
                return [Progressed(task_id, sender, payload.progress, payload.message)]
            case TaskResult():
                self._heard(sender, payload)
                whole = not job.streams and bytes(payload.result) != b"null"  # that may also stand for a whole stream
                return self._end(job, result=payload.result) if whole else self._look([task_id], now)
            case TaskError():
                self._heard(sender, payload)
                return self._look([task_id], now)
            case CompletionChunk():
                return self._chunk(job, sender, payload, now)
        return None

    def tick(self, now: float) -> list[Effect]:
        """Do what has become due."""
        effects = [effect for queue in self._relays.due(now) for effect in self._relay(queue)]
        silent: list[str] = []
        for due in self._alarms.due(now):
            job = self._jobs.get(due)
            if job is None:
                continue
            if now >= min(job.heard_at + LOOK_SECONDS, self._again_at.get(due, math.inf)):
                self._again_at.pop(due, None)
                silent.append(due)
            else:
                self._alarms.set(job.heard_at + LOOK_SECONDS, due)
        return [*effects, *self._look(silent, now)]

    def next_tick(self) -> float | None:
        times = (self._alarms.next(), self._relays.next())
        return min((time for time in times if time is not None), default=None)

    # -- one task

    def _follow(self, kept: Kept, now: float) -> None:
        self._jobs[kept.id] = _Job(kept, kept.streams, heard_at=now)
        self._alarms.set(now + LOOK_SECONDS, kept.id)

    def _unknown(self, sender: str, task_id: str, payload: AnyPayload) -> list[Effect] | None:
        """Take what is said of a task that nobody here waits for, as after another start of this agent."""
        if not any(sender in peers for peers in self._peers.values()):
            return None
        if isinstance(payload, TaskAccepted | TaskProgress | TaskResult | TaskError):
            return []
        if not isinstance(payload, CompletionChunk) or not task_id:
            return None
        if payload.done or task_id in self._unread:
            return []
        self._unread[task_id] = None
        if len(self._unread) > UNREAD:
            del self._unread[next(iter(self._unread))]
        return [Send(sender, TaskCancel(task_id))]

    def _look(self, ids: Sequence[str], now: float) -> list[Effect]:
        for task_id in ids:
            self._jobs[task_id].heard_at = now
            self._alarms.set(now + LOOK_SECONDS, task_id)
        return [Look(tuple(ids[at : at + LOOKED_AT_ONCE])) for at in range(0, len(ids), LOOKED_AT_ONCE)]

    def _taken(self, job: _Job, worker: str, accepted: TaskAccepted) -> list[Effect]:
        effects: list[Effect] = []
        if job.started and accepted.attempt > job.attempt:  # what came of the attempt before fits no other
            effects = self._end(job, error=self._broken(job, f"{worker} has begun it anew"))
        job.attempt = max(job.attempt, accepted.attempt)
        self._held_by(job, worker)
        self._heard(worker, accepted)
        return effects

    def _held_by(self, job: _Job, worker: str) -> None:
        if job.kept.id not in self._jobs:
            return
        if job.worker is not None and job.worker != worker:
            self._let_go(job)  # it lost the task, or gave it back
        job.worker = worker
        self._untaken.get(job.kept.queue, {}).pop(job.kept.id, None)
        seat = self.workforce.seats.get(worker)
        if seat is not None:
            seat.outstanding.add(job.kept.id)

    def _heard(self, worker: str, payload: TaskAccepted | TaskResult | TaskError) -> None:
        seat = self.workforce.seats.get(worker)
        if seat is not None:
            seat.heard(payload.load)

    def _chunk(self, job: _Job, sender: str, chunk: CompletionChunk, now: float) -> list[Effect]:
        """Take a chunk. Its stream is named after the attempt, for two attempts' chunks never make one stream."""
        if not job.streams:  # all of them are wanted at once, from the store
            self._held_by(job, sender)
            if chunk.done:
                return self._look([job.kept.id], now)
            return self._unknown(sender, job.kept.id, chunk) or []
        if job.reader is None or job.reader.stream_id != chunk.stream_id:
            attempt = _attempt(chunk.stream_id)
            if job.reader is not None and attempt <= _attempt(job.reader.stream_id):
                return []  # of an attempt that is over
            if job.started:
                return self._end(job, error=self._broken(job, f"{sender} has begun it anew"))
            job.reader, job.attempt = Reader(chunk.stream_id, sender), max(job.attempt, attempt)
            self._held_by(job, sender)
            first: list[Effect] = [] if chunk.done else [Send(sender, job.reader.progress())]
            return [*first, *self._read(job, job.reader.receive(chunk, now))]
        return self._read(job, job.reader.receive(chunk, now))

    def _found(self, job: _Job, found: Found) -> list[Effect]:
        if not job.streams or found.result is None:
            error = found.error
            return self._end(job, result=found.result, error=self._broken(job, str(error)) if job.started else error)
        if job.reader is not None and job.started and _attempt(job.reader.stream_id) != found.attempt:
            return self._end(job, error=self._broken(job, "it was begun anew, and has ended"))
        try:
            chunks = _chunks.decode(found.result)
        except msgspec.DecodeError:
            return self._end(job, error=self._broken(job, "its chunks were too large to be kept"))
        rest: list[Effect] = [Chunked(job.kept.id, chunk) for chunk in chunks[job.received.count :]]
        return [*rest, *self._end(job)]

    def _read(self, job: _Job, reading: list[Reading]) -> list[Effect]:
        effects: list[Effect] = []
        for read in reading:
            if isinstance(read, Piece):
                job.received.append(read.content)
                effects.append(Chunked(job.kept.id, read.content))
            elif not isinstance(read, Ended):
                effects.append(read)
            elif read.error is None:
                effects += self._end(job)
            elif job.received.count:
                effects += self._end(job, error=self._broken(job, f"{read.error.type}: {read.error.message}"))
            else:  # nothing has come of it, so that another attempt may still be the whole
                job.reader = None
                effects += self._look([job.kept.id], job.heard_at)
        return effects

    def _broken(self, job: _Job, reason: str) -> StreamBroken:
        why = f"{reason}; the task itself is in the store as {job.kept.id}"
        return StreamBroken(job.kept.task, why, tuple(job.received.chunks), job.received.count)

    def _end(self, job: _Job, *, result: Raw | None = None, error: OrchestratorError | None = None) -> list[Effect]:
        if job.kept.id not in self._jobs:
            return []
        self._forget(job)
        return [Finished(job.kept.id, result, error)]

    def _forget(self, job: _Job) -> None:
        del self._jobs[job.kept.id]
        self._again_at.pop(job.kept.id, None)
        self._unread.pop(job.kept.id, None)
        self._untaken.get(job.kept.queue, {}).pop(job.kept.id, None)
        self._let_go(job)
        self._alarms.sweep(self._jobs)

    def _let_go(self, job: _Job) -> None:
        seat = self.workforce.seats.get(job.worker or "")
        if seat is not None:
            seat.outstanding.discard(job.kept.id)
            self.workforce.vacated(seat.peer)

    # -- who is woken

    def _wake(self, queue: str, tasks: Sequence[Kept], now: float) -> list[Effect]:
        """Wake one worker for each task, those first that have the most room."""
        if not self._online or not tasks:
            return []
        woken = self._woken.setdefault(queue, set())
        seats: dict[str, Seat] = {}
        for requires in {kept.requires: None for kept in tasks}:
            wanted = sum(kept.requires == requires for kept in tasks)
            able = [seat for seat in self._present(queue) if requires <= seat.capabilities]
            able.sort(key=lambda seat: (seat.peer in woken, _busy(seat), seat.last_chosen))
            seats.update((seat.peer, seat) for seat in able[:wanted])
        for seat in seats.values():
            self.workforce.chosen(seat)
        woken.update(seats)
        self._relays.set(now + RELAY_SECONDS, queue)
        return [_wake(peer) for peer in seats]

    def _relay(self, queue: str) -> list[Effect]:
        """Nobody has taken what the first were woken for: they may be busy, or gone."""
        woken = self._woken.pop(queue, set())
        if not self._online or not self._untaken.get(queue):
            return []
        return [_wake(seat.peer) for seat in self._present(queue) if seat.peer not in woken]

    def _present(self, queue: str) -> list[Seat]:
        return [seat for seat in self.workforce.seats.values() if seat.takes_more and seat.pool.agent == queue]


_chunks: Final = msgspec.json.Decoder(list[Raw])


def _busy(seat: Seat) -> float:
    """Return how much of a worker's room is taken."""
    return (len(seat.outstanding) + seat.foreign) / max(seat.capacity, 1)


def _attempt(stream_id: str) -> int:
    number = stream_id.rpartition("/")[2]
    return int(number) if number.isascii() and number.isdigit() and len(number) < 10 else 0


def stream_name(task_id: str, attempt: int) -> str:
    """Return the id of the stream of one attempt at a task."""
    return f"{task_id}/{attempt}"


def _wake(peer: str) -> Publish:
    return Publish(inbox(peer), Wake())
