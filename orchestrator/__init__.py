"""Declarative multi-agent orchestration: one topology file, decorated handlers, nothing dropped silently."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.agents import (
        Claim,
        Context,
        Disconnected,
        Event,
        Handle,
        Joined,
        Left,
        Peer,
        Presence,
        StreamTask,
        Task,
        Team,
        Workers,
        agent,
        every,
        on_disconnect,
        on_event,
        on_presence,
        task,
    )
    from orchestrator.errors import Declined
    from orchestrator.runtime.user import User, connect

__all__ = [
    "Claim",
    "Context",
    "Declined",
    "Disconnected",
    "Event",
    "Handle",
    "Joined",
    "Left",
    "Peer",
    "Presence",
    "StreamTask",
    "Task",
    "Team",
    "User",
    "Workers",
    "agent",
    "connect",
    "every",
    "on_disconnect",
    "on_event",
    "on_presence",
    "task",
]

_ELSEWHERE = {
    "Declined": "orchestrator.errors",
    "User": "orchestrator.runtime.user",
    "connect": "orchestrator.runtime.user",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that the command line starts without any of them."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_ELSEWHERE.get(name, "orchestrator.agents")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
