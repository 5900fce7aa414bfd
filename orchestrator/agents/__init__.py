"""What a handler author imports: messages, decorators, relations, context."""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # as `typing` has it, without its import
if TYPE_CHECKING:
    from typing import Any

    from orchestrator.agents.context import Context, Disconnected
    from orchestrator.agents.decorators import agent, every, on_disconnect, on_event, on_presence, task
    from orchestrator.agents.messages import Event, StreamTask, Task
    from orchestrator.agents.relations import Claim, Handle, Presence, Progress, Team, Workers
    from orchestrator.agents.state import State
    from orchestrator.patterns.roster import Joined, Left, Peer
    from orchestrator.patterns.state import Changed

__all__ = [
    "Changed",
    "Claim",
    "Context",
    "Disconnected",
    "Event",
    "Handle",
    "Joined",
    "Left",
    "Peer",
    "Presence",
    "Progress",
    "State",
    "StreamTask",
    "Task",
    "Team",
    "Workers",
    "agent",
    "every",
    "on_disconnect",
    "on_event",
    "on_presence",
    "task",
]

_ELSEWHERE = {
    "Changed": "orchestrator.patterns.state",
    "Claim": "orchestrator.agents.relations",
    "Context": "orchestrator.agents.context",
    "Disconnected": "orchestrator.agents.context",
    "Event": "orchestrator.agents.messages",
    "Handle": "orchestrator.agents.relations",
    "Joined": "orchestrator.patterns.roster",
    "Left": "orchestrator.patterns.roster",
    "Peer": "orchestrator.patterns.roster",
    "Presence": "orchestrator.agents.relations",
    "Progress": "orchestrator.agents.relations",
    "State": "orchestrator.agents.state",
    "StreamTask": "orchestrator.agents.messages",
    "Task": "orchestrator.agents.messages",
    "Team": "orchestrator.agents.relations",
    "Workers": "orchestrator.agents.relations",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is first used: where handlers lie is looked up without what they are made of."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_ELSEWHERE.get(name, "orchestrator.agents.decorators")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
