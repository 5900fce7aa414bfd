"""A hub as the whole purpose of a process: started on a socket, stopped by a signal."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from typing import TYPE_CHECKING, Final

from orchestrator.errors import ExitCode
from orchestrator.hub.server import Server

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

    from orchestrator.hub.keys import KeyRing
    from orchestrator.hub.settings import Settings

_log: Final = logging.getLogger("orchestrator.hub")


def serve(
    listening: socket.socket,
    keys: KeyRing,
    settings: Settings,
    *,
    on_ready: Callable[[Server], None] | None = None,
    beside: Callable[[Server, asyncio.Event], Awaitable[None]] | None = None,
) -> int:
    """Run a hub until SIGTERM or SIGINT, drain it, and return the exit code.

    `beside` runs as long as the hub does, and is cancelled then; it may set the event, which stops the hub like a
    signal. A second signal ends the process at once. Raises `KeyProblem` for TLS files that cannot be used.
    """
    return _runner()(_serve(listening, keys, settings, on_ready, beside))


async def _serve(
    listening: socket.socket,
    keys: KeyRing,
    settings: Settings,
    on_ready: Callable[[Server], None] | None,
    beside: Callable[[Server, asyncio.Event], Awaitable[None]] | None,
) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _on_signal, number, stop)
    server = Server(keys, settings)
    await server.start(listening)
    if on_ready is not None:
        on_ready(server)
    async with asyncio.TaskGroup() as tasks:
        companion = None if beside is None else tasks.create_task(_companion(beside, server, stop))
        await stop.wait()
        _log.info("the hub is shutting down")
        await server.drain()
        if companion is not None:
            companion.cancel()
    return ExitCode.DONE


async def _companion(
    beside: Callable[[Server, asyncio.Event], Awaitable[None]], server: Server, stop: asyncio.Event
) -> None:
    await beside(server, stop)


def _on_signal(number: signal.Signals, stop: asyncio.Event) -> None:
    if stop.is_set():
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
    stop.set()


def _runner() -> Callable[[Awaitable[int]], int]:
    if sys.platform == "win32":
        return asyncio.run  # type: ignore[return-value,unreachable]
    import uvloop

    return uvloop.run  # type: ignore[return-value]
