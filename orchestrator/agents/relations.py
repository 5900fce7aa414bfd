"""What an agent reaches others through. Abstract, so that a test hands an agent its own and the runtime the real ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, Self, TypedDict, TypeVar, Unpack

from orchestrator.agents.messages import Event, StreamTask, Task
from orchestrator.agents.state import State
from orchestrator.patterns.roster import Change, Peer

R = TypeVar("R")
C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a worker says it is with a task: see `Context.progress`."""

    fraction: float | None
    """Of the whole, from 0 to 1, if the worker keeps to that."""
    message: str | None


class Handle(ABC, Generic[R]):
    """A task that is under way."""

    id: str

    def __await__(self) -> Generator[Any, None, Self]:
        """``handle = await workers.submit(task)`` goes on once the task is as safe as its delivery makes it.

        At least once: on disk, and `id` is final; what the store says otherwise is raised. At most once: at once.
        """
        yield from ()
        return self

    @property
    @abstractmethod
    def progress(self) -> Progress | None:
        """What its worker said last; `None` = nothing yet."""

    @abstractmethod
    async def result(self) -> R:
        """Wait for the reply. Raises the `DispatchError` that the task ended with instead."""

    @abstractmethod
    def cancel(self) -> None:
        """Stop waiting and tell the worker, and the store where the task is in one; `result` then raises `TaskCancelled`."""


class TaskOptions(TypedDict, total=False):
    """How a task is to be done: see `Workers`."""

    requires: Sequence[str]
    key: str | None
    wait: float
    timeout: float | None
    priority: int
    delay: float
    idempotency_key: str | None


class MapOptions(TypedDict, total=False):
    """The same for many tasks; the keys are asked for that of each."""

    requires: Sequence[str]
    key: Callable[[Task[Any]], str] | None
    wait: float
    timeout: float | None
    priority: int
    delay: float
    idempotency_key: Callable[[Task[Any]], str] | None


class Workers(ABC):
    """The workers of a coordinator.

    Every call ends: with its answer, or with a `DispatchError` that says why there is none. All of them take these:

    - `requires` names the capabilities that a worker must have.
    - `timeout` is in seconds, waiting included; `None` takes the one of the topology.

    For workers whose tasks are delivered at most once:

    - Tasks with one `key` go to one worker for as long as it is online, and wait for it when it is busy. A worker that
      joins takes over its share of the keys, and the others keep theirs.
    - `wait` is for how many seconds nobody need be online who can take the task; with 0 it ends at once in
      `NoWorkerAvailable` then.

    For those with `delivery: at-least-once`, whose tasks are kept in the store until they have ended:

    - Of the tasks of one type with one `idempotency_key` the first is done, and the others have its id and its result.
    - A greater `priority` goes first; nobody begins with it before `delay` seconds.
    - Without a `timeout` the caller waits for as long as it takes, and each attempt has the seconds of the topology. With
      one, nobody begins after it, and the caller gets `TaskTimeout`.
    - A caller that is cancelled, or leaves, no longer waits, and the task goes on; `Handle.cancel` ends it.
    - `StoreUnavailable` when the store gives no answer: then the task may be in it or not.

    What is not for the delivery of a task raises `ValueError`, and what is unknown `TypeError`.
    """

    @abstractmethod
    def submit(self, task: Task[R], **options: Unpack[TaskOptions]) -> Handle[R]:
        """Hand a task to one worker and return at once; await the handle where the task is to be on disk."""

    async def run(self, task: Task[R], **options: Unpack[TaskOptions]) -> R:
        """Hand a task to one worker and wait for its reply; cancelling the caller cancels the task."""
        handle = self.submit(task, **options)
        try:
            return await handle.result()
        finally:
            handle.cancel()

    @abstractmethod
    def map(
        self,
        tasks: Iterable[Task[R]],
        *,
        limit: int | None = None,
        ordered: bool = False,
        **options: Unpack[MapOptions],
    ) -> AsyncIterator[R]:
        """Hand out many tasks and yield their replies as they come, or in the order of the tasks if `ordered`.

        Keys are functions of a task here. At most `limit` are under way at once; `None` = twice what the workers take
        at once, so that none waits for long, and its timeout is for the work. The first failure is raised, and the tasks
        that are left are cancelled.
        """

    @abstractmethod
    def stream(self, task: StreamTask[C], **options: Unpack[TaskOptions]) -> AsyncIterator[C]:
        """Hand a stream task to one worker and yield its chunks in order, each once.

        Leaving the loop cancels the task, unless it is in the store. Raises `StreamBroken` if the stream ends before its
        last chunk, or is begun anew after the first.
        """

    def attach(self, task_id: str, task: type[Task[R]] | type[StreamTask[Any]] | None = None) -> Handle[R]:
        """Return a handle on a task that this agent, perhaps in an earlier process, has put into the store.

        `task` is its type, and says as what its reply is read; without it that is plain JSON. Of a stream task the result
        is the list of its chunks. `result` raises `UnknownTask` for a task that is not there.
        """
        raise NotImplementedError(f"{type(self).__name__} keeps no tasks")


@dataclass(frozen=True, slots=True)
class Claim:
    """An item that this agent, and nobody else of its team, works on."""

    item: str
    fence: int
    """Grows with every claim of the item: strictly where claims are strong, else as far as the members have heard of each
    other. A sink that keeps the greatest refuses the late."""


class Team(ABC):
    """A team that this agent is a member of."""

    name: str

    @cached_property
    def state(self) -> State:
        """The map that all members share. A team that is made by hand has one of its own, unless it says otherwise."""
        return State()

    @abstractmethod
    async def publish(self, event: Event) -> None:
        """Tell all other members; members that are away miss it."""

    @abstractmethod
    def claim(self, item: str) -> AbstractAsyncContextManager[Claim | None]:
        """Claim an item for as long as the block runs; `None` when somebody else has it.

        A claim that is lost meanwhile cancels the block, which then raises `ClaimLost`.

        - Best effort: members that hear each other agree on one holder, and again once they hear each other again; the
          later of two loses the item. Raises `NotConnected` where the team cannot be told, or what the hub refuses with.
        - Strong, in a store: one holder at every instant. Raises `StoreUnavailable` when the store gives no answer.
        """

    @property
    @abstractmethod
    def members(self) -> Mapping[str, Peer]:
        """The other members that are online, by peer id."""


class Presence(ABC):
    """A lobby that this agent watches: who of its members is online.

    Iterating waits for joins and leaves, from now on. A peer whose connection was lost, or that was away while this
    agent's was, has two seconds to come back: within them it counts as online, and neither its leave nor its join is
    told. What it says itself (`left`), and that another process took its place (`replaced`), is told at once.
    """

    name: str

    @property
    @abstractmethod
    def peers(self) -> Mapping[str, Peer]:
        """Who is online, by peer id, without this agent itself and without those who only watch."""

    @abstractmethod
    def __aiter__(self) -> AsyncIterator[Change]: ...

    @abstractmethod
    async def wait_for(self, agent: str, *, count: int = 1, timeout: float | None = None) -> list[Peer]:
        """Return the replicas of an agent that are online, by their numbers, as soon as they are at least `count`.

        At once when they are there already; those whose connection was lost do not count, and nobody does while this
        agent's own is down. After `timeout` seconds (`None`: never) it raises `PresenceTimeout`, which names who is
        there; `ValueError` for an agent that is no member of the lobby.
        """
