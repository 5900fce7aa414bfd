"""What all replicas of a run have done, as their processes report it: added up, so that no count ever falls."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from orchestrator.runtime.control import Figures, ReplicaFigures, TaskNews

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_ENDED: Final = 500
"""Tasks that have ended and are still known one by one; the oldest are forgotten first."""
MAX_RUNNING: Final = 2_000
"""The same for those that run."""
MAX_SERIES: Final = 2_000
"""Names that the figures of one replica may have; what comes under others is counted as `OTHER`."""
OTHER: Final = "(other)"


class Work(NamedTuple):
    """What a replica is at, and what it has done since its process began."""

    inflight: int
    capacity: int
    done: int
    failed: int


@dataclass(slots=True)
class _Replica:
    agent: str
    inflight: int = 0
    capacity: int = 0
    done: int = 0
    failed: int = 0
    """These two of the process that runs, or ran last."""
    counts: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, tuple[int, ...]] = field(default_factory=dict)
    total_seconds: dict[str, float] = field(default_factory=dict)


class Gathered:
    """The figures of one run, by replica."""

    def __init__(self) -> None:
        self.restarts: Mapping[str, int] = Counter()
        """How often each child was started again; whoever counts that puts it here."""
        self._replicas: dict[str, _Replica] = {}
        self._running: dict[tuple[str, str], TaskNews] = {}
        """By replica and task id."""
        self._ended: deque[tuple[str, TaskNews]] = deque(maxlen=MAX_ENDED)
        self._listeners: dict[object, Callable[[str, Figures], None]] = {}

    # -- facts

    def began(self, peer: str, agent: str = "", capacity: int = 0) -> None:
        """A process begins. What those before it did stays counted."""
        replica = self._replicas.setdefault(peer, _Replica(agent))
        replica.agent = agent or replica.agent
        replica.inflight, replica.capacity, replica.done, replica.failed = 0, capacity, 0, 0

    def heard(self, peer: str, agent: str, figures: Figures) -> None:
        """A process tells what it did."""
        replica = self._replicas.setdefault(peer, _Replica(agent))
        replica.inflight, replica.capacity = figures.inflight, figures.capacity
        for name, count in figures.counts.items():
            series = _series(name, replica.counts)
            replica.counts[series] = replica.counts.get(series, 0) + count
            if name.startswith("tasks/"):
                replica.done += count * name.endswith("/done")
                replica.failed += count * name.endswith("/failed")
        for name, steps in figures.seconds.items():
            series = _series(name, replica.seconds)
            before = replica.seconds.get(series, ())
            replica.seconds[series] = tuple(map(sum, zip_longest(before, steps, fillvalue=0)))
        for name, seconds in figures.total_seconds.items():
            series = _series(name, replica.total_seconds)
            replica.total_seconds[series] = replica.total_seconds.get(series, 0.0) + seconds
        for news in figures.tasks:
            self._note(peer, news)
        for listener in tuple(self._listeners.values()):
            listener(peer, figures)

    def ended(self, peer: str, wall: float) -> None:
        """A process has ended, at that time in Unix seconds; what it still had under way is lost."""
        replica = self._replicas.get(peer)
        if replica is None:
            return
        cut_off = [news for (where, _), news in self._running.items() if where == peer]
        if not cut_off and not replica.inflight:
            return
        lost = tuple(
            msgspec.structs.replace(
                news, state="lost", time=wall, seconds=max(wall - news.time, 0.0), error="its process ended"
            )
            for news in cut_off
        )
        counts = Counter(f"tasks/{news.task}/lost" for news in lost)
        self.heard(peer, replica.agent, Figures(0, replica.capacity, dict(counts), tasks=lost))

    def _note(self, peer: str, news: TaskNews) -> None:
        key = (peer, news.id)
        if news.state == "running":
            if len(self._running) < MAX_RUNNING:
                self._running[key] = news
        else:
            self._running.pop(key, None)
            self._ended.append((peer, news))

    # -- what there is

    def totals(self) -> tuple[ReplicaFigures, ...]:
        """Return what each replica has done in all of its processes, also of those that are no part of the run any more."""
        return tuple(
            ReplicaFigures(
                replica.agent,
                peer,
                self.restarts.get(peer, 0),
                replica.inflight,
                replica.capacity,
                dict(replica.counts),
                dict(replica.seconds),
                dict(replica.total_seconds),
            )
            for peer, replica in self._replicas.items()
        )

    def standing(self, peer: str) -> Work:
        """Return what a replica is at; zeros for one that has never run here."""
        replica = self._replicas.get(peer)
        return Work(0, 0, 0, 0) if replica is None else Work(
            replica.inflight, replica.capacity, replica.done, replica.failed
        )  # fmt: skip

    def recent_tasks(self) -> tuple[tuple[str, TaskNews], ...]:
        """Return the tasks that ended last, the oldest first, and then those that run, each with its replica."""
        return (*self._ended, *((peer, news) for (peer, _), news in self._running.items()))

    def listen(self, callback: Callable[[str, Figures], None]) -> Callable[[], None]:
        """Have `callback` called with each replica and what it reports, until what is returned is called."""
        key = object()
        self._listeners[key] = callback

        def leave() -> None:
            self._listeners.pop(key, None)

        return leave


def _series(name: str, known: Mapping[str, object]) -> str:
    return name if name in known or len(known) < MAX_SERIES else OTHER
