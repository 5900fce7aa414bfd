"""Calls a handler, whatever kind of function it is, and turns whatever it did into a value."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar

from msgspec import Raw
from pydantic import TypeAdapter, ValidationError

from orchestrator.agents.describe import Handler
from orchestrator.agents.messages import message_name
from orchestrator.protocol.payloads import Failure

T = TypeVar("T")
_OURS: Final = str(Path(__file__).parents[1])
_END: Final = object()
MAX_FRAMES: Final = 20
"""Of what a handler raised, how many frames are kept: the innermost."""
MAX_MESSAGE: Final = 4_096
"""Characters of what a handler raised that its caller is told."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What a handler raised, for its caller, and the frames within the handler's own code, for whoever wrote it."""

    failure: Failure
    frames: str


class Invoker:
    """Calls the handlers of one agent; plain functions run in threads of their own pool."""

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, "handler")
        self._adapters: dict[str, TypeAdapter[Any]] = {}

    def close(self) -> None:
        """Let go of the threads; one that is stuck in a handler does not hold up the process."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def call(self, handler: Handler, method: Callable[..., Any], *arguments: Any) -> Any:
        """Call a handler that returns, and return what it returns. Its exceptions pass through."""
        given = arguments if handler.takes_context else arguments[:-1]
        if handler.threaded:
            return await self._in_thread(method, *given)
        return await method(*given)

    async def chunks(self, handler: Handler, method: Callable[..., Any], *arguments: Any) -> AsyncIterator[Any]:
        """Call a handler that yields, and yield what it yields; it is closed when this is."""
        given = arguments if handler.takes_context else arguments[:-1]
        source = method(*given)
        if not handler.threaded:
            try:
                async for chunk in source:
                    yield chunk
            finally:
                await source.aclose()
            return
        iterator: Iterator[Any] = iter(source)
        turn, context = threading.Lock(), contextvars.copy_context()

        def step() -> Any:
            with turn:
                return context.run(next, iterator, _END)

        def close() -> None:
            with turn:  # a step that was cancelled goes on to its end
                context.run(source.close)

        try:
            while (chunk := await self._in_thread(step)) is not _END:
                yield chunk
        finally:
            # What the generator does at its end may block, so it happens in a thread; nobody waits for that.
            with contextlib.suppress(RuntimeError):  # the threads are gone already
                self._threads.submit(close)

    def encode(self, handler: Handler, value: Any) -> Raw:
        """Return a reply or chunk as JSON. Raises `TypeError` when it is not of the type that its task names."""
        adapter = self._adapters.get(handler.where)
        if adapter is None:
            adapter = self._adapters[handler.where] = TypeAdapter(handler.answer)
        try:
            return Raw(adapter.dump_json(adapter.validate_python(value), by_alias=True))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = f" at {'.'.join(map(str, first['loc']))}" if first["loc"] else ""
            doing = "yielded" if handler.streams else "returned"
            raise TypeError(
                f"{handler.where} {doing} {type(value).__name__}, but {message_name(handler.messages[0])} promises "
                f"{getattr(handler.answer, '__name__', handler.answer)}{where}: {first['msg']}"
            ) from None

    async def _in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()

        def called() -> T:
            try:
                return context.run(function, *arguments)
            except StopIteration as error:  # no future can hold it: whoever waits would wait for ever
                raise RuntimeError("the handler raised StopIteration") from error

        return await loop.run_in_executor(self._threads, called)


def fault(error: BaseException) -> Fault:
    """Describe what a handler raised; an exception with a true `retryable` attribute says that trying again may help."""
    failure = Failure(type(error).__name__, said_by(error), bool(getattr(error, "retryable", False)))
    frames = traceback.format_exception(type(error), error, _theirs(error.__traceback__))
    return Fault(failure, "".join(frames).rstrip())


def frames_of(error: BaseException) -> tuple[str, ...]:
    """Return where in the handler's own code something was raised, outermost first: ``agents/newsroom.py:41 in research``."""
    found = traceback.extract_tb(_theirs(error.__traceback__))
    return tuple(f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in found[-MAX_FRAMES:])


def said_by(error: BaseException) -> str:
    """Return the message of any exception as text that can travel."""
    try:
        return writable(str(error))
    except Exception as worse:  # noqa: BLE001 - `__str__` is the user's as well
        return f"its message cannot be read: {type(worse).__name__}"


def writable(text: str) -> str:
    """Return `text` as a message can carry it: shortened, and without halves of surrogate pairs, as file names have."""
    shown = text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]}… ({len(text):,} characters)"
    return shown.encode("utf-8", "backslashreplace").decode()


def _theirs(frame: TracebackType | None) -> TracebackType | None:
    """Skip the frames of this package that come before the handler's own."""
    theirs = frame
    while theirs is not None and theirs.tb_frame.f_code.co_filename.startswith(_OURS):
        theirs = theirs.tb_next
    if theirs is not None and theirs.tb_frame.f_code.co_filename == _THREAD_FILE and theirs.tb_next is not None:
        return _theirs(theirs.tb_next)
    return theirs or frame


_THREAD_FILE: Final = ThreadPoolExecutor.submit.__code__.co_filename
