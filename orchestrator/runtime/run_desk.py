"""What a dashboard may ask of a run besides looking on: its tasks, its log, and for the built-in user, changes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import msgspec
from msgspec import Struct

from orchestrator.errors import OrchestratorError, did_you_mean
from orchestrator.runtime.records import LEVELS
from orchestrator.runtime.run_feed import line_of
from orchestrator.store.tasks import State

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from orchestrator.runtime.recent import Recent
    from orchestrator.store.opening import Store
    from orchestrator.store.tasks import Attempt, Failure, TaskInfo

MAX_ROWS: Final = 500
MAX_PAYLOAD: Final = 65_536
"""Characters of a payload or a result that are shown."""
_STATES: Final[dict[str, State]] = {
    "queued": State.READY,
    "retrying": State.READY,
    "running": State.LEASED,
    "done": State.DONE,
    "dead": State.DEAD,
    "cancelled": State.CANCELLED,
}
"""How states are called where people read them."""
_LOOKED_AT: Final = 20
"""Tasks that are retried of which it is looked up whose they are: the workers of others see them a little later."""
CHANGES: Final = frozenset({"retry", "cancel", "restart", "scale"})


class NotGranted(OrchestratorError):
    """Something is asked for that is not for everybody."""


class NotAsked(OrchestratorError):
    """A request is none."""


class _Tasks(Struct, frozen=True, forbid_unknown_fields=True):
    states: tuple[str, ...] = ()
    queue: str | None = None
    text: str = ""
    limit: int = 100
    before: str | None = None


class _Task(Struct, frozen=True, forbid_unknown_fields=True):
    id: str


class _Ids(Struct, frozen=True, forbid_unknown_fields=True):
    ids: tuple[str, ...]


class _Names(Struct, frozen=True, forbid_unknown_fields=True):
    names: tuple[str, ...]


class _Scale(Struct, frozen=True, forbid_unknown_fields=True):
    agent: str
    replicas: int


class _Log(Struct, frozen=True, forbid_unknown_fields=True):
    names: tuple[str, ...] = ()
    lines: int = 200
    level: str = "debug"


class Reply(NamedTuple):
    result: Any
    """What the dashboard is told, as JSON values."""
    due: frozenset[str] = frozenset()
    """The queues in which tasks are due now that were not before."""


class Changes(Protocol):
    """What may be changed of a run, as `Operated` has it."""

    async def scale(self, wished: Mapping[str, int]) -> str: ...

    async def restart(self, names: Sequence[str], progress: Callable[[str], None]) -> str: ...


class RunDesk:
    """Answers the requests of dashboards to one run."""

    def __init__(self, open_store: Callable[[], Store | None], run: Changes, recent: Recent) -> None:
        """`open_store` is called when the store is needed, and returns `None` while the run has none."""
        self._open_store, self._run, self._recent = open_store, run, recent
        self._opened: Store | None = None
        self._does: Mapping[str, tuple[Any, Callable[[Any], Awaitable[Any]]]] = {
            "tasks": (_Tasks, self._list),
            "task": (_Task, self._show),
            "retry": (_Ids, self._retry),
            "cancel": (_Ids, self._cancel),
            "restart": (_Names, self._restart),
            "scale": (_Scale, self._scale),
            "log": (_Log, self._log),
        }

    async def answer(self, do: str, arguments: Mapping[str, Any], *, admin: bool) -> Reply:
        """Do what was asked for. Raises `OrchestratorError`."""
        if do not in self._does:
            raise NotAsked(f"a run is not asked for {do!r}{did_you_mean(do, self._does)}")
        if do in CHANGES and not admin:
            raise NotGranted("this token lets you look on; changes are for whoever holds the run's key")
        kind, act = self._does[do]
        try:
            wish = msgspec.convert(arguments, kind)
        except msgspec.ValidationError as error:
            raise NotAsked(f"{do}: {error}") from None
        answered = await act(wish)
        return answered if isinstance(answered, Reply) else Reply(answered)

    async def close(self) -> None:
        if self._opened is not None:
            await self._opened.close()

    # -- tasks

    def _store(self) -> Store:
        self._opened = self._opened or self._open_store()
        if self._opened is None:
            raise NotAsked("this run keeps no tasks; those of workers with 'delivery: at-least-once' are kept")
        return self._opened

    async def _list(self, wish: _Tasks) -> Any:
        tasks = self._store().tasks
        states = frozenset(map(_state, wish.states))
        limit = max(1, min(wish.limit, MAX_ROWS))
        found = await tasks.list(states=states, queue=wish.queue, limit=limit, before=wish.before)
        rows = [_row(info) for info in found]
        if states:  # two words stand for one state
            rows = [row for row in rows if row["state"] in wish.states]
        if wish.text:
            wanted = wish.text.casefold()
            rows = [row for row in rows if any(wanted in str(row[name] or "").casefold() for name in _SEARCHED)]
        counts = dict.fromkeys(("queued", "running", "done", "dead", "cancelled"), 0)
        for queue in await tasks.stats():
            counts["queued"] += queue.ready + queue.later
            counts["running"] += queue.leased
            for end in ("done", "dead", "cancelled"):
                counts[end] += getattr(queue, end)
        return {"tasks": rows, "counts": counts, "more": len(found) == limit}

    async def _show(self, wish: _Task) -> Any:
        found = await self._store().tasks.get(wish.id)
        shown = {**_row(found.info), "payload": _json(found.payload)}
        if found.result is not None:
            shown["result"] = _json(found.result)
        return {**shown, "attempts": [_attempt(attempt) for attempt in found.attempts]}

    async def _retry(self, wish: _Ids) -> Any:
        tasks, ids = self._store().tasks, wish.ids[:MAX_ROWS]
        count = await tasks.retry_dead(ids)
        if not count:
            raise NotAsked("nothing is retried: only dead tasks are")
        queues = {(await tasks.get(each)).info.queue for each in ids[:_LOOKED_AT]}
        return Reply({"retried": count}, frozenset(queues))

    async def _cancel(self, wish: _Ids) -> Any:
        states = [await self._store().tasks.cancel(each) for each in wish.ids[:MAX_ROWS]]
        count = sum(state is State.CANCELLED for state in states)
        if not count:
            raise NotAsked("nothing is cancelled: it has ended already")
        return {"cancelled": count}

    # -- the rest

    async def _restart(self, wish: _Names) -> Any:
        return {"done": await self._run.restart(wish.names[:MAX_ROWS], lambda _sentence: None)}

    async def _scale(self, wish: _Scale) -> Any:
        return {"done": await self._run.scale({wish.agent: wish.replicas})}

    async def _log(self, wish: _Log) -> Any:
        least = LEVELS.get(wish.level)
        if least is None:
            raise NotAsked(f"there is no level {wish.level!r}; there are {', '.join(LEVELS)}")
        found = self._recent.tail(frozenset(wish.names), max(1, min(wish.lines, 10 * MAX_ROWS)))
        kept = [(source, record) for source, record in found if LEVELS.get(record.level, 0) >= least]
        return {"log": [msgspec.to_builtins(line_of(*each)) for each in kept[-MAX_ROWS:]]}


_SEARCHED: Final = ("id", "queue", "type", "origin", "worker", "error")


def _state(word: str) -> State:
    if word not in _STATES:
        raise NotAsked(f"there is no state {word!r}{did_you_mean(word, _STATES)}")
    return _STATES[word]


def _row(info: TaskInfo) -> dict[str, Any]:
    words = {State.READY: "retrying" if info.attempt else "queued", State.LEASED: "running"}
    final = info.state not in words
    return {
        "id": info.id,
        "queue": info.queue,
        "type": info.type,
        "state": words.get(info.state, str(info.state)),
        "attempt": info.attempt,
        "maxAttempts": info.max_attempts,
        "due": info.since if info.state is State.READY else None,
        "created": info.stored,
        "ended": info.since if final else None,
        "origin": info.origin or info.caller,
        "worker": info.worker,
        "error": "" if info.failure is None else f"{info.failure.type}: {info.failure.message}",
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "worker": attempt.worker,
        "began": attempt.began,
        "ended": attempt.ended,
        "outcome": "running" if attempt.ending is None else str(attempt.ending),
        "error": _failure(attempt.failure),
    }


def _failure(failure: Failure | None) -> dict[str, Any] | None:
    if failure is None:
        return None
    return {"type": failure.type, "message": failure.message, "frames": list(failure.frames)}


def _json(data: bytes) -> str:
    """Return JSON as text for people, cut where it is long. What is cut anyway is not laid out: of megabytes that would
    take seconds, in which the run does nothing else."""
    if len(data) > MAX_PAYLOAD:
        return f"{data[:MAX_PAYLOAD].decode('utf-8', 'backslashreplace')}… ({len(data):,} bytes)"
    text = data.decode("utf-8", "backslashreplace")
    try:
        text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text
    return text if len(text) <= MAX_PAYLOAD else f"{text[:MAX_PAYLOAD]}… ({len(text):,} characters)"
