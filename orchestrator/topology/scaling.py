"""The same topology with other numbers of replicas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.errors import ExitCode, SeveralReasons, did_you_mean
from orchestrator.topology.guesses import some
from orchestrator.topology.values import MAX_COUNT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchestrator.topology.model import Agent, Topology


class CannotScale(SeveralReasons):
    """Numbers of replicas that cannot be had; one sentence for each."""

    exit_code = ExitCode.USAGE


def scaled(topology: Topology, wished: Mapping[str, int]) -> Topology:
    """Return the topology with so many replicas of each agent that `wished` names. Raises `CannotScale`."""
    agents = {name: agent for _, name, agent in topology.each_agent()}
    wrong = [sentence for name, count in wished.items() for sentence in _wrong(agents, name, count)]
    if wrong:
        raise CannotScale(*wrong)
    sections: dict[str, dict[str, Any]] = {}
    for section, name, agent in topology.each_agent():
        changed = agent.replace(replicas=wished[name]) if name in wished else agent
        sections.setdefault(section, {})[name] = changed
    return topology.replace(**sections)


def _wrong(agents: Mapping[str, Agent], name: str, count: int) -> Iterator[str]:
    """Yield why there cannot be so many of an agent."""
    agent = agents.get(name)
    if agent is None:
        yield f"there is no agent {name!r}{did_you_mean(name, agents) or f'; there are {some(agents)}'}"
    elif agent.external:
        yield f"{name!r} is external: whoever runs it decides how many there are, and the file how many may be"
    elif agent.replicas is None:
        yield (
            f"{name!r} is declared without 'replicas', so its one copy has the peer id {name!r}, and others would be "
            f"'{name}.1' and so on: write 'replicas: 1' in the file and start it anew, and it can be scaled from then on"
        )
    elif count < 1:
        yield f"{name}={count}: an agent has at least 1 replica; 'enabled: false' in the file switches it off"
    elif count > MAX_COUNT:
        yield f"{name}={count}: this is too many; at most {MAX_COUNT} are possible"
