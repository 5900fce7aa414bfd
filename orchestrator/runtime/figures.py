"""What one replica counts of what it does, and how its parent hears of it: differences, and only when there are any."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from orchestrator.protocol.payloads import (
    Ask,
    ClaimNotice,
    CompletionChunk,
    EventNotice,
    HoldNotice,
    RejectNotice,
    ReleaseNotice,
    StateDigest,
    StateMany,
    StateNotice,
    StatePage,
    StateSync,
    StateVersions,
    TaskError,
    TaskOffer,
    TaskResult,
)
from orchestrator.runtime.control import BUCKETS, Figures, TaskNews

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.protocol.dashboard import FlowKind
    from orchestrator.runtime.ending import Fate

EVERY: Final = 1.0
"""Seconds between two reports."""
EVERY_WATCHED: Final = 0.5
SOON: Final = 0.05
"""Seconds until the first report after a rest: what happens together is told together."""
MAX_NEWS: Final = 50
"""Tasks of which one report tells."""
MAX_TOLD: Final = 1_000
"""Tasks that are known above to run; of those beyond them only the end is told."""
MAX_ERROR: Final = 300
"""Characters of an error."""
MAX_SERIES: Final = 256
"""Task types, receivers and askers that are counted by name; the others are counted together."""
OTHERS: Final = "(others)"

Claimed: TypeAlias = Literal["won", "lost", "failed", "revoked"]
"""How a claim went: it was granted, somebody else has it, nobody could say so, or it was granted and then lost."""

_KINDS: Final[dict[type, FlowKind]] = {
    Ask: "ask",
    TaskOffer: "task",
    TaskResult: "result",
    TaskError: "result",
    CompletionChunk: "chunk",
    EventNotice: "event",
    **dict.fromkeys((ClaimNotice, RejectNotice, ReleaseNotice, HoldNotice), "claim"),
    **dict.fromkeys((StateNotice, StateMany, StateDigest, StateSync, StateVersions, StatePage), "state"),
}
"""What is no part of a conversation, such as signs of life, is not among them."""


_Begun: TypeAlias = tuple[str, str, int, bool, float, float]
"""A task that runs: its type, who gave it, the attempt, whether it is kept, and since when by either clock. A plain tuple,
since one is made for each task."""


@dataclass(slots=True)
class _Ends:
    """How tasks of one type ended since the last report."""

    name: str
    done: int = 0
    seconds: float = 0.0
    steps: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    others: dict[str, int] = field(default_factory=dict)
    """Those that are not done, by their fate."""


class Recorder:
    """What one replica has done since it last said so. Times come from the caller; it waits for nothing."""

    def __init__(self, capacity: int = 0) -> None:
        self.capacity = capacity
        self.stirred: Callable[[], None] = _nothing
        """Called at the first thing that is done after a `take`."""
        self._stirred = False
        self._inflight = self._said_inflight = 0
        self._counts: dict[str, int] = {}
        self._chunks = 0
        self._ends: dict[str, _Ends] = {}
        """By task type."""
        self._flows: dict[tuple[str, FlowKind], int] = {}
        self._peers: dict[str, str] = {}
        self._channels: dict[str, str] = {}
        """Who is behind each."""
        self._known: set[str] = {OTHERS}
        self._running: dict[str, _Begun] = {}
        self._told: set[str] = set()
        """Those that are known above to run, whose end is told in any case."""
        self._owed: deque[TaskNews] = deque()
        """Their ends: never more than `MAX_TOLD`."""
        self._bad: list[TaskNews] = []
        self._good: list[TaskNews] = []
        self._missed = 0

    # -- tasks

    def began(self, task_id: str, task: str, origin: str, attempt: int, kept: bool, now: float, wall: float) -> None:
        """A handler takes up a task; `now` is any clock that `ended` is given too, `wall` is Unix seconds."""
        self._running[task_id] = (task, origin, attempt, kept, now, wall)
        if not self._stirred:
            self._stir()

    def ended(self, task_id: str, fate: Fate, now: float, wall: float, error: str = "") -> None:
        """A task that began has ended. `error` is ``Type: message``."""
        begun = self._running.pop(task_id, None)
        if begun is None:
            return
        if not self._stirred:
            self._stir()
        task, origin, attempt, kept, since, _ = begun
        seconds = now - since if now > since else 0.0
        ends = self._ends.get(task) or self._ends_of(task)
        ends.steps[bisect_left(BUCKETS, seconds)] += 1
        ends.seconds += seconds
        if fate == "done":
            ends.done += 1
            told = self._good
        else:
            ends.others[fate] = ends.others.get(fate, 0) + 1
            told = self._bad if fate == "failed" else self._good
        owed = task_id in self._told
        if not owed and len(told) >= MAX_NEWS:
            self._missed += 1
            return
        news = TaskNews(task_id, task, fate, wall, origin, attempt, seconds, short(error) if error else "", kept)
        if owed:
            self._told.discard(task_id)
            self._owed.append(news)
        else:
            told.append(news)

    def loaded(self, inflight: int) -> None:
        """So many tasks are taken and have not ended."""
        if inflight != self._inflight:
            self._inflight = inflight
            if not self._stirred:
                self._stir()

    def _ends_of(self, task: str) -> _Ends:
        name = self._series(task)
        ends = self._ends.get(name) or _Ends(name)
        self._ends[name] = ends
        return ends

    # -- messages

    def carried(self, payload: Any, peer: str) -> None:
        """A message goes out to a peer."""
        kind = _KINDS.get(type(payload))
        if kind is None:
            return
        flow = (self._peers.get(peer) or self._peer(peer), kind)
        self._flows[flow] = self._flows.get(flow, 0) + 1
        if kind == "chunk":
            self._chunks += len(payload.more) + (not payload.done)
        if not self._stirred:
            self._stir()

    def published(self, payload: Any, channel: str) -> None:
        """A message goes out to a channel."""
        kind = _KINDS.get(type(payload))
        if kind is not None:
            self.sent(kind, self._channels.get(channel) or self._channel(channel))

    def sent(self, kind: FlowKind, to: str) -> None:
        """A message of a kind goes out: to an agent, a kind of user, or ``team/NAME``."""
        flow = (to, kind)
        self._flows[flow] = self._flows.get(flow, 0) + 1
        if not self._stirred:
            self._stir()

    def asked(self, sender: str) -> None:
        """A user, whose own process reports nothing, has given this replica a task or a question."""
        if "/" in sender:
            self._count(f"asks/{self._peers.get(sender) or self._peer(sender)}")

    # -- the rest

    def reconnected(self) -> None:
        self._count("reconnects")

    def claim(self, outcome: Claimed) -> None:
        self._count(f"claims/{outcome}")

    def take(self) -> Figures | None:
        """Return what was done since the last call; `None` = nothing."""
        if not self._stirred:
            return None
        self._stirred = False
        tasks, counts = self._news(), self._counts
        if self._chunks:
            counts["chunks"] = self._chunks
        for ends in self._ends.values():
            fates = {"done": ends.done, **ends.others} if ends.done else ends.others
            counts.update({f"tasks/{ends.name}/{fate}": count for fate, count in fates.items()})
        figures = Figures(
            self._inflight,
            self.capacity,
            counts,
            {ends.name: tuple(ends.steps) for ends in self._ends.values()},
            {ends.name: ends.seconds for ends in self._ends.values()},
            tuple((to, kind, count) for (to, kind), count in self._flows.items()),
            tasks,
            self._missed,
        )
        nothing = not (counts or self._flows or tasks or self._missed) and self._inflight == self._said_inflight
        self._said_inflight = self._inflight
        self._counts, self._ends, self._flows, self._chunks, self._missed = {}, {}, {}, 0, 0
        if self._owed or (self._may_tell and len(self._told) < len(self._running)):
            self._stir()  # what there was no room for
        return None if nothing else figures

    def _news(self) -> tuple[TaskNews, ...]:
        """Return what is told of single tasks: failures first, then what else ended, then what runs."""
        owed = [self._owed.popleft() for _ in range(min(len(self._owed), MAX_NEWS // 2))]
        bad, good = [each for each in owed if each.state == "failed"], [each for each in owed if each.state != "failed"]
        news = [*bad, *self._bad[: MAX_NEWS - len(owed)], *good]
        self._missed += max(len(self._bad) - (MAX_NEWS - len(owed)), 0)
        more = min(len(self._owed), MAX_NEWS - len(news))
        news += [self._owed.popleft() for _ in range(more)]
        left = MAX_NEWS - len(news)
        news += self._good[:left]
        self._missed += max(len(self._good) - left, 0)
        self._bad, self._good = [], []
        self._begin_telling(news)
        return tuple(news)

    def _begin_telling(self, news: list[TaskNews]) -> None:
        room = min(MAX_NEWS - len(news), self._may_tell)
        if len(self._told) == len(self._running) or room <= 0:
            return
        for task_id in list(islice((each for each in self._running if each not in self._told), room)):
            self._told.add(task_id)
            task, origin, attempt, kept, _, wall = self._running[task_id]
            news.append(TaskNews(task_id, task, "running", wall, origin, attempt, kept=kept))

    @property
    def _may_tell(self) -> int:
        """Of how many more tasks it can be told that they run."""
        return max(MAX_TOLD - len(self._told) - len(self._owed), 0)

    # -- names

    def team(self, name: str, channel: str) -> None:
        """What goes to that channel goes to this team."""
        self._channels[channel] = f"team/{name}"

    def _peer(self, peer: str) -> str:
        """Return the agent behind ``agent.2``, or the kind of user behind ``reader/alice``."""
        name = self._series(peer.partition("/")[0].partition(".")[0])
        if len(self._peers) < MAX_SERIES:
            self._peers[peer] = name
        return name

    def _channel(self, channel: str) -> str:
        """Return the agent behind an inbox; a team's channel is known."""
        name = self._series(channel.removeprefix("tasks/").partition(".")[0])
        if len(self._channels) < MAX_SERIES:
            self._channels[channel] = name
        return name

    def _series(self, name: str) -> str:
        if name in self._known:
            return name
        if len(self._known) >= MAX_SERIES:
            return OTHERS
        self._known.add(name)
        return name

    def _count(self, series: str, count: int = 1) -> None:
        self._counts[series] = self._counts.get(series, 0) + count
        if not self._stirred:
            self._stir()

    def _stir(self) -> None:
        self._stirred = True
        self.stirred()


