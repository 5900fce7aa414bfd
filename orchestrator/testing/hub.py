"""A whole topology within one process and one event loop: the hub's core, the clients and the engines, and no sockets."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeVar, overload

from orchestrator.agents.describe import describe, read_agent
from orchestrator.agents.loading import load_handler
from orchestrator.errors import did_you_mean, listed
from orchestrator.protocol.globs import compiled
from orchestrator.protocol.tokens import Rate
from orchestrator.runtime.questions import ASK_TIMEOUT
from orchestrator.runtime.runner import fresh_key
from orchestrator.runtime.start_order import stop_ranks
from orchestrator.store.confined import ConfinedStore
from orchestrator.store.opening import MemoryStore
from orchestrator.testing.captured import Captured
from orchestrator.testing.lives import (
    AgentLife,
    Following,
    Life,
    StandIn,
    StandInLife,
    all_done,
    reconnects,
    token_source,
)
from orchestrator.testing.network import HUB, Network, Refusal
from orchestrator.testing.store import WayToStore
from orchestrator.topology.load import load_topology, parse_topology
from orchestrator.topology.plan import make_plan
from orchestrator.topology.references import ASKER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
    from types import ModuleType, TracebackType

    from orchestrator.agents.describe import AgentCode
    from orchestrator.agents.messages import StreamTask, Task
    from orchestrator.protocol.tokens import SecretKey
    from orchestrator.runtime.subscription import Message
    from orchestrator.runtime.user import User
    from orchestrator.topology.model import Topology
    from orchestrator.topology.plan import Plan
    from orchestrator.topology.replica import Replica

R = TypeVar("R")
C = TypeVar("C")

STORE: Final = "store"
SETTLED: Final = 0.1
"""Seconds, and a hundred latencies, after which everybody has heard of everybody who has just started."""


class TestHub:
    """Runs a topology for as long as the block that it is entered for, and is asked, watched and disturbed meanwhile.

    In a `FakeClock` all times are virtual; in another event loop they pass. Agents are named like in the topology, all
    their replicas meant, or by the peer id of one replica; users by theirs. Names that are neither raise `LookupError`.

    A store, whatever the topology says of it, is one in memory, empty at the beginning of each block.
    """

    __test__ = False  # a class of this name is no test

    def __init__(
        self,
        topology: str | Path | Sequence[Path],
        *,
        only: Collection[str] | None = None,
        handlers: Mapping[str, type | ModuleType] | None = None,
        stand_ins: Mapping[str, StandIn] | None = None,
        environ: Mapping[str, str] | None = None,
        profiles: Sequence[str] = (),
        seed: int = 0,
        latency: float = 0.001,
        jitter: float = 0.0,
        rate: tuple[float, int] | None = None,
    ) -> None:
        """`topology` is a file, several of them, or the text of one: a `str` of more than one line.

        - `only`: the agents or peers that are started; the others are absent until `start`. `None` = all.
        - `handlers`: a class or module for an agent, in place of what the file names.
        - `stand_ins`: for agents that are programs (`command:`, `external:`), an ``async def play(user, inbox)`` that is
          their connection and an async iterator of the messages that come for them; without one they stay absent.
        - `environ` fills in the file's variables; the process's own environment does not.
        - `seed` decides every delay that is drawn: the same seed and the same handlers, the same order of events.
        - `rate` is the message budget of each connection, in frames a second and at once, as hubs for many tenants have
          one; `None` is what `orchestrator run` gives: 100 and 200 for users, and none to agents.
        - Each frame is `latency` seconds on its way, and up to `jitter` more, in order within a connection.

        The file and the code are checked when the block is entered, which raises `TopologyError` or `HandlerError`.
        """
        self._source, self._profiles = topology, profiles
        self._only = only
        self._handlers, self._stand_ins, self._environ = handlers or {}, stand_ins or {}, environ or {}
        self._seed, self._latency, self._jitter = seed, latency, jitter
        self._rate: Rate | Literal["unlimited"] = Rate(*rate) if rate else "unlimited"
        self._stack = AsyncExitStack()
        self._lives: dict[str, Life] = {}
        self._planned: dict[str, Replica] = {}
        self._codes: dict[str, AgentCode] = {}
        self._plan: Plan
        self._network: Network
        self._store: MemoryStore | None = None
        """Of all agents together; `None` = nobody needs one."""
        self._storeless: set[str] = set()
        """Peers that do not reach the store."""
        self._captured = Captured(lambda: self.now)
        self._refused: list[Refusal] = []
        self._asker: User
        self._clock: Callable[[], float] = float
        """Of the event loop in which the block was entered."""
        self._began = 0.0
        self._open = False

    # -- life

    async def __aenter__(self) -> Self:
        if self._open:
            raise RuntimeError("this TestHub is entered already: make another one")
        self._clock = asyncio.get_running_loop().time
        self._began = self._clock()
        self._resolve()
        self._lives, self._open = {}, True
        key = self._key = replace(fresh_key(), rate=self._rate)
        self._refused = []
        self._network = self._make_network(key)
        self._captured = Captured(lambda: self.now)
        async with AsyncExitStack() as stack:
            stack.callback(self._ended)
            stack.enter_context(self._captured.instead())
            stack.push_async_callback(self._close_all)
            await self.start(*self._chosen())
            self._asker = await stack.enter_async_context(self.user(ASKER, "test-hub"))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    async def start(self, *names: str) -> None:
        """Start agents or single replicas that are absent, and return when they are ready and the others know of them.

        Raises what their constructor or `setup` raises; then none of them runs.
        """
        peers = [peer for name in names for peer in self._replicas(name) if peer not in self._lives]
        fresh = {peer: self._life(peer) for peer in dict.fromkeys(peers)}
        self._lives.update(fresh)
        try:
            await all_done([life.start() for life in fresh.values()])
        except BaseException:
            for peer, life in fresh.items():
                del self._lives[peer]
                await life.close()
            raise
        await asyncio.sleep(SETTLED + 100 * (self._latency + self._jitter))

    async def kill(self, name: str) -> None:
        """End an agent or replica like a process that is killed: no goodbye, no `teardown`, and it does not come back.

        What it works on is cancelled, so that, unlike in a killed process, `finally` blocks run; a plain `def` handler
        goes on in its thread, heard by nobody. `start` starts another one.
        """
        for peer in self._replicas(name):
            if (life := self._lives.pop(peer, None)) is not None:
                await life.kill()

    # -- asking

    async def run(self, agent: str, task: Task[R], *, timeout: float = ASK_TIMEOUT) -> R:
        """Hand an agent a task, as a user who may ask every agent, and return its reply. Raises like `User.run`."""
        return await self._asker.run(agent, task, timeout=timeout)

    @overload
    def stream(self, agent: str, asked: str, *, timeout: float = ASK_TIMEOUT) -> AsyncIterator[Any]: ...
    @overload
    def stream(self, agent: str, asked: StreamTask[C], *, timeout: float = ASK_TIMEOUT) -> AsyncIterator[C]: ...
    def stream(self, agent: str, asked: str | StreamTask[Any], *, timeout: float = ASK_TIMEOUT) -> AsyncIterator[Any]:
        """Ask an agent, in words or with a stream task, and yield its answer as it comes. Like `User.stream`."""
        return self._asker.stream(agent, asked, timeout=timeout)

    async def ask(self, agent: str, prompt: str, *, timeout: float = ASK_TIMEOUT) -> str:
        """Ask an agent in words and return the whole answer as text. Like `User.ask`."""
        return await self._asker.ask(agent, prompt, timeout=timeout)

    @asynccontextmanager
    async def user(self, name: str = ASKER, sub: str = "test") -> AsyncIterator[User]:
        """Connect a user that the topology declares, or ``cli``, who may ask every agent, as ``{name}/{sub}``."""
        declared = {user.user: user for user in self._plan.users}
        if name not in declared:
            raise LookupError(_unknown("user", name, declared))
        planned = declared[name]
        token = token_source(self._network, self._key, partial(planned.claims, sub), planned.token_ttl)
        following = Following(self._network.client(f"{name}/{sub}", token), self._network)
        try:
            yield await following.begin()
        finally:
            await following.end()

    # -- watching

    @property
    def now(self) -> float:
        """Seconds since the block was entered; may be read in any thread."""
        return round(self._clock() - self._began, 6)

    async def advance(self, seconds: float) -> None:
        """Let time pass: whatever is due until then has happened when this returns."""
        await asyncio.sleep(seconds)

    def agent(self, name: str) -> Any:
        """Return the object that a running replica made of its handler's class; of a module, the module."""
        (peer,) = self._replicas(name)
        life = self._lives.get(peer)
        if not isinstance(life, AgentLife):
            raise LookupError(f"{peer!r} is not running, or no handler of this package")
        return life.replica.workload.target

    async def events(self, channel: str) -> AsyncIterator[Message]:
        """Yield what is published on a channel, or on those that a pattern matches, from the start of the block on.

        It ends with the block. Of all channels together the latest 10,000 messages are remembered for whoever begins to
        read later, or lags behind.
        """
        wanted, network, seen = compiled(channel), self._network, 0
        while not network.over:
            seen = max(seen, network.publications - len(network.published))
            if seen == network.publications:
                network.news.clear()
                await network.news.wait()
                continue
            message = network.published[seen - network.publications]
            seen += 1
            if wanted.matches(message.channel):
                yield message

    @property
    def log(self) -> list[dict[str, Any]]:
        """What was logged, by agents, users and everybody else who uses structlog: `event`, `level`, `at`, and the rest.

        Records of agents hold their `agent` and `peer`.
        """
        return self._captured.records

    @property
    def refused(self) -> list[Refusal]:
        """What the hub has refused because a token does not allow it, from the first to the latest."""
        return self._refused

    # -- disturbing

    def drop(self, name: str) -> None:
        """Cut a connection on both sides. It comes back as its policy for reconnecting says; `advance` lets it.

        Raises `LookupError` for somebody who is not connected.
        """
        found = [self._network.sever(peer) for peer in self._peers(name)]
        if not any(found):
            raise LookupError(f"{name!r} is not connected")

    def partition(self, a: str, b: str) -> None:
        """Part two of them, until `heal`.

        Neither hears what the other publishes or sends, while the hub takes it and both stay connected. Where one of
        them is ``"hub"``, the connections of the other are half open: nothing passes either way, both sides take them
        for open until their heartbeats find out, and `heal` delivers what is left. Where one of them is ``"store"``, the
        other one gets no answer from the store.
        """
        if STORE in (a, b):
            self._storeless.update(self._replicas(b if a == STORE else a))
            self._cut_from_store()
            return
        self._network.part(self._peers(a), self._peers(b))

    def heal(self) -> None:
        """End all partitions."""
        self._network.heal()
        self._storeless.clear()
        self._cut_from_store()

    # -- how

    def _resolve(self) -> None:
        """Read the topology and the code behind it."""
        topology = self._read()
        agents = {name: agent for _, name, agent in topology.each_agent()}
        for what, given in (("handlers", self._handlers), ("stand_ins", self._stand_ins)):
            for name in given:
                if name not in agents:
                    raise LookupError(f"{what}: {_unknown('agent', name, agents)}")
        targets: dict[str, type | ModuleType] = {}
        changed = {}
        for name, target in self._handlers.items():
            reference = f"{name}:{getattr(target, '__name__', '')}"
            targets[reference] = target
            changed[name] = agents[name].replace(handler=reference, command=None, external=False, handles=())
        topology = _with_agents(topology, changed)
        directory = topology.origin.path.resolve().parent
        for _, _, agent in topology.each_agent():
            if agent.handler is not None and agent.handler not in targets:
                targets[agent.handler] = load_handler(agent.handler, directory)
        self._plan = make_plan(topology, {name: describe(name, target) for name, target in targets.items()})
        self._begin_store()
        self._codes = {name: read_agent(name, target) for name, target in targets.items()}
        self._planned = {replica.peer_id: replica for replica in self._plan.replicas}

    def _begin_store(self) -> None:
        """Begin with an empty store, if the plan has one, wherever that says it is."""
        dice = random.Random(f"store/{self._seed}")  # noqa: S311 - no secret
        self._store = None if self._plan.store is None else MemoryStore(self._clock, dice)
        self._storeless = set()

    def _make_network(self, key: SecretKey) -> Network:
        return Network(key, self._refused, seed=self._seed, latency=self._latency, jitter=self._jitter)

    def _read(self) -> Topology:
        source, environ, profiles = self._source, self._environ, self._profiles
        if isinstance(source, str) and "\n" in source:
            path = Path("topology.yaml").absolute()
            return parse_topology(source.encode(), environ, source="topology.yaml", path=path, profiles=profiles)
        return load_topology(Path(source) if isinstance(source, str) else source, environ, profiles)

    def _chosen(self) -> list[str]:
        """Return the peers to start, those who take work before those who hand it out."""
        names = list(self._planned) if self._only is None else list(self._only)
        peers = {peer: self._planned[peer] for name in names for peer in self._replicas(name)}
        ranks = stop_ranks(self._plan)
        possible = [peer for peer, planned in peers.items() if self._only is not None or self._can_run(planned)]
        return sorted(possible, key=lambda peer: ranks[peers[peer].agent], reverse=True)

    def _can_run(self, planned: Replica) -> bool:
        return planned.agent in self._stand_ins or (planned.handler is not None and not planned.external)

    def _life(self, peer: str) -> Life:
        planned, network = self._planned[peer], self._network
        if not self._can_run(planned):
            raise LookupError(f"{peer!r} is a program: give it a stand-in, or a handler")
        instance = f"{peer}-{network.next_number()}"
        token = token_source(
            network, self._key, lambda exp: planned.claims(exp=exp, instance=instance), self._plan.hub.token_ttl
        )
        client = network.client(peer, token, reconnect=reconnects(planned))
        if planned.agent in self._stand_ins:
            return StandInLife(planned, self._stand_ins[planned.agent], network, client)
        log = self._captured.logger(agent=planned.agent, peer=peer)
        return AgentLife(planned, self._codes[planned.handler or ""], network, client, log, self._way_to_store(planned))

    def _way_to_store(self, planned: Replica) -> WayToStore | None:
        if self._store is None or planned.store is None:
            return None
        own = ConfinedStore(self._store, planned.peer_id, planned.store)
        return WayToStore(own, cut=planned.peer_id in self._storeless)

    def _replicas(self, name: str) -> tuple[str, ...]:
        """Return the peer ids of an agent, or that of a replica."""
        if name in self._planned:
            return (name,)
        found = tuple(replica.peer_id for replica in self._plan.replicas_of(name))
        if not found:
            raise LookupError(_unknown("agent", name, [*self._planned, *(one.agent for one in self._plan.replicas)]))
        return found

    def _peers(self, name: str) -> tuple[str, ...]:
        return (name,) if name == HUB or "/" in name else self._replicas(name)

    def _cut_from_store(self) -> None:
        for peer, life in self._lives.items():
            if isinstance(life, AgentLife) and life.store is not None:
                life.store.cut = peer in self._storeless

    async def _close_all(self) -> None:
        """End whoever runs, those who hand out work first."""
        lives, self._lives = self._lives, {}
        await all_done([life.close() for life in reversed(lives.values())])

    def _ended(self) -> None:
        self._open = False
        self._network.stop()
        if self._network.faults:
            raise self._network.faults[0]


def _with_agents(topology: Topology, changed: Mapping[str, Any]) -> Topology:
    """Return the topology with some of its agents replaced."""
    if not changed:
        return topology
    sections = {
        section: {name: changed.get(name, agent) for name, agent in getattr(topology, section).items()}
        for section in ("coordinators", "workers", "agents")
    }
    return topology.replace(**sections)


def _unknown(kind: str, name: str, known: Collection[str]) -> str:
    return f"there is no {kind} {name!r}{did_you_mean(name, known) or f'; there are {listed(dict.fromkeys(known))}'}"
