"""A run that commands can be tried on: it is served over a real socket, and its replicas are a table."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from orchestrator.errors import OrchestratorError
from orchestrator.runtime.operator import Operator
from orchestrator.runtime.operator_wire import (
    Entry,
    Linked,
    NotInRun,
    ProcessUse,
    ReplicaView,
    RunView,
    TopView,
    WorkCounts,
)
from orchestrator.runtime.recent import Recent
from orchestrator.runtime.records import HUB, RUN, Record, Source
from orchestrator.runtime.run_seat import OwnSeat, registered

BEGAN = 1_700_000_000.0


class Trouble(OrchestratorError):
    """Something that a run does not do."""


class TableRun:
    """Knows how many replicas of which agent there are, and in which state; `ended` is set by `stop`."""

    def __init__(self, replicas: Mapping[str, int], pid: int = 4711) -> None:
        self.replicas, self.pid = dict(replicas), pid
        self.restarts: dict[str, int] = {}
        self.reloads = self.looks = 0
        self.grace: float | None = None
        self.ended = asyncio.Event()
        self.slow = asyncio.Event()
        """Set: changes are done at once."""
        self.slow.set()
        self.recent = Recent()

    def view(self) -> RunView:
        memory = 40 * 1_048_576
        hub = ReplicaView("", "(hub)", "here", "ready", pid=self.pid + 1, since=BEGAN, ready_since=BEGAN, memory=memory)
        own = [
            ReplicaView(
                agent,
                f"{agent}.{number}",
                "here",
                "ready",
                self.pid + 2,
                BEGAN,
                self.restarts.get(agent, 0),
                ready_since=BEGAN,
                inflight=number,
                capacity=4,
                done=40,
                memory=memory,
                last_error="killed by SIGKILL" if number > 1 else "",
            )
            for agent, count in self.replicas.items()
            for number in range(1, count + 1)
        ]
        away = ReplicaView("guest", "guest", "external", "awaited", detail="not seen yet")
        return RunView("farm", "farm.yaml", self.pid, "ws://127.0.0.1:7000", BEGAN, True, (hub, *own, away))

    def counts(self) -> TopView:
        """Each look finds 10 more tasks done by each replica than the one before it, a second later."""
        self.looks += 1
        view, looks = self.view(), self.looks
        return TopView(
            view,
            BEGAN + looks,
            (0.1, 1.0),
            {row.peer: WorkCounts(10 * looks, steps=(0, 10 * looks, 0)) for row in view.replicas if row.capacity},
            {pid: ProcessUse(40 * 1_048_576, looks / 4) for pid in range(self.pid, self.pid + 3)},
        )

    async def scale(self, wished: Mapping[str, int]) -> str:
        for agent in wished:
            if agent not in self.replicas:
                raise NotInRun(agent, sorted(self.replicas))
        self.replicas.update(wished)
        return ", ".join(f"{agent}: {count}" for agent, count in wished.items())

    async def restart(self, names: Sequence[str], progress: Callable[[str], None]) -> str:
        for name in names:
            agent = name.partition(".")[0]
            progress(f"{name}: restarting")
            await self.slow.wait()
            self.restarts[agent] = self.restarts.get(agent, 0) + 1
        return f"{len(names)} restarted"

    async def reload(self) -> str:
        self.reloads += 1
        if self.reloads == 2:
            raise Trouble("farm.yaml:3:1: it cannot be read; nothing was changed")
        if self.reloads == 3:
            raise KeyError("sk_secret_of_somebody")
        return "1 replica was added"

    def enter(self, sub: str, instance: str) -> Entry:
        return Entry("ws://127.0.0.1:7000", f"token of {sub or 'somebody'} {instance}", int(BEGAN))

    def link(self) -> Linked:
        return Linked("http://127.0.0.1:7000/#code=once")

    def stop(self, grace: float | None) -> None:
        self.grace = grace
        self.ended.set()

    def says(self, agent: str, event: str, number: int = 1) -> None:
        self.recent.put(Source(f"{agent}.{number}", agent, number), Record(BEGAN, "info", event))


@asynccontextmanager
async def served(topology: Path, run: TableRun) -> AsyncIterator[OwnSeat]:
    """Serve a run until the block ends, or it is stopped."""
    with registered(topology, list(run.replicas), {}) as seat:
        serving = asyncio.create_task(Operator(run, run.recent).serve(seat.listening))
        try:
            yield seat
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)


class Beside:
    """A run in a thread and a loop of its own, for commands that block; it ends when it is stopped."""

    def __init__(self, topology: Path, replicas: Mapping[str, int], pid: int) -> None:
        self._topology, self._replicas, self._pid = topology, replicas, pid
        self._ready = threading.Event()
        self.run: TableRun
        self.loop: asyncio.AbstractEventLoop
        self.thread = threading.Thread(target=lambda: asyncio.run(self._live()))

    async def _live(self) -> None:
        self.loop, self.run = asyncio.get_running_loop(), TableRun(self._replicas, self._pid)
        self.run.recent.put(RUN, Record(BEGAN, "info", "all ready"))
        self.run.recent.put(HUB, Record(BEGAN, "info", "listens"))
        async with served(self._topology, self.run):
            self._ready.set()
            await self.run.ended.wait()

    def start(self) -> None:
        self.thread.start()
        assert self._ready.wait(10)

    def end(self) -> None:
        if self.thread.is_alive():
            self.loop.call_soon_threadsafe(self.run.ended.set)
        self.thread.join(10)


@contextmanager
def beside(topology: Path, replicas: Mapping[str, int], pid: int = 4711) -> Iterator[Beside]:
    one = Beside(topology, replicas, pid)
    one.start()
    try:
        yield one
    finally:
        one.end()


def until(fits: Callable[[], bool], seconds: float = 10.0) -> None:
    """Look again and again until something is so that nobody tells of."""
    end = time.monotonic() + seconds
    while not fits():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.005)
