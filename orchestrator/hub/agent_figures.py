"""What the replicas of a run have done, added up by agent, under as many names as a scrape may hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

MAX_AGENTS: Final = 200
MAX_TASKS: Final = 100
"""Kinds of tasks of one agent."""
MAX_TASKS_OF_ALL: Final = 2_000
MAX_WORDS: Final = 20
"""Outcomes of one kind of task, and of claims; and things that have no metric of their own."""
MAX_LABEL: Final = 100
"""Characters of a name."""
OTHER: Final = "(other)"
"""Stands for all names beyond those; none of an agent holds a parenthesis."""


class Counted(Protocol):
    """Somebody's figures since it began."""

    @property
    def agent(self) -> str: ...
    @property
    def restarts(self) -> int: ...
    @property
    def inflight(self) -> int: ...
    @property
    def capacity(self) -> int: ...
    @property
    def counts(self) -> Mapping[str, int]:
        """By series, such as ``chunks``, ``reconnects``, ``claims/won`` or ``tasks/Research/done``."""
        ...

    @property
    def seconds(self) -> Mapping[str, tuple[int, ...]]:
        """By task, how many took up to each bound, and how many took longer; none is counted twice."""
        ...

    @property
    def total_seconds(self) -> Mapping[str, float]: ...


@dataclass(slots=True)
class AgentFigures:
    """Those of all replicas of an agent."""

    agent: str
    restarts: int = 0
    inflight: int = 0
    capacity: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, tuple[int, ...]] = field(default_factory=dict)
    total_seconds: dict[str, float] = field(default_factory=dict)

    def add(self, one: Counted) -> None:
        self.restarts += one.restarts
        self.inflight += one.inflight
        self.capacity += one.capacity
        for series, count in one.counts.items():
            self.counts[series] += count
        for task, steps in one.seconds.items():
            self._add_seconds(task, steps, one.total_seconds.get(task, 0.0))

    def _add_seconds(self, task: str, steps: tuple[int, ...], total: float) -> None:
        known = self.seconds.get(task, ())
        longest = max(len(known), len(steps))
        padded = (each + (0,) * (longest - len(each)) for each in (known, steps))
        self.seconds[task] = tuple(map(sum, zip(*padded, strict=True)))
        self.total_seconds[task] = self.total_seconds.get(task, 0.0) + total


def by_agent(figures: Sequence[Counted]) -> list[AgentFigures]:
    """Return the sums by agent, of few enough agents and kinds of tasks; what is beyond that is in `OTHER`."""
    sums: dict[str, AgentFigures] = {}
    agents = _few((one.agent for one in figures), MAX_AGENTS)
    for one in figures:
        agent = _named(one.agent, agents)
        sums.setdefault(agent, AgentFigures(agent)).add(one)
    most_tasks = max(1, min(MAX_TASKS, MAX_TASKS_OF_ALL // max(1, len(sums))))
    return [_with_few_names(sums[agent], most_tasks) for agent in sorted(sums)]


def _with_few_names(one: AgentFigures, most_tasks: int) -> AgentFigures:
    tasks = _few([*one.seconds, *(task for task, _ in map(task_of, one.counts) if task is not None)], most_tasks)
    few = AgentFigures(one.agent, one.restarts, one.inflight, one.capacity)
    words: dict[str, set[str]] = {}
    for series, count in sorted(one.counts.items()):
        task, word = task_of(series)
        head = "" if task is None else f"tasks/{_named(task, tasks)}/"
        if not head and word.startswith("claims/"):
            head, word = "claims/", word.removeprefix("claims/")
        elif not head:
            word = word.partition("/")[0]
        known, word = words.setdefault(head, set()), _plain(word)
        if word not in known and len(known) >= MAX_WORDS:
            word = OTHER
        known.add(word)
        few.counts[head + word] += count
    for task, steps in one.seconds.items():
        few._add_seconds(_named(task, tasks), steps, one.total_seconds.get(task, 0.0))
    return few


def task_of(series: str) -> tuple[str | None, str]:
    """Return the task and the outcome that a series counts; no task for one that counts something else."""
    if not series.startswith("tasks/"):
        return None, series
    task, _, outcome = series.removeprefix("tasks/").rpartition("/")
    return task or OTHER, outcome


def _few(names: Iterable[str], most: int) -> frozenset[str]:
    return frozenset(sorted(set(map(_plain, names)))[:most])


def _named(name: str, few: Collection[str]) -> str:
    plain = _plain(name)
    return plain if plain in few else OTHER


def _plain(name: str) -> str:
    """Return a name that can be written."""
    if len(name) <= MAX_LABEL and name.isascii():
        return name
    return name[:MAX_LABEL].encode("utf-8", "replace").decode()
