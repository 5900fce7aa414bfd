"""Tasks that live and end with their process: everything the port promises but durability."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msgspec.structs import replace

from orchestrator.store.attempting import expired, lapsed, lost_because, pause_after, worker_lost
from orchestrator.store.errors import LeaseLost, TaskExists, UnknownTask
from orchestrator.store.port import Capabilities
from orchestrator.store.tasks import (
    CLAIM_BYTES,
    FINAL,
    Attempt,
    Claimed,
    Effect,
    Ending,
    Enqueued,
    Failure,
    Hold,
    Leased,
    NewTask,
    Outcome,
    QueueStats,
    State,
    TaskHistory,
    TaskInfo,
    Verdict,
    check_claim,
    check_lease,
    check_outcomes,
)

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Collection, Sequence


@dataclass(slots=True)
class _Kept:
    new: NewTask
    seq: int
    stored: float
    expires: float | None
    state: State
    since: float
    """When it came into its state; when it is due, or when its lease ends."""
    waiting: bool = False
    """Ready, and not due yet."""
    attempt: int = 0
    fence: int = 0
    worker: str | None = None
    began: float = 0.0
    result: bytes | None = None
    failure: Failure | None = None
    attempts: list[Attempt] = field(default_factory=list)
    effects: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class _Lane:
    """The tasks of one queue that require the same. Entries of tasks that have moved on are passed over when they come up."""

    ready: list[tuple[int, int, str]] = field(default_factory=list)
    due: list[tuple[float, int, str]] = field(default_factory=list)


class MemoryTasks:
    """Tasks in memory, for one event loop."""

    capabilities = Capabilities(durable=False, fenced=True, shared=False)

    def __init__(self, clock: Callable[[], float], rng: random.Random) -> None:
        """`clock` returns seconds that never go back."""
        self._clock, self._rng = clock, rng
        self._kept: dict[str, _Kept] = {}
        self._keys: dict[tuple[str, str, str, str], str] = {}
        self._effects: dict[tuple[str, str], tuple[str, int]] = {}
        self._queues: defaultdict[str, dict[frozenset[str], _Lane]] = defaultdict(dict)
        self._expiring: list[tuple[float, int, str]] = []
        self._seqs = itertools.count(1)
        self._fences = itertools.count(1)

    # -- what callers do

    async def enqueue(self, tasks: Sequence[NewTask]) -> tuple[Enqueued, ...]:
        for new in tasks:
            kept = self._kept.get(new.id)
            if kept is not None and kept.new.caller != new.caller:
                raise TaskExists(new.id)
        callers: dict[str, str] = {}
        for new in tasks:
            if callers.setdefault(new.id, new.caller) != new.caller:
                raise TaskExists(new.id)
        now = self._clock()
        return tuple(self._enqueue(new, now) for new in tasks)

    def _enqueue(self, new: NewTask, now: float) -> Enqueued:
        keyed = None if new.key is None else (new.caller, new.queue, new.type, new.key)
        kept = self._kept.get(new.id)
        if kept is None and keyed is not None:
            kept = self._kept.get(self._keys.get(keyed, ""))
        if kept is not None:
            self._settle_one(kept, now)
            return Enqueued(kept.new.id, False, kept.state, _outcome(kept))
        kept = _Kept(
            new, next(self._seqs), now, None if new.expires is None else now + new.expires, State.READY, now + new.delay
        )
        self._kept[new.id] = kept
        if keyed is not None:
            self._keys[keyed] = new.id
        self._ready(kept, now + new.delay, now)
        return Enqueued(new.id, True, State.READY)

    async def cancel(self, task_id: str, *, caller: str | None = None) -> State:
        kept, now = self._known(task_id, caller), self._clock()
        if kept.state not in FINAL:
            if kept.state is State.LEASED:
                self._close(kept, now, Ending.CANCELLED, None)
            self._end(kept, State.CANCELLED, now)
        return kept.state

    async def result(self, task_id: str, *, caller: str | None = None) -> Outcome | None:
        return _outcome(self._known(task_id, caller))

    async def outcomes(self, task_ids: Collection[str], *, caller: str | None = None) -> dict[str, Outcome | None]:
        now, found = self._clock(), dict[str, Outcome | None]()
        for task_id in check_outcomes(task_ids):
            kept = self._kept.get(task_id)
            if kept is not None and caller in (None, kept.new.caller):
                self._settle_one(kept, now)
                found[task_id] = _outcome(kept)
        return found

    # -- what workers do

    async def claim(
        self, queue: str, worker: str, capabilities: Collection[str] = (), *, limit: int = 1, lease: float = 30.0
    ) -> Claimed:
        limit, now = check_claim(limit, lease), self._clock()
        able = frozenset(capabilities)
        lanes = [lane for requires, lane in self._queues.get(queue, {}).items() if requires <= able]
        for lane in lanes:
            self._settle_lane(lane, now)
        taken: list[Leased] = []
        size = 0
        while len(taken) < limit and size < CLAIM_BYTES:
            first = [lane for lane in lanes if self._first_ready(lane)]
            if not first:
                break
            kept = self._kept[heapq.heappop(min(first, key=lambda lane: lane.ready[0]).ready)[2]]
            if kept.expires is not None and kept.expires <= now:
                self._die(kept, expired(), now)
                continue
            taken.append(self._lease(kept, worker, lease, now))
            size += len(kept.new.payload)
        return Claimed(tuple(taken), self._next_due(lanes, now))

    def _lease(self, kept: _Kept, worker: str, lease: float, now: float) -> Leased:
        new = kept.new
        kept.state, kept.fence, kept.worker, kept.began = State.LEASED, next(self._fences), worker, now
        kept.attempt += 1
        self._due(kept, now + lease)
        hold = Hold(new.id, kept.fence, worker)
        return Leased(
            hold,
            kept.attempt,
            new.max_attempts,
            new.type,
            new.payload,
            new.caller,
            new.traceparent,
            new.key,
            new.timeout,
            new.origin,
        )

    async def extend(self, hold: Hold, lease: float) -> None:
        check_lease(lease)
        now = self._clock()
        self._due(self._held(hold, now), now + lease)

    async def complete(self, hold: Hold, result: bytes) -> None:
        now = self._clock()
        if self._ended_by(hold) is Ending.DONE:
            return
        kept = self._held(hold, now)
        self._close(kept, now, Ending.DONE, None)
        kept.result, kept.failure = result, None
        self._end(kept, State.DONE, now)

    async def fail(self, hold: Hold, failure: Failure, *, retry: bool = True, counts: bool = True) -> Verdict:
        now = self._clock()
        if self._ended_by(hold) is Ending.FAILED:
            kept = self._kept[hold.id]
            return Verdict(kept.state, max(kept.since - now, 0.0) if kept.state is State.READY else None)
        kept = self._held(hold, now)
        self._close(kept, now, Ending.FAILED, failure)
        if not counts:
            kept.new = replace(kept.new, max_attempts=kept.new.max_attempts + 1)
            self._ready(kept, now, now)
            return Verdict(State.READY, 0.0)
        if not retry or kept.attempt >= kept.new.max_attempts:
            self._die(kept, failure, now)
            return Verdict(State.DEAD, None)
        pause = pause_after(kept.attempt, kept.new.backoff, self._rng.uniform)
        self._ready(kept, now + pause, now)
        return Verdict(State.READY, pause)

    async def release(self, hold: Hold) -> None:
        now = self._clock()
        kept = self._kept.get(hold.id)
        if (
            kept is not None
            and kept.state is State.READY
            and (kept.fence, kept.worker) == (hold.fence, hold.worker)
            and self._ended_by(hold) is None
        ):
            return
        kept = self._held(hold, now)
        kept.attempt -= 1
        self._ready(kept, now, now)

    async def reclaim(self, queue: str, worker: str, *, held: Collection[str] = (), begun: bool = True) -> int:
        now, kept_back = self._clock(), frozenset(held)
        for lane in self._queues.get(queue, {}).values():
            self._settle_lane(lane, now)
        found = [
            kept
            for kept in self._kept.values()
            if kept.state is State.LEASED
            and (kept.new.queue, kept.worker) == (queue, worker)
            and kept.new.id not in kept_back
        ]
        for kept in found:
            if begun:
                self._lapse(kept, worker_lost(worker, kept.attempt), now)
                self._settle_one(kept, now)
            else:
                kept.attempt -= 1
                self._ready(kept, now, now)
        return len(found)

    async def once(self, hold: Hold, key: str) -> Effect:
        kept = self._held(hold, self._clock())
        name = (kept.new.queue, key)
        known = self._effects.get(name)
        if known is not None:
            return Effect(False, *known)
        self._effects[name] = (hold.id, hold.fence)
        kept.effects.append(name)
        return Effect(True, hold.id, hold.fence)

    # -- what people look at

    async def get(self, task_id: str, *, caller: str | None = None) -> TaskHistory:
        kept = self._known(task_id, caller)
        attempts = list(kept.attempts)
        if kept.state is State.LEASED and kept.worker is not None:
            attempts.append(Attempt(kept.attempt, kept.fence, kept.worker, kept.began, None, None, None))
        return TaskHistory(_info(kept), kept.new.payload, kept.result, tuple(attempts))

    async def list(
        self,
        *,
        states: Collection[State] = (),
        queue: str | None = None,
        caller: str | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> tuple[TaskInfo, ...]:
        await self.sweep()
        end = None if before is None else self._known(before, caller).seq
        found = (
            _info(kept)
            for kept in reversed(self._kept.values())
            if (not states or kept.state in states)
            and (queue is None or kept.new.queue == queue)
            and (caller is None or kept.new.caller == caller)
            and (end is None or kept.seq < end)
        )
        return tuple(itertools.islice(found, limit))

    async def dead(self, *, queue: str | None = None, limit: int = 100) -> tuple[TaskInfo, ...]:
        return await self.list(states={State.DEAD}, queue=queue, limit=limit)

    async def stats(self) -> tuple[QueueStats, ...]:
        await self.sweep()
        counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for kept in self._kept.values():
            counts[kept.new.queue]["later" if kept.waiting else kept.state.value] += 1
        words = ("ready", "later", "leased", "done", "dead", "cancelled")
        return tuple(QueueStats(queue, *(counts[queue][word] for word in words)) for queue in sorted(counts))

    async def retry_dead(self, task_ids: Collection[str] | None = None, *, queue: str | None = None) -> int:
        now = self._clock()
        asked = list(self._kept) if task_ids is None else dict.fromkeys(task_ids)
        dead = [
            kept
            for kept in (self._kept[task_id] for task_id in asked if task_id in self._kept)
            if kept.state is State.DEAD and queue in (None, kept.new.queue)
        ]
        for kept in dead:
            kept.attempt, kept.expires, kept.failure = 0, None, None
            self._ready(kept, now, now)
        return len(dead)

    async def purge(self, older: float, *, states: Collection[State] = FINAL) -> int:
        limit = self._clock() - older
        gone = [kept for kept in self._kept.values() if kept.state in FINAL & set(states) and kept.since <= limit]
        for kept in gone:
            new = kept.new
            del self._kept[new.id]
            if new.key is not None:
                del self._keys[(new.caller, new.queue, new.type, new.key)]
            for name in kept.effects:
                del self._effects[name]
        return len(gone)

    async def sweep(self) -> float | None:
        now = self._clock()
        while self._expiring and self._expiring[0][0] <= now:
            kept = self._kept.get(heapq.heappop(self._expiring)[2])
            if kept is not None:
                self._settle_one(kept, now)
        lanes = [lane for queue in self._queues.values() for lane in queue.values()]
        for lane in lanes:
            self._settle_lane(lane, now)
        times = [lane.due[0][0] for lane in lanes if self._first_due(lane)]
        if self._first_expiring():
            times.append(self._expiring[0][0])
        return max(min(times) - now, 0.0) if times else None

    # -- how tasks change their state

    def _lane(self, kept: _Kept) -> _Lane:
        return self._queues[kept.new.queue].setdefault(kept.new.requires, _Lane())

    def _ready(self, kept: _Kept, due: float, now: float) -> None:
        kept.state, kept.since, kept.waiting = State.READY, due, due > now
        if kept.expires is not None:
            heapq.heappush(self._expiring, (kept.expires, kept.seq, kept.new.id))
        if kept.waiting:
            self._due(kept, due)
        else:
            heapq.heappush(self._lane(kept).ready, (-kept.new.priority, kept.seq, kept.new.id))

    def _due(self, kept: _Kept, due: float) -> None:
        kept.since = due
        heapq.heappush(self._lane(kept).due, (due, kept.seq, kept.new.id))

    def _end(self, kept: _Kept, state: State, now: float) -> None:
        kept.state, kept.since, kept.waiting = state, now, False

    def _die(self, kept: _Kept, failure: Failure, now: float) -> None:
        kept.failure = failure
        self._end(kept, State.DEAD, now)

    def _close(self, kept: _Kept, now: float, ending: Ending, failure: Failure | None) -> None:
        assert kept.worker is not None
        kept.attempts.append(Attempt(kept.attempt, kept.fence, kept.worker, kept.began, now, ending, failure))

    # -- what has run out

    def _settle_lane(self, lane: _Lane, now: float) -> None:
        while self._first_due(lane) and lane.due[0][0] <= now:
            self._settle_one(self._kept[heapq.heappop(lane.due)[2]], now)

    def _settle_one(self, kept: _Kept, now: float) -> None:
        if kept.state is State.LEASED and kept.since <= now:
            assert kept.worker is not None
            over = kept.since  # whenever that is found out
            self._lapse(kept, lapsed(kept.worker, kept.attempt), over)
            if kept.attempt < kept.new.max_attempts and kept.expires is not None and kept.expires <= now:
                self._die(kept, expired(), max(over, kept.expires))
            return
        if kept.waiting and kept.since <= now:
            self._ready(kept, kept.since, kept.since)
        if kept.state is State.READY and kept.expires is not None and kept.expires <= now:
            self._die(kept, expired(), now)

    def _lapse(self, kept: _Kept, failure: Failure, now: float) -> None:
        self._close(kept, now, Ending.LAPSED, failure)
        if kept.attempt >= kept.new.max_attempts:
            self._die(kept, failure, now)
        else:
            self._ready(kept, now, now)

    def _first_due(self, lane: _Lane) -> bool:
        """Whether anything waits in a lane; what comes first is still to come then."""
        while lane.due:
            due, seq, task_id = lane.due[0]
            kept = self._kept.get(task_id)
            waits = kept is not None and (kept.waiting or kept.state is State.LEASED)
            if kept is not None and waits and (kept.seq, kept.since) == (seq, due):
                return True
            heapq.heappop(lane.due)
        return False

    def _first_expiring(self) -> bool:
        while self._expiring:
            _, seq, task_id = self._expiring[0]
            kept = self._kept.get(task_id)
            if kept is not None and kept.seq == seq and kept.state is State.READY and kept.expires is not None:
                return True
            heapq.heappop(self._expiring)
        return False

    def _first_ready(self, lane: _Lane) -> bool:
        while lane.ready:
            _, seq, task_id = lane.ready[0]
            kept = self._kept.get(task_id)
            if kept is not None and kept.seq == seq and kept.state is State.READY and not kept.waiting:
                return True
            heapq.heappop(lane.ready)
        return False

    def _next_due(self, lanes: Collection[_Lane], now: float) -> float | None:
        if any(map(self._first_ready, lanes)):
            return 0.0
        times = [lane.due[0][0] for lane in lanes if self._first_due(lane)]
        return max(min(times) - now, 0.0) if times else None

    # -- who may speak of a task

    def _known(self, task_id: str, caller: str | None) -> _Kept:
        kept = self._kept.get(task_id)
        if kept is None or caller not in (None, kept.new.caller):
            raise UnknownTask(task_id)
        self._settle_one(kept, self._clock())
        return kept

    def _held(self, hold: Hold, now: float) -> _Kept:
        kept = self._kept.get(hold.id)
        if kept is not None and kept.state is State.LEASED:
            self._settle_one(kept, now)
        if kept is None or (kept.state, kept.fence, kept.worker) != (State.LEASED, hold.fence, hold.worker):
            raise LeaseLost(hold.id, hold.fence, lost_because(None if kept is None else kept.state))
        return kept

    def _ended_by(self, hold: Hold) -> Ending | None:
        """How the latest attempt was ended, if it is the hold's own."""
        kept = self._kept.get(hold.id)
        if kept is None or kept.fence != hold.fence or not kept.attempts or kept.attempts[-1].fence != hold.fence:
            return None
        return kept.attempts[-1].ending if kept.attempts[-1].worker == hold.worker else None


def _outcome(kept: _Kept) -> Outcome | None:
    if kept.state not in FINAL:
        return None
    return Outcome(kept.new.id, kept.state, kept.result, kept.failure, kept.attempt, kept.worker)


def _info(kept: _Kept) -> TaskInfo:
    new = kept.new
    return TaskInfo(
        new.id,
        new.queue,
        new.type,
        new.caller,
        kept.state,
        kept.attempt,
        new.max_attempts,
        new.priority,
        new.requires,
        new.key,
        kept.worker,
        kept.stored,
        kept.since,
        kept.failure,
        new.origin,
    )
