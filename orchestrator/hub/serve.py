"""A hub as the whole purpose of a process: started on a socket, stopped by a signal."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from typing import TYPE_CHECKING, Any, Final, TypeVar

from orchestrator.errors import ExitCode
from orchestrator.hub import open_files
from orchestrator.hub.server import Server

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine

    from orchestrator.hub.keys import KeyRing
    from orchestrator.hub.record_file import Recorder
    from orchestrator.hub.settings import Settings

_T = TypeVar("_T")
_COLLECTED: Final = (10_000, 10, 20)
_log: Final = logging.getLogger("orchestrator.hub")


def serve(
    listening: socket.socket,
    keys: KeyRing,
    settings: Settings,
    *,
    on_ready: Callable[[Server], None] | None = None,
    beside: Callable[[Server, asyncio.Event], Coroutine[Any, Any, None]] | None = None,
    record: Recorder | None = None,
) -> int:
    """Run a hub until SIGTERM or SIGINT, drain it, and return the exit code.

    `beside` runs as long as the hub does, and is cancelled then; by setting the event it stops the hub like a signal.
    A second signal ends the process at once. Raises `KeyProblem` for TLS files that cannot be used.
    """
    open_files.allow_many()
    spare_collections()
    return run_fast(serve_here(listening, keys, settings, on_ready=on_ready, beside=beside, record=record))


async def serve_here(
    listening: socket.socket,
    keys: KeyRing,
    settings: Settings,
    *,
    on_ready: Callable[[Server], None] | None = None,
    beside: Callable[[Server, asyncio.Event], Coroutine[Any, Any, None]] | None = None,
    record: Recorder | None = None,
) -> int:
    """Do what `serve` does, on the loop that runs already; its handlers for the two signals become the hub's."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    interruption = _Interruption(stop)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, interruption.signalled, number)
    await serve_until(stop, listening, keys, settings, on_ready=on_ready, beside=beside, record=record)
    for number in (signal.SIGTERM, signal.SIGINT):  # what is done well does not become a failure on the way out
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_IGN)
    return ExitCode.DONE


async def serve_until(
    stop: asyncio.Event,
    listening: socket.socket,
    keys: KeyRing,
    settings: Settings,
    *,
    on_ready: Callable[[Server], None] | None = None,
    beside: Callable[[Server, asyncio.Event], Coroutine[Any, Any, None]] | None = None,
    record: Recorder | None = None,
) -> int:
    """Run a hub until `stop` is set, drain it, and return the exit code; signals are left alone.

    One that is cancelled, or breaks, ends at once and lets go of everything.
    """
    server = Server(keys, settings, record=record)
    await server.start(listening)
    try:
        if on_ready is not None:
            on_ready(server)
        async with asyncio.TaskGroup() as tasks:
            companion = None if beside is None else tasks.create_task(beside(server, stop))
            await stop.wait()
            _log.info("the hub is shutting down")
            await server.drain()
            if companion is not None:
                companion.cancel()
    except BaseException:
        await server.cut()
        raise
    return ExitCode.DONE


def spare_collections() -> None:
    """Have a process that is a hub, and nothing else, look for garbage rarely.

    What a connection leaves behind is freed by reference counts, and a full collection among 9,000 connections holds up
    everybody for 0.2 s and more; at Python's own thresholds each quarter more of them brought one.
    """
    gc.freeze()
    gc.set_threshold(*_COLLECTED)


def run_fast(main: Coroutine[Any, Any, _T]) -> _T:
    """Run `main` to its end on the fastest loop there is."""
    try:
        import uvloop
    except ImportError:  # there is none for Windows
        return asyncio.run(main)
    return uvloop.run(main)


class _Interruption:
    """The first signal asks for a good end, whether or not one is under way already; the second one insists."""

    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop
        self._asked = False

    def signalled(self, number: signal.Signals) -> None:
        if self._asked:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self._asked = True
        self._stop.set()
