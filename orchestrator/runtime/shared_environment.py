"""One environment for several agents: what each of them is to find, where no two are to find different things."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from orchestrator.errors import Problem, TopologyError
from orchestrator.runtime.environment import needs_interpreter

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from orchestrator.topology.model import Topology

_OWN = ("ORCHESTRATOR_PEER_ID",)
"""What says which child it is, and can be true of one only."""


class SharedEnvironment:
    """Makes `os.environ` what all children that live are to find in it; what anybody else has changed there stays."""

    def __init__(self) -> None:
        self._before = dict(os.environ)
        self._given = dict(os.environ)
        """What was put there last."""
        self._wanted: dict[int, dict[str, str]] = {}

    def add(self, number: int, environment: Mapping[str, str]) -> None:
        """Let a child begin that is to find this, and nothing else that we have."""
        self._wanted[number] = {name: value for name, value in environment.items() if name not in _OWN}
        self._become({name: value for wanted in self._wanted.values() for name, value in wanted.items()})

    def remove(self, number: int) -> None:
        """A child has ended; what was for it alone is gone when the next one begins."""
        self._wanted.pop(number, None)

    def restore(self) -> None:
        """Put back what was there in the beginning."""
        self._wanted.clear()
        self._become(self._before)

    def _become(self, wanted: Mapping[str, str]) -> None:
        for name in self._given.keys() - wanted.keys():
            os.environ.pop(name, None)
        for name, value in wanted.items():
            if self._given.get(name) != value:
                os.environ[name] = value
        self._given = dict(wanted)


def check_inline(topology: Topology, agents: Collection[str]) -> None:
    """Raise `TopologyError` where not all of these agents' handlers can run in one process."""
    problems = sorted(_problems(topology, agents))
    if problems:
        raise TopologyError(problems, texts=topology.origin.texts)


def _problems(topology: Topology, agents: Collection[str]) -> Iterator[Problem]:
    given: dict[str, tuple[str, str]] = {}
    for section, agent, entry in topology.each_agent():
        if agent not in agents or entry.handler is None:
            continue
        if not entry.inherit_environment:
            sentence = "with --inline, all handlers find the environment of the command: start this agent without it"
            yield topology.origin.at_key((section, agent, "inherit_environment"), sentence)
        for name, value in entry.environment.items():
            where = (section, agent, "environment", name)
            other, before = given.setdefault(name, (agent, value))
            if before != value:
                sentence = (
                    f"{other!r} sets this to another value, and with --inline both find the same environment: have them "
                    "agree, or start them without it"
                )
                yield topology.origin.at_key(where, sentence)
            elif needs_interpreter({name: value}):
                sentence = "an interpreter reads this when it starts, and with --inline none is started for this agent"
                yield topology.origin.at_key(where, sentence)
