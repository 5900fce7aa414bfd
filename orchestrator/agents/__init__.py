"""What a handler author imports: messages, decorators, relations, context."""

from orchestrator.agents.context import Context, Disconnected
from orchestrator.agents.decorators import agent, every, on_disconnect, on_event, on_presence, task
from orchestrator.agents.messages import Event, StreamTask, Task
from orchestrator.agents.relations import Claim, Handle, Presence, Team, Workers
from orchestrator.patterns.roster import Joined, Left, Peer

__all__ = [
    "Claim",
    "Context",
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
    "Workers",
    "agent",
    "every",
    "on_disconnect",
    "on_event",
    "on_presence",
    "task",
]
