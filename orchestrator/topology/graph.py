"""Who works with whom, as nodes and edges: what every drawing of a topology is made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from orchestrator.topology.masking import concealed
from orchestrator.topology.references import ASKER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.topology.plan import Plan, Replica

NodeKind: TypeAlias = Literal["coordinator", "worker", "agent", "user", "team", "lobby"]
EdgeKind: TypeAlias = Literal["dispatches", "asks", "member", "listed", "watches"]


@dataclass(frozen=True, slots=True)
class Node:
    """An agent, a kind of user, a team or a lobby; its name is unique in a topology."""

    name: str
    kind: NodeKind
    label: str
    """What people read."""
    program: str = ""
    """The handler or command behind an agent; empty for what is run elsewhere, and for what is not run."""
    replicas: int = 1
    external: bool = False


@dataclass(frozen=True, slots=True)
class Edge:
    """From a coordinator to a worker, from a user to an agent, or from either to a team or a lobby."""

    source: str
    target: str
    kind: EdgeKind
    tasks: tuple[str, ...] = ()
    """What a coordinator can hand to a worker, as far as it is known."""


@dataclass(frozen=True, slots=True)
class Graph:
    name: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    def node(self, name: str) -> Node:
        """Return a node. Raises `KeyError`."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    def of_kind(self, *kinds: NodeKind) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if node.kind in kinds)

    def edges_of(self, kind: EdgeKind) -> tuple[Edge, ...]:
        return tuple(edge for edge in self.edges if edge.kind == kind)


def make_graph(plan: Plan) -> Graph:
    """Return the graph of a plan; the built-in user, who may ask everybody, is left out."""
    agents = {replica.agent: replica for replica in reversed(plan.replicas)}  # the first of each
    agents = {name: agents[name] for name in dict.fromkeys(replica.agent for replica in plan.replicas)}
    users = [user for user in plan.users if user.user != ASKER]
    nodes: list[Node] = [_agent(first, len(plan.replicas_of(name))) for name, first in agents.items()]
    nodes += [Node(user.user, "user", user.user) for user in users]
    seats = [seat for first in agents.values() for seat in first.teams]
    nodes += [Node(team, "team", team) for team in dict.fromkeys(seat.name for seat in seats)]
    lobbies = [seat for first in agents.values() for seat in first.lobbies]
    lobbies += [seat for user in users for seat in user.lobbies]
    nodes += [Node(lobby, "lobby", lobby) for lobby in dict.fromkeys(seat.name for seat in lobbies)]
    edges = [edge for first in agents.values() for edge in _of_agent(first)]
    for user in users:
        edges += [Edge(user.user, agent, "asks") for agent in user.asks]
        edges += [Edge(user.user, seat.name, "watches") for seat in user.lobbies]
    return Graph(plan.name, tuple(nodes), tuple(edges))


def _agent(first: Replica, replicas: int) -> Node:
    program = first.handler or concealed(" ".join(first.command))
    return Node(first.agent, first.role, first.name, program, replicas, first.external)


def _of_agent(first: Replica) -> Iterator[Edge]:
    for pool in first.pools:
        yield Edge(first.agent, pool.agent, "dispatches", tuple(task.name for task in pool.tasks))
    for team in first.teams:
        yield Edge(first.agent, team.name, "member")
    for lobby in first.lobbies:
        if lobby.member:
            yield Edge(first.agent, lobby.name, "listed")
        if lobby.watcher:
            yield Edge(first.agent, lobby.name, "watches")
