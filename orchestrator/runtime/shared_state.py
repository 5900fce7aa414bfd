"""`Team.state` over a hub: what its engine decides, carried out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from random import Random
from typing import Any

from orchestrator.agents.state import State
from orchestrator.patterns.effects import Answer, Note, Publish, Send
from orchestrator.patterns.state import Changed, SharedState, StateEffect
from orchestrator.protocol.payloads import StateMany, StateNotice, StateTalk
from orchestrator.runtime.courier import Courier
from orchestrator.topology.replica import TeamSeat


class HubState(State):
    """The state of a team that is reached over its channel, and peer by peer."""

    def __init__(
        self,
        seat: TeamSeat,
        me: str,
        courier: Courier,
        changed: Callable[[], None],
        log: Any,
        *,
        wall_offset: float,
    ) -> None:
        """`changed` is called, in the event loop, when the next tick may be due earlier."""
        # Members draw differently, and each the same whenever it runs: it only has to spread them.
        rng = Random(f"{me}/{seat.channel}")  # noqa: S311
        self._make(SharedState(me, seat.channel, rng, wall_offset), f"the state of {seat.name!r}")
        self._courier, self._changed, self._log = courier, changed, log.bind(team=seat.name)
        self._planned = frozenset(seat.members)
        self._present: frozenset[str] = frozenset()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._caught_up = asyncio.Event()

    async def synced(self) -> None:
        while not self._engine.synced:
            self._caught_up.clear()
            await self._caught_up.wait()

    def revise(self, seat: TeamSeat) -> None:
        """Have other planned members."""
        self._planned = frozenset(seat.members)

    # -- what the connection says, and time; all in the event loop

    def receive(self, sender: str, told: StateTalk) -> None:
        """Take what a peer says; only members are answered, and only they may speak for others."""
        if isinstance(told, StateNotice | StateMany) or sender in self._planned or sender in self._present:
            with self._lock:
                self._apply(self._engine.receive(sender, told, self._now()))

    def members(self, others: Collection[str]) -> None:
        self._present = frozenset(others)
        with self._lock:
            self._apply(self._engine.members(others, self._now()))

    def connected(self) -> None:
        with self._lock:
            self._now()
            self._engine.connected()

    def disconnected(self) -> None:
        with self._lock:
            self._engine.disconnected()
        self._changed()

    def tick(self, now: float) -> None:
        due = self._engine.next_tick()
        if due is not None and due <= now:
            with self._lock:
                self._apply(self._engine.tick(now, thrifty=self._courier.link.short_of_messages))

    def next_tick(self) -> float | None:
        with self._lock:
            return self._engine.next_tick()

    # -- how

    def _now(self) -> float:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop.time()

    def _write(self, key: str, value: bytes | None) -> None:
        with self._lock:
            now = self._now()
            for effect in self._engine.write(key, value, now):
                if isinstance(effect, Changed):
                    self._tell(effect)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._changed)

    def _apply(self, effects: Sequence[StateEffect]) -> None:
        for effect in effects:
            if isinstance(effect, Publish | Send):
                self._courier.deliver(effect, self._answered)
            elif isinstance(effect, Changed):
                self._tell(effect)
            elif isinstance(effect, Note):
                getattr(self._log, effect.level)(effect.event, **effect.fields)
        if self._engine.synced:
            self._caught_up.set()
        self._changed()

    def _answered(self, peer: str, answer: Answer) -> None:
        with self._lock:
            self._apply(self._engine.answered(peer, answer, self._now()))
