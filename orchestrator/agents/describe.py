"""Reads what an agent's class or module declares: its handlers, the types that they take, its relations."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Literal, cast

from pydantic import BaseModel

from orchestrator.agents.context import Context, Disconnected
from orchestrator.agents.decorators import AGENT, Record, records
from orchestrator.agents.messages import Event, StreamTask, Task, answer_type, message_name
from orchestrator.agents.relations import Presence, Team, Workers
from orchestrator.errors import HandlerError
from orchestrator.patterns.roster import Joined, Left
from orchestrator.topology.handlers import HandledTask, HandlerReport, Relation

RELATION_KINDS: Final[dict[type, Literal["workers", "team", "presence"]]] = {
    Workers: "workers",
    Team: "team",
    Presence: "presence",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Handler:
    """One decorated function, ready to be called with a message."""

    where: str
    """``Class.method`` or ``module.function``, for messages to people."""
    name: str
    record: Record
    messages: tuple[type, ...]
    """The types that it takes; empty for timers."""
    takes_context: bool
    answer: Any
    """The type of its reply or of its chunks; `Any` where nothing says."""
    streams: bool
    threaded: bool
    """A plain `def`: it runs in a thread, so that it cannot hold up the connection."""


@dataclasses.dataclass(frozen=True, slots=True)
class AgentCode:
    """Everything that the code behind one `handler:` declares."""

    reference: str
    target: type | types.ModuleType
    tasks: Mapping[str, Handler]
    events: Mapping[str, tuple[Handler, ...]]
    presence: tuple[Handler, ...]
    disconnects: tuple[Handler, ...]
    timers: tuple[Handler, ...]
    relations: Mapping[str, Literal["workers", "team", "presence"]]

    def task_for_prompt(self) -> str | None:
        """Return the one task type whose only required field is `prompt`, or `None` if there is none, or several."""
        asked = [name for name, handler in self.tasks.items() if takes_prompt(handler.messages[0])]
        return asked[0] if len(asked) == 1 else None


def describe(reference: str, target: type | types.ModuleType) -> HandlerReport:
    """Report what a handler declares, in types that travel. Raises `HandlerError` with what is wrong with it."""
    code = read_agent(reference, target)
    return HandlerReport(
        handler=reference,
        tasks=tuple(
            HandledTask(
                name=name,
                kind="stream" if handler.streams else "task",
                method=handler.name,
                answer=_shown(handler.answer),
                idempotent=handler.record.idempotent,
                takes_prompt=takes_prompt(handler.messages[0]),
            )
            for name, handler in code.tasks.items()
        ),
        events=tuple(code.events),
        relations=tuple(Relation(attribute, kind) for attribute, kind in code.relations.items()),
        watches_presence=bool(code.presence),
    )


def read_agent(reference: str, target: type | types.ModuleType) -> AgentCode:
    """Read a class made by `@agent`, or a module with decorated functions. Raises `HandlerError` where it is neither."""
    if isinstance(target, type) and not getattr(target, AGENT, False):
        raise HandlerError(f"class {target.__qualname__} is no agent: put @agent above it")
    reading = _Reading(target)
    for name, function in _functions(target):
        for record in records(function):
            reading.add(name, function, record)
    relations = reading.relations(target) if isinstance(target, type) else {}
    if reading.mistakes:
        raise HandlerError(*reading.mistakes)
    if isinstance(target, types.ModuleType) and reading.empty:
        raise HandlerError(
            f"module {target.__name__!r} holds no decorated function; for a class in it write '{target.__name__}:Class'"
        )
    return AgentCode(
        reference=reference,
        target=target,
        tasks=reading.tasks,
        events=reading.events,
        presence=tuple(reading.others["presence"]),
        disconnects=tuple(reading.others["disconnect"]),
        timers=tuple(reading.others["every"]),
        relations=relations,
    )


class _Reading:
    """What has been read of one agent so far, and every mistake on the way."""

    def __init__(self, target: type | types.ModuleType) -> None:
        self._target = target
        self.tasks: dict[str, Handler] = {}
        self.events: dict[str, tuple[Handler, ...]] = {}
        self.others: dict[str, list[Handler]] = {"presence": [], "disconnect": [], "every": []}
        self.mistakes: list[str] = []

    @property
    def empty(self) -> bool:
        return not (self.tasks or self.events or any(self.others.values()))

    def add(self, name: str, function: Callable[..., Any], record: Record) -> None:
        try:
            handler = _handler(self._target, name, function, record)
        except HandlerError as error:
            self.mistakes += error.sentences
            return
        if record.kind == "task":
            message = message_name(handler.messages[0])
            if message in self.tasks:
                both = f"{self.tasks[message].where} and {handler.where}"
                self.mistakes.append(f"{both} both take {message}; one agent has one handler for each type")
            self.tasks[message] = handler
        elif record.kind == "event":
            for event in handler.messages:
                self.events[message_name(event)] = (*self.events.get(message_name(event), ()), handler)
        else:
            self.others[record.kind].append(handler)

    def relations(self, target: type) -> dict[str, Literal["workers", "team", "presence"]]:
        found: dict[str, Literal["workers", "team", "presence"]] = {}
        for field in dataclasses.fields(cast("Any", target)):
            has_default = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
            if has_default or not field.init:
                continue
            try:
                found[field.name] = _relation(target, field)
            except HandlerError as error:
                self.mistakes += error.sentences
        return found


def takes_prompt(message: type) -> bool:
    fields = cast("type[BaseModel]", message).model_fields
    return {name for name, field in fields.items() if field.is_required()} == {"prompt"}


def _functions(target: type | types.ModuleType) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield the decorated functions in the order of their definition, those of base classes first."""
    if isinstance(target, types.ModuleType):
        for name, value in vars(target).items():
            if records(value) and getattr(value, "__module__", None) == target.__name__:
                yield name, value
        return
    names = dict.fromkeys(name for cls in reversed(target.__mro__) for name in vars(cls))
    for name in names:
        value = getattr(target, name, None)
        if records(value):
            yield name, cast("Callable[..., Any]", value)


