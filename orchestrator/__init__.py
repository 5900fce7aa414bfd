"""Declarative multi-agent orchestration: one topology file, decorated handlers, nothing dropped silently."""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # as `typing` has it: its import is a fifth of what `orchestrator --help` takes
if TYPE_CHECKING:
    from typing import Any

    from orchestrator.agents import (
        Changed,
        Claim,
        Context,
        Disconnected,
        Event,
        Handle,
        Joined,
        Left,
        Peer,
        Presence,
        Progress,
        State,
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
    from orchestrator.errors import Declined, SubscriberTooSlow
    from orchestrator.runtime.subscription import Message
    from orchestrator.runtime.user import ReconnectPolicy, User, connect
    from orchestrator.runtime.user_events import Connected, GoingAway, Missed, Reconnecting, TokenFailed

__all__ = [
    "Changed",
    "Claim",
    "Connected",
    "Context",
    "Declined",
    "Disconnected",
    "Event",
    "GoingAway",
    "Handle",
    "Joined",
    "Left",
    "Message",
    "Missed",
    "Peer",
    "Presence",
    "Progress",
    "ReconnectPolicy",
    "Reconnecting",
    "State",
    "StreamTask",
    "SubscriberTooSlow",
    "Task",
    "Team",
    "TokenFailed",
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
    "Connected": "orchestrator.runtime.user_events",
    "Declined": "orchestrator.errors",
    "GoingAway": "orchestrator.runtime.user_events",
    "Message": "orchestrator.runtime.subscription",
    "Missed": "orchestrator.runtime.user_events",
    "ReconnectPolicy": "orchestrator.runtime.user",
    "Reconnecting": "orchestrator.runtime.user_events",
    "SubscriberTooSlow": "orchestrator.errors",
    "TokenFailed": "orchestrator.runtime.user_events",
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
