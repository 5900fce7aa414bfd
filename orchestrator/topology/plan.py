"""The plan: what a topology comes to, replica by replica, with every peer id, channel and grant spelt out."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from orchestrator.errors import TopologyError
from orchestrator.protocol import limits
from orchestrator.protocol.codes import Action
from orchestrator.protocol.names import is_minted_peer_id
from orchestrator.protocol.tokens import Claims, Grants, SecretKey, compact_size
from orchestrator.topology.delivery import access_to_store, claims_are_strong, durable_delivery, is_on_this_machine
from orchestrator.topology.fit import Fit, check_fit, unreached_workers
from orchestrator.topology.handlers import HandledTask, HandlerFault, HandlerReport, declared_tasks
from orchestrator.topology.references import ASKER
from orchestrator.topology.replica import (
    DurableDelivery,
    LobbySeat,
    Pool,
    ReconnectLimits,
    Replica,
    RestartPolicy,
    Role,
    TeamSeat,
)
from orchestrator.topology.scopes import (
    Relations,
    Scope,
    agent_scope,
    asker_scope,
    inbox_channel,
    lobby_channel,
    peers_of,
    pool_channel,
    team_channel,
    user_scope,
)
from orchestrator.topology.token_sizes import LONGEST, SOME_TIME, excess_size, is_short

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from orchestrator.errors import Problem
    from orchestrator.topology.model import Agent, Topology

__all__ = [
    "DurableDelivery",
    "HubPlan",
    "LobbySeat",
    "Plan",
    "Pool",
    "ReconnectLimits",
    "Replica",
    "RestartPolicy",
    "Role",
    "TeamSeat",
    "UserPlan",
    "make_plan",
]


@dataclass(frozen=True, slots=True)
class UserPlan:
    """One kind of user; each person or program of it has a peer id of its own, ``{user}/{sub}``."""

    user: str
    asks: tuple[str, ...]
    ask_peers: dict[str, tuple[str, ...]]
    """The peer ids of each agent that it may ask."""
    lobbies: tuple[LobbySeat, ...]
    token_ttl: float
    """Seconds."""
    observe: tuple[str, ...]
    channels: tuple[str, ...]
    permissions: frozenset[Action]
    grants: Grants
    metadata: dict[str, Any]
    """Told in private to whoever connects: which peers it may ask."""

    def claims(self, sub: str, exp: int) -> Claims:
        """Return the claims of one user's token. Raises `ValueError` when `sub` cannot be part of a peer id."""
        peer_id = f"{self.user}/{sub}"
        if not sub or "/" in sub or not is_minted_peer_id(peer_id):
            longest = limits.MAX_PEER_ID - len(self.user) - 1
            raise ValueError(f"a user's name has 1 to {longest} printable ASCII characters and no '/', unlike {sub!r}")
        return Claims(
            sub=peer_id,
            exp=exp,
            channels=self.channels,
            permissions=self.permissions,
            metadata=self.metadata,
            peer_metadata={"kind": "user", "user": self.user, "name": sub},
            grants=self.grants,
        )


class HubPlan(NamedTuple):
    """Where the hub is; `url` is `None` for one that is started along with the agents."""

    url: str | None
    host: str
    port: int
    """0 = any free one."""
    token_ttl: float
    """Seconds that an agent's token is valid."""
    key: SecretKey | None = None
    """`None` = a fresh one for this run."""
    backplane: str | None = None
    """Address of the engine that joins it to the hubs of other machines, which may hold a password; `None` = it is alone."""

    tls: tuple[Path, Path] | None = None
    """Absolute paths of the certificate of a hub that is started, and of its key."""

    def __repr__(self) -> str:
        return f"HubPlan(url={self.url!r}, host={self.host!r}, port={self.port!r}, token_ttl={self.token_ttl!r}, …)"


