"""What a run tells its dashboards, gathered until the next update is due. No clock, no connection: times come in."""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, Any, Final, TypeVar

from orchestrator.protocol.dashboard import AgentLoad, LogUpdate, ReplicaUpdate, RunUpdate, TaskUpdate
from orchestrator.runtime.control import BUCKETS
from orchestrator.runtime.recent import cut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from orchestrator.runtime.control import Figures, TaskNews
    from orchestrator.runtime.operator_wire import ReplicaView
    from orchestrator.runtime.records import Record, Source

T = TypeVar("T")

MAX_LOG: Final = 200
"""Lines that one update tells; of more, the last ones."""
MAX_TASKS: Final = 500
"""Tasks whose news wait for the next update; of more, the last ones."""
MAX_TEXT: Final = 4_000
"""Characters of one line of the log, and of each value in it."""
MAX_FIELDS: Final = 40
MAX_TOLD: Final = 262_144
"""Characters of all lines of the log in one update, and of all errors of tasks in it; of more, the last ones. As JSON a
character takes six bytes at most, so that whatever is said, one payload has room for it."""
MAX_DETAIL: Final = 500
"""Characters of what is wrong with a replica."""
LOAD_EVERY: Final = 1.0
"""Seconds over which the load of an agent is measured."""
_NOTICED: Final = 4 * 1_048_576
"""Bytes by which a process has to grow or shrink before that alone is worth telling."""


class RunFeed:
    """Of one run. What is put in comes out once, by `take`; what stays true is in `whole`."""

    def __init__(self) -> None:
        self._replicas: dict[str, ReplicaUpdate] = {}
        self._changed: dict[str, ReplicaUpdate] = {}
        self._gone: dict[str, None] = {}
        self._flows: Counter[tuple[str, str, str]] = Counter()
        self._tasks: deque[TaskUpdate] = deque()
        self._log: deque[LogUpdate] = deque()
        self._missed = 0
        self._loads: dict[str, _Load] = {}
        self._busy: set[str] = set()
        """Agents whose load was told last as other than nothing."""
        self._load_at: float | None = None

    # -- what happens

    def stands(self, replicas: Iterable[ReplicaView]) -> None:
        """Take how all replicas stand now."""
        now = {view.peer: _replica(view) for view in replicas}
        for peer, update in now.items():
            if _differs(self._replicas.get(peer), update):
                self._replicas[peer] = self._changed[peer] = update
                self._gone.pop(peer, None)
        for peer in self._replicas.keys() - now.keys():
            del self._replicas[peer]
            self._changed.pop(peer, None)
            self._gone[peer] = None

    def heard(self, peer: str, agent: str, figures: Figures) -> None:
        """Take what a replica has said that it did."""
        for to, kind, count in figures.flows:
            self._flows[agent, to, kind] += count
        for series, count in figures.counts.items():  # users report nothing themselves
            kind, _, user = series.partition("/")
            if kind == "asks":
                self._flows[user, agent, "ask"] += count
        load = self._loads.setdefault(agent, _Load())
        load.add(figures.counts, figures.seconds)
        for news in figures.tasks:
            self._tasks.append(_task(peer, news))
        self._missed += figures.missed
        while len(self._tasks) > MAX_TASKS:
            self._tasks.popleft()
            self._missed += 1

    def said(self, records: Iterable[tuple[Source, Record]], missed: int = 0) -> None:
        """Take lines of the log; `missed` came before them and were not kept."""
        self._missed += missed
        for source, record in records:
            self._log.append(line_of(source, record))
            if len(self._log) > MAX_LOG:
                self._log.popleft()
                self._missed += 1

    # -- what is told

    def take(self, now: float, wall: float) -> RunUpdate | None:
        """Return what there is to tell since the last time; `None` = nothing. `wall` is in Unix seconds."""
        tasks, log = _last(self._tasks, _task_size), _last(self._log, _line_size)
        self._missed += len(self._tasks) - len(tasks) + len(self._log) - len(log)
        update = RunUpdate(
            wall,
            replicas=tuple(self._changed.values()),
            gone=tuple(self._gone),
            flows=tuple((start, end, kind, count) for (start, end, kind), count in self._flows.items()),  # type: ignore[misc]  # msgspec checks no literals of what we make
            load=self._load(now),
            tasks=tasks,
            log=log,
            missed=self._missed,
        )
        self._changed, self._gone, self._missed = {}, {}, 0
        self._flows.clear()
        self._tasks.clear()
        self._log.clear()
        told = (update.replicas, update.gone, update.flows, update.load, update.tasks, update.log, update.missed)
        return update if any(told) else None

    @property
    def owes_load(self) -> bool:
        """Whether something is left to tell although nothing happens any more: that an agent has come to rest."""
        return bool(self._busy or self._loads)

    def whole(
        self,
        wall: float,
        tasks: Iterable[tuple[str, TaskNews]],
        log: Iterable[tuple[Source, Record]],
    ) -> RunUpdate:
        """Return all that is true now, with the last of the tasks and of the log, for somebody who knows nothing."""
        return RunUpdate(
            wall,
            whole=True,
            replicas=tuple(self._replicas.values()),
            tasks=_last([_task(peer, news) for peer, news in tasks], _task_size),
            log=_last([line_of(source, record) for source, record in log], _line_size),
        )

    def _load(self, now: float) -> tuple[AgentLoad, ...]:
        if self._load_at is not None and now - self._load_at < LOAD_EVERY:
            return ()
        self._load_at = now
        inflight: Counter[str] = Counter()
        capacity: Counter[str] = Counter()
        for update in self._replicas.values():
            inflight[update.agent] += update.inflight
            capacity[update.agent] += update.capacity
        loads, self._loads = self._loads, {}
        busy = {agent for agent, count in inflight.items() if count} | {*loads}
        told = [
            loads.get(agent, _Load()).told(agent, inflight[agent], capacity[agent])
            for agent in sorted(busy | self._busy)
        ]
        self._busy = busy
        return tuple(told)


