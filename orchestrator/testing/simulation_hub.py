"""The topology of one simulation: a `TestHub` whose parts are listened to, and to which a schedule of mishaps happens."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.patterns.roster import Joined
from orchestrator.runtime.courier import Owned
from orchestrator.testing.hub import TestHub
from orchestrator.testing.lives import AgentLife
from orchestrator.testing.simulation_faults import Crash, Gone, NoStore, Restart, Scene
from orchestrator.testing.simulation_network import StormyNetwork
from orchestrator.testing.simulation_record import Record
from orchestrator.testing.simulation_taps import tap_desk, tap_handlers, tap_user
from orchestrator.testing.simulation_teams import Holds
from orchestrator.topology.references import ASKER

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Mapping

    from orchestrator.agents.describe import AgentCode
    from orchestrator.client.connection import Client
    from orchestrator.patterns.roster import Change
    from orchestrator.protocol.tokens import SecretKey
    from orchestrator.runtime.replica import Replica
    from orchestrator.runtime.roster_view import RosterView
    from orchestrator.runtime.user import User
    from orchestrator.store.tasks import State
    from orchestrator.testing.lives import Life
    from orchestrator.testing.network import Network
    from orchestrator.testing.simulation_faults import Mishap, Schedule
    from orchestrator.topology.plan import Plan
    from orchestrator.topology.replica import Replica as Planned

DRAIN_SECONDS = 10.0
"""How long an agent that restarts in good order may finish what it works on."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A topology with its code, read once for many runs."""

    plan: Plan
    codes: Mapping[str, AgentCode]
    scene: Scene


