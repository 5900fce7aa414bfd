"""A hub as the child of a test, on a socket that the test owns."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from orchestrator.protocol.tokens import Claims, SecretKey, mint
from orchestrator.runtime.control import HubSpec, Ready, Standing
from orchestrator.runtime.guardian_wire import LENT
from orchestrator.runtime.process import ChildProcess
from tests.runtime.processes import ENVIRONMENT, spawn

if TYPE_CHECKING:
    import socket

KEY = SecretKey("sk_id_run", "sk_secret_" + "r" * 32, rate="unlimited")


def token(sub: str) -> str:
    return mint(KEY, Claims(sub=sub, exp=int(time.time()) + 600))


def origin(listening: socket.socket) -> str:
    return f"ws://127.0.0.1:{listening.getsockname()[1]}"


def url(listening: socket.socket) -> str:
    return f"{origin(listening)}/v1?token={token('a')}"


async def start(listening: socket.socket, standing: Standing | None = None) -> ChildProcess:
    """Start a hub on our socket, and wait until it says that it is ready."""
    number = listening.fileno()
    child = await spawn("orchestrator.runtime.hub", lambda *_: None, ENVIRONMENT, [number])
    child.control.send(HubSpec(LENT, (KEY,), standing=standing))
    async for message in child.control:
        assert isinstance(message, Ready)
        return child
    raise AssertionError("the hub ended before it was ready")
