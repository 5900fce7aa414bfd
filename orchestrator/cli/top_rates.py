"""What a run did between two looks at it: rates, and how long its tasks took."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from orchestrator.runtime.operator_wire import ReplicaView, TopView, WorkCounts

RUN: Final = "(run)"
"""The process of the run itself, among those of its children."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An agent, a replica, a process that is none, or all of them together. Rates are by the second."""

    name: str
    replicas: int = 0
    ready: int = 0
    inflight: int = 0
    capacity: int = 0
    done: float = 0.0
    failed: float = 0.0
    chunks: float = 0.0
    p50: float | None = None
    """Seconds that tasks took which ended meanwhile; `None` = none did."""
    p95: float | None = None
    cpu: float | None = None
    """The part of one processor that its processes took; `None` = they are shared with others, or there are none."""
    memory: int = 0
    """Bytes that are resident."""
    restarts: int = 0


@dataclass(slots=True)
class _Group:
    """What goes into one row."""

    replicas: list[ReplicaView] = field(default_factory=list)
    pids: set[int] = field(default_factory=set)


SORTS: Final[dict[str, Callable[[Row], tuple[float, str]]]] = {
    "tasks": lambda row: (-row.inflight, row.name),
    "done": lambda row: (-row.done, row.name),
    "failed": lambda row: (-row.failed, row.name),
    "chunks": lambda row: (-row.chunks, row.name),
    "p95": lambda row: (-(row.p95 or 0.0), row.name),
    "cpu": lambda row: (-(row.cpu or 0.0), row.name),
    "memory": lambda row: (-row.memory, row.name),
}
"""What rows can be sorted by, the most first, instead of by their place in the topology."""


def rows_of(before: TopView, after: TopView, *, by_replica: bool = False) -> list[Row]:
    """Return what each agent, or each replica, did between two looks at one run, and what its other processes took."""
    groups: dict[str, _Group] = {RUN: _Group(pids={after.run.pid})}
    for replica in after.run.replicas:
        name = replica.peer if by_replica or not replica.agent else replica.agent
        group = groups.setdefault(name, _Group())
        group.replicas.append(replica)
        if replica.pid not in (None, after.run.pid):
            group.pids.add(replica.pid)
    return [_row(name, group, before, after) for name, group in groups.items()]


def total_of(before: TopView, after: TopView) -> Row:
    """Return the same of the whole run."""
    return _row(after.run.name, _Group(list(after.run.replicas), set(after.processes)), before, after, gone=True)


def _row(name: str, group: _Group, before: TopView, after: TopView, *, gone: bool = False) -> Row:
    seconds = max(after.time - before.time, 1e-3)
    peers = list(after.work) if gone else [replica.peer for replica in group.replicas]
    then = [before.work[peer] for peer in peers if peer in before.work]
    now = [after.work[peer] for peer in peers if peer in after.work]
    steps = [
        there - here
        for here, there in zip(_steps(then, len(after.bounds)), _steps(now, len(after.bounds)), strict=True)
    ]

    def rate(count: Callable[[WorkCounts], int]) -> float:
        return max(sum(map(count, now)) - sum(map(count, then)), 0) / seconds

    agents = [replica for replica in group.replicas if replica.agent]
    return Row(
        name=name,
        replicas=len(agents),
        ready=sum(replica.state == "ready" for replica in agents),
        inflight=sum(replica.inflight for replica in agents),
        capacity=sum(replica.capacity for replica in agents),
        done=rate(lambda work: work.done),
        failed=rate(lambda work: work.failed),
        chunks=rate(lambda work: work.chunks),
        p50=quantile(steps, after.bounds, 0.5),
        p95=quantile(steps, after.bounds, 0.95),
        cpu=_cpu(group.pids, before, after) / seconds if group.pids else None,
        memory=sum(after.processes[pid].memory for pid in group.pids if pid in after.processes),
        restarts=sum(replica.restarts for replica in group.replicas),
    )


def _steps(works: Iterable[WorkCounts], bounds: int) -> list[int]:
    total = [0] * (bounds + 1)
    for work in works:
        for at, count in enumerate(work.steps):
            total[at] += count
    return total


def _cpu(pids: Iterable[int], before: TopView, after: TopView) -> float:
    """Return the seconds that processes took meanwhile; one that began meanwhile took all of its own."""
    return sum(
        max(after.processes[pid].cpu - (before.processes[pid].cpu if pid in before.processes else 0.0), 0.0)
        for pid in pids
        if pid in after.processes
    )


def quantile(steps: Sequence[int], bounds: Sequence[float], share: float) -> float | None:
    """Return what this share of all values does not exceed, as near as their steps tell; `None` = there are no values.

    Within a step values are taken to lie evenly; of what is beyond the last bound, no more is told than that.
    """
    count = sum(steps)
    if count <= 0:
        return None
    wanted = share * count
    for at, reached in enumerate(accumulate(steps)):
        if reached >= wanted and steps[at]:
            if at >= len(bounds):
                break
            low = bounds[at - 1] if at else 0.0
            inside = (wanted - (reached - steps[at])) / steps[at]
            return low + (bounds[at] - low) * min(max(inside, 0.0), 1.0)
    return bounds[-1]
