"""The main of a supervised hub process: ``python -m orchestrator.runtime.hub FD``.

FD is the child's end of the private socket pair to its parent: the keys and the number of the listening socket come
down it, so neither argv nor environment holds a secret.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import time
from dataclasses import replace
from typing import Final

import msgspec

from orchestrator.errors import ExitCode
from orchestrator.hub.keys import KeyRing
from orchestrator.hub.serve import serve
from orchestrator.hub.server import Server
from orchestrator.hub.settings import Settings
from orchestrator.runtime.control import MAX_LINE, ControlChannel, Drain, HubSpec, Ready
from orchestrator.runtime.logs import configure_child
from orchestrator.runtime.parent import die_with_parent, watch_parent

ORPHAN_DRAIN: Final = 0.3
"""Seconds in which a hub without a parent says goodbye: nobody is left whom it serves."""


def main() -> int:
    """Serve what the spec on the socket pair says, and return the exit code."""
    began = time.monotonic()
    end = socket.socket(fileno=int(sys.argv[1]))
    die_with_parent(end)
    spec = _read_spec(end)
    if spec is None:
        return ExitCode.FAILED
    configure_child({"process": "hub"}, spec.log_level)
    listening = socket.socket(fileno=spec.listening)
    listening.setblocking(False)

    async def follow_parent(server: Server, stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()

        def end_within(seconds: float) -> None:
            server.settings = replace(server.settings, drain_window=seconds, drain_grace=seconds)
            stop.set()

        def orphaned() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself meanwhile
                loop.call_soon_threadsafe(end_within, ORPHAN_DRAIN)

        watch_parent(end, orphaned)
        channel = await ControlChannel.of_child(end)
        channel.send(Ready(time.monotonic() - began))
        async for message in channel:
            if isinstance(message, Drain):
                end_within(message.grace / 2)
        end_within(ORPHAN_DRAIN)

    return serve(listening, KeyRing(spec.keys), Settings(), beside=follow_parent)


def _read_spec(end: socket.socket) -> HubSpec | None:
    """Read the first line and not a byte of the next; `None` when the parent is gone before it was whole."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = end.recv(1)
        if not byte or len(line) > MAX_LINE:
            return None
        line += byte
    return msgspec.json.decode(bytes(line), type=HubSpec)


if __name__ == "__main__":
    sys.exit(main())
