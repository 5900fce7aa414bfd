"""What a handler is told about the message that it handles."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.errors import HandlerError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from orchestrator.agents.relations import Presence, Team, Workers


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection to the hub ended; without `will_reconnect` the agent drains and its process ends."""

    code: int
    reason: str
    will_reconnect: bool


@dataclass(frozen=True, slots=True)
class Once:
    """Who was the first to record a key, for a sink that does nothing twice and nothing late."""

    first: bool
    """Whether it was this very call: whoever calls again, in the same attempt or a later one, is not the first."""
    fence: int
    """Of this attempt, whether or not it was the first: greater than those of all before, so that a sink that keeps the
    greatest refuses the late."""
    task_id: str
    """The task that was the first."""


class Context(ABC):
    """One message in the hands of its handler.

    For events and timers `task_id` is empty, `attempt` is 1 and there is no deadline.
    """

    task_id: str
    attempt: int
    """Counts from 1; greater when the task has been given to somebody before."""
    deadline: float | None
    """Unix seconds after which the caller no longer waits; the handler is cancelled then."""
    sender: str
    """The peer id of whoever sent the message, as stamped by the hub; empty for timers."""
    traceparent: str | None
    """What its trace goes on with from here (W3C Trace Context), for what leaves by other ways; `None` = it has no trace."""
    log: Any
    """A structlog logger that knows the agent, the replica and the task."""

    @abstractmethod
    def progress(self, fraction: float | None = None, message: str | None = None) -> None:
        """Tell the caller how far the task is; `fraction` runs from 0 to 1. Told at once, and kept for heartbeats.

        Of what is said faster than the hub takes it, the last is told.
        """

    def once(self, key: str) -> Awaitable[Once]:
        """Record in the store that an effect is about to be had, before it is had; keys are those of all tasks of an agent.

        To be awaited, in an `async def` handler, and for tasks with `delivery: at-least-once`, which are done again when a
        worker dies; anything else raises `HandlerError`. Raises `LeaseLost` when the task is not this worker's any more: then leave the effect alone.
        """
        raise HandlerError(f"once({key!r}) is for tasks that are kept in a store, with 'delivery: at-least-once'")

    @property
    @abstractmethod
    def workers(self) -> Workers:
        """The workers of this agent. Raises `HandlerError` when the topology gives it none."""

    @abstractmethod
    def team(self, name: str) -> Team:
        """The team of that name. Raises `HandlerError` when this agent is no member of it."""

    @abstractmethod
    def presence(self, name: str) -> Presence:
        """The lobby of that name. Raises `HandlerError` when this agent neither sits in it nor watches it."""
