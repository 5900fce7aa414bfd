"""What is to run for a topology, whatever runs it: hubs, brokers, and workloads of agents."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from orchestrator.deployment.names import LONGEST, unit_name, unit_names
from orchestrator.deployment.overlay import engine_of
from orchestrator.errors import ExitCode, SeveralReasons, listed
from orchestrator.topology.delivery import is_on_this_machine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.deployment.variables import Variable
    from orchestrator.topology.model import Topology
    from orchestrator.topology.plan import Plan
    from orchestrator.topology.replica import Replica

Engine: TypeAlias = Literal["nats", "redis"]
DEFAULT_PORT: Final = 7700
HUB_KEY: Final = "HUB_KEY"
"""The variable from which agents read the key that their tokens are signed with."""
_TAKEN: Final = ("hub", "hub-keys", "nats", "redis", "agents", "topology", "deployment")
_PLAIN_PATH: Final = re.compile(r"/?[A-Za-z0-9_./-]*")


class CannotExport(SeveralReasons):
    """A topology cannot be written for an engine as it was asked for; one sentence for each reason."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True, slots=True)
class Broker:
    engine: Engine
    joins_hubs: bool
    """Messages between the hubs go through it."""
    keeps_tasks: bool
    """The store is in it."""
    written: bool = True
    """`False` = it runs already."""
    backplane_path: str = ""
    """What stands after the host in the topology's address of its backplane: the name of the hubs that it joins."""
    store_path: str = ""
    """What stands there in the address of its store: the number of a database."""

    @property
    def variable(self) -> str:
        """The variable that holds its address with the password."""
        return f"{self.engine.upper()}_URL"

    @property
    def port(self) -> int:
        return 4222 if self.engine == "nats" else 6379


@dataclass(frozen=True, slots=True)
class HubPart:
    count: int
    port: int
    connects_per_minute: int
    """That one address may ask for: all agents of one container have one."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Agents that are started together: all replicas of one agent, or of all agents."""

    name: str
    """What engines call it."""
    agent: str | None
    """`None` = all agents of the topology."""
    replicas: int
    numbered: bool
    """Its replicas have numbers, and can be started apart from each other."""
    programs: tuple[str, ...]
    """What it runs beside Python: the first words of the commands of its agents."""


class Sources(NamedTuple):
    """Where the topology's files are in a copy of the project; all with slashes, relative to its folder."""

    topology: tuple[str, ...]
    profiles: tuple[str, ...] = ()
    app_dir: str | None = None
    requirements: bool = False
    """A file ``requirements.txt`` lies in the folder."""


@dataclass(frozen=True, slots=True)
class Deployment:
    name: str
    title: str
    """The name of the topology."""
    image: str
    version: str
    """Of this package."""
    sources: Sources
    hub: HubPart | None
    """`None` = it runs already, at `hub_url`."""
    hub_url: str | None
    brokers: tuple[Broker, ...]
    workloads: tuple[Workload, ...]
    variables: tuple[Variable, ...]
    """What the topology is filled in with, beside its hub and its store."""
    store: Literal["none", "memory", "file", "broker"]
    external: tuple[str, ...]
    """Agents that others start."""

    @property
    def keeps_file(self) -> bool:
        return self.store == "file"

    @property
    def backplane(self) -> Broker | None:
        return next((broker for broker in self.brokers if broker.joins_hubs), None)

    @property
    def keeper(self) -> Broker | None:
        return next((broker for broker in self.brokers if broker.keeps_tasks), None)

    @property
    def written_brokers(self) -> tuple[Broker, ...]:
        return tuple(broker for broker in self.brokers if broker.written)


