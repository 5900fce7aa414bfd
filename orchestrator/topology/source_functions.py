"""What one function of a handler's module does that a rule has an opinion on, read from its syntax tree."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.topology.source_effects import effect_of
from orchestrator.topology.source_names import bound, dotted, last_name
from orchestrator.topology.source_sends import catches, is_raw_send, streams

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class At(NamedTuple):
    """Line and column, which count from 1."""

    line: int
    column: int


class RawSend(NamedTuple):
    """A message handed to the hub for one peer, past every pattern."""

    at: At
    unheeded: bool
    """Whether it arrived is asked by nobody: no value is kept, and no error of it is caught."""
    streams: bool
    """It stands in a loop that sends one peer a message of each round."""


class Publication(NamedTuple):
    at: At
    message: str
    """The dotted name of what the message is made of."""
    attribute: str
    """The attribute of the agent that it is published through; empty for what is a team by other signs."""


class Effect(NamedTuple):
    at: At
    what: str
    """As a clause: ``publishes``."""
    claimed: bool


class OwnCall(NamedTuple):
    """A call of another function of the same class or module."""

    name: str
    of_class: bool
    claimed: bool


@dataclass(frozen=True, slots=True)
class FunctionCode:
    where: str
    """``Class.method`` or ``function``."""
    at: At
    decorators: tuple[str, ...]
    names: frozenset[str]
    made: tuple[tuple[str, At], ...]
    """Dotted names that are called, as classes are."""
    sends: tuple[RawSend, ...]
    publications: tuple[Publication, ...]
    effects: tuple[Effect, ...]
    calls: tuple[OwnCall, ...]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a module says that its functions are read by."""

    lines: Sequence[str]
    speaks: bool
    """It imports what speaks to a hub directly."""
    functions: frozenset[str]
    imported: Mapping[str, str]
    """Names with the whole name of what they stand for."""

    def at(self, node: ast.expr | ast.stmt) -> At:
        line = self.lines[node.lineno - 1] if node.lineno <= len(self.lines) else ""
        return At(node.lineno, len(line.encode()[: node.col_offset].decode(errors="ignore")) + 1)


def read_function(where: str, node: ast.stmt, around: Surroundings, relations: Mapping[str, str]) -> FunctionCode:
    """Read a function, or a statement as if it were one; `relations` are the annotated attributes of its class."""
    reading = _Reading(around, dict(relations))
    decorators: tuple[str, ...] = ()
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        decorators = tuple(dotted(each.func if isinstance(each, ast.Call) else each) for each in node.decorator_list)
        reading.parameters(node.args)
        reading.all(node.body)
    else:
        reading.visit(node)
    return FunctionCode(
        where=where,
        at=around.at(node),
        decorators=decorators,
        names=frozenset(part.id for part in ast.walk(node) if isinstance(part, ast.Name)),
        made=tuple(reading.made),
        sends=tuple(reading.sends),
        publications=tuple(reading.publications),
        effects=tuple(reading.effects),
        calls=tuple(reading.calls),
    )


_CONSTRUCTORS = frozenset({"model_validate", "model_validate_json", "model_construct"})


