"""Presence: a doorkeeper watches the hall, and says who is there and who has come and gone."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from dataclasses import field

from orchestrator import Context, Joined, Left, Presence, StreamTask, agent, on_presence, task


class WhoIsHere(StreamTask[str]):
    """Names those who are here and whose peer id begins with the prompt, then the latest joins and leaves."""

    prompt: str


@agent
class Doorkeeper:
    hall: Presence
    seen: deque[str] = field(default_factory=lambda: deque(maxlen=20), init=False)

    @on_presence
    async def notice(self, change: Joined | Left, ctx: Context) -> None:
        what = "came" if isinstance(change, Joined) else f"went ({change.reason})"
        self.seen.append(f"{change.peer.id} {what}")
        ctx.log.info("at the door", who=change.peer.id, what=what)

    @task
    async def tell(self, ask: WhoIsHere) -> AsyncIterator[str]:
        for peer in sorted(self.hall.peers):
            if peer.startswith(ask.prompt):
                yield f"{peer} is here\n"
        for line in self.seen:
            yield f"{line}\n"


@agent
class Guest:
    """Comes to the hall when its process starts, and is gone when that ends."""
