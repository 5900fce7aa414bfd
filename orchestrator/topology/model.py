"""What a topology file may say: one frozen class per kind of section, strict to the last key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import ClassVar, Final, Literal, NamedTuple, TypeVar

from orchestrator.errors import Problem
from orchestrator.topology import values as v
from orchestrator.topology.section import EMPTY, Section
from orchestrator.topology.yaml_nodes import Place, Steps


class Spot(NamedTuple):
    """Where a value stands, and its key; an item of a list is its own key."""

    key: Place
    value: Place


class Origin(NamedTuple):
    """Where a topology was read from, so that a mistake found later can still be pointed at."""

    source: str = "<topology>"
    """The file as the user named it."""
    path: Path = Path("topology.yaml")
    spots: Mapping[Steps, Spot] = EMPTY
    withheld: frozenset[str] = frozenset()
    """Environment variables that the `hub` and `store` sections were read from: they reach no agent."""
    texts: Mapping[str, str] = EMPTY
    """What was read, by the name of the file."""
    literals: Set[Steps] = frozenset()
    """Values that stand in a file as they are, and come from no variable."""
    profiled: Mapping[Place, str] = EMPTY
    """The profile in which a place is, for every place that is in one."""

    def __repr__(self) -> str:
        """Leave out what was read: it may hold secrets."""
        return f"Origin(source={self.source!r}, path={self.path!r}, withheld={self.withheld!r})"

    def spot(self, steps: Steps) -> Spot:
        """Return the place of a value, or of the nearest thing around it that stands in the file."""
        for end in range(len(steps), -1, -1):
            if steps[:end] in self.spots:
                return self.spots[steps[:end]]
        return Spot(Place(0, 0), Place(0, 0))

    def at_key(self, steps: Steps, sentence: str) -> Problem:
        return self.at_place(self.spot(steps).key, steps, sentence)

    def at_value(self, steps: Steps, sentence: str) -> Problem:
        """Point at a value, or at its key where the value spans lines of its own."""
        spot = self.spot(steps)
        beside = (spot.value.source, spot.value.line) == (spot.key.source, spot.key.line)
        return self.at_place(spot.value if beside else spot.key, steps, sentence)

    def at_place(self, place: Place, steps: Steps, sentence: str) -> Problem:
        profile = self.profiled.get(place)
        path = written(steps) if profile is None else written(("profiles", profile, *steps))
        return Problem(place.source or self.source, place.line, place.column, path, sentence)


def written(steps: Steps) -> str:
    """Return the way to a value as a reader writes it: ``teams.desk.members[1]``."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step[:64]}" for step in steps).removeprefix(".")


class Tls(Section):
    """The local hub's certificate and its key: PEM files, beside the topology or at an absolute path."""

    cert: v.FilePath
    key: v.FilePath


class Hub(Section):
    url: v.HubUrl = None
    listen: v.Listen = v.Address("127.0.0.1", 0)
    tls: Tls | None = None
    key: v.HubKey = None
    token_ttl: v.TokenLife = 900.0
    backplane: v.Backplane = "memory"
    """What joins several hubs into one; ``memory`` = there is one hub."""


class Restart(Section):
    """When a replica that ended is started again; delays in seconds, growing from the first to the largest."""

    condition: v.Condition = "on-failure"
    delay: v.Duration = 1.0
    max_delay: v.Duration = 60.0
    max_attempts: v.Attempts = 5
    """Restarts within `window` seconds after which the replica counts as failed."""
    window: v.PositiveDuration = 600.0


class Reconnect(Section):
    max_attempts: v.Attempts = 100
    max_delay: v.PositiveDuration = 30.0


class Defaults(Section):
    restart: Restart = Restart()
    reconnect: Reconnect = Reconnect()
    start_method: v.StartMethod = "fork"
    watchdog: v.Watchdog = 20.0
    """Seconds for which a handler may block its event loop; `None` = without limit."""


class Scopes(Section):
    """Grants beyond those that follow from the file."""

    subscribe: tuple[v.ChannelPattern, ...] = ()
    observe: tuple[v.ChannelPattern, ...] = ()
    publish: tuple[v.ChannelPattern, ...] = ()
    presence: tuple[v.ChannelPattern, ...] = ()
    send: tuple[v.PeerPattern, ...] = ()


class Backoff(Section):
    """Seconds before a task is tried again, growing from the first to the largest."""

    delay: v.Duration = 1.0
    max_delay: v.Duration = 60.0


class Tasks(Section):
    timeout: v.PositiveDuration = 120.0
    """Seconds that a task may take where its caller says nothing else."""
    delivery: v.Delivery = "at-most-once"
    max_attempts: v.Count | None = None
    """How often an at-least-once task is tried in all; `None` = 5."""
    backoff: Backoff = Backoff()