@dataclass(frozen=True, slots=True)
class Plan:
    name: str
    source: Path
    directory: Path
    """Where the topology file lies, and its handlers are looked for first."""
    hub: HubPlan
    replicas: tuple[Replica, ...]
    users: tuple[UserPlan, ...]
    withheld: frozenset[str] = frozenset()
    """Environment variables that no agent process inherits, because the hub's key or address came from them."""
    warnings: tuple[Problem, ...] = ()
    app_dir: Path | None = None
    """Where handlers are looked for instead; `None` = in `directory`, and in the project around it."""
    store: str | None = field(default=None, repr=False)
    """Address of the store, which may hold a password; `None` where no replica needs one, whether or not the file declares
    it. The path of a file in it starts from `directory`."""
    elsewhere: frozenset[str] = frozenset()
    """Peer ids of replicas that another run of the same topology starts; those that are external are not among them."""

    @property
    def here(self) -> tuple[Replica, ...]:
        """The replicas that this run starts."""
        return tuple(
            replica for replica in self.replicas if not replica.external and replica.peer_id not in self.elsewhere
        )

    @property
    def serves_store(self) -> bool:
        """Whether the store lives in a process of the run; an engine that several machines share is there by itself."""
        return self.store is not None and is_on_this_machine(self.store)

    @property
    def shared_store(self) -> str | None:
        """The address of a store that is reached from several machines; `None` = there is none, or one of the run."""
        return None if self.serves_store else self.store

    def replicas_of(self, agent: str) -> tuple[Replica, ...]:
        return tuple(replica for replica in self.replicas if replica.agent == agent)

    def user(self, name: str) -> UserPlan:
        """Return one kind of user. Raises `KeyError` for one that the topology does not declare."""
        for user in self.users:
            if user.user == name:
                return user
        raise KeyError(name)


def make_plan(topology: Topology, reports: Mapping[str, HandlerReport | HandlerFault] | None) -> Plan:
    """Resolve a topology that `load_topology` returned.

    `reports` holds what each handler declares; `None` leaves the code out of it, and pools then know no tasks.
    Raises `TopologyError` with everything in which file and code do not fit, or that no token could hold.
    """
    relations = Relations.of(topology, reports)
    fit = Fit() if reports is None else check_fit(relations, reports)
    resolving = _Resolving(topology, relations, {} if reports is None else reports)
    replicas = tuple(
        replica for section, name, _ in topology.each_agent() for replica in resolving.replicas(section, name)
    )
    users = (*(resolving.user(name) for name in topology.users), resolving.asker())
    problems = sorted([*fit.problems, *resolving.problems])
    if problems:
        raise TopologyError(problems, texts=topology.origin.texts)
    hub, origin = topology.hub, topology.origin
    name = topology.name or _plain_name(origin.path.stem)
    return Plan(
        name=name,
        source=origin.path,
        directory=origin.path.resolve().parent,
        hub=HubPlan(
            hub.url,
            hub.listen.host,
            hub.listen.port,
            hub.token_ttl,
            hub.key,
            _backplane_of(hub.backplane, name),
            _certificate(topology),
        ),
        replicas=replicas,
        users=users,
        withheld=origin.withheld,
        warnings=tuple(sorted([*fit.warnings, *unreached_workers(relations)])),
        store=_store_of(topology, name) if any(replica.store for replica in replicas) else None,
    )


def _backplane_of(address: str, name: str) -> str | None:
    """Return the address of what joins the hub to others, within what is the topology's own where it names nothing else;
    `None` for a hub that is alone."""
    if address == "memory":
        return None
    scheme, _, rest = address.partition("://")
    servers, _, namespace = rest.partition("/")
    return address if namespace.strip("/") else f"{scheme}://{servers}/{name}"


def _certificate(topology: Topology) -> tuple[Path, Path] | None:
    if topology.hub.tls is None:
        return None
    from orchestrator.topology.certificates import files_of  # few have one

    return files_of(topology)


def _store_of(topology: Topology, name: str) -> str:
    """Return the address of the store: that of the file, or one for the plan of this name, beside the file."""
    return topology.store or f"sqlite:///.orchestrator/{name}.db"


_ROLES: Final[dict[str, Role]] = {"coordinators": "coordinator", "workers": "worker", "agents": "agent"}
ASKER_TOKEN_LIFE: Final = 3600.0