class World(TestHub):
    """One run of a simulation: all that `TestHub` offers, for the workload and for invariants.

    `seed` is that of the run; `running` are the replicas that are alive, by peer id; `users` those that are connected.
    """

    def __init__(self, prepared: Prepared | None, topology: Any, *, seed: int, **options: Any) -> None:
        super().__init__(topology, seed=seed, **options)
        self.seed = seed
        self._prepared = prepared
        self._loop = asyncio.get_running_loop()
        self._workload_began = self._loop.time()
        self.stopped = asyncio.Event()
        """Set when an invariant is violated: nothing more is worth waiting for."""
        self.record = Record(self.elapsed, self.stopped.set)
        self.holds = Holds(self.record)
        self.users: dict[str, User] = {}
        self.clients: dict[str, Client] = {}
        """Of everybody who has been connected, by peer and start."""
        self.not_mine = asyncio.all_tasks()
        """Tasks that were there before."""
        self.views: dict[str, RosterView] = {}
        """What users see of lobbies, by user."""
        self._starts: Counter[str] = Counter()
        self._away: Counter[str] = Counter()
        """For each peer, the crashes and restarts that are not over."""
        self._stores_away: Counter[str] = Counter()
        self._gone: set[str] = set()
        self._turns: dict[str, asyncio.Lock] = {}
        self._watching: dict[str, list[asyncio.Task[None]]] = {}
        self._owned = Owned()

    def elapsed(self) -> float:
        """Return the virtual seconds since the workload has begun."""
        return self._loop.time() - self._workload_began

    @property
    def plan(self) -> Plan:
        return self._plan

    @property
    def network(self) -> StormyNetwork:
        assert isinstance(self._network, StormyNetwork)
        return self._network

    @property
    def running(self) -> dict[str, Replica]:
        return {peer: life.replica for peer, life in self._lives.items() if isinstance(life, AgentLife)}

    @property
    def tasks(self) -> dict[str, State]:
        """Return the states of all tasks in the store, by id."""
        return {} if self._store is None else {task_id: kept.state for task_id, kept in self._store.tasks._kept.items()}

    @property
    def plan_peers(self) -> tuple[str, ...]:
        return tuple(self._planned)

    def planned(self, peer: str) -> Planned:
        return self._planned[peer]

    def start_of(self, peer: str) -> int:
        """Return how often a peer was started by now."""
        return self._starts[peer]

    # -- how it is made

    def prepare(self) -> Prepared:
        """Read the topology and the code. Raises `TopologyError` or `HandlerError`."""
        self._resolve()
        agents = tuple(peer for peer, planned in self._planned.items() if self._can_run(planned))
        users = tuple(user.user for user in self._plan.users if user.user != ASKER)
        return Prepared(self._plan, self._codes, Scene(agents, users, store=self._store is not None))

    def _resolve(self) -> None:
        if self._prepared is None:
            super()._resolve()
        else:
            self._plan, self._codes = self._prepared.plan, dict(self._prepared.codes)
            self._planned = {replica.peer_id: replica for replica in self._plan.replicas}
            self._begin_store()

    def _make_network(self, key: SecretKey) -> Network:
        return StormyNetwork(
            key,
            self._refused,
            seed=self.seed,
            latency=self._latency,
            jitter=self._jitter,
            wrote=self.record.wrote,
        )

    def _life(self, peer: str) -> Life:
        life = super()._life(peer)
        self._starts[peer] += 1
        self.clients[f"{peer} ({self._starts[peer]})"] = life._client
        if isinstance(life, AgentLife):
            tap_handlers(life.replica.workload.invoker, self.record, peer, self._starts[peer])
            if life.replica._desk is not None:
                tap_desk(life.replica._desk, self.record, peer)
            for seat in life.replica._planned.teams:
                self.holds.tap(life.replica._teams[seat.name], seat, peer)
            lobbies = life.replica._surroundings.lobbies.values()
            work = [
                (self._watch(peer, lobby.name, lobby, set()), f"watch of {lobby.name} by {peer}") for lobby in lobbies
            ]
            self._watching[peer] = [self._owned.start(watch, name) for watch, name in work]
        return life

    async def _watch(self, peer: str, name: str, changes: AsyncIterable[Change], there: set[str]) -> None:
        """See that each join and each leave is told once; `there` are those who were when this began."""
        async for change in changes:
            who = change.peer.id
            if isinstance(change, Joined) == (who in there):
                kind = type(change).__name__
                self.record.violate("presence is told once", f"{peer} was told {kind}({who!r}) twice in {name!r}")
            (there.add if isinstance(change, Joined) else there.discard)(who)

    @asynccontextmanager
    async def user(self, name: str = ASKER, sub: str = "test") -> AsyncIterator[User]:
        async with super().user(name, sub) as user:
            tap_user(user, self.record)
            self.clients[user.peer_id] = user._client
            self.users[user.peer_id] = user
            try:
                yield user
            finally:
                del self.users[user.peer_id]

    @asynccontextmanager
    async def watchers(self) -> AsyncIterator[None]:
        """Have one user of each kind that may see a lobby watch it all the time."""
        async with AsyncExitStack() as stack:
            for planned in self._plan.users:
                for seat in [seat for seat in planned.lobbies if seat.watcher]:
                    user = await stack.enter_async_context(self.user(planned.user, f"watcher-of-{seat.name}"))
                    view = await stack.enter_async_context(user.presence(seat.channel, kind="agent"))
                    self.views[user.peer_id] = view
                    watch = self._watch(user.peer_id, seat.name, view, set(view.peers))
                    self._owned.start(watch, f"watch of {seat.name} by {user.peer_id}")
            yield

    # -- the storm

    def begin(self) -> None:
        """Say that the workload begins now."""
        self._workload_began = self._loop.time()

    async def storm(self, schedule: Schedule) -> None:
        """Have everything on the schedule happen, and return when all of it is over."""
        turns: list[tuple[float, int, bool, Mishap]] = []
        numbers = itertools.count()
        for at, mishap in schedule:
            turns += [(at, next(numbers), True, mishap), (at + mishap.lasting, next(numbers), False, mishap)]
        try:
            for at, _, begins, mishap in sorted(turns, key=lambda turn: turn[:2]):
                await asyncio.sleep(max(0.0, self._workload_began + at - self._loop.time()))
                self.record.note("mishap", f"{'begins' if begins else 'is over'}: {mishap!r}")
                if isinstance(mishap, Crash | Gone | Restart):
                    self._owned.start(self._life_or_death(mishap, begins=begins), f"{mishap!r}")
                elif isinstance(mishap, NoStore):
                    self._stores_away[mishap.peer] += 1 if begins else -1
                    self._storeless = {peer for peer, away in self._stores_away.items() if away}
                    self._cut_from_store()
                elif begins:
                    self.network.begin(mishap)
                else:
                    self.network.end(mishap)
            for lock in list(self._turns.values()):
                async with lock:
                    pass
        except asyncio.CancelledError:
            await self._owned.close()
            raise

    async def _life_or_death(self, mishap: Crash | Gone | Restart, *, begins: bool) -> None:
        peer = mishap.peer
        if not isinstance(mishap, Gone):
            self._away[peer] += 1 if begins else -1
        elif begins:
            self._gone.add(peer)
        async with self._turns.setdefault(peer, asyncio.Lock()):
            if begins and peer in self._lives:
                await self._end(peer, killed=not isinstance(mishap, Restart))
            elif not begins and not self._away[peer] and peer not in (*self._lives, *self._gone):
                try:
                    await self.start(peer)
                except Exception as error:  # noqa: BLE001 - whatever it is, it is what the simulation was made to find
                    self.record.violate("agents start", f"{peer}: {type(error).__name__}: {error}")

    async def _end(self, peer: str, *, killed: bool) -> None:
        for watch in self._watching.pop(peer, ()):
            watch.cancel()
        for call in self.record.open_calls():
            call.left = call.left or call.caller == peer
        if killed:
            self.holds.died(peer)
            await self.kill(peer)
        elif (life := self._lives.pop(peer, None)) is not None:
            if isinstance(life, AgentLife):
                await life.replica.drain(DRAIN_SECONDS)
            await life.close()

    async def _close_all(self) -> None:
        await self._owned.close()
        for call in self.record.open_calls():
            call.left = True
        await super()._close_all()
