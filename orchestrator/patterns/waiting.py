"""Tasks that nobody holds: who is next, whom it waits for, and when there is nobody left to wait for."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchestrator.patterns.jobs import Job
    from orchestrator.patterns.workforce import Seat, Workforce

_Group: TypeAlias = tuple[str, frozenset[str], str | None]
"""What the tasks of one queue have in common: type, capabilities and, for those with a key, whom they wait for."""


class Waiting:
    """The queues of one dispatcher; nobody in one holds up another one."""

    def __init__(self, jobs: Mapping[str, Job], workforce: Workforce) -> None:
        """`jobs` are those under way: what is no longer among them, or has a seat, waits no more."""
        self._jobs, self._workforce = jobs, workforce
        self._queues: dict[_Group, deque[str]] = {}

    def put(self, job: Job, *, first: bool = False) -> None:
        owner = None
        if job.order.key is not None:
            seat = self._workforce.owner(job.name, job.order.requires, job.order.key, frozenset(job.avoid))
            owner = seat.peer if seat else ""
        queue = self._queues.setdefault((job.name, job.order.requires, owner), deque())
        if first:
            queue.appendleft(job.order.id)
        else:
            queue.append(job.order.id)

    def rearrange(self) -> None:
        """Have tasks with a key wait for those to whom they go now that somebody has come or gone."""
        keyed = [queue for (_, _, owner), queue in self._queues.items() if owner is not None]
        self._queues = {group: queue for group, queue in self._queues.items() if group[2] is None}
        for task_id in [task_id for queue in keyed for task_id in queue]:
            job = self._jobs.get(task_id)
            if job is not None and job.seat is None:
                self.put(job)

    def served(self, now: float) -> Iterator[tuple[Job, Seat | None]]:
        """Yield each task that waits no longer, with its worker, or with `None` because nobody will come.

        Whoever iterates seats the task before the next step.
        """
        for group in list(self._queues):
            queue = self._queues[group]
            yield from self._serve(queue, now)
            if not queue:
                del self._queues[group]

    def _serve(self, queue: deque[str], now: float) -> Iterator[tuple[Job, Seat | None]]:
        patient: list[str] = []
        while queue:
            job = self._jobs.get(queue[0])
            if job is None or job.seat is not None:
                queue.popleft()
                continue
            avoid = frozenset(job.avoid)
            seat = self._chosen(job, avoid, now)
            if seat is None and self._workforce.somebody_may_come(job.name, job.order.requires, now, avoid):
                break
            queue.popleft()
            if seat is None and now < job.patient_until:
                patient.append(job.order.id)
            else:
                yield job, seat
        queue.extendleft(reversed(patient))

    def _chosen(self, job: Job, avoid: frozenset[str], now: float) -> Seat | None:
        if job.order.key is None:
            return self._workforce.choose(job.name, job.order.requires, now, avoid)
        owner = self._workforce.owner(job.name, job.order.requires, job.order.key, avoid)
        return owner if owner is not None and owner.is_free(now) else None
