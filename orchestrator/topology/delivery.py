"""What the delivery of tasks and the consistency of claims need of a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.topology.replica import DurableDelivery
from orchestrator.topology.store_access import Access

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.errors import Problem
    from orchestrator.topology.model import Agent, Topology
    from orchestrator.topology.scopes import Relations
    from orchestrator.topology.yaml_nodes import Steps

MAX_ATTEMPTS: Final = 5
"""Attempts at an at-least-once task where the file says nothing else."""


def check_delivery(topology: Topology) -> Iterator[Problem]:
    """Yield what is asked for and cannot be kept: names that stand for nothing are passed over here."""
    yield from _check_store(topology)
    yield from _check_tasks(topology)
    yield from _check_coordinators(topology)
    yield from _check_claims(topology)


def _check_store(topology: Topology) -> Iterator[Problem]:
    store = topology.store
    if store is not None and store.startswith("sqlite:") and not store.startswith("sqlite:///"):
        sentence = (
            "the path of a file stands after three slashes: 'sqlite:///tasks.db' lies beside this file, "
            "'sqlite:////var/lib/tasks.db' does not"
        )
        yield topology.origin.at_value(("store",), sentence)
    elif store is not None and _says_it_forgets(store) and (what := _in_need_of_memory(topology)):
        sentence = (
            f"with 'replicas=1' a server of NATS may lose what it has acknowledged when it loses power, and {what}: write "
            "'sync=always' beside it where the server has 'sync_interval: always', or 'replicas=3' for a cluster"
        )
        yield topology.origin.at_value(("store",), sentence)


def _says_it_forgets(store: str) -> bool:
    """Tell whether the address of an engine is enough to know that it forgets; for most, that is seen when it is opened."""
    address, _, options = store.partition("?")
    said = dict(option.partition("=")[::2] for option in options.split("&"))
    return address.startswith("nats:") and said.get("replicas") == "1" and said.get("sync") != "always"


def _in_need_of_memory(topology: Topology) -> str | None:
    """Return what of a topology a store that forgets cannot keep; `None` = nothing."""
    for _, name, agent in topology.each_agent():
        if agent.tasks.delivery == "at-least-once":
            return f"the tasks of {name!r} are at-least-once"
    for name, team in topology.teams.items():
        if claims_are_strong(topology, name) and not team.claims.allow_unsafe_claims:
            return f"the claims of {name!r} are strong"
    return None


def _check_tasks(topology: Topology) -> Iterator[Problem]:
    dispatched = {worker for entry in topology.coordinators.values() for worker in entry.workers}
    for section, name, agent in topology.each_agent():
        if agent.tasks.delivery != "at-least-once":
            continue
        if agent.handler is None:
            sentence = (
                "a program takes its tasks by message, and nothing keeps those; "
                "at-least-once is for workers with a handler"
            )
        elif name not in dispatched:
            sentence = (
                f"at-least-once is for tasks that a coordinator hands out, and none lists {name!r} under its 'workers'"
            )
        elif agent.external and is_on_this_machine(topology.store):
            sentence = (
                "at-least-once tasks are kept in a store on this machine, which an external agent does not reach; "
                "run it here, or write 'at-most-once'"
            )
        else:
            continue
        yield topology.origin.at_value((section, name, "tasks", "delivery"), sentence)


def _check_coordinators(topology: Topology) -> Iterator[Problem]:
    """Yield the coordinators that cannot put the tasks of their workers into the store."""
    agents = {name: agent for _, name, agent in topology.each_agent()}
    for name, coordinator in topology.coordinators.items():
        if coordinator.handler is None:
            why = "a program hands out by message what it wants done"
        elif coordinator.external and is_on_this_machine(topology.store):
            why = "that is on this machine, where an external coordinator does not reach it"
        else:
            continue
        for index, worker in enumerate(coordinator.workers):
            if worker in agents and agents[worker].tasks.delivery == "at-least-once":
                at: Steps = ("coordinators", name, "workers", index)
                sentence = f"{worker!r} is at-least-once and takes its tasks from the store; {why}"
                yield topology.origin.at_value(at, sentence)


def _check_claims(topology: Topology) -> Iterator[Problem]:
    origin = topology.origin
    agents = {name: agent for _, name, agent in topology.each_agent()}
    for name, team in topology.teams.items():
        if team.claims.consistency == "strong" and topology.store is None:
            sentence = "strong claims are kept in a store, and this file declares none: 'store: sqlite:///claims.db'"
            yield origin.at_value(("teams", name, "claims", "consistency"), sentence)
        elif claims_are_strong(topology, name) and is_on_this_machine(topology.store):
            for index, member in enumerate(team.members):
                # A program takes part by messages, and claims nothing from the store wherever it runs.
                if member in agents and agents[member].external and agents[member].handler is not None:
                    sentence = (
                        f"the claims of {name!r} are kept in a store on this machine, which the external agent "
                        f"{member!r} does not reach; run it here, or write 'claims: {{consistency: best-effort}}'"
                    )
                    yield origin.at_value(("teams", name, "members", index), sentence)


def claims_are_strong(topology: Topology, team: str) -> bool:
    consistency = topology.teams[team].claims.consistency
    return topology.store is not None if consistency is None else consistency == "strong"


def durable_delivery(agent: Agent) -> DurableDelivery | None:
    """Return how an agent's tasks are tried again; `None` for those that nothing keeps."""
    tasks = agent.tasks
    if tasks.delivery != "at-least-once":
        return None
    return DurableDelivery(tasks.max_attempts or MAX_ATTEMPTS, tasks.backoff.delay, tasks.backoff.max_delay)


def access_to_store(relations: Relations, name: str) -> Access | None:
    """Return what the replicas of an agent may do with the store; `None` where they need none, like all programs."""
    agents, topology = relations.agents, relations.topology
    if agents[name].handler is None or agents[name].external:
        return None
    coordinator = topology.coordinators.get(name)
    workers = () if coordinator is None else coordinator.workers
    access = Access(
        agent=name,
        claims=durable_delivery(agents[name]) is not None,
        queues=tuple(worker for worker in workers if durable_delivery(agents[worker]) is not None),
        teams=tuple(team for team in relations.teams.get(name, ()) if claims_are_strong(topology, team)),
    )
    return access if access.needed else None


def is_on_this_machine(store: str | None) -> bool:
    """Tell whether a store is reached by the processes of one run alone; `None` = a file beside the topology's."""
    return store is None or store == "memory:" or store.startswith("sqlite:")
