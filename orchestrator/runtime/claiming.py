"""Claims as handlers use them: agreed on by messages, or kept as leases in a store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from orchestrator.agents.relations import Claim
from orchestrator.errors import ClaimLost, NotConnected, OrchestratorError, StoreUnavailable
from orchestrator.patterns.claim import ClaimEffect, Claims, Lost, Revoked, Said, Unheard, Won
from orchestrator.patterns.effects import Answer, Publish, Refused
from orchestrator.patterns.lease import Tenure
from orchestrator.protocol.payloads import ClaimNotice, ClaimTalk, RejectNotice
from orchestrator.runtime.courier import Courier
from orchestrator.runtime.figures import Claimed
from orchestrator.runtime.guard import Guard
from orchestrator.store.port import Lease, Leases

RELEASE_SECONDS: Final = 2.0
"""How long a block that has ended waits for the store to take its claim back; else the claim ends by itself."""


class Claiming(Protocol):
    """The claims of one member of one team."""

    def claim(self, item: str) -> AbstractAsyncContextManager[Claim | None]:
        """Claim an item for as long as the block runs: see `Team.claim`."""
        ...

    def receive(self, sender: str, notice: ClaimTalk, /) -> None: ...

    def member_left(self, peer_id: str, lost: bool, /) -> None:
        """A member is gone; `lost` = it did not say so itself, and may be back."""
        ...

    def connected(self, again: bool, /) -> None: ...

    def disconnected(self) -> None: ...

    def tick(self, now: float, /) -> None: ...

    def next_tick(self) -> float | None: ...


@dataclass(slots=True)
class _Block:
    """One `claim` of a handler, from its bid to its end."""

    verdict: asyncio.Future[Claim | None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    guard: Guard = field(default_factory=Guard)


class MessageClaims:
    """Best effort: what `Claims` decides, awaited by handlers."""

    def __init__(
        self, me: str, channel: str, ttl: float, courier: Courier, *, wall_offset: float, changed: Callable[[], None]
    ) -> None:
        self._courier, self._changed = courier, changed
        self._claims = Claims(me, channel, ttl=ttl, wall_offset=wall_offset)
        self._ttl = ttl
        self._blocks: dict[str, _Block] = {}

    @asynccontextmanager
    async def claim(self, item: str) -> AsyncIterator[Claim | None]:
        if item in self._blocks:  # another handler of this very agent is at it
            _count(self._courier, "lost")
            yield None
            return
        block = self._blocks[item] = _Block()
        try:
            self._apply(self._claims.claim(item, _now()))
            try:
                claim = await block.verdict
            except OrchestratorError:
                _count(self._courier, "failed")
                raise
            if claim is None or block.guard.lost is not None:
                _count(self._courier, "lost")
                yield None
            else:
                _count(self._courier, "won")
                with block.guard:
                    yield claim
        finally:
            del self._blocks[item]
            self._apply(self._claims.release(item, _now()))  # nothing, if it was not won

    def receive(self, sender: str, notice: ClaimTalk) -> None:
        self._apply(self._claims.receive(sender, notice, _now()))

    def member_left(self, peer_id: str, lost: bool) -> None:
        self._claims.member_left(peer_id, _now(), lost=lost)

    def connected(self, again: bool) -> None:
        if again:
            self._apply(self._claims.rejoined(_now()))

    def disconnected(self) -> None:
        self._apply(self._claims.disconnected(_now()))

    def tick(self, now: float) -> None:
        self._apply(self._claims.tick(now))

    def next_tick(self) -> float | None:
        return self._claims.next_tick()

    def _apply(self, effects: Sequence[ClaimEffect]) -> None:
        for effect in effects:
            if isinstance(effect, Publish):
                self._courier.deliver(effect, self._answered)
            elif (block := self._blocks.get(effect.item)) is not None:
                self._tell(block, effect)
        self._changed()

    def _tell(self, block: _Block, effect: Won | Lost | Unheard | Revoked) -> None:
        if isinstance(effect, Revoked):
            block.guard.lose(ClaimLost(effect.item, self._reason(effect)))
            _count(self._courier, "revoked")
        elif block.verdict.done():
            return
        elif isinstance(effect, Won):
            block.verdict.set_result(Claim(effect.item, effect.fence))
        elif isinstance(effect, Lost):
            block.verdict.set_result(None)
        elif isinstance(effect.answer, Refused):
            block.verdict.set_exception(effect.answer.error)
        else:
            block.verdict.set_exception(NotConnected(f"the team did not hear of {effect.item!r} being claimed"))

    def _answered(self, said: Said, answer: Answer) -> None:
        self._apply(self._claims.answered(said, answer, _now()))

    def _reason(self, revoked: Revoked) -> str:
        if revoked.holder is not None:
            return f"{revoked.holder} has held it for longer, while neither heard the other"
        return f"the team has heard nothing of this agent for {self._ttl:g} s"


class StoreClaims:
    """Strong: a lease in a store, renewed for as long as the block runs. Messages only tell programs that are not in it."""

    def __init__(
        self,
        me: str,
        team: str,
        channel: str,
        ttl: float,
        courier: Courier,
        leases: Leases,
        *,
        new_id: Callable[[], str],
        log: Any,
    ) -> None:
        """`new_id` makes ids that nobody else makes."""
        self._me, self._team, self._channel, self._ttl = me, team, channel, ttl
        self._courier, self._leases, self._new_id, self._log = courier, leases, new_id, log
        self._held: set[str] = set()

    @asynccontextmanager
    async def claim(self, item: str) -> AsyncIterator[Claim | None]:
        name, holder = lease_name(self._team, item), f"{self._me}/{self._new_id()}"
        tenure = Tenure(_now(), self._ttl)
        lease = await self._acquired(name, holder)
        if lease is None:
            _count(self._courier, "lost", self._team)
            yield None
            return
        if tenure.is_over(_now()):
            _count(self._courier, "failed", self._team)
            await self._release(name, holder)
            raise StoreUnavailable(f"the store took too long to grant the claim on {item!r}: more than its ttl")
        guard = Guard()
        keeping = asyncio.create_task(self._keep(item, name, holder, tenure, guard), name=f"claim on {item}")
        self._held.add(item)
        _count(self._courier, "won", self._team)
        try:
            with guard:
                yield Claim(item, lease.fence)
        finally:
            self._held.discard(item)
            keeping.cancel()
            await asyncio.wait([keeping])
            if guard.lost is None:
                await self._release(name, holder)
            else:
                _count(self._courier, "revoked")
            if not keeping.cancelled():
                keeping.result()

    # Of what the connection says, only the claims of those concern it who claim by messages.

    def receive(self, _sender: str, notice: ClaimTalk) -> None:
        if isinstance(notice, ClaimNotice) and notice.item_id in self._held:
            self._courier.deliver(Publish(self._channel, RejectNotice(notice.item_id, self._me, self._me)))

    def member_left(self, _peer_id: str, _lost: bool) -> None: ...

    def connected(self, _again: bool) -> None: ...

    def disconnected(self) -> None: ...

    def tick(self, _now: float) -> None: ...

    def next_tick(self) -> float | None:
        return None

    async def _acquired(self, name: str, holder: str) -> Lease | None:
        try:
            return await self._leases.acquire(name, holder, self._ttl)
        except BaseException:
            _count(self._courier, "failed", self._team)
            await self._release(name, holder)  # it may have been granted all the same
            raise

    async def _keep(self, item: str, name: str, holder: str, tenure: Tenure, guard: Guard) -> None:
        """Renew a lease until it is over."""
        reason = f"the store has not renewed it within its {self._ttl:g} s"
        try:
            while not tenure.is_over(now := _now()):
                if now < tenure.renews:
                    await asyncio.sleep(tenure.next() - now)
                    continue
                try:
                    async with asyncio.timeout_at(tenure.over):
                        lease = await self._leases.renew(name, holder, self._ttl)
                except (StoreUnavailable, TimeoutError):
                    tenure.failed(_now())
                    continue
                if lease is None:
                    reason = "it has ended in the store"
                    tenure.refused(now)
                else:
                    tenure.renewed(now)
        finally:
            guard.lose(ClaimLost(item, reason))  # nothing, once the block has left

    async def _release(self, name: str, holder: str) -> None:
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                await self._leases.release(name, holder)
        except (StoreUnavailable, TimeoutError):
            self._log.warning("a claim could not be given back and ends by itself", lease=name, seconds=self._ttl)


def _count(courier: Courier, outcome: Claimed, team: str = "") -> None:
    """Note how a claim went; `team` = one whose members are told nothing, since a store decides."""
    if courier.recorder is not None:
        courier.recorder.claim(outcome)
        if team:
            courier.recorder.sent("claim", f"team/{team}")


def lease_name(team: str, item: str) -> str:
    """Return what the lease on an item is called in the store: every team has its own items."""
    return f"teams/{team}/claims/{item}"


def _now() -> float:
    return asyncio.get_running_loop().time()
