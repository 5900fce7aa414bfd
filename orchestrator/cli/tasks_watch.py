"""`orchestrator tasks --watch`: looks at a store again and again until ctrl-c, and what is alive may change meanwhile."""

from __future__ import annotations

import gc
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from orchestrator.cli.tasks_store import Source, reach
from orchestrator.cli.tasks_views import Lines, Pages, Screen
from orchestrator.errors import ExitCode, StoreUnavailable

if TYPE_CHECKING:
    import argparse
    import asyncio
    from pathlib import Path

    from orchestrator.cli.tasks_views import View
    from orchestrator.runtime.store_seat import StoreSeat
    from orchestrator.store.opening import Store
    from orchestrator.store.tasks import Tasks

_EVERY: Final = 1.0
"""Seconds between two looks."""
_REST: Final = 10
"""After a look that takes long, so many times as long pass until the next one."""


def watch(args: argparse.Namespace) -> int:
    """Watch until SIGINT, which is how it ends well, or SIGTERM."""
    import asyncio

    gc.enable()  # it is off for commands that are short
    return asyncio.run(_watch(args, Source.of(args)))


async def _watch(args: argparse.Namespace, source: Source) -> int:
    import asyncio

    stop: asyncio.Future[ExitCode] = asyncio.get_running_loop().create_future()
    kind = Lines if args.json else Screen if sys.stdout.isatty() else Pages
    with _ends(stop, signal.SIGINT, ExitCode.DONE), _ends(stop, signal.SIGTERM, ExitCode.TERMINATED):
        with kind(args, source) as view:
            await _look_on(source, view, stop)
    return stop.result()


@contextmanager
def _ends(stop: asyncio.Future[ExitCode], number: signal.Signals, code: ExitCode) -> Iterator[None]:
    import asyncio

    def end() -> None:
        if not stop.done():
            stop.set_result(code)

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(number, end)
    try:
        yield
    finally:
        loop.remove_signal_handler(number)


async def _look_on(source: Source, view: View, stop: asyncio.Future[ExitCode]) -> None:
    """Show what there is until `stop`. Raises what the first look raises, and later on all but `StoreUnavailable`."""
    import asyncio

    eyes, first = Eyes(source), True
    try:
        while not stop.done():
            began = time.monotonic()
            looking = asyncio.create_task(eyes.look(view.look))
            either: set[asyncio.Future[Any]] = {looking, stop}
            try:
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not looking.done():
                    looking.cancel()
                    await asyncio.wait({looking})
            if looking.cancelled():
                return
            try:
                note = looking.result()
            except StoreUnavailable as error:
                if first:
                    raise
                note = str(error)
            view.show(note)
            first = False
            await asyncio.wait({stop}, timeout=max(_EVERY, _REST * (time.monotonic() - began)))
    finally:
        await eyes.close()


class Eyes:
    """Looks at a store wherever it is at the moment.

    The connection to a run is kept. A file is opened for each look, and only if it is not what it was or time has made
    something due: so a run can begin meanwhile, which needs the file for itself.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._seat: StoreSeat | None = None
        self._store: Store | None = None
        self._seen: tuple[object, ...] | None = None
        self._due: float | None = None

    async def look(self, ask: Callable[[Tasks], Awaitable[None]]) -> str:
        """Have what is asked answered, if the answer can be new; return what is to be said besides."""
        from orchestrator.store.sqlite import SqliteStore

        seat = self._source.seat()
        if self._store is not None and seat == self._seat:
            await ask(self._store.tasks)
            return ""
        await self.close()
        if seat is None and self._is_old():
            return ""
        store = await reach(self._source)
        if store is None:
            self._seen = None
            return self._source.none_yet()
        if isinstance(store, SqliteStore):
            try:
                await ask(store.tasks)
                left = await store.tasks.sweep()
            finally:
                await store.close()
            self._seen, self._due = _stamps(store.path), None if left is None else time.monotonic() + left
        else:
            self._seat, self._store, self._seen = self._source.seat(), store, None
            await ask(store.tasks)
        return ""

    async def close(self) -> None:
        if self._store is not None:
            store, self._store, self._seat = self._store, None, None
            await store.close()

    def _is_old(self) -> bool:
        """Tell whether the file is as it was when it was looked at, with nothing due since."""
        store = self._source.file()
        if store is None or self._seen is None or _stamps(store.path) != self._seen:
            return False
        return self._due is None or time.monotonic() < self._due


def _stamps(path: Path) -> tuple[object, ...]:
    """Return what tells one state of a file and its log from another."""
    found: list[object] = []
    for file in (path, path.with_name(f"{path.name}-wal")):
        try:
            status = file.stat()
        except OSError:
            found.append(None)
        else:
            found.append((status.st_ino, status.st_mtime_ns, status.st_size))
    return tuple(found)
