"""`Team` over a hub: what engines decide, awaited by handlers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import MappingProxyType
from typing import Final

from msgspec import Raw

from orchestrator.agents.messages import Event, message_name
from orchestrator.agents.relations import Claim, Team
from orchestrator.patterns.roster import Left, Peer, Roster
from orchestrator.protocol.frames import Present
from orchestrator.protocol.payloads import ClaimTalk, EventNotice
from orchestrator.runtime.claiming import Claiming
from orchestrator.runtime.courier import Courier
from orchestrator.runtime.shared_state import HubState

RECONNECT_SECONDS: Final = 30.0
"""How long an event waits for the connection to come back before `publish` fails."""


class HubTeam(Team):
    """A team over its channel."""

    def __init__(self, name: str, channel: str, courier: Courier, claiming: Claiming, state: HubState) -> None:
        self.name, self.channel = name, channel
        self._courier, self._claiming = courier, claiming
        self._state = self.state = state
        self._roster = Roster("agent")

    @property
    def members(self) -> Mapping[str, Peer]:
        return MappingProxyType(self._roster.peers)

    async def publish(self, event: Event) -> None:
        notice = EventNotice(message_name(type(event)), Raw(event.model_dump_json(by_alias=True).encode()))
        if self._courier.recorder is not None:
            self._courier.recorder.published(notice, self.channel)
        await self._courier.link.publish(self.channel, notice, when_disconnected="wait", deadline=RECONNECT_SECONDS)

    def claim(self, item: str) -> AbstractAsyncContextManager[Claim | None]:
        return self._claiming.claim(item)

    # -- what the connection says

    def present(self, joined: Sequence[Present], left: Sequence[Present], *, whole: bool) -> None:
        for change in self._roster.update(joined, left, whole=whole):
            if isinstance(change, Left):
                self._claiming.member_left(change.peer.id, change.reason == "lost")
        if self._roster.known:
            self._state.members(self._roster.peers)

    def receive(self, sender: str, notice: ClaimTalk) -> None:
        self._claiming.receive(sender, notice)

    def connected(self, *, again: bool) -> None:
        self._state.connected()
        self._claiming.connected(again)

    def disconnected(self) -> None:
        self._roster.disconnected()
        self._state.disconnected()
        self._claiming.disconnected()

    def tick(self, now: float) -> None:
        self._claiming.tick(now)

    def next_tick(self) -> float | None:
        return self._claiming.next_tick()
