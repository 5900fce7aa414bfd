"""`Team` over a hub: what engines decide, awaited by handlers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Final

from msgspec import Raw

from orchestrator.agents.messages import Event, message_name
from orchestrator.agents.relations import Claim, Team
from orchestrator.errors import NotConnected
from orchestrator.patterns.claim import ClaimEffect, Claims, Won
from orchestrator.patterns.effects import Accepted, Answer, Publish, Refused
from orchestrator.patterns.roster import Left, Peer, Roster
from orchestrator.protocol.frames import Present
from orchestrator.protocol.payloads import ClaimNotice, EventNotice, RejectNotice, ReleaseNotice
from orchestrator.runtime.courier import Courier

RECONNECT_SECONDS: Final = 30.0
"""How long an event waits for the connection to come back before `publish` fails."""


class HubTeam(Team):
    """A team over its channel."""

    def __init__(self, name: str, channel: str, me: str, courier: Courier, changed: Callable[[], None]) -> None:
        self.name, self.channel = name, channel
        self._courier, self._changed = courier, changed
        self._claims = Claims(me, channel)
        self._roster = Roster("agent")
        self._verdicts: dict[str, asyncio.Future[Claim | None]] = {}

    @property
    def members(self) -> Mapping[str, Peer]:
        return MappingProxyType(self._roster.peers)

    async def publish(self, event: Event) -> None:
        notice = EventNotice(message_name(type(event)), Raw(event.model_dump_json(by_alias=True).encode()))
        await self._courier.link.publish(self.channel, notice, when_disconnected="wait", deadline=RECONNECT_SECONDS)

    @asynccontextmanager
    async def claim(self, item: str) -> AsyncIterator[Claim | None]:
        loop = asyncio.get_running_loop()
        if item in self._verdicts:  # another handler of this very agent is at it
            yield None
            return
        verdict = self._verdicts[item] = loop.create_future()
        try:
            self._apply(self._claims.claim(item, loop.time()))
            yield await verdict
        finally:
            del self._verdicts[item]
            self._apply(self._claims.release(item, loop.time()))  # nothing, if it was not won

    # -- what the connection says

    def present(self, joined: Sequence[Present], left: Sequence[Present], *, whole: bool) -> None:
        now = asyncio.get_running_loop().time()
        for change in self._roster.update(joined, left, whole=whole):
            if isinstance(change, Left):
                self._claims.member_left(change.peer.id, now)

    def receive(self, sender: str, notice: ClaimNotice | RejectNotice | ReleaseNotice) -> None:
        self._apply(self._claims.receive(sender, notice, asyncio.get_running_loop().time()))

    def connected(self, *, again: bool) -> None:
        if again:
            self._apply(self._claims.rejoined(asyncio.get_running_loop().time()))

    def disconnected(self) -> None:
        self._roster.disconnected()
        for item in list(self._verdicts):
            self._unheard(item, NotConnected(f"the connection was lost while {item!r} was being claimed"))

    def tick(self, now: float) -> None:
        self._apply(self._claims.tick(now))

    def next_tick(self) -> float | None:
        return self._claims.next_tick()

    def _apply(self, effects: Sequence[ClaimEffect]) -> None:
        for effect in effects:
            if isinstance(effect, Publish):
                self._courier.deliver(effect, self._answered)
                continue
            verdict = self._verdicts.get(effect.item)
            if verdict is not None and not verdict.done():
                verdict.set_result(Claim(effect.item, effect.fence) if isinstance(effect, Won) else None)
        self._changed()

    def _answered(self, notice: ClaimNotice | ReleaseNotice, answer: Answer) -> None:
        if isinstance(answer, Accepted):
            return
        if isinstance(notice, ClaimNotice):
            lost = NotConnected(f"the team did not hear of {notice.item_id!r}")
            self._unheard(notice.item_id, answer.error if isinstance(answer, Refused) else lost)
        elif not isinstance(answer, Refused):
            self._claims.unheard(notice)

    def _unheard(self, item: str, error: Exception) -> None:
        """A bid that the team did not hear is no bid: winning it would mean nothing."""
        verdict = self._verdicts.get(item)
        if verdict is not None and not verdict.done():
            verdict.set_exception(error)
            self._apply(self._claims.release(item, asyncio.get_running_loop().time()))
