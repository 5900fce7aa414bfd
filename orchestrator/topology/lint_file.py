"""What a topology had better not say of delivery, of the life of tokens, and of scopes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from orchestrator.protocol.globs import Star, covers, tokens
from orchestrator.protocol.tokens import Grants
from orchestrator.topology.model import Scopes
from orchestrator.topology.scopes import Relations, agent_scope, peers_of, user_scope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.errors import Problem
    from orchestrator.topology.model import Topology
    from orchestrator.topology.yaml_nodes import Steps

LONG_LIFE: Final = 3600.0
"""Seconds that a token lives where nobody asks for more; agents renew theirs well before."""


def lint_file(topology: Topology) -> Iterator[Problem]:
    yield from _delivery(topology)
    yield from _token_life(topology)
    yield from _scopes(topology)


def _delivery(topology: Topology) -> Iterator[Problem]:
    for section, name, agent in topology.each_agent():
        at: Steps = (section, name, "tasks")
        if agent.tasks.delivery == "at-least-once":
            if topology.store == "memory:":
                sentence = (
                    "at-least-once needs a store that outlives a crash, and 'memory:' ends with its process: "
                    "'store: sqlite:///tasks.db', or none for a file in '.orchestrator'"
                )
                yield replace(topology.origin.at_value((*at, "delivery"), sentence), code="ORC101")
            continue
        for key in ("max_attempts", "backoff"):
            if key in agent.tasks.given:
                sentence = f"{key!r} has no effect: an at-most-once task is never tried again"
                yield replace(topology.origin.at_key((*at, key), sentence), code="ORC101")


def _token_life(topology: Topology) -> Iterator[Problem]:
    hub = topology.hub
    if hub.url is not None and hub.token_ttl > LONG_LIFE:
        sentence = (
            f"the tokens of agents are renewed while they run, so {hub.token_ttl / 3600:g} h serves nobody but "
            "whoever steals one; '15m' is the default"
        )
        yield replace(topology.origin.at_value(("hub", "token_ttl"), sentence), code="ORC105")


# -- hand-written scopes


def _scopes(topology: Topology) -> Iterator[Problem]:
    plain = _without_scopes(topology)
    for section, name, agent in topology.each_agent():
        if agent.scopes != Scopes():
            derived = [agent_scope(plain, name, peer).grants for peer in peers_of(name, agent)]
            yield from _wide(topology, (section, name, "scopes"), agent.scopes, derived)
    for name, user in topology.users.items():
        if user.scopes != Scopes():
            yield from _wide(topology, ("users", name, "scopes"), user.scopes, [user_scope(plain, name).grants])


def _without_scopes(topology: Topology) -> Relations:
    """Return who has to do with whom, from which what is derived follows with nothing written by hand."""
    users = {name: user.replace(scopes=Scopes()) for name, user in topology.users.items()}
    relations = Relations.of(topology.replace(users=users))
    return relations._replace(agents={name: agent.replace(scopes=Scopes()) for name, agent in relations.agents.items()})


def _wide(topology: Topology, at: Steps, written: Scopes, derived: list[Grants]) -> Iterator[Problem]:
    """Yield what is wrong with scopes beyond the `derived` ones of each peer that has them."""
    for kind in Grants.__slots__:
        of_each: list[tuple[str, ...]] = [getattr(grants, kind) for grants in derived]
        for index, pattern in enumerate(getattr(written, kind)):
            sentence = _judged(kind, pattern, of_each)
            if sentence is not None:
                yield replace(topology.origin.at_value((*at, kind, index), sentence), code="ORC106")


def _judged(kind: str, pattern: str, derived: list[tuple[str, ...]]) -> str | None:
    """Say what is wrong with one hand-written pattern; `derived` holds those of the same kind, for each peer."""
    if all(any(covers(own, pattern) for own in patterns) for patterns in derived):
        return f"to {kind} {pattern!r} follows from the file already; take this line out"
    for own in dict.fromkeys(own for patterns in derived for own in patterns):
        if covers(pattern, own) and not covers(own, pattern):
            return f"this is wider than {own!r}, which the file derives; name what is needed beside it"
    if Star.MANY in tokens(pattern):
        return f"'**' in {pattern!r} reaches names of any depth; name them, or use '*', which stays within one level"
    return None
