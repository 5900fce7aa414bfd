"""Names across sections: each is declared once, and each that is used is declared, in a section that fits.

The checks read the file's plain values rather than the finished model, so that one wrong type elsewhere does not
hide a dangling name; whatever has the wrong shape is passed over here, since validation speaks of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from orchestrator.errors import listed
from orchestrator.topology.guesses import Guesses, some
from orchestrator.topology.model import AGENT_SECTIONS, Origin, Topology, written
from orchestrator.topology.sentences import shown
from orchestrator.topology.values import is_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchestrator.errors import Problem
    from orchestrator.topology.yaml_nodes import Steps

ASKER: Final = "cli"
"""The user that `orchestrator run --ask` acts as: part of every plan."""
NAMED_SECTIONS: Final = (*AGENT_SECTIONS, "teams", "presence", "users")


class Reference(NamedTuple):
    """A list of names: where it may stand, what it may name, and what must be in it at least once."""

    section: str
    key: str
    target: str
    allowed: tuple[str, ...]
    needed: bool


REFERENCES: Final = (
    Reference("coordinators", "workers", "worker", ("workers", "coordinators"), needed=True),
    Reference("teams", "members", "agent", AGENT_SECTIONS, needed=True),
    Reference("presence", "members", "agent", AGENT_SECTIONS, needed=True),
    Reference("presence", "watchers", "agent or user", (*AGENT_SECTIONS, "users"), needed=False),
    Reference("users", "asks", "agent", AGENT_SECTIONS, needed=False),
)


Entries: TypeAlias = "Mapping[str, list[tuple[Steps, Any]]]"
"""By section, each name that is declared in it with what stands under that name."""


def check_references(data: Mapping[str, Any], origin: Origin) -> list[Problem]:
    guesses = Guesses()
    entries = _entries(data, guesses)
    declared, problems = _declared(entries, origin)
    for reference in REFERENCES:
        for steps, entry in entries[reference.section]:
            names = entry.get(reference.key) if isinstance(entry, dict) else None
            if isinstance(names, list):
                problems += _check_list(reference, (*steps, reference.key), names, declared, origin, guesses)
    return problems


def _entries(data: Mapping[str, Any], guesses: Guesses) -> Entries:
    """Sort what is declared by section; what stands under a misspelt section is declared all the same."""
    entries: dict[str, list[tuple[Steps, Any]]] = {section: [] for section in NAMED_SECTIONS}
    for key, named in data.items():
        section = key if key in Topology.keys else _meant(guesses.nearest(key, Topology.keys))
        if section in entries and isinstance(named, dict):
            entries[section] += [((key, name), entry) for name, entry in named.items()]
    return entries


def _meant(hint: str) -> str:
    return next((section for section in NAMED_SECTIONS if f"{section!r}?" in hint), "")


def _declared(entries: Entries, origin: Origin) -> tuple[dict[str, set[str]], list[Problem]]:
    """Return the sections of every name, and the names that are declared twice or may not be declared at all."""
    first: dict[str, Steps] = {}
    problems: list[Problem] = []
    sections: dict[str, set[str]] = {}
    attributes: dict[str, str] = {}
    everything = [(origin.spot(steps).key, steps, section) for section in entries for steps, _ in entries[section]]
    for _, steps, section in sorted(everything):
        name = str(steps[1])
        sections.setdefault(name, set()).add(section)
        if name == ASKER:
            problems.append(origin.at_key(steps, f"the name {ASKER!r} is reserved for `orchestrator run --ask`"))
        elif name in first:
            other = first[name]
            where = f"{written(other)}, line {origin.spot(other).key.line}"
            problems.append(origin.at_key(steps, f"the name {name!r} is taken by {where}; names are unique in a file"))
        else:
            first[name] = steps
        attribute = name.replace("-", "_")
        twin = attributes.setdefault(attribute, name) if section in ("teams", "presence") else name
        if twin != name:
            sentence = f"{name!r} and {twin!r} are one attribute in code, {attribute!r}; rename one of them"
            problems.append(origin.at_key(steps, sentence))
    return sections, problems


def _check_list(
    reference: Reference,
    steps: Steps,
    names: list[Any],
    declared: Mapping[str, set[str]],
    origin: Origin,
    guesses: Guesses,
) -> Iterator[Problem]:
    if reference.needed and not names:
        yield origin.at_value(steps, f"at least one {reference.target} must be listed here")
    seen: set[str] = set()
    fitting = [name for name, sections in declared.items() if sections & set(reference.allowed) and name != steps[1]]
    for index, name in enumerate(names):
        if not isinstance(name, str) or not is_name(name):
            continue
        at, word = (*steps, index), shown(name)
        if name in seen:
            yield origin.at_value(at, f"{word} is listed twice")
        elif name == steps[1] and reference.section in AGENT_SECTIONS:
            yield origin.at_value(at, f"{word} cannot be its own {reference.target}")
        elif name not in declared:
            hint = guesses.nearest(name, fitting) or f"; the file declares {some(fitting)}"
            yield origin.at_value(at, f"no {reference.target} called {word} is declared{hint}")
        elif not declared[name] & set(reference.allowed):
            where, only = listed(sorted(declared[name])), listed(reference.allowed)
            yield origin.at_value(at, f"{word} is declared under {where}, and here stand only names under {only}")
        seen.add(name)
