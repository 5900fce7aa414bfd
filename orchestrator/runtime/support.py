"""What a topology may ask for and this runtime cannot give yet: said before anything starts, rather than left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.errors import TopologyError
from orchestrator.topology.delivery import is_on_this_machine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.errors import Problem
    from orchestrator.topology.model import Topology


def check_support(topology: Topology) -> None:
    """Raise `TopologyError` with everything that `run` would have to leave out."""
    problems = sorted(_missing(topology))
    if problems:
        raise TopologyError(problems, texts=topology.origin.texts)


def _missing(topology: Topology) -> Iterator[Problem]:
    origin, hub = topology.origin, topology.hub
    if not is_on_this_machine(topology.store):
        sentence = "this version keeps its store in memory or in a file of SQLite's: 'memory:' or 'sqlite:///tasks.db'"
        yield origin.at_value(("store",), sentence)
    if hub.backplane != "memory":
        sentence = "this version joins no hubs; leave the key out, or write 'memory'"
        yield origin.at_value(("hub", "backplane"), sentence)
    if hub.tls is not None:
        sentence = (
            "`run` starts hubs without TLS, on this machine; for others, run `orchestrator hub serve` with a "
            "certificate and give its url here"
        )
        yield origin.at_key(("hub", "tls"), sentence)
