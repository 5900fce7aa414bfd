"""Agents that are switched off: the topology without them, and without the names that mean them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.errors import TopologyError, listed
from orchestrator.topology.references import REFERENCES

if TYPE_CHECKING:
    from orchestrator.errors import Problem
    from orchestrator.topology.model import Spot, Topology
    from orchestrator.topology.yaml_nodes import Steps


def without_disabled(topology: Topology) -> Topology:
    """Return the topology as it is run. Raises `TopologyError` for what would have nobody left to work with."""
    off = {name for _, name, agent in topology.each_agent() if not agent.enabled}
    if not off:
        return topology
    spots: dict[Steps, Spot] = dict(topology.origin.spots)
    problems: list[Problem] = []
    sections: dict[str, dict[str, Any]] = {
        section: {name: entry for name, entry in getattr(topology, section).items() if name not in off}
        for section in ("coordinators", "workers", "agents", "teams", "presence", "users")
    }
    for reference in REFERENCES:
        for name, entry in sections[reference.section].items():
            names = getattr(entry, reference.key)
            left = tuple(other for other in names if other not in off)
            if left == names:
                continue
            steps: Steps = (reference.section, name, reference.key)
            if reference.needed and not left:
                sentence = f"everybody who is listed here is disabled: {listed(names)}"
                problems.append(topology.origin.at_key(steps, sentence))
            for index, other in enumerate(left):
                spots[(*steps, index)] = topology.origin.spot((*steps, names.index(other)))
            sections[reference.section][name] = entry.replace(**{reference.key: left})
    if not any(sections[section] for section in ("coordinators", "workers", "agents")):
        problems.append(topology.origin.at_key((), "every agent of this file is disabled"))
    if problems:
        raise TopologyError(problems, texts=topology.origin.texts)
    return topology.replace(**sections, origin=topology.origin._replace(spots=spots))