def _plain_name(stem: str) -> str:
    """Return a file's stem as a name."""
    return re.sub("[^a-z0-9_-]+", "-", stem.lower()).strip("-") or "topology"


class _Resolving:
    """The replicas and users of one topology; `problems` gathers what no token could hold."""

    def __init__(
        self, topology: Topology, relations: Relations, reports: Mapping[str, HandlerReport | HandlerFault]
    ) -> None:
        self.topology, self.relations, self.reports = topology, relations, reports
        self.problems: list[Problem] = []

    def replicas(self, section: str, name: str) -> tuple[Replica, ...]:
        """Return the replicas of one agent, which differ in their number and what follows from it only."""
        topology, entry = self.topology, self.relations.agents[name]
        peers, is_worker = peers_of(name, entry), self.relations.takes_tasks(name)
        pools, teams, lobbies = self.pools(name), self.teams(name), self.lobbies(name)
        restart, reconnect = topology.restart_of(entry), topology.reconnect_of(entry)
        delivery, access = durable_delivery(entry), access_to_store(self.relations, name)
        started = self.started(entry)
        replicas = []
        for number, peer in enumerate(peers, start=1):
            replica = None if entry.replicas is None else number
            scope = agent_scope(self.relations, name, peer)
            if number == 1:
                self.note_excess(scope, (section, name))
            replicas.append(
                Replica(
                    agent=name,
                    replica=replica,
                    peer_id=peer,
                    handler=entry.handler,
                    role=_ROLES[section],
                    name=entry.name or name,
                    concurrency=self.concurrency(name),
                    capabilities=entry.capabilities,
                    peer_metadata=_peer_metadata(
                        name, replica, entry.name or name, _ROLES[section], entry.capabilities
                    ),
                    environment=dict(entry.environment),
                    inbox=inbox_channel(peer) if is_worker else None,
                    pool=pool_channel(name) if is_worker and entry.handler is not None else None,
                    pools=pools,
                    teams=teams,
                    lobbies=lobbies,
                    subscribe=scope.ready_subscribe,
                    observe=scope.ready_observe,
                    channels=scope.channels,
                    permissions=scope.permissions,
                    grants=scope.grants,
                    inherit_environment=entry.inherit_environment,
                    restart=RestartPolicy(**restart.as_dict()),
                    reconnect=ReconnectLimits(**reconnect.as_dict()),
                    command=entry.command or (),
                    external=entry.external,
                    delivery=delivery,
                    store=access,
                    **started,
                )
            )
        longest = replicas[-1]  # the id of the last one has the most digits
        if not is_short(longest):
            self.note_size(longest.claims(exp=SOME_TIME, instance=LONGEST), (section, name))
        return tuple(replicas)

    def started(self, entry: Agent) -> dict[str, Any]:
        """Return how the process of an agent is started and watched: for a handler that runs here as the file says."""
        if entry.handler is None or entry.external:
            return {}
        return {
            "start_method": self.topology.start_method_of(entry),
            "watchdog": self.topology.watchdog_of(entry),
        }

    def concurrency(self, name: str) -> int:
        entry = self.relations.agents[name]
        return entry.concurrency_default if entry.concurrency is None else entry.concurrency

    def pools(self, name: str) -> tuple[Pool, ...]:
        coordinator = self.topology.coordinators.get(name)
        return () if coordinator is None else tuple(map(self.pool, coordinator.workers))

    def pool(self, worker: str) -> Pool:
        entry = self.relations.agents[worker]
        return Pool(
            agent=worker,
            channel=None if entry.handler is None else pool_channel(worker),
            peers=peers_of(worker, entry),
            concurrency=self.concurrency(worker),
            capabilities=entry.capabilities,
            tasks=self.tasks(entry),
            timeout=entry.tasks.timeout,
            delivery=durable_delivery(entry),
        )

    def tasks(self, entry: Agent) -> tuple[HandledTask, ...]:
        if entry.handler is None:
            return declared_tasks(entry.handles)
        report = self.reports.get(entry.handler)
        return report.tasks if isinstance(report, HandlerReport) else ()

    def teams(self, name: str) -> tuple[TeamSeat, ...]:
        return tuple(
            TeamSeat(
                name=team,
                channel=team_channel(self.topology, team),
                members=tuple(
                    peer
                    for member in self.topology.teams[team].members
                    for peer in peers_of(member, self.relations.agents[member])
                ),
                strong=claims_are_strong(self.topology, team),
                ttl=self.topology.teams[team].claims.ttl,
                unsafe=self.topology.teams[team].claims.allow_unsafe_claims,
            )
            for team in self.relations.teams.get(name, ())
        )

    def lobbies(self, name: str) -> tuple[LobbySeat, ...]:
        seats = []
        for lobby in self.relations.lobbies.get(name, ()):
            entry = self.topology.presence[lobby]
            channel = lobby_channel(self.topology, lobby)
            member, watcher = name in entry.members, name in entry.watchers
            seats.append(LobbySeat(lobby, channel, member, watcher, members=tuple(entry.members)))
        return tuple(seats)

    def user(self, name: str) -> UserPlan:
        entry, scope = self.topology.users[name], user_scope(self.relations, name)
        self.note_excess(scope, ("users", name))
        plan = self.user_plan(name, entry.asks, scope, entry.token_ttl)
        if compact_size(plan.metadata) > limits.MAX_METADATA:
            sentence = (
                f"it may ask so many peers that their list exceeds the {limits.MAX_METADATA} bytes a token has for it"
            )
            self.problems.append(self.topology.origin.at_key(("users", name), sentence))
        else:
            self.note_size(plan.claims("x" * (limits.MAX_PEER_ID - len(name) - 1), SOME_TIME), ("users", name))
        return plan

    def asker(self) -> UserPlan:
        """Return the built-in user, whose list of peers is left out where it is too long for a token."""
        plan = self.user_plan(ASKER, tuple(self.relations.agents), asker_scope(self.relations), ASKER_TOKEN_LIFE)
        return plan if compact_size(plan.metadata) <= limits.MAX_METADATA else replace(plan, metadata={})

    def user_plan(self, name: str, asks: tuple[str, ...], scope: Scope, token_ttl: float) -> UserPlan:
        ask_peers = {agent: peers_of(agent, self.relations.agents[agent]) for agent in asks}
        return UserPlan(
            user=name,
            asks=asks,
            ask_peers=ask_peers,
            lobbies=self.lobbies(name),
            token_ttl=token_ttl,
            observe=scope.ready_observe,
            channels=scope.channels,
            permissions=scope.permissions,
            grants=scope.grants,
            metadata=_told(ask_peers, [agent for agent in asks if self.relations.agents[agent].handler is None]),
        )

    def note_excess(self, scope: Scope, steps: tuple[str, str]) -> None:
        excess = scope.excess()
        if excess is not None:
            self.problems.append(
                self.topology.origin.at_key(steps, f"this asks for more than a token can say: {excess}")
            )

    def note_size(self, claims: Claims, steps: tuple[str, str]) -> None:
        key = self.topology.hub.key
        sentence = excess_size(claims, None if key is None else key.id)
        if sentence is not None:
            self.problems.append(self.topology.origin.at_key(steps, sentence))


def _peer_metadata(
    agent: str, replica: int | None, name: str, role: Role, capabilities: tuple[str, ...]
) -> dict[str, Any]:
    numbered = {} if replica is None else {"replica": replica}
    return {"kind": "agent", "agent": agent, **numbered, "name": name, "role": role, "capabilities": list(capabilities)}


def _told(ask_peers: Mapping[str, Sequence[str]], programs: Sequence[str]) -> dict[str, Any]:
    """Return what a user's token says to its bearer: whom it may ask, and who of them takes no payload in parts."""
    if not ask_peers:
        return {}
    asks = {agent: list(peers) for agent, peers in ask_peers.items()}
    return {"asks": asks, "programs": list(programs)} if programs else {"asks": asks}