@dataclass
class _Reading(ast.NodeVisitor):
    around: Surroundings
    relations: dict[str, str]
    made: list[tuple[str, At]] = field(default_factory=list)
    sends: list[RawSend] = field(default_factory=list)
    publications: list[Publication] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    calls: list[OwnCall] = field(default_factory=list)
    caught: int = 0
    claimed: int = 0
    loops: list[frozenset[str]] = field(default_factory=list)
    """The names that each loop around binds."""
    statements: set[ast.Call] = field(default_factory=set)
    awaited: set[ast.Call] = field(default_factory=set)
    teams: dict[str, str] = field(default_factory=dict)
    """Variables that hold a team, with the attribute that it came from."""
    messages: dict[str, str] = field(default_factory=dict)
    """Variables with what their value was made of."""

    def all(self, nodes: Iterable[ast.AST]) -> None:
        for node in nodes:
            self.visit(node)

    def parameters(self, args: ast.arguments) -> None:
        for each in (*args.posonlyargs, *args.args, *args.kwonlyargs):
            if each.annotation is not None and last_name(each.annotation) == "Team":
                self.teams[each.arg] = ""

    # -- what stands around a call

    def visit_Try(self, node: ast.Try | ast.TryStar) -> None:
        heeds = any(each.type is None or catches(each.type) for each in node.handlers)
        self.caught += heeds
        self.all(node.body)
        self.caught -= heeds
        self.all((*node.handlers, *node.orelse, *node.finalbody))

    def visit_TryStar(self, node: ast.TryStar) -> None:
        self.visit_Try(node)

    def visit_With(self, node: ast.With | ast.AsyncWith) -> None:
        self.all(node.items)
        calls = [item.context_expr for item in node.items if isinstance(item.context_expr, ast.Call)]
        claims = any(isinstance(call.func, ast.Attribute) and call.func.attr == "claim" for call in calls)
        heeds = any(
            dotted(call.func).rpartition(".")[2] == "suppress" and any(map(catches, call.args)) for call in calls
        )
        self.claimed += claims
        self.caught += heeds
        self.all(node.body)
        self.claimed -= claims
        self.caught -= heeds

    def visit_AsyncWith(self, node: ast.AsyncWith) -> None:
        self.visit_With(node)

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        self.visit(node.iter)
        self.loop(frozenset(bound((node.target, *node.body))), node.body)
        self.all(node.orelse)

    def visit_AsyncFor(self, node: ast.AsyncFor) -> None:
        self.visit_For(node)

    def visit_While(self, node: ast.While) -> None:
        self.visit(node.test)
        self.loop(frozenset(bound((node.test, *node.body))), node.body)
        self.all(node.orelse)

    def loop(self, names: frozenset[str], body: list[ast.stmt]) -> None:
        self.loops.append(names)
        self.all(body)
        self.loops.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """What is around a function's definition is not around its calls; a claim mostly is."""
        caught, loops = self.caught, self.loops
        self.caught, self.loops = 0, []
        self.parameters(node.args)
        self.all(node.body)
        self.caught, self.loops = caught, loops

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.visit_FunctionDef(node)

    # -- statements

    def visit_Expr(self, node: ast.Expr) -> None:
        call = node.value.value if isinstance(node.value, ast.Await) else node.value
        if isinstance(call, ast.Call):
            self.statements.add(call)
        self.generic_visit(node)

    def visit_Await(self, node: ast.Await) -> None:
        if isinstance(node.value, ast.Call):
            self.awaited.add(node.value)
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            if isinstance(target, ast.Name):
                self.assign(target.id, node.value)
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if isinstance(node.target, ast.Name) and node.value is not None:
            self.assign(node.target.id, node.value)
        self.generic_visit(node)

    def assign(self, name: str, value: ast.expr) -> None:
        team = self.team(value)
        self.teams.pop(name, None)
        self.messages.pop(name, None)
        if team is not None:
            self.teams[name] = team
        elif isinstance(value, ast.Call) and dotted(value.func):
            self.messages[name] = _maker(value)

    # -- calls

    def visit_Call(self, node: ast.Call) -> None:
        if maker := _maker(node):
            self.made.append((maker, self.around.at(node)))
        if is_raw_send(node) and (node in self.awaited or self.around.speaks):
            unheeded = node in self.statements and not self.caught
            self.sends.append(RawSend(self.around.at(node), unheeded, streams(node, self.loops)))
        self.publication(node)
        self.own_call(node)
        effect = self.effect(node)
        if effect is not None:
            self.effects.append(Effect(self.around.at(node), effect, bool(self.claimed)))
        self.generic_visit(node)

    def team(self, node: ast.expr) -> str | None:
        """Return the attribute that an expression takes a team from, empty for a team without one, or `None`."""
        if isinstance(node, ast.Name):
            return self.teams.get(node.id)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
            return node.attr
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "team":
            return ""
        return None

    def publication(self, node: ast.Call) -> None:
        if not (isinstance(node.func, ast.Attribute) and node.func.attr == "publish" and len(node.args) == 1):
            return
        team, event = self.team(node.func.value), node.args[0]
        message = _maker(event) if isinstance(event, ast.Call) else self.messages.get(dotted(event), "")
        if team is not None and message and not node.keywords:
            self.publications.append(Publication(self.around.at(node), message, team))

    def own_call(self, node: ast.Call) -> None:
        callee = node.func
        if dotted(callee).rpartition(".")[2] in ("to_thread", "create_task") and node.args:
            first = node.args[0]
            callee = first if isinstance(first, ast.Name | ast.Attribute) else callee
        if isinstance(callee, ast.Name) and callee.id in self.around.functions:
            self.calls.append(OwnCall(callee.id, of_class=False, claimed=bool(self.claimed)))
        elif isinstance(callee, ast.Attribute) and dotted(callee.value) == "self":
            self.calls.append(OwnCall(callee.attr, of_class=True, claimed=bool(self.claimed)))

    def effect(self, node: ast.Call) -> str | None:
        """Say what a call does to the world outside of its process, as far as its looks tell."""
        name = dotted(node.func)
        if is_raw_send(node) and (node in self.awaited or self.around.speaks):
            return "sends a message"
        if isinstance(node.func, ast.Attribute):
            attribute, holder = node.func.attr, node.func.value
            if attribute == "publish" and len(node.args) == 1:
                team = self.team(holder)
                if team is not None and (not team or self.relations.get(team) == "Team"):
                    return "publishes"
            if attribute in ("run", "submit", "map", "stream") and self.is_workers(holder):
                return "hands out a task"
        dropped = node in self.awaited and node in self.statements
        head, _, rest = name.partition(".")
        origin = self.around.imported.get(head, "")
        return effect_of(node, name, is_dropped=dropped, origin=f"{origin}.{rest}".strip(".") if origin else "")

    def is_workers(self, node: ast.expr) -> bool:
        if not isinstance(node, ast.Attribute):
            return False
        of_self = dotted(node.value) == "self" and self.relations.get(node.attr) == "Workers"
        return of_self or (node.attr == "workers" and isinstance(node.value, ast.Name) and node.value.id != "self")


def _maker(node: ast.Call) -> str:
    """Return the dotted name of the class that a call would make an object of."""
    name = dotted(node.func)
    before, _, last = name.rpartition(".")
    return before if last in _CONSTRUCTORS else name