class Agent(Section, hidden=("environment",)):
    """What coordinators, workers and other agents have in common."""

    concurrency_default: ClassVar[int] = 16

    handler: v.HandlerRef | None = None
    command: tuple[v.Argument, ...] | None = None
    """What to run, word by word, where the agent is no handler of this package; never read by a shell."""
    external: v.Flag = False
    """It is run elsewhere: here it gets its place in the topology, and tokens; its handler, if given, is only read."""
    handles: tuple[v.MessageName, ...] = ()
    """The tasks that an agent without a handler takes."""
    enabled: v.Flag = True
    name: v.Label | None = None
    """What people read; `None` = the agent's name."""
    replicas: v.Count | None = None
    """`None` = one copy, whose peer id is the agent's name alone."""
    concurrency: v.Count | None = None
    """Tasks that one replica takes at once; `None` = 1 for a worker, 16 for others, which mostly wait for workers."""
    capabilities: tuple[v.Capability, ...] = ()
    restart: Restart | None = None
    """Keys that are not given here come from `defaults`."""
    reconnect: Reconnect | None = None
    start_method: v.StartMethod | None = None
    """How the process of a handler is started; `None` = as `defaults` says."""
    watchdog: v.Watchdog = None
    """As in `defaults`, and from there where it is not given."""
    environment: Mapping[v.VariableName, v.VariableValue] = EMPTY
    """Added to what the process inherits; kept out of every `repr`, for it may hold secrets."""
    inherit_environment: v.Flag = True
    tasks: Tasks = Tasks()
    scopes: Scopes = Scopes()


class Coordinator(Agent):
    workers: tuple[v.Name, ...]


class Worker(Agent):
    concurrency_default: ClassVar[int] = 1


class Claims(Section):
    consistency: v.Consistency | None = None
    """`None` = strong where a `store` is declared, and else best-effort."""
    ttl: v.PositiveDuration = 30.0
    """Seconds that a claim holds without a sign of life of its holder."""
    allow_unsafe_claims: v.Flag = False
    """Have strong claims even on a store that cannot keep them: a replicated Redis, where two may hold one item."""


class Team(Section):
    members: tuple[v.Name, ...]
    channel: v.Channel | None = None
    claims: Claims = Claims()


class Lobby(Section):
    members: tuple[v.Name, ...]
    watchers: tuple[v.Name, ...] = ()
    channel: v.Channel | None = None


class User(Section):
    asks: tuple[v.Name, ...] = ()
    token_ttl: v.TokenLife = 3600.0
    scopes: Scopes = Scopes()


class Topology(Section, beside=("origin",)):
    """A whole file. `load_topology` also checks what spans several sections; a topology built in code is not."""

    version: v.Version
    name: v.Name | None = None
    hub: Hub = Hub()
    store: v.StoreUrl | None = None
    """Where durable tasks and strong claims live; `None` = nowhere."""
    defaults: Defaults = Defaults()
    coordinators: Mapping[v.Name, Coordinator] = EMPTY
    workers: Mapping[v.Name, Worker] = EMPTY
    agents: Mapping[v.Name, Agent] = EMPTY
    teams: Mapping[v.Name, Team] = EMPTY
    presence: Mapping[v.Name, Lobby] = EMPTY
    users: Mapping[v.Name, User] = EMPTY

    origin: Origin = Origin()

    def each_agent(self) -> Iterator[tuple[str, str, Agent]]:
        """Yield section, name and entry of every agent, in the order in which they are planned."""
        for section in AGENT_SECTIONS:
            for name, agent in getattr(self, section).items():
                yield section, name, agent

    def restart_of(self, agent: Agent) -> Restart:
        return _filled(agent.restart, self.defaults.restart)

    def reconnect_of(self, agent: Agent) -> Reconnect:
        return _filled(agent.reconnect, self.defaults.reconnect)

    def start_method_of(self, agent: Agent) -> Literal["fork", "spawn"]:
        return agent.start_method or self.defaults.start_method

    def watchdog_of(self, agent: Agent) -> float | None:
        """Return seconds; `None` = without limit."""
        return agent.watchdog if "watchdog" in agent.given else self.defaults.watchdog


AGENT_SECTIONS: Final = ("coordinators", "workers", "agents")


Partial = TypeVar("Partial", bound=Section)


def _filled(own: Partial | None, default: Partial) -> Partial:
    """Return `own` with the keys that it does not give taken from `default`."""
    if own is None:
        return default
    return default.replace(**{key: getattr(own, key) for key in own.given})
