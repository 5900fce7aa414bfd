"""The context that handlers are given."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from orchestrator.agents.context import Context, Once
from orchestrator.agents.relations import Presence, Team, Workers
from orchestrator.errors import HandlerError, did_you_mean

Named = TypeVar("Named", Team, Presence)


class Surroundings:
    """The relations of one agent, by name."""

    def __init__(self, workers: Workers | None, teams: Mapping[str, Team], lobbies: Mapping[str, Presence]) -> None:
        self.workers, self.teams, self.lobbies = workers, teams, lobbies


class MessageContext(Context):
    """The context of one message."""

    def __init__(
        self,
        surroundings: Surroundings,
        log: Any,
        *,
        task_id: str = "",
        attempt: int = 1,
        deadline: float | None = None,
        sender: str = "",
        traceparent: str | None = None,
        progressed: Callable[[float | None, str | None], None] = lambda _fraction, _message: None,
        once: Callable[[str], Awaitable[Once]] | None = None,
    ) -> None:
        self._surroundings, self._progressed = surroundings, progressed
        self.task_id, self.attempt, self.deadline = task_id, attempt, deadline
        self.sender, self.traceparent = sender, traceparent
        self.log, self._once = log, once

    def once(self, key: str) -> Awaitable[Once]:
        if self._once is None:
            return super().once(key)
        try:
            asyncio.get_running_loop()
        except RuntimeError:  # nobody could await it there, and nothing would be recorded
            raise HandlerError(f"once({key!r}) is awaited, so the handler has to be an 'async def'") from None
        return self._once(key)

    def progress(self, fraction: float | None = None, message: str | None = None) -> None:
        self._progressed(fraction, message)

    @property
    def workers(self) -> Workers:
        if self._surroundings.workers is None:
            raise HandlerError("this agent has no workers in the topology")
        return self._surroundings.workers

    def team(self, name: str) -> Team:
        return _found(name, self._surroundings.teams, "is a member of no team")

    def presence(self, name: str) -> Presence:
        return _found(name, self._surroundings.lobbies, "neither sits in nor watches a lobby")


def _found(name: str, known: Mapping[str, Named], otherwise: str) -> Named:
    if name not in known:
        raise HandlerError(f"this agent {otherwise} {name!r}{did_you_mean(name, known)}")
    return known[name]
