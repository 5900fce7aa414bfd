"""Decorators record what a function handles and hand it back, so that it stays callable in a plain test."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Final, Literal, TypeVar, cast, dataclass_transform, overload

from orchestrator.errors import HandlerError
from orchestrator.topology.values import read_positive_duration

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

RECORDS: Final = "__orchestrator_records__"
AGENT: Final = "__orchestrator_agent__"

Kind = Literal["task", "event", "presence", "disconnect", "every"]


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """What one decorator said of one function."""

    kind: Kind
    idempotent: bool = False
    seconds: float = 0.0


def records(function: object) -> tuple[Record, ...]:
    """Return what the decorators said of a function; nothing if it has none."""
    return cast("tuple[Record, ...]", getattr(function, RECORDS, ()))


def _recorded(function: F, record: Record) -> F:
    setattr(function, RECORDS, (*records(function), record))
    return function


@dataclass_transform(kw_only_default=True, field_specifiers=(dataclasses.field,))
def agent(cls: type[T]) -> type[T]:
    """Make a class an agent: its annotated attributes become keyword-only constructor parameters.

    Attributes annotated `Workers`, `Team` or `Presence` are its relations, named as in the topology.
    """
    made = dataclasses.dataclass(kw_only=True, eq=False)(cls)
    setattr(made, AGENT, True)
    return made


@overload
def task(function: F, /) -> F: ...
@overload
def task(*, idempotent: bool = False) -> Callable[[F], F]: ...
def task(function: F | None = None, /, *, idempotent: bool = False) -> F | Callable[[F], F]:
    """Take the tasks of the type that the first parameter is annotated with.

    An `idempotent` task may be done twice without harm: it goes to another worker when the one that held it is lost.
    """
    record = Record("task", idempotent=idempotent)
    if function is not None:
        return _recorded(function, record)
    return lambda decorated: _recorded(decorated, record)


def on_event(function: F, /) -> F:
    """Hear the team events of the type that the first parameter is annotated with."""
    return _recorded(function, Record("event"))


def on_presence(function: F, /) -> F:
    """Hear who joins and leaves the lobbies that this agent sits in or watches: `Joined`, `Left`, or both."""
    return _recorded(function, Record("presence"))


def on_disconnect(function: F, /) -> F:
    """Hear that the connection to the hub ended: `Disconnected`."""
    return _recorded(function, Record("disconnect"))


def every(period: float | str, /) -> Callable[[F], F]:
    """Call the function again and again, `period` after it has ended: seconds, or ``"10s"``, ``"2m"``."""
    try:
        seconds = read_positive_duration(period)
    except ValueError as error:
        raise HandlerError(f"@every({period!r}): {error}") from None
    return lambda decorated: _recorded(decorated, Record("every", seconds=seconds))
