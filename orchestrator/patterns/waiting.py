"""Tasks that nobody holds: who is next, whom it waits for, and when there is nobody left to wait for."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchestrator.patterns.jobs import Job
    from orchestrator.patterns.workforce import Seat, Workforce

_Group: TypeAlias = tuple[str, frozenset[str], str | None, bool]
"""What the tasks of one queue have in common.

Their type, their capabilities, for those with a key whom they wait for, and whether they wait for somebody to come.
"""


class Waiting:
    """The queues of one dispatcher; nobody in one holds up another one."""

    def __init__(self, jobs: Mapping[str, Job], workforce: Workforce) -> None:
        """`jobs` are those under way: what is no longer among them, or has a seat, waits no more."""
        self._jobs, self._workforce = jobs, workforce
        self._queues: dict[_Group, deque[str]] = {}

    def __bool__(self) -> bool:
        """Whether anybody may be waiting."""
        return bool(self._queues)

    def put(self, job: Job, *, first: bool = False) -> None:
        owner = None
        if job.order.key is not None:
            seat = self._workforce.owner(job.name, job.order.requires, job.order.key, frozenset(job.avoid))
            owner = seat.peer if seat else ""
        queue = self._queues.setdefault((job.name, job.order.requires, owner, job.order.wait > 0), deque())
        if first:
            queue.appendleft(job.order.id)
        else:
            queue.append(job.order.id)

    def rearrange(self) -> None:
        """Have tasks with a key wait for those to whom they go now that somebody has come or gone."""
        keyed = [queue for (_, _, owner, _), queue in self._queues.items() if owner is not None]
        self._queues = {group: queue for group, queue in self._queues.items() if group[2] is None}
        for task_id in [task_id for queue in keyed for task_id in queue]:
            job = self._jobs.get(task_id)
            if job is not None and job.seat is None:
                self.put(job)

    def served(self, now: float) -> Iterator[tuple[Job, Seat | None]]:
        """Yield each task that waits no longer, with its worker, or with `None` because nobody will come.

        The one that was ordered first is looked at first, so that no type of task keeps another one waiting for ever.
        Whoever iterates seats the task before the next step.
        """
        blocked: set[_Group] = set()
        while (found := self._oldest(blocked)) is not None:
            group, job = found
            avoid = frozenset(job.avoid)
            seat = self._chosen(job, avoid, now)
            may_come = now < job.patient_until or self._workforce.somebody_may_come(
                job.name, job.order.requires, now, avoid
            )
            if seat is None and may_come:
                blocked.add(group)
            else:
                self._queues[group].popleft()
                yield job, seat

    def _oldest(self, blocked: set[_Group]) -> tuple[_Group, Job] | None:
        """Return the task that was ordered first among those at the head of a queue that is not blocked."""
        found: tuple[_Group, Job] | None = None
        for group, queue in list(self._queues.items()):
            while queue and ((job := self._jobs.get(queue[0])) is None or job.seat is not None):
                queue.popleft()
            if not queue:
                del self._queues[group]
            elif group not in blocked:
                head = self._jobs[queue[0]]
                if found is None or head.number < found[1].number:
                    found = group, head
        return found

    def _chosen(self, job: Job, avoid: frozenset[str], now: float) -> Seat | None:
        if job.order.key is None:
            return self._workforce.choose(job.name, job.order.requires, now, avoid)
        owner = self._workforce.owner(job.name, job.order.requires, job.order.key, avoid)
        return owner if owner is not None and owner.is_free(now) else None