def deployment_of(
    plan: Plan,
    topology: Topology,
    sources: Sources,
    variables: tuple[Variable, ...],
    *,
    version: str,
    image: str | None = None,
    hubs: int | None = None,
    write_brokers: bool = True,
) -> Deployment:
    """Resolve what is to run. `hubs`: how many; `None` = two where a backplane joins them, else one.

    Raises `CannotExport`.
    """
    own_hub = plan.hub.url is None
    joined = own_hub and topology.hub.backplane != "memory"
    wrong = list(_wrong(topology, hubs, own_hub=own_hub))
    if wrong:
        raise CannotExport(*wrong)
    store = _store(plan)
    replicas = plan.here
    workloads = _apart(replicas) if store in ("none", "broker") else _together(replicas)
    brokers = _brokers(topology.hub.backplane if joined else None, plan.store if store == "broker" else None)
    largest = max((workload.replicas for workload in workloads), default=0)
    hub = HubPart(
        count=hubs or (2 if joined else 1),
        port=plan.hub.port or DEFAULT_PORT,
        connects_per_minute=max(600, 10 * largest),
    )
    return Deployment(
        name=unit_name(plan.name, LONGEST),
        title=plan.name,
        image=image or f"{unit_name(plan.name, LONGEST)}:latest",
        version=version,
        sources=sources,
        hub=hub if own_hub else None,
        hub_url=plan.hub.url,
        brokers=tuple(replace(broker, written=write_brokers) for broker in brokers),
        workloads=workloads,
        variables=variables,
        store=store,
        external=tuple(dict.fromkeys(replica.agent for replica in plan.replicas if replica.external)),
    )


def _wrong(topology: Topology, hubs: int | None, *, own_hub: bool) -> Iterator[str]:
    if topology.hub.tls is not None:
        yield (
            "'hub: {tls: …}' is for the hub that `orchestrator run` starts; one that is exported has a certificate of its own, "
            "or listens on its own machine alone. Move 'tls' and 'listen' into a profile, and export without it"
        )
    if hubs is None:
        return
    if not own_hub:
        yield "--hubs: the topology says where its hub is, so none is written; 'hub: {url: local}' has them written"
    elif hubs > 1 and topology.hub.backplane == "memory":
        yield (
            f"--hubs {hubs}: several hubs act as one only where a backplane joins them, and this topology has none: "
            "'hub: {backplane: nats://…}' or 'redis://…'"
        )


def _store(plan: Plan) -> Literal["none", "memory", "file", "broker"]:
    if plan.store is None:
        return "none"
    if not is_on_this_machine(plan.store):
        return "broker"
    return "memory" if plan.store == "memory:" else "file"


def _apart(replicas: tuple[Replica, ...]) -> tuple[Workload, ...]:
    """Return a workload for each agent."""
    agents = dict.fromkeys(replica.agent for replica in replicas)
    names = unit_names(agents, _TAKEN)
    found = []
    for agent in agents:
        own = [replica for replica in replicas if replica.agent == agent]
        found.append(Workload(names[agent], agent, len(own), own[0].replica is not None, _programs(own)))
    return tuple(found)


def _together(replicas: tuple[Replica, ...]) -> tuple[Workload, ...]:
    """Return one workload of all agents: they share a store that one run alone reaches."""
    return (Workload("agents", None, len(replicas), numbered=False, programs=_programs(list(replicas))),)


def _programs(replicas: list[Replica]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(replica.command[0] for replica in replicas if replica.command))


def _brokers(backplane: str | None, store: str | None) -> list[Broker]:
    """Return the brokers that two addresses stand for: one of each engine at most."""
    found = []
    for engine in dict.fromkeys(engine_of(address) for address in (backplane, store) if address is not None):
        joins = backplane is not None and engine_of(backplane) == engine
        keeps = store is not None and engine_of(store) == engine
        broker = Broker(engine, joins, keeps)
        if joins:
            broker = replace(broker, backplane_path=_path(backplane or ""))
        if keeps:
            broker = replace(broker, store_path=_path(store or ""))
        found.append(broker)
    return found


def _path(address: str) -> str:
    """Return what stands after the host of an address, if it is the plain name of something."""
    path = urlsplit(address).path
    return path if len(path) > 1 and _PLAIN_PATH.fullmatch(path) else ""


def why_together(deployment: Deployment) -> str:
    """Return the sentence that says why all agents are in one place; empty where they are not."""
    if deployment.store not in ("file", "memory") or not deployment.workloads:
        return ""
    where = "a file" if deployment.keeps_file else "memory"
    return (
        f"Tasks and claims are kept in {where}, which one run alone reaches, so all agents are in one place. "
        "With 'store: nats://…' or 'redis://…' in the topology, each agent gets a workload of its own."
    )


def outside(deployment: Deployment) -> str:
    """Return the sentence about agents that nothing here starts; empty where there are none."""
    if not deployment.external:
        return ""
    are = "is" if len(deployment.external) == 1 else "are"
    return f"{listed(deployment.external)} {are} external: nothing here starts them; `orchestrator token` gives tokens."
