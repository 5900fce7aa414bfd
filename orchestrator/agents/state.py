"""The map that the members of a team share, as handlers see it; by itself it is a map of one member alone."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import deque
from collections.abc import Iterator, Mapping, MutableMapping
from functools import lru_cache
from random import Random
from typing import Any, Final, Self, TypeVar
from weakref import WeakSet

from pydantic import BaseModel, TypeAdapter

from orchestrator.errors import SubscriberTooSlow
from orchestrator.patterns.reconcile import MAX_KEY
from orchestrator.patterns.state import Changed, SharedState
from orchestrator.protocol.payloads import plain

T = TypeVar("T")
BUFFER: Final = 10_000
"""Changes that wait for a slow reader."""


class Changes:
    """The changes of a state, one by one, from when it was made on: its owner's own ones too.

    A reader that is too slow gets `SubscriberTooSlow` where changes are missing, and may go on with what came after.
    """

    def __init__(self, subject: str, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"buffer is a number of changes of at least 1, not {limit!r}")
        self._subject, self._limit = subject, limit
        self._kept: deque[Changed] = deque()
        self._missed = 0
        self._reader: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Changed:
        while not self._kept:
            if self._missed:
                missed, self._missed = self._missed, 0
                raise SubscriberTooSlow(self._subject, missed, self._limit)
            if self._reader is not None:
                raise RuntimeError(f"{self._subject} have a reader already: ask for changes() of its own")
            news = asyncio.Event()
            self._reader = asyncio.get_running_loop(), news
            try:
                if not self._kept:  # a thread may have put one there a moment ago
                    await news.wait()
            finally:
                self._reader = None
        return self._kept.popleft()

    def put(self, change: Changed) -> None:
        """Keep a change if there is room; may be called in any thread."""
        if self._missed or len(self._kept) >= self._limit:
            self._missed += 1
            return
        self._kept.append(change)
        reader = self._reader
        if reader is not None:
            reader[0].call_soon_threadsafe(reader[1].set)


class State(MutableMapping[str, Any]):
    """A map of JSON values by text keys of 1 to 256 characters; whole models of pydantic may be written, too.

    - Reading and writing are local and return at once, also in the thread of a plain `def` handler. What is read is a
      copy: to change what is in it, write it back.
    - Of two writes to one key the later one stays, everywhere; those that know nothing of each other have an order too,
      the same with all members. Deletions are writes.
    - Writing raises `TypeError` or `ValueError` for what is no key or no JSON, `PayloadTooLarge` above 56 KiB, and
      `StateFull` beyond 100,000 keys or 32 MiB in all.

    Made by itself, it belongs to nobody else: for tests, and for teams that are given by hand.
    """

    def __init__(self, values: Mapping[str, object] | None = None) -> None:
        self._make(SharedState("me", "", Random(0)), "the state")  # noqa: S311 - nothing is drawn
        self.update(values or {})

    def _make(self, engine: SharedState, subject: str) -> None:
        self._engine, self._subject = engine, subject
        self._lock = threading.RLock()
        """Held while the engine is at work: handlers in threads write, too."""
        self._readers: WeakSet[Changes] = WeakSet()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self)} keys>"

    def __getitem__(self, key: str) -> Any:
        return plain(self._json(key))

    def read(self, key: str, model: type[T]) -> T:
        """Return a value as a pydantic model, or as any other type that pydantic can validate.

        Raises `KeyError`, and pydantic's `ValidationError` for a value that does not fit.
        """
        kind: Any = model
        adapter: TypeAdapter[T] = _adapter(kind)
        return adapter.validate_json(self._json(key))

    def __setitem__(self, key: str, value: object) -> None:
        self._write(_checked(key), _encoded(value))

    def __delitem__(self, key: str) -> None:
        with self._lock:
            self._json(key)
            self._write(key, None)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._engine.map.get(key) is not None

    def __iter__(self) -> Iterator[str]:
        """Iterate over the keys that there are now, whatever is written meanwhile."""
        with self._lock:
            return iter(self._engine.map.keys())

    def __len__(self) -> int:
        return len(self._engine.map)

    def changes(self, *, buffer: int = BUFFER) -> Changes:
        """Return an async iterator of what is written from now on, by whomever; `buffer` of them wait to be read."""
        changes = Changes(f"the changes of {self._subject}", buffer)
        with self._lock:
            self._readers.add(changes)
        return changes

    async def synced(self) -> None:
        """Wait until this member has caught up with another one on the present connection, or is alone."""

    def _json(self, key: str) -> bytes:
        entry = self._engine.map.get(key)
        if entry is None or entry.value is None:
            raise KeyError(key)
        return entry.value

    def _write(self, key: str, value: bytes | None) -> None:
        with self._lock:
            for effect in self._engine.write(key, value, 0.0):
                if isinstance(effect, Changed):
                    self._tell(effect)

    def _tell(self, change: Changed) -> None:
        for reader in self._readers:
            reader.put(change)


def _checked(key: object) -> str:
    if not isinstance(key, str):
        raise TypeError(f"a key is a text, not {type(key).__name__}")
    if not 1 <= len(key) <= MAX_KEY:
        raise ValueError(f"a key has 1 to {MAX_KEY} characters, and this one has {len(key)}")
    key.encode()  # half a surrogate pair is a `ValueError`
    return key


def _encoded(value: object) -> bytes:
    if isinstance(value, BaseModel):
        return value.model_dump_json(by_alias=True).encode()
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_model)
    return text.encode()


def _model(value: object) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    raise TypeError(f"{type(value).__name__} is no JSON")


@lru_cache(maxsize=256)
def _adapter(model: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(model)