def _handler(target: type | types.ModuleType, name: str, function: Callable[..., Any], record: Record) -> Handler:
    where = f"{target.__name__}.{name}"
    parameters = list(inspect.signature(function).parameters.values())
    if isinstance(target, type):
        parameters = parameters[1:]
    accepted = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    expected = 0 if record.kind == "every" else 1
    if len(accepted) != len(parameters) or not expected <= len(accepted) <= expected + 1:
        takes = "nothing, or a Context" if record.kind == "every" else "a message, and a Context if it likes"
        raise HandlerError(f"{where} takes {takes}; its parameters are ({', '.join(p.name for p in parameters)})")
    messages: tuple[type, ...] = ()
    if expected:
        messages = _message_types(where, function, accepted[0], record)
    if len(accepted) > expected:
        _check_context(where, function, accepted[-1])
    streams = inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function)
    answer: Any = Any
    if record.kind == "task":
        answer = _checked_answer(where, function, messages[0], streams)
    elif streams:
        raise HandlerError(f"{where} yields, and only a @task can")
    threaded = not (inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function))
    return Handler(where, name, record, messages, len(accepted) > expected, answer, streams, threaded)


_FIRST: Final[dict[str, tuple[tuple[type, ...], str]]] = {
    "task": ((Task, StreamTask), "a subclass of Task or StreamTask"),
    "event": ((Event,), "a subclass of Event"),
    "presence": ((Joined, Left), "Joined, Left, or Joined | Left"),
    "disconnect": ((Disconnected,), "Disconnected"),
}


