"""What the code of handlers had better not do, read from its source; nothing of it is run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.errors import Problem
from orchestrator.topology.fit import attribute_of
from orchestrator.topology.source_code import ClassCode, ModuleCode, Modules

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchestrator.topology.model import Agent, Topology
    from orchestrator.topology.source_functions import At, Effect, FunctionCode


class Seat(NamedTuple):
    """An agent of the topology, and the code behind its handler; without a class, the module's functions are it."""

    name: str
    agent: Agent
    code: ModuleCode
    target: ClassCode | None


@dataclass(frozen=True, slots=True)
class CodeFindings:
    """`dormant` are those that would be findings if an agent had replicas."""

    found: tuple[Problem, ...]
    dormant: tuple[Problem, ...]
    texts: Mapping[str, str]
    """What was looked at, by the name of the file."""


def lint_code(topology: Topology, modules: Modules) -> CodeFindings:
    found: dict[Problem, None] = {}
    dormant: dict[Problem, None] = {}
    texts: dict[str, str] = {}
    for seat in seats(topology, modules):
        if seat.code.source.name not in texts:
            texts[seat.code.source.name] = seat.code.source.text
            found |= dict.fromkeys(_sends(seat.code))
        teams = {attribute_of(team) for team, entry in topology.teams.items() if seat.name in entry.members}
        found |= dict.fromkeys(_published_tasks(seat, teams, modules))
        replicated = (seat.agent.replicas or 1) > 1
        (found if replicated else dormant).update(dict.fromkeys(_repeated_effects(seat)))
    return CodeFindings(tuple(found), tuple(dormant), texts)


def seats(topology: Topology, modules: Modules) -> Iterator[Seat]:
    """Yield every agent whose source can be read."""
    for _, name, agent in topology.each_agent():
        if agent.handler is None:
            continue
        module, _, attribute = agent.handler.partition(":")
        code = modules.get(module)
        if code is None:
            continue
        target = code.classes.get(attribute)
        if target is not None or not attribute:
            yield Seat(name, agent, code, target)


def _problem(code: ModuleCode, at: At, where: str, sentence: str, number: str) -> Problem:
    return Problem(code.source.name, at.line, at.column, where, sentence, number)


def functions_of(seat: Seat) -> dict[str, FunctionCode]:
    """Return the functions of an agent by name, those of base classes in the same module too."""
    if seat.target is None:
        return dict(seat.code.functions)
    found: dict[str, FunctionCode] = {}
    for cls in reversed(_line(seat.code, seat.target)):
        found |= cls.functions
    return found


def _line(code: ModuleCode, cls: ClassCode) -> list[ClassCode]:
    """Return a class and those of its module that it is made from, the nearest first."""
    line = [cls]
    for each in line:
        line += [code.classes[base] for base in each.bases if base in code.classes and code.classes[base] not in line]
    return line


def _every_function(code: ModuleCode) -> Iterator[FunctionCode]:
    yield from code.functions.values()
    for cls in code.classes.values():
        yield from cls.functions.values()


# -- ORC102 and ORC103


def _sends(code: ModuleCode) -> Iterator[Problem]:
    for function in _every_function(code):
        for send in function.sends:
            if send.unheeded:
                sentence = "whether this message arrived is asked by nobody; catch PeerNotFound, or hand out a task"
                yield _problem(code, send.at, function.where, sentence, "ORC102")
            if send.streams:
                sentence = "one peer gets a message of each round of this loop; a StreamTask numbers them and resumes"
                yield _problem(code, send.at, function.where, sentence, "ORC103")


# -- ORC107


def _published_tasks(seat: Seat, teams: set[str], modules: Modules) -> Iterator[Problem]:
    relations = {} if seat.target is None else seat.target.relations
    for function in functions_of(seat).values():
        for publication in function.publications:
            attribute = publication.attribute
            is_team = not attribute or attribute in teams or relations.get(attribute) == "Team"
            if is_team and modules.is_task(seat.code, publication.message):
                sentence = (
                    f"{publication.message} is a task, and every member of a team hears what is published: hand it to one "
                    "worker, or publish an Event"
                )
                yield _problem(seat.code, publication.at, function.where, sentence, "ORC107")


def _repeated_effects(seat: Seat) -> Iterator[Problem]:
    functions = functions_of(seat)
    for function in functions.values():
        if any(seat.code.comes_from_us(name, "on_event") for name in function.decorators):
            effect = _unclaimed(function, functions, seat.code.functions, set())
            if effect is not None:
                sentence = (
                    f"every replica of {seat.name!r} hears this event and {effect.what} (line {effect.at.line}); let "
                    "one of them do it, under a claim"
                )
                yield _problem(seat.code, function.at, function.where, sentence, "ORC107")


def _unclaimed(
    function: FunctionCode,
    methods: Mapping[str, FunctionCode],
    of_module: Mapping[str, FunctionCode],
    seen: set[str],
) -> Effect | None:
    """Return the first effect of a function, or of one of the same agent that it calls, outside of any claim."""
    seen.add(function.where)
    for effect in function.effects:
        if not effect.claimed:
            return effect
    for call in function.calls:
        callee = (methods if call.of_class else of_module).get(call.name)
        if callee is not None and not call.claimed and callee.where not in seen:
            found = _unclaimed(callee, methods, of_module, seen)
            if found is not None:
                return found
    return None
