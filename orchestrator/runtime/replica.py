"""One replica: its agent's code, the engines behind its relations, and what its connection tells all of them."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import random
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final, Protocol, cast

from pydantic import BaseModel, ValidationError

from orchestrator.agents.context import Disconnected
from orchestrator.agents.describe import AgentCode, Handler
from orchestrator.client import events
from orchestrator.errors import AckTimeout, ConnectionLost, ConnectionProblem, HandlerError, NotConnected, listed
from orchestrator.patterns.dispatch import Dispatcher
from orchestrator.patterns.kept import KeptTasks
from orchestrator.patterns.roster import Change
from orchestrator.patterns.workforce import Pool, Workforce
from orchestrator.protocol.payloads import ClaimTalk, EventNotice, StateDirect, StateTalk, decode_payload
from orchestrator.runtime.claiming import Claiming, MessageClaims, StoreClaims
from orchestrator.runtime.courier import Courier, Link, Owned, Ticker
from orchestrator.runtime.dispatching import Desk, HubWorkers
from orchestrator.runtime.figures import Recorder
from orchestrator.runtime.handler_context import MessageContext, Surroundings
from orchestrator.runtime.invocation import fault
from orchestrator.runtime.kept_desk import KeptDesk
from orchestrator.runtime.kept_tray import KeptTray
from orchestrator.runtime.leasing import Leasing
from orchestrator.runtime.lobby import HubPresence
from orchestrator.runtime.shared_state import HubState
from orchestrator.runtime.team import HubTeam
from orchestrator.runtime.workload import Workload
from orchestrator.store.opening import Store
from orchestrator.store.port import Leases
from orchestrator.topology import replica as topology
from orchestrator.topology.revision import told_apart

HANDLERS_AT_ONCE: Final = 10_000
"""Handlers of events and presence that run at once; a message beyond them is dropped, and the log says so."""


GOODBYE_SECONDS: Final = 1.0
"""How long an end waits for the hub to take what callers are told about tasks that were cut off."""


class Connection(Link, Protocol):
    """What a replica needs of its connection beyond requests."""

    async def subscribe(self, channel: str) -> None: ...

    async def unsubscribe(self, channel: str) -> None: ...

    def events(self) -> AsyncIterator[events.ClientEvent]: ...


class Replica:
    """Runs one replica over a connection that is open, until that ends or the replica is told to drain."""

    def __init__(
        self,
        planned: topology.Replica,
        code: AgentCode,
        connection: Connection,
        *,
        wall_offset: float,
        new_id: Callable[[], str],
        log: Any,
        store: Store | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
        recorder: Recorder | None = None,
    ) -> None:
        """`wall_offset` turns the loop's clock into Unix seconds; `new_id` makes ids that nobody else makes.

        `store` keeps tasks that are delivered at least once, and the claims of teams that want them strong. `uniform`
        draws the pauses between requests that it does not answer. `recorder` counts what is done.
        """
        self._planned, self._code, self._connection, self._log = planned, code, connection, log
        self._recorder = recorder
        if recorder is not None:
            for seat in planned.teams:
                recorder.team(seat.name, seat.channel)
        self._courier = Courier(connection, recorder)
        self._ticker = Ticker()
        changed = self._ticker.rearm
        self._states = {
            seat.channel: HubState(seat, planned.peer_id, self._courier, changed, log, wall_offset=wall_offset)
            for seat in planned.teams
        }
        self._teams = {
            seat.name: HubTeam(
                seat.name,
                seat.channel,
                self._courier,
                self._claiming(seat, None if store is None else store.leases, wall_offset, new_id),
                self._states[seat.channel],
            )
            for seat in planned.teams
        }
        self._lobbies = {
            seat.name: HubPresence(seat, self._presence_changed, wall_offset, log, changed) for seat in planned.lobbies
        }
        self._desk = _desk(planned, self._courier, wall_offset, log, changed) if planned.pools else None
        self._kept = self._kept_desk(store)
        kept = None
        if self._kept is not None:
            pools = [pool for pool in planned.pools if pool.delivery is not None]
            kept = KeptTray(self._kept, pools, planned.peer_id, planned.agent, new_id, wall_offset)
        workers = HubWorkers(self._desk, _timeouts(planned), new_id, kept) if self._desk else None
        self._surroundings = Surroundings(workers, self._teams, self._lobbies)
        self.workload = Workload(
            code,
            self._surroundings,
            self._courier,
            capacity=planned.concurrency,
            wall_offset=wall_offset,
            new_id=new_id,
            log=log,
            changed=changed,
            recorder=recorder,
        )
        self.workload.leasing = self._leasing(store, uniform)
        self._ticker.add(self.workload.next_tick, self.workload.tick)
        for team in self._teams.values():
            self._ticker.add(team.next_tick, team.tick)
        for state in self._states.values():
            self._ticker.add(state.next_tick, state.tick)
        for lobby in self._lobbies.values():
            self._ticker.add(lobby.next_tick, lobby.tick)
        if self._desk is not None:
            self._ticker.add(self._desk.dispatcher.next_tick, self._desk.tick)
        if self._kept is not None:
            self._ticker.add(self._kept.engine.next_tick, self._kept.tick)
        self._handlers = Owned()
        """Of events, presence and disconnects: those that run."""
        self._timers = Owned()
        self._target: Any = code.target
        self._prepared = self.workload.prepared
        """Set once `setup` is over: no handler runs before."""
        self._online = asyncio.Event()
        self._closing = False

    # -- its life

    async def start(self) -> None:
        """Make the agent, hold the channels of the plan, and open the inbox last, when everything else is in place."""
        self._target = self.workload.target = self._made()
        planned = self._planned
        opening = [channel for channel in (planned.inbox, planned.pool) if channel is not None]
        for channel in dict.fromkeys((*planned.observe, *planned.subscribe)):
            if channel not in opening:
                await self._hold(channel)
        await self._lifecycle("setup")
        self._prepared.set()
        for handler in self._code.timers:
            self._timers.start(self._repeat(handler), handler.where)
        for channel in opening:
            await self._hold(channel)
        if self.workload.leasing is not None:
            self.workload.leasing.start()

    async def _hold(self, channel: str) -> None:
        """Subscribe, however often the connection ends meanwhile. `run` has to follow it while this waits."""
        while True:
            await self._online.wait()
            try:
                await self._connection.subscribe(channel)
            except (NotConnected, ConnectionLost, AckTimeout):
                await asyncio.sleep(0)  # the connection is about to say so itself
            else:
                return

    async def run(self, heard: Callable[[events.ClientEvent], None] = lambda _event: None) -> None:
        """Follow the connection to its end; `heard` is told of each event first."""
        async for event in self._connection.events():
            heard(event)
            if not self._closing:
                self._handle(event)

    def revise(self, planned: topology.Replica) -> None:
        """Take up who else there is by now: the peers of pools, the members of teams and lobbies.

        It is for the event loop that it runs in, at any time from the constructor to `close`. Raises `ValueError` where
        anything else differs that a process cannot take up while it runs; then nothing has changed.
        """
        if told_apart(self._planned, planned) == "restarted":
            raise ValueError(f"{self._planned.peer_id} would have to be started again to be what it is told to be now")
        self._planned = planned
        for team in planned.teams:
            self._states[team.channel].revise(team)
        for lobby in planned.lobbies:
            self._lobbies[lobby.name].revise(lobby)
        if self._desk is not None:
            self._desk.revise([_pool(pool) for pool in planned.pools if pool.delivery is None])
        if self._kept is not None:
            self._kept.revise([_pool(pool) for pool in planned.pools if pool.delivery is not None])

    async def drain(self, seconds: float) -> bool:
        """Take nothing new, end what was taken, and say goodbye; returns whether all of it ended in time."""
        self.workload.intake.drain()
        try:
            async with asyncio.timeout(seconds):
                for channel in (self._planned.pool, self._planned.inbox):
                    if channel is not None:
                        with contextlib.suppress(ConnectionProblem):  # without a connection nothing new comes in either
                            await self._connection.unsubscribe(channel)
                await self.workload.drained()
                if self._kept is not None:
                    await self._kept.flushed()
                while len(self._handlers):  # what hears of the last disconnect, too
                    await self._handlers.settled(seconds)
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Cancel what is left, then call `teardown`, if `setup` has been through."""
        self._closing = True
        try:
            await self.workload.close()
            await self._timers.close()
            await self._handlers.close()
            if self._prepared.is_set():
                await self._torn_down()
            if self._desk is not None:
                self._desk.cancel_all()
            if self._kept is not None:
                await self._kept.close(GOODBYE_SECONDS)
            await self._courier.settled(GOODBYE_SECONDS)
        finally:
            self._ticker.close()
            await self._courier.close()

    # -- what the connection says

    def _handle(self, event: events.ClientEvent) -> None:
        match event:
            case events.MessageReceived(channel=channel, sender=sender, data=data):
                self._message(channel, sender, bytes(data))
            case events.DirectReceived(sender=sender, data=data):
                self._direct(sender, bytes(data))
            case events.PresenceReceived():
                self._present(event)
            case events.Connected(resumed=again):
                self._connected(again=again)
            case events.Disconnected():
                self._disconnected(event)
            case _:
                self._log.debug(type(event).__name__)

    def _message(self, channel: str, sender: str, data: bytes) -> None:
        payload = decode_payload(data)
        team = next((team for team in self._teams.values() if team.channel == channel), None)
        if payload is None:
            self._log.debug("a message of unknown shape was passed over", channel=channel, peer=sender)
        elif team is None:
            if channel != self._planned.inbox or not self.workload.receive(sender, payload):
                self._log.debug("a message that belongs nowhere was passed over", channel=channel, peer=sender)
        elif isinstance(payload, EventNotice):
            self._event(payload, sender)
        elif isinstance(payload, ClaimTalk):
            team.receive(sender, payload)
        elif isinstance(payload, StateTalk):
            self._states[channel].receive(sender, payload)

    def _direct(self, sender: str, data: bytes) -> None:
        payload = decode_payload(data)
        if payload is None:
            self._log.debug("a message of unknown shape was passed over", peer=sender)
        elif isinstance(payload, StateDirect):
            if payload.channel in self._states:
                self._states[payload.channel].receive(sender, payload)
        elif self._kept is not None and self._kept.receive(sender, payload):
            pass
        elif not self.workload.receive(sender, payload) and self._desk is not None:
            self._desk.receive(sender, payload)

    def _present(self, event: events.PresenceReceived) -> None:
        for team in self._teams.values():
            if team.channel == event.channel:
                team.present(event.joined, event.left, whole=event.snapshot)
        for lobby in self._lobbies.values():
            if lobby.channel == event.channel:
                lobby.present(event.joined, event.left, whole=event.snapshot)
        if self._desk is not None:
            self._desk.present(event.channel, event.joined, event.left, whole=event.snapshot)
        if self._kept is not None:
            self._kept.present(event.channel, event.joined, event.left, whole=event.snapshot)

    def _connected(self, *, again: bool) -> None:
        self._online.set()
        if again and self._recorder is not None:
            self._recorder.reconnected()
        for team in self._teams.values():
            team.connected(again=again)
        if self._desk is not None:
            self._desk.connected()
        if self._kept is not None:
            self._kept.connected()
        self.workload.connected()

    def _disconnected(self, event: events.Disconnected) -> None:
        self._online.clear()
        if not event.will_reconnect:
            self.workload.unheard()
        for team in self._teams.values():
            team.disconnected()
        for lobby in self._lobbies.values():
            lobby.disconnected()
        if self._desk is not None:
            self._desk.disconnected()
            if not event.will_reconnect:
                self._desk.fail(NotConnected(f"the connection to the hub is over: {event.reason or event.code}"))
        if self._kept is not None:
            self._kept.disconnected()
            if not event.will_reconnect:
                self._kept.fail(NotConnected(f"the connection to the hub is over: {event.reason or event.code}"))
        told = Disconnected(event.code, event.reason, event.will_reconnect)
        for handler in self._code.disconnects:
            self._start(handler, told, sender="")

    # -- handlers of what is no task

    def _event(self, notice: EventNotice, sender: str) -> None:
        for handler in self._code.events.get(notice.event, ()):
            message = next(one for one in handler.messages if one.__name__ == notice.event)
            try:
                event = cast("type[BaseModel]", message).model_validate_json(bytes(notice.payload))
            except ValidationError as error:
                first = error.errors(include_url=False, include_input=False)[0]
                self._log.warning("an event does not fit its type", name=notice.event, peer=sender, error=first["msg"])
                return
            except Exception as raised:  # noqa: BLE001 - validators are the user's, and nobody waits for an event
                self._failed(handler, raised)
                return
            self._start(handler, event, sender=sender)

    def _presence_changed(self, change: Change) -> None:
        for handler in self._code.presence:
            if isinstance(change, handler.messages):
                self._start(handler, change, sender=change.peer.id)

    def _start(self, handler: Handler, message: object, *, sender: str) -> None:
        if len(self._handlers) >= HANDLERS_AT_ONCE:
            self._log.error("too many handlers are running, a message was dropped", handler=handler.where, peer=sender)
            return
        self._handlers.start(self._call(handler, message, sender), handler.where)

    async def _call(self, handler: Handler, *message: object) -> None:
        *arguments, sender = message
        context = MessageContext(self._surroundings, self._log, sender=str(sender))
        await self._prepared.wait()
        try:
            await self.workload.invoker.call(handler, getattr(self._target, handler.name), *arguments, context)
        except asyncio.CancelledError as raised:
            here = asyncio.current_task()
            if here is None or here.cancelling():
                raise
            self._failed(handler, raised)  # something that it waited for was cancelled
        except (Exception, SystemExit, KeyboardInterrupt) as raised:  # noqa: BLE001 - nobody waits for this handler, so the log is where its failure goes
            self._failed(handler, raised)

    def _failed(self, handler: Handler, raised: BaseException) -> None:
        told = fault(raised)
        said = f"{told.failure.type}: {told.failure.message}"
        self._log.error("handler failed", handler=handler.where, error=said, exception=told.frames)

    async def _repeat(self, handler: Handler) -> None:
        while True:
            await asyncio.sleep(handler.record.seconds)
            await self._call(handler, "")

    def _claiming(
        self, seat: topology.TeamSeat, leases: Leases | None, wall_offset: float, new_id: Callable[[], str]
    ) -> Claiming:
        me, courier = self._planned.peer_id, self._courier
        if not seat.strong:
            changed = self._ticker.rearm
            return MessageClaims(me, seat.channel, seat.ttl, courier, wall_offset=wall_offset, changed=changed)
        if leases is None:
            raise HandlerError(f"team {seat.name!r}: strong claims are kept in a store, and this process reaches none")
        return StoreClaims(me, seat.name, seat.channel, seat.ttl, courier, leases, new_id=new_id, log=self._log)

    def _kept_desk(self, store: Store | None) -> KeptDesk | None:
        """Return what gives out the tasks that are kept in a store; `None` = there are no such workers."""
        pools = [pool for pool in self._planned.pools if pool.delivery is not None]
        if not pools:
            return None
        if store is None:
            names = listed([pool.agent for pool in pools])
            raise HandlerError(f"the tasks of {names} are kept in a store, and this process reaches none")
        engine = KeptTasks(Workforce(map(_pool, pools)))
        return KeptDesk(engine, store.tasks, self._courier, self._log, self._ticker.rearm)

    def _leasing(self, store: Store | None, uniform: Callable[[float, float], float]) -> Leasing | None:
        """Return what takes this worker's tasks from a store; `None` = they come in messages."""
        if self._planned.delivery is None:
            return None
        if store is None:
            raise HandlerError("the tasks of this agent are kept in a store, and this process reaches none")
        return Leasing(
            store.tasks,
            self._planned.agent,
            self._planned.peer_id,
            self._planned.capabilities,
            room=lambda: self.workload.intake.room,
            begin=self.workload.begin,
            lost=self.workload.lost,
            uniform=uniform,
            log=self._log,
        )

    def _made(self) -> Any:
        """Make an instance of the agent's class, given its relations by name; a module is its own instance."""
        if not isinstance(self._code.target, type):
            return self._code.target
        given: dict[str, Any] = {}
        for attribute, kind in self._code.relations.items():
            known: Mapping[str, Any] = self._teams if kind == "team" else self._lobbies
            if kind == "workers":
                given[attribute] = self._surroundings.workers
            else:
                given[attribute] = next((known[name] for name in known if name.replace("-", "_") == attribute), None)
            if given[attribute] is None:
                raise HandlerError(
                    f"{self._code.target.__name__}.{attribute}: the topology gives this agent no such {kind}"
                )
        return self._code.target(**given)

    async def _torn_down(self) -> None:
        try:
            await self._lifecycle("teardown")
        except Exception as raised:  # noqa: BLE001 - `teardown` is the user's, and what follows it has to happen
            told = fault(raised)
            said = f"{told.failure.type}: {told.failure.message}"
            self._log.error("teardown failed", error=said, exception=told.frames)

    async def _lifecycle(self, name: str) -> None:
        method = getattr(self._target, name, None) if isinstance(self._code.target, type) else None
        if method is not None:
            result = method()
            if inspect.isawaitable(result):
                await result


def _desk(planned: topology.Replica, courier: Courier, offset: float, log: Any, changed: Callable[[], None]) -> Desk:
    pools = [_pool(pool) for pool in planned.pools if pool.delivery is None]
    dispatcher = Dispatcher(planned.peer_id, Workforce(pools), wall_offset=offset)
    return Desk(dispatcher, courier, log, changed)


def _pool(planned: topology.Pool) -> Pool:
    return Pool(
        agent=planned.agent,
        handles={task.name: task.idempotent for task in planned.tasks},
        channel=planned.channel,
        peers=planned.peers,
        concurrency=planned.concurrency,
        capabilities=frozenset(planned.capabilities),
        in_parts=planned.channel is not None,  # a program of another kind joins no pool
    )


def _timeouts(planned: topology.Replica) -> dict[str, float]:
    return {task.name: pool.timeout for pool in planned.pools for task in pool.tasks}
