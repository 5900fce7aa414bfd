"""Hands each task to one worker and sees that it ends: in its reply, or in an error that says why there is none.

A task is given to somebody else only when it cannot have been taken, or when doing it twice is harmless.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw

from orchestrator.errors import (
    DispatchError,
    NotAuthorized,
    NoWorkerAvailable,
    OrchestratorError,
    PayloadTooLarge,
    PeerNotFound,
    StreamBroken,
    TaskCancelled,
    TaskFailed,
    TaskTimeout,
    WorkerLost,
    is_transient,
)
from orchestrator.patterns.alarms import Alarms
from orchestrator.patterns.effects import Accepted, Answer, Note, Publish, Refused, Send, Unsent
from orchestrator.patterns.jobs import ASKED, Chunked, Effect, Finished, Job, Order, Progressed
from orchestrator.patterns.roster import Change, Joined
from orchestrator.patterns.stream import Ended, Piece, Reader, Reading
from orchestrator.patterns.waiting import Waiting
from orchestrator.patterns.workforce import FULL_PAUSE, RETURN_SECONDS, Pool, Seat, Workforce
from orchestrator.protocol.names import inbox
from orchestrator.protocol.payloads import (
    UNKNOWN_TASK,
    AnyPayload,
    Ask,
    CompletionChunk,
    StreamAck,
    StreamResume,
    TaskAccepted,
    TaskCancel,
    TaskError,
    TaskOffer,
    TaskProgress,
    TaskRefused,
    TaskResult,
)

LOST_GRACE: Final = 1.5
"""Seconds that a worker which went away has to speak again before its at-most-once tasks are given up."""
STREAM_GRACE: Final = 15.0
"""The same for a stream of which something has come: it cannot be done again, and its worker keeps what was missed."""
DRAIN_GRACE: Final = 30.0
"""The same for one that left in good order: it may be finishing what it holds."""
LAST_LOOK: Final = 0.5
"""Seconds before a silent worker is given up at which it is looked for once more."""
PROBE_SECONDS: Final = 5.0
"""Seconds of silence after which a worker is asked whether it still knows a task."""
UNWANTED: Final = 1_024
"""Tasks that ended without their outcome and whose workers are told to stop, should they still be at them."""


def _is_refusal(chunk: CompletionChunk) -> bool:
    """A question in words that is not taken is answered in the one way that every asker understands: by a last chunk."""
    return chunk.done and chunk.error is not None and chunk.error.type == "TaskRefused"


def _was_stopped(error: TaskError) -> bool:
    """Tell whether a worker ended before its task did, and says so itself."""
    return error.error.type == TaskCancelled.__name__ and error.error.retryable


def _grace(job: Job) -> float:
    return STREAM_GRACE if job.started else LOST_GRACE


class Dispatcher:
    """All tasks of one coordinator, or of one user. Times are seconds of one clock of the caller's."""

    def __init__(self, me: str, workforce: Workforce, *, wall_offset: float = 0.0, sole: bool = True) -> None:
        """`wall_offset` is what turns a time of that clock into Unix seconds, for the deadlines that travel.

        `sole`: nobody else gives out tasks under this peer id, so that what is unknown here is wanted by nobody.
        """
        self._sole = sole
        self._scolded: dict[str, None] = {}
        """Streams that are wanted by nobody, and whose writers were told so when a chunk came."""
        self._me, self.workforce, self._wall_offset = me, workforce, wall_offset
        self._jobs: dict[str, Job] = {}
        self._waiting = Waiting(self._jobs, workforce)
        self._alarms = Alarms()
        self._unwanted: dict[str, None] = {}
        self._orders = 0
        self._online = True
        self._over: OrchestratorError | None = None

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, task_id: object) -> bool:
        """Whether a task is under way, or ended without its outcome and may still be stopped."""
        return task_id in self._jobs or task_id in self._unwanted

    # -- what the caller does

    def submit(self, order: Order, now: float) -> list[Effect]:
        if self._over is not None:
            return [Finished(order.id, error=self._over)]
        if order.timeout <= 0:  # its caller's own deadline has passed: nobody need begin with it
            return [Finished(order.id, error=TaskTimeout(order.task, order.timeout, None))]
        if not self.workforce.agents_for(order.task):
            return [Finished(order.id, error=NoWorkerAvailable(order.task, ()))]
        patient_until = now + min(order.wait, order.timeout)
        self._orders += 1
        job = Job(order, now + order.timeout, patient_until, self.workforce.is_idempotent(order.task), self._orders)
        self._jobs[order.id] = job
        self._alarms.set(job.deadline, job.order.id)
        if order.wait > 0:
            self._alarms.set(patient_until, job.order.id)
        self._waiting.put(job)
        return self._assign(now)

    def cancel(self, task_id: str, now: float) -> list[Effect]:
        """End a task that its caller no longer wants, and tell its worker."""
        job = self._jobs.get(task_id)
        if job is None:
            return []
        error = TaskCancelled(job.name, job.seat.peer if job.seat else None)
        return [*self._end(job, error=error, tell=True), *self._assign(now)]

    def forget(self, task_id: str, now: float) -> None:
        """Follow a task no longer, without a word to its worker."""
        self.cancel(task_id, now)
        self._unwanted.pop(task_id, None)

    def cancel_all(self, now: float) -> list[Effect]:
        return [effect for task_id in list(self._jobs) for effect in self.cancel(task_id, now)]

    def abandoned(self, error: OrchestratorError) -> list[Effect]:
        """End every task with `error`, those to come as well: nothing can be heard any more."""
        self._over = error
        return [effect for job in list(self._jobs.values()) for effect in self._end(job, error=error)]

    def revise(self, pools: Sequence[Pool], now: float) -> list[Effect]:
        """Have the same pools with other peers: see `Workforce.revise`."""
        self.workforce.revise(pools, now)
        if self.workforce.settles_at() > now:
            self._alarms.set(self.workforce.settles_at())
        self._waiting.rearrange()
        return self._assign(now)

    # -- what the connection reports

    def disconnected(self) -> None:
        self._online = False
        self.workforce.disconnected()

    def connected(self, now: float) -> list[Effect]:
        """Take up what is waiting, and take up again what was under way."""
        self._online = True
        self.workforce.connected(now)
        self._alarms.set(self.workforce.settles_at())
        effects: list[Effect] = []
        for job in self._jobs.values():
            if job.lost_at is not None:  # nothing could be heard meanwhile
                job.lost_at = now + RETURN_SECONDS
                self._alarms.set(job.lost_at, job.order.id)
            if job.seat is not None:
                effects += self._inquire(job, job.seat.peer)
        return [*effects, *self._assign(now)]

    def presence(self, changes: list[Change], now: float, *, whole: bool) -> list[Effect]:
        """Follow the changes that `Workforce.present` returned."""
        effects: list[Effect] = []
        if whole:  # who could not be reached may have been on its way back
            for job in self._jobs.values():
                job.avoid.clear()
        for change in changes:
            seat = self.workforce.seats.get(change.peer.id)
            if isinstance(change, Joined):
                for job in self._jobs.values():
                    job.avoid.discard(change.peer.id)
            if seat is None or isinstance(change, Joined):
                continue
            for task_id in sorted(seat.outstanding):
                effects += self._worker_left(self._jobs[task_id], change.reason, now, settling=whole)
            self.workforce.vacated(seat.peer)
        if changes:
            self._waiting.rearrange()
        return [*effects, *self._assign(now)]

    def answered(self, ref: tuple[str, int], answer: Answer, now: float) -> list[Effect]:
        """Follow the hub's answer to an offer."""
        task_id, attempt = ref
        job = self._jobs.get(task_id)
        if job is None or job.attempt != attempt or job.seat is None:
            return []
        job.answered = True
        if isinstance(answer, Accepted) and answer.receivers != 0:
            job.seat.missing = 0
            return []
        if isinstance(answer, Unsent):
            self.disconnected()
            job.tried.discard(job.seat.peer)
            self._take_back(job)
            self._waiting.put(job, first=True)
            return []
        # Workers that are on no roster come back unseen.
        settling = job.seat.pool.channel is None and now < max(self.workforce.settles_at(), job.patient_until)
        refusal = answer.error if isinstance(answer, Refused) else None
        nobody = isinstance(answer, Accepted) or isinstance(refusal, PeerNotFound)
        if nobody and not settling:
            # Nobody got it, so anybody may be tried next. A missed departure shows on the roster by itself.
            job.avoid.add(job.seat.peer)
            job.tried.discard(job.seat.peer)
            self._take_back(job)
            self._waiting.put(job, first=True)
            return self._assign(now)
        if nobody or (refusal is not None and is_transient(refusal)):
            seat = job.seat
            if nobody:
                seat.missed(now)
            else:
                seat.pause_until = now + FULL_PAUSE  # like one that is busy
            job.tried.discard(seat.peer)
            self._take_back(job)
            self._alarms.set(seat.pause_until, job.order.id)
            self._waiting.put(job, first=True)
            return self._assign(now)
        if isinstance(answer, Refused):
            error = answer.error
            if not isinstance(error, NotAuthorized | PayloadTooLarge):
                error = TaskFailed(job.name, type(error).__name__, str(error), job.seat.peer, job.attempt)
            job.tried.discard(job.seat.peer)
            return [*self._end(job, error=error), *self._assign(now)]
        self._give_up_at(job, now + RETURN_SECONDS + PROBE_SECONDS)
        return []

    def probed(self, task_id: str, answer: Answer, now: float) -> list[Effect]:
        """Follow the hub's answer to a question whether a worker still knows a task."""
        job = self._jobs.get(task_id)
        silent = job is not None and job.seat is not None and job.seat.pool.silent
        if job is not None and isinstance(answer, Refused) and isinstance(answer.error, PeerNotFound):
            self._give_up_at(job, max(now + _grace(job), self.workforce.settles_at()))
            if silent and job.lost_at is not None and now < job.lost_at - LAST_LOOK:
                self._probe_at(job, job.lost_at - LAST_LOOK)  # should it come back meanwhile, it will not say so
        elif job is not None and silent and isinstance(answer, Accepted):
            job.lost_at = None  # it is there, and that is all that can be known before its outcome
        return []

    def receive(self, sender: str, payload: AnyPayload, now: float) -> list[Effect]:
        """Take what a worker says; `sender` is the hub's stamp."""
        task_id = payload.stream_id if isinstance(payload, CompletionChunk) else getattr(payload, "task_id", None)
        if isinstance(payload, CompletionChunk) and not task_id:
            return self._nameless(sender, payload, now)
        job = self._jobs.get(task_id or "")
        seat = self.workforce.seats.get(sender)
        if job is None or sender not in job.tried:
            if seat is not None:
                seat.heard(getattr(payload, "load", None))
            if isinstance(payload, TaskResult | TaskError):
                note = Note(
                    "warning",
                    "an outcome arrived for a task that is not under way",
                    {"task_id": task_id, "peer": sender},
                )
                return [note]
            return self._unknown_work(sender, payload)
        effects: list[Effect] = []
        if job.seat is not None and job.seat.peer == sender:
            if job.lost_at is not None and job.reader is not None:  # it may not have heard what was asked of it
                effects = self._inquire(job, sender)
            job.lost_at = None
            if job.reader is None or isinstance(payload, CompletionChunk):
                job.heard_at = now
        return [*effects, *self._outcome(job, sender, seat, payload, now), *self._assign(now)]

    def _unknown_work(self, sender: str, payload: AnyPayload) -> list[Effect]:
        """Have a worker stop what nobody waits for: it was away when it was told, or this is a new process."""
        if isinstance(payload, TaskProgress) and (self._sole or payload.task_id in self._unwanted):
            return [Send(sender, TaskCancel(payload.task_id))]
        if isinstance(payload, CompletionChunk) and self._sole and not payload.done:
            task_id = payload.stream_id
            if task_id not in self._scolded:
                self._scolded[task_id] = None
                if len(self._scolded) > UNWANTED:
                    del self._scolded[next(iter(self._scolded))]
                return [Send(sender, TaskCancel(task_id))]
        return []

    def streams_of(self, worker: str) -> list[str]:
        """Return the streams that a worker has of ours."""
        seat = self.workforce.seats.get(worker)
        return sorted(task_id for task_id in seat.outstanding if self._jobs[task_id].order.streams) if seat else []

    def _nameless(self, sender: str, chunk: CompletionChunk, now: float) -> list[Effect]:
        """Take a chunk that names no stream, as of a program that has only one: it is that one's.

        Of several nobody knows whose it is, so none of them can be relied on.
        """
        streams = self.streams_of(sender)
        if len(streams) == 1:
            return self.receive(sender, msgspec.structs.replace(chunk, stream_id=streams[0]), now)
        why = f"its chunks name no stream, and {len(streams)} of ours are under way there"
        effects: list[Effect] = []
        for task_id in streams:
            job = self._jobs[task_id]
            error: DispatchError = TaskFailed(job.name, "StreamBroken", why, sender, job.attempt)
            effects += self._end(job, error=self._broken(job, why) if job.started else error, tell=True)
        return [*effects, *self._assign(now)]

    def consumed(self, task_id: str) -> list[Effect]:
        """The caller has taken one chunk: the worker is told now and then, and goes on producing."""
        job = self._jobs.get(task_id)
        return [] if job is None or job.reader is None else self._read(job, job.reader.consumed())

    def tick(self, now: float) -> list[Effect]:
        """Do what has become due."""
        effects: list[Effect] = []
        for task_id in self._alarms.due(now):
            job = self._jobs.get(task_id)
            if job is not None:
                effects += self._due(job, now)
        return [*effects, *self._assign(now)]

    def next_tick(self) -> float | None:
        return self._alarms.next()

    # -- one job

    def _outcome(self, job: Job, sender: str, seat: Seat | None, payload: AnyPayload, now: float) -> list[Effect]:
        effects: list[Effect] = []
        if isinstance(payload, CompletionChunk):
            if job.order.task == ASKED and not job.started and _is_refusal(payload):
                reason = payload.error.message if payload.error else ""
                return self._refused(job, sender, TaskRefused(job.order.id, job.attempt, reason), now)
            if job.reader is None or job.reader.producer != sender:
                if job.started:
                    return []
                job.reader = Reader(job.order.id, sender)
                if payload.seq is not None and not payload.done:
                    effects = [Send(sender, job.reader.progress())]
            return [*effects, *self._read(job, job.reader.receive(payload, now))]
        if isinstance(payload, TaskResult):
            effects = self._end(job, result=payload.result, tell=True, but=sender)
        elif isinstance(payload, TaskError) and payload.error.type == UNKNOWN_TASK:
            if job.seat is not None and job.seat.peer == sender:
                effects = self._unknown(job, sender, payload.remembers, now)
        elif isinstance(payload, TaskError) and job.seat is not None and job.seat.peer != sender:
            pass  # an earlier attempt failed, and a later one is under way
        elif isinstance(payload, TaskError) and job.idempotent and not job.started and _was_stopped(payload):
            job.tried.discard(sender)
            job.avoid.add(sender)
            effects = self._again(job, "stopped", now)
        elif isinstance(payload, TaskError):
            failure = payload.error
            error: DispatchError = TaskFailed(
                job.name, failure.type, failure.message, sender, payload.attempt or job.attempt
            )
            if job.started:
                error = self._broken(job, f"{failure.type}: {failure.message}")
            effects = self._end(job, error=error)
        elif isinstance(payload, TaskRefused):
            effects = self._refused(job, sender, payload, now)
        elif isinstance(payload, TaskProgress):
            effects = [Progressed(job.order.id, sender, payload.progress, payload.message)]
        elif isinstance(payload, TaskAccepted):
            job.idempotent = job.idempotent or payload.idempotent
        else:
            return []
        if seat is not None:
            seat.heard(getattr(payload, "load", None))
        return effects

    def _unknown(self, job: Job, worker: str, remembers: float | None, now: float) -> list[Effect]:
        """A worker knows nothing of a task: it never got it, if it has known of all since then, or was started anew."""
        never = job.answered and remembers is not None and remembers > now - job.offered_at and not job.started
        if not never:
            return self._lost(job, worker, "restarted", now)
        job.tried.discard(worker)
        return self._again(job, "it never got it", now)

    def _refused(self, job: Job, sender: str, refusal: TaskRefused, now: float) -> list[Effect]:
        if job.seat is None or job.seat.peer != sender or refusal.attempt != job.attempt:
            return []
        seat = job.seat
        job.tried.discard(sender)
        if refusal.reason not in ("full", "draining"):
            return self._end(job, error=TaskFailed(job.name, "TaskRefused", refusal.reason, sender, job.attempt))
        self._take_back(job)
        seat.pause_until = now + (FULL_PAUSE if refusal.reason == "full" else DRAIN_GRACE)
        self._alarms.set(seat.pause_until, job.order.id)
        if refusal.reason == "draining":
            job.avoid.add(sender)
        self._waiting.put(job, first=True)
        return []

    def _read(self, job: Job, reading: list[Reading]) -> list[Effect]:
        effects: list[Effect] = []
        for read in reading:
            if isinstance(read, Piece):
                job.received.append(read.content)
                effects.append(Chunked(job.order.id, read.content))
            elif isinstance(read, Ended):
                effects += self._stream_ended(job, read)
            else:
                effects.append(read)
        return effects

    def _stream_ended(self, job: Job, ended: Ended) -> list[Effect]:
        if ended.error is None:
            return self._end(job)
        worker = job.reader.producer if job.reader else ""
        failure = TaskFailed(job.name, ended.error.type, ended.error.message, worker, job.attempt)
        if not job.received.count:
            return self._end(job, error=failure)
        return self._end(job, error=self._broken(job, f"{ended.error.type}: {ended.error.message}"))

    def _worker_left(self, job: Job, reason: str, now: float, *, settling: bool) -> list[Effect]:
        if settling:
            self._give_up_at(job, now + RETURN_SECONDS)
        elif reason == "left" and job.seat is not None:
            self._give_up_at(job, now + DRAIN_GRACE)
            return self._inquire(job, job.seat.peer)  # it may have left this pool, or the hub
        elif job.idempotent and not job.started:
            return self._again(job, reason, now)
        else:
            self._give_up_at(job, now + _grace(job))
        return []

    def _lost(self, job: Job, worker: str, reason: str, now: float) -> list[Effect]:
        if job.started:
            return self._end(job, error=self._broken(job, f"{worker} went away"))
        if job.idempotent:
            return self._again(job, reason, now)
        return self._end(job, error=WorkerLost(job.name, worker, job.attempt))

    def _again(self, job: Job, reason: str, now: float) -> list[Effect]:
        worker = job.seat.peer if job.seat else ""
        self._take_back(job)
        self._waiting.put(job, first=True)
        fields: dict[str, Any] = {"task_id": job.order.id, "task": job.name, "peer": worker, "reason": reason}
        return [
            Note("warning", "a worker does not have its task any more, another gets it", fields),
            *self._assign(now),
        ]

    def _due(self, job: Job, now: float) -> list[Effect]:
        if job.seat is None and job.order.wait > 0 and job.patient_until <= now < job.deadline:
            nobody = not self.workforce.somebody_may_come(job.name, job.order.requires, now, frozenset(job.avoid))
            return self._end(job, error=self._nobody_for(job)) if nobody else []
        if now >= job.deadline:
            error: DispatchError = TaskTimeout(job.name, job.order.timeout, job.seat.peer if job.seat else None)
            if job.started:
                error = self._broken(job, str(error))
            return self._end(job, error=error, tell=True)
        if self._online and job.lost_at is not None and now >= job.lost_at and job.seat is not None:
            return self._lost(job, job.seat.peer, "silent", now)
        if job.seat is not None and now >= job.probe_at:
            return self._probe(job, job.seat, now)
        return []

    def _probe(self, job: Job, seat: Seat, now: float) -> list[Effect]:
        """Ask a worker that has been silent; signs of life come more often than that."""
        self._probe_at(job, now + PROBE_SECONDS)
        last_look = seat.pool.silent and job.lost_at is not None
        if not self._online or (now - job.heard_at < PROBE_SECONDS * 0.9 and not last_look):
            return []
        return self._inquire(job, seat.peer)

    def _inquire(self, job: Job, worker: str) -> list[Effect]:
        """Ask a worker whether it still knows the task, and for what was lost on its way; the hub tells if it is there.

        One that does answers with its progress, its outcome, or the chunks that are missing.
        """
        ref = ("probe", job.order.id)
        if job.reader is not None:
            return [Send(worker, job.reader.progress()), Send(worker, job.reader.missing(), ref)]
        if job.order.streams:
            return [Send(worker, StreamResume(job.order.id, 0), ref)]
        return [Send(worker, StreamAck(job.order.id, -1), ref)]

    def _broken(self, job: Job, reason: str) -> StreamBroken:
        return StreamBroken(job.name, reason, tuple(job.received.chunks), job.received.count)

    def _end(
        self,
        job: Job,
        *,
        result: Raw | None = None,
        error: OrchestratorError | None = None,
        tell: bool = False,
        but: str = "",
    ) -> list[Effect]:
        effects: list[Effect] = []
        if tell:
            effects += [Send(peer, TaskCancel(job.order.id)) for peer in sorted(job.tried - {but})]
        if error is not None and job.tried:
            self._unwanted[job.order.id] = None
            if len(self._unwanted) > UNWANTED:
                del self._unwanted[next(iter(self._unwanted))]
        del self._jobs[job.order.id]
        self._take_back(job)
        self._alarms.sweep(self._jobs)
        return [*effects, Finished(job.order.id, result, error)]

    # -- who gets what

    def _assign(self, now: float) -> list[Effect]:
        if not self._online or not self._waiting:
            return []
        effects: list[Effect] = []
        for job, seat in self._waiting.served(now):
            if seat is not None:
                effects.append(self._offer(job, seat, now))
            else:
                effects += self._end(job, error=self._nobody_for(job))
        return effects

    def _nobody_for(self, job: Job) -> NoWorkerAvailable:
        return NoWorkerAvailable(job.name, self.workforce.agents_for(job.name), sorted(job.order.requires))

    def _offer(self, job: Job, seat: Seat, now: float) -> Effect:
        job.attempt += 1
        job.seat, job.heard_at, job.lost_at = seat, now, None
        job.offered_at, job.answered = now, False
        job.tried.add(seat.peer)
        seat.outstanding.add(job.order.id)
        self._probe_at(job, now + PROBE_SECONDS)
        order, ref = job.order, (job.order.id, job.attempt)
        if order.task == ASKED:
            return Send(seat.peer, Ask(order.prompt or "", order.id, job.attempt), ref, seat.pool.in_parts)
        offer = TaskOffer(
            task_id=order.id,
            origin=self._me,
            task=order.task,
            payload=order.payload,
            prompt=order.prompt,
            attempt=job.attempt,
            deadline=job.deadline + self._wall_offset,
            traceparent=order.traceparent,
        )
        in_parts = seat.pool.in_parts
        if seat.pool.direct:
            return Send(seat.peer, offer, ref, in_parts)
        return Publish(inbox(seat.peer), offer, ref, in_parts)

    def _take_back(self, job: Job) -> None:
        if job.seat is not None:
            seat, job.seat = job.seat, None
            seat.outstanding.discard(job.order.id)
            self.workforce.vacated(seat.peer)
        job.lost_at = None

    def _give_up_at(self, job: Job, when: float) -> None:
        if job.lost_at is None or when < job.lost_at:
            job.lost_at = when
            self._alarms.set(when, job.order.id)

    def _probe_at(self, job: Job, when: float) -> None:
        job.probe_at = when
        self._alarms.set(when, job.order.id)
