"""What is asked of a store over its socket: one message for each method of the port, and what opens a connection.

Each message knows how it is put to a store, and which kind of answer comes back. Messages are arrays, the number of their
kind first. Numbers of requests ascend within a connection.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from msgspec import Struct

from orchestrator.store import wire_answers as answers
from orchestrator.store.tasks import Failure, Hold, NewTask, State

if TYPE_CHECKING:
    from orchestrator.store.opening import Store

VERSION = 1
"""Of this protocol: both sides are of one release, and a process that is left over from another one is told so."""


class Hello(Struct, frozen=True, array_like=True, gc=False, tag=0):
    """The first message of a connection."""

    version: int
    token: str

    def __repr__(self) -> str:
        return f"Hello(version={self.version}, token=…)"


class Request(Struct, frozen=True, array_like=True, gc=False):
    number: int

    answer: ClassVar[type[answers.Answer]] = answers.Done
    repeatable: ClassVar[bool] = True
    """Whether it may be asked again when it is not known whether it was done."""

    def to(self, store: Store) -> Coroutine[Any, Any, Any]:
        raise NotImplementedError


class Open(Request, frozen=True, tag=1):
    def to(self, store: Store) -> Coroutine[Any, Any, Any]:
        return store.open()


class Idle(Request, frozen=True, tag=2):
    """Answered once no task is ready, leased or due later; by the server itself."""


# -- tasks


class Enqueue(Request, frozen=True, tag=10):
    tasks: tuple[NewTask, ...]
    answer = answers.Stored

    def to(self, store: Store) -> Coroutine[Any, Any, Any]:
        return store.tasks.enqueue(self.tasks)


class Claim(Request, frozen=True, tag=11):
    queue: str
    worker: str
    capabilities: tuple[str, ...]
    limit: int
    lease: float
    answer = answers.Given
    repeatable = False

    def to(self, store: Store) -> Coroutine[Any, Any, Any]:
        return store.tasks.claim(self.queue, self.worker, self.capabilities, limit=self.limit, lease=self.lease)


class Extend(Request, frozen=True, tag=12):
    hold: Hold
    lease: float

    def to(self, store: Store) -> Coroutine[Any, Any, Any]:
        return store.tasks.extend(self.hold, self.lease)


class Complete(Request, frozen=True, tag=13):
    hold: Hold
    result: bytes

    def to(self, store: Store) -> Coroutine[Any, Any, Any]:
        return store.tasks.complete(self.hold, self.result)


class Fail(Request, frozen=True, tag=14):
    hold: Hold
    failure: Failure
    retry: bool
    counts: bool
    answer = answers.Judged

    def to(self, store: Store) -> Coroutine[Any, Any, Any]:
        return store.tasks.fail(self.hold, self.failure, retry=self.retry, counts=self.counts)


class Release(Request, frozen=True, tag=15):
    hold: Hold

    def to(self, store: Store) -> Coroutine[Any, Any, Any]:
        return store.tasks.release(self.hold)


class Once(Request, frozen=True, tag=16):
    hold: Hold
    key: str
    answer = answers.Recorded

    def to(self, store: Store) -> Coroutine[Any, Any, Any]:
        return store.tasks.once(self.hold, self.key)


class Reclaim(Request, frozen=True, tag=17):
    queue: str
    worker: str
    held: tuple[str, ...]
    begun: bool
    answer = answers.Counted
    repeatable = False

    def to(self, store: Store) -> Coroutine[Any, Any, Any]:
        return store.tasks.reclaim(self.queue, self.worker, held=self.held, begun=self.begun)


class Cancel(Request, frozen=True, tag=18):
    task_id: str
    caller: str | None
    answer = answers.Became

    def to(self, store: Store) -> Coroutine[Any, Any, Any]:
        return store.tasks.cancel(self.task_id, caller=self.caller)


class Result(Request, frozen=True, tag=19):
    task_id: str
    caller: str | None
    answer = answers.Ended

    def to(self, store: Store) -> Coroutine[Any, Any, Any]:
        return store.tasks.result(self.task_id, caller=self.caller)


class Outcomes(Request, frozen=True, tag=20):
    task_ids: tuple[str, ...]
    caller: str | None
    answer = answers.AllEnded

    def to(self, store: Store) -> Coroutine[Any, Any, Any]:
        return store.tasks.outcomes(self.task_ids, caller=self.caller)


class Get(Request, frozen=True, tag=21):
    task_id: str
    caller: str | None
    answer = answers.Known

    def to(self, store: Store) -> Coroutine[Any, Any, Any]:
        return store.tasks.get(self.task_id, caller=self.caller)


class List(Request, frozen=True, tag=22):
    states: tuple[State, ...]
    queue: str | None
    caller: str | None
    limit: int
    before: str | None
    answer = answers.Listed

    def to(self, store: Store) -> Coroutine[Any, Any, Any]:
        return store.tasks.list(
            states=self.states, queue=self.queue, caller=self.caller, limit=self.limit, before=self.before
        )


class Dead(Request, frozen=True, tag=23):
    queue: str | None
    limit: int
    answer = answers.Listed

    def to(self, store: Store) -> Coroutine[Any, Any, Any]:
        return store.tasks.dead(queue=self.queue, limit=self.limit)


class RetryDead(Request, frozen=True, tag=24):
    task_ids: tuple[str, ...] | None
    queue: str | None
    answer = answers.Counted

    def to(self, store: Store) -> Coroutine[Any, Any, Any]:
        return store.tasks.retry_dead(self.task_ids, queue=self.queue)


class Purge(Request, frozen=True, tag=25):
    older: float
    states: tuple[State, ...]
    answer = answers.Counted

    def to(self, store: Store) -> Coroutine[Any, Any, Any]:
        return store.tasks.purge(self.older, states=self.states)


class Sweep(Request, frozen=True, tag=26):
    answer = answers.Left

    def to(self, store: Store) -> Coroutine[Any, Any, Any]:
        return store.tasks.sweep()


class Stats(Request, frozen=True, tag=27):
    answer = answers.Summed

    def to(self, store: Store) -> Coroutine[Any, Any, Any]:
        return store.tasks.stats()


# -- leases


class Acquire(Request, frozen=True, tag=40):
    name: str
    holder: str
    ttl: float
    answer = answers.Held

    def to(self, store: Store) -> Coroutine[Any, Any, Any]:
        return store.leases.acquire(self.name, self.holder, self.ttl)


class Renew(Request, frozen=True, tag=41):
    name: str
    holder: str
    ttl: float
    answer = answers.Held

    def to(self, store: Store) -> Coroutine[Any, Any, Any]:
        return store.leases.renew(self.name, self.holder, self.ttl)


class LetGo(Request, frozen=True, tag=42):
    name: str
    holder: str

    def to(self, store: Store) -> Coroutine[Any, Any, Any]:
        return store.leases.release(self.name, self.holder)


class Holder(Request, frozen=True, tag=43):
    name: str
    answer = answers.Held

    def to(self, store: Store) -> Coroutine[Any, Any, Any]:
        return store.leases.get(self.name)


AnyRequest: TypeAlias = (
    Open
    | Idle
    | Enqueue
    | Claim
    | Extend
    | Complete
    | Fail
    | Release
    | Once
    | Reclaim
    | Cancel
    | Result
    | Outcomes
    | Get
    | List
    | Dead
    | RetryDead
    | Purge
    | Sweep
    | Stats
    | Acquire
    | Renew
    | LetGo
    | Holder
)
ToServer: TypeAlias = Hello | AnyRequest