def _nothing() -> None:
    """Nobody wants to hear of it."""


def short(error: str) -> str:
    """Return the beginning of an error, as text that JSON can carry."""
    cut = error if len(error) <= MAX_ERROR else f"{error[: MAX_ERROR - 1]}…"
    return cut if cut.isascii() else cut.encode("utf-8", "replace").decode()


class Reporting:
    """Sends what a recorder has, at most so often, and nothing while nothing is done."""

    def __init__(self, recorder: Recorder, send: Callable[[Figures], None]) -> None:
        self._recorder, self._send = recorder, send
        self._every = EVERY
        self._timer: asyncio.TimerHandle | None = None
        self._last = float("-inf")
        recorder.stirred = self._arm

    def watched(self, watched: bool) -> None:
        """Somebody looks, so that reports are wanted more often; or nobody does any more."""
        self._every = EVERY_WATCHED if watched else EVERY
        if self._timer is not None:
            self._timer.cancel()
            self._arm()

    def close(self) -> None:
        """Send what is left, and nothing after that."""
        self._recorder.stirred = _nothing
        if self._timer is not None:
            self._timer.cancel()
        while (figures := self._recorder.take()) is not None:
            self._send(figures)

    def _arm(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(max(self._last + self._every, loop.time() + SOON), self._report)

    def _report(self) -> None:
        self._timer = None
        self._last = asyncio.get_running_loop().time()
        figures = self._recorder.take()
        if figures is not None:
            self._send(figures)
