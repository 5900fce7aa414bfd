"""The main of a hub process that another process supervises: ``python -m orchestrator.runtime.hub FD``.

FD is the child's end of the private socket pair to its parent: the spec with the keys comes down it, `Ready` goes back.
The listening socket is the parent's, inherited under the number that the spec names, so that connections wait in its
backlog while a hub that crashed is started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from orchestrator.errors import ExitCode, OrchestratorError
from orchestrator.hub import open_files
from orchestrator.hub.keys import KeyRing
from orchestrator.hub.serve import run_fast, serve_here, serve_until, spare_collections
from orchestrator.hub.settings import Settings
from orchestrator.runtime.control import (
    ControlChannel,
    Drain,
    Ending,
    HubSpec,
    MetricsTold,
    Ready,
    SignedIn,
    Standing,
    ToChild,
)
from orchestrator.runtime.hub_questions import HubQuestions
from orchestrator.runtime.logs import configure_child
from orchestrator.runtime.node_name import node_name
from orchestrator.runtime.parent import watch_parent

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from orchestrator.hub.record_file import Recorder
    from orchestrator.hub.server import Server

_ORPHAN_GRACE: Final = 0.5
"""Seconds for the goodbyes of a hub whose parent is gone; the watch on the parent kills it a little later."""


async def serve_parent(end: socket.socket) -> int:
    """Serve what the spec on the control socket says, as the whole of a process, and return the exit code."""

    def settle(spec: HubSpec) -> None:
        configure_child({"process": "hub"}, spec.log_level)

    async def serve(*what: Any, beside: Any, **more: Any) -> int:
        async def watching(server: Server, stop: asyncio.Event) -> None:
            _watch(end, server, stop)
            await beside(server, stop)

        return await serve_here(*what, beside=watching, **more)

    return await _serve(end, serve, settle)


async def serve_inline(end: socket.socket) -> int:
    """Do the same in an event loop that others run in as well."""
    return await _serve(end, partial(serve_until, asyncio.Event()))


async def _serve(
    end: socket.socket, serve: Callable[..., Coroutine[Any, Any, int]], settle: Callable[[HubSpec], None] | None = None
) -> int:
    began = time.monotonic()
    channel = await ControlChannel.of_child(end)
    spec = await anext(aiter(channel), None)
    if not isinstance(spec, HubSpec):
        return ExitCode.FAILED
    if settle is not None:
        settle(spec)

    keys = KeyRing(spec.keys)
    questions = HubQuestions(channel.send, keys.secret, time.time)

    def ready(server: Server) -> None:
        server.entrance = server.run_figures = questions
        if spec.standing is not None:
            server.unready = _unready(spec.standing)
        channel.send(Ready(time.monotonic() - began))

    async def follow(server: Server, stop: asyncio.Event) -> None:
        await _obey(channel, server, stop, questions)

    listening = socket.socket(fileno=os.dup(spec.listening))
    listening.setblocking(False)
    try:
        return await serve(
            listening,
            keys,
            _settings(spec),
            on_ready=ready,
            beside=follow,
            record=_recorder(spec),
        )
    except OrchestratorError as error:
        channel.send(Ending(str(error)))
        return error.exit_code
    finally:
        await channel.close()


def _recorder(spec: HubSpec) -> Recorder | None:
    if not spec.record:
        return None
    from orchestrator.hub.record_file import Recorder  # few hubs are recorded

    return Recorder(Path(spec.record))


def _settings(spec: HubSpec) -> Settings:
    """Return settings with which a drain that starts by a signal takes no longer than the grace."""
    certificate, key = spec.tls or (None, None)
    return Settings(
        drain_window=spec.grace / 2,
        drain_grace=spec.grace / 2,
        backplane=spec.backplane or None,
        node_name=node_name(),
        tls_certificate=certificate,
        tls_key=key,
    )


async def _obey(channel: ControlChannel[ToChild], server: Server, stop: asyncio.Event, questions: HubQuestions) -> None:
    async for message in channel:
        match message:
            case Standing():
                server.unready = _unready(message)
            case SignedIn() | MetricsTold():
                questions.answered(message)
            case Drain(grace=grace):
                server.hurry(grace / 2)
                stop.set()
    server.hurry(_ORPHAN_GRACE / 2)
    stop.set()


def _unready(standing: Standing) -> str:
    """Return which replicas are not ready; an empty string when all are."""
    missing = standing.planned - standing.ready
    if missing <= 0:
        return ""
    names, more = ", ".join(standing.lacking), missing - len(standing.lacking)
    awaited = f"{names} and {more} more" if names and more > 0 else names
    return f"{standing.ready} of {standing.planned} replicas are ready" + (f"; awaited: {awaited}" if awaited else "")


def _watch(end: socket.socket, server: Server, stop: asyncio.Event) -> None:
    """Stop when the parent is gone, also when its last message is not read yet."""
    loop = asyncio.get_running_loop()

    def orphaned() -> None:
        server.hurry(_ORPHAN_GRACE / 2)
        stop.set()

    def tell_loop() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself meanwhile
            loop.call_soon_threadsafe(orphaned)

    watch_parent(end, tell_loop)


def main() -> int:
    end = socket.socket(fileno=int(sys.argv[1]))
    open_files.allow_many()
    spare_collections()
    return run_fast(serve_parent(end))


if __name__ == "__main__":
    sys.exit(main())
