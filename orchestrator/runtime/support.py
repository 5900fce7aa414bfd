"""What a topology may ask for and cannot be had here: said before anything starts, rather than left out."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from orchestrator.errors import TopologyError
from orchestrator.topology.delivery import is_on_this_machine
from orchestrator.topology.part import NO_TLS, may_be_reached

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.errors import Problem
    from orchestrator.topology.model import Topology
    from orchestrator.topology.yaml_nodes import Steps

_EXTRAS: Final = {"nats": "nats", "tls": "nats", "redis": "redis", "rediss": "redis"}
"""By the scheme of an engine's address, the extra of this package, and the library, that speaks to it."""


def check_support(topology: Topology) -> None:
    """Raise `TopologyError` with everything that `run` would have to leave out."""
    problems = sorted(_missing(topology))
    if problems:
        raise TopologyError(problems, texts=topology.origin.texts)


def _missing(topology: Topology) -> Iterator[Problem]:
    origin, hub = topology.origin, topology.hub
    if topology.store is not None and not is_on_this_machine(topology.store):
        yield from _not_installed(topology, topology.store, ("store",))
    if hub.backplane != "memory":
        yield from _not_installed(topology, hub.backplane, ("hub", "backplane"))
    if hub.url is not None and not may_be_reached(hub.url):
        yield origin.at_value(("hub", "url"), NO_TLS)


def _not_installed(topology: Topology, address: str, steps: Steps) -> Iterator[Problem]:
    scheme = address.partition(":")[0]  # the rest may hold a password
    extra = _EXTRAS[scheme]
    if find_spec(extra) is None:
        sentence = f"{scheme}:// needs a package that is not installed: pip install 'topology-orchestrator[{extra}]'"
        yield topology.origin.at_value(steps, sentence)