class _Load:
    """What the replicas of one agent did together since it was told last."""

    def __init__(self) -> None:
        self.ended = self.failed = 0
        self._steps = [0] * (len(BUCKETS) + 1)

    def add(self, counts: Mapping[str, int], seconds: Mapping[str, tuple[int, ...]]) -> None:
        for series, count in counts.items():
            kind, _, rest = series.partition("/")
            if kind == "tasks":
                self.ended += count
                self.failed += count if rest.endswith("/failed") else 0
        for steps in seconds.values():
            for at, count in enumerate(steps[: len(self._steps)]):
                self._steps[at] += count

    def told(self, agent: str, inflight: int, capacity: int) -> AgentLoad:
        return AgentLoad(
            agent, inflight, capacity, self.ended, self.failed, quantile(self._steps, 0.5), quantile(self._steps, 0.95)
        )


def quantile(steps: Iterable[int], share: float) -> float | None:
    """Return the seconds up to which this share of tasks took, by the steps of `BUCKETS`; `None` = there were none.

    Within a step they are taken to be spread evenly; those beyond the last one count as having taken just that.
    """
    counts = list(steps)
    rank = share * sum(counts)
    if not rank:
        return None
    low = 0.0
    for count, high in zip(counts, BUCKETS, strict=False):
        if count and rank <= count:
            return low + (high - low) * rank / count
        rank -= count
        low = high
    return low


def line_of(source: Source, record: Record) -> LogUpdate:
    """Return a line of the log as a dashboard is told it: as much of it as people read."""
    fields = {name: _short(value) for name, value in list(record.fields.items())[:MAX_FIELDS]}
    return LogUpdate(
        source.name,
        record.time,
        record.level,
        cut(record.event, MAX_TEXT),
        source.agent,
        fields,
        cut(record.exception, MAX_TEXT),
        record.stream,
    )


def _last(items: Sequence[T], size: Callable[[T], int]) -> tuple[T, ...]:
    """Return as many of the last ones as one update has room for."""
    room = MAX_TOLD
    kept: deque[T] = deque()
    for item in reversed(items):
        room -= size(item)
        if room < 0:
            break
        kept.appendleft(item)
    return tuple(kept)


def _line_size(line: LogUpdate) -> int:
    fields = sum(len(name) + (len(value) if isinstance(value, str) else 20) for name, value in line.fields.items())
    return len(line.event) + len(line.exception) + fields


def _task_size(task: TaskUpdate) -> int:
    return len(task.error)


def _short(value: Any) -> Any:
    if isinstance(value, str):
        return cut(value, MAX_TEXT)
    if value is None or isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 2**53):
        return value
    return cut(str(value), MAX_TEXT)


def _replica(view: ReplicaView) -> ReplicaUpdate:
    return ReplicaUpdate(
        view.peer,
        view.agent,
        view.state,
        view.where,
        view.pid,
        view.ready_since if view.ready_since is not None else view.since,
        view.restarts,
        cut("; ".join(dict.fromkeys(filter(None, (view.detail, view.last_error)))), MAX_DETAIL),
        view.inflight,
        view.capacity,
        view.memory,
    )


def _differs(old: ReplicaUpdate | None, new: ReplicaUpdate) -> bool:
    """Tell whether a change is worth telling: memory alone goes up and down all the time, and `since` is worked out anew."""
    if old is None:
        return True
    if abs(new.memory - old.memory) >= _NOTICED or abs((new.since or 0.0) - (old.since or 0.0)) >= 1.0:
        return True
    return _standing(old) != _standing(new)


def _standing(update: ReplicaUpdate) -> tuple[Any, ...]:
    return (
        update.state,
        update.where,
        update.pid,
        update.restarts,
        update.detail,
        update.inflight,
        update.capacity,
        update.since is None,
    )


def _task(peer: str, news: TaskNews) -> TaskUpdate:
    return TaskUpdate(
        news.id,
        news.task,
        peer,
        news.state,
        news.time,
        news.origin,
        news.attempt,
        news.seconds,
        cut(news.error, MAX_TEXT),
        news.kept,
    )