def _message_types(
    where: str, function: Callable[..., Any], parameter: inspect.Parameter, record: Record
) -> tuple[type, ...]:
    allowed, wording = _FIRST[record.kind]
    if parameter.annotation is parameter.empty:
        raise HandlerError(f"{where}: the first parameter, {parameter.name}, needs an annotation: {wording}")
    hint = _resolved(where, function, parameter.name, parameter.annotation)
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    found = typing.get_args(hint) if union and record.kind != "task" else (hint,)
    for one in found:
        if not (isinstance(one, type) and issubclass(one, allowed)) or one in (Task, StreamTask, Event):
            raise HandlerError(
                f"{where}: the first parameter, {parameter.name}, is annotated {_shown(one)}; expected {wording}"
            )
    return found


def _check_context(where: str, function: Callable[..., Any], parameter: inspect.Parameter) -> None:
    """A context that is imported for type checkers alone is fine: its place says what it is."""
    try:
        hint = _resolved(where, function, parameter.name, parameter.annotation)
    except HandlerError:
        return
    if hint not in (Context, parameter.empty):
        raise HandlerError(
            f"{where}: the last parameter, {parameter.name}, is annotated {_shown(hint)}; expected Context"
        )


_ITERATORS: Final = (AsyncIterator, AsyncIterable, Iterator, Iterable)


def _checked_answer(where: str, function: Callable[..., Any], message: type, streams: bool) -> Any:
    promised = answer_type(cast("type[BaseModel]", message))
    wants_stream = issubclass(message, StreamTask)
    if wants_stream != streams:
        raise HandlerError(
            f"{where} takes {message.__name__}, a {'stream task' if wants_stream else 'task'}, so it has to "
            f"{'yield chunks' if wants_stream else 'return one reply, not to yield'}"
        )
    if "return" not in function.__annotations__:
        return promised
    returned = _resolved(where, function, "return", function.__annotations__["return"])
    if streams:
        args = typing.get_args(returned)
        iterates = any(typing.get_origin(returned) is kind for kind in _ITERATORS)
        generates = getattr(typing.get_origin(returned), "__name__", "") in ("AsyncGenerator", "Generator")
        returned = args[0] if args and (iterates or generates) else returned
    if promised is not Any and returned is not Any and not _fits(returned, promised):
        raise HandlerError(
            f"{where} {'yields' if streams else 'returns'} {_shown(returned)}, but {message.__name__} promises "
            f"{_shown(promised)}"
        )
    return promised if promised is not Any else returned


def _fits(found: Any, promised: Any) -> bool:
    if found == promised:
        return True
    return isinstance(found, type) and isinstance(promised, type) and issubclass(found, promised)


def _relation(target: type, field: dataclasses.Field[Any]) -> Literal["workers", "team", "presence"]:
    hint = _resolved(target.__name__, _owner_namespace(target, field.name), field.name, field.type)
    kind = RELATION_KINDS.get(hint)
    if kind is None:
        raise HandlerError(
            f"{target.__name__}.{field.name} is annotated {_shown(hint)} and has no default: only Workers, Team and "
            "Presence are given by the topology"
        )
    return kind


def _owner_namespace(target: type, attribute: str) -> Mapping[str, Any]:
    for cls in target.__mro__:
        if attribute in vars(cls).get("__annotations__", {}):
            return vars(inspect.getmodule(cls) or types.ModuleType(""))
    return {}


def _resolved(where: str, scope: Callable[..., Any] | Mapping[str, Any], name: str, annotation: Any) -> Any:
    """Return the type that one annotation means; the others of the same function may stay unresolvable."""
    if not isinstance(annotation, str):
        return annotation
    names = dict(scope) if isinstance(scope, Mapping) else dict(inspect.unwrap(scope).__globals__)
    try:
        return typing.get_type_hints(types.SimpleNamespace(__annotations__={name: annotation}), names)[name]
    except Exception as error:  # noqa: BLE001 - the annotation is the user's expression and may raise anything
        raise HandlerError(
            f"{where}: the annotation {annotation!r} of {name} cannot be resolved: {error}; import its names outside "
            "`if TYPE_CHECKING:`"
        ) from None


def _shown(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint).replace("typing.", "")
