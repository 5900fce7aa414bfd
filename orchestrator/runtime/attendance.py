"""A live roster with those who wait for somebody to be in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from orchestrator.errors import PresenceTimeout
from orchestrator.patterns.roster import Change, Peer, Roster
from orchestrator.protocol.frames import Present


@dataclass(frozen=True, slots=True, eq=False)
class _Wanted:
    agent: str
    count: int
    found: asyncio.Future[list[Peer]]


class Attendance:
    """Follows one channel. It belongs to the event loop that is running when it is told something."""

    def __init__(self, where: str, roster: Roster, told: Callable[[Change], None], rearm: Callable[[], None]) -> None:
        """`where` names the place in errors; `told` is called with each join and leave, `rearm` when `next_tick` may
        have changed."""
        self._where, self._told, self._rearm = where, told, rearm
        self.roster = roster
        self._wanted: dict[_Wanted, None] = {}
        self._failure: Exception | None = None

    def present(self, joined: Sequence[Present], left: Sequence[Present], *, whole: bool) -> None:
        self._tell(self.roster.update(joined, left, whole=whole, now=asyncio.get_running_loop().time()))

    def keep(self, agents: Collection[str]) -> None:
        """Have peers of these agents on the roster from now on: see `Roster.keep`."""
        self._tell(self.roster.keep(agents))

    def disconnected(self) -> None:
        self.roster.disconnected()
        self._rearm()

    def next_tick(self) -> float | None:
        return self.roster.next_tick()

    def tick(self, now: float) -> None:
        self._tell(self.roster.tick(now))

    async def wait_for(self, agent: str, count: int, timeout: float | None) -> list[Peer]:
        """Return those of an agent who are there, as soon as they are at least `count`.

        Raises `PresenceTimeout`, or what `end` was given.
        """
        if count < 1:
            raise ValueError(f"count is a number of peers of at least 1, not {count!r}")
        if len(there := self.roster.of_agent(agent)) >= count:
            return there
        self._check()
        wanted = _Wanted(agent, count, asyncio.get_running_loop().create_future())
        self._wanted[wanted] = None
        try:
            async with asyncio.timeout(timeout):
                there = await wanted.found
        except TimeoutError:
            assert timeout is not None
            there = self.roster.of_agent(agent)
            raise PresenceTimeout(agent, count, [peer.id for peer in there], self._where, timeout) from None
        finally:
            del self._wanted[wanted]
        if not there:
            self._check()
        return there

    def end(self, failure: Exception) -> None:
        """Whoever waits gets `failure`, and whoever would wait later."""
        self._failure = failure
        for wanted in self._wanted:
            if not wanted.found.done():
                wanted.found.set_result([])

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure.with_traceback(None)

    def _tell(self, changes: Sequence[Change]) -> None:
        for change in changes:
            self._told(change)
        for wanted in self._wanted:
            there = self.roster.of_agent(wanted.agent)
            if len(there) >= wanted.count and not wanted.found.done():
                wanted.found.set_result(there)
        self._rearm()
