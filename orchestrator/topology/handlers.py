"""What the code behind a `handler:` declares, as reported by the process that imported it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class HandledTask:
    """One message type that an agent takes."""

    name: str
    kind: Literal["task", "stream"]
    method: str
    answer: str
    """The reply's or chunk's type, as a reader would write it."""
    idempotent: bool = False
    takes_prompt: bool = False
    """Its only required field is `prompt`: a question in words can be put to it."""


@dataclass(frozen=True, slots=True)
class Relation:
    """One attribute through which an agent reaches others; its name is the one in the topology, `-` read as `_`."""

    attribute: str
    kind: Literal["workers", "team", "presence"]


@dataclass(frozen=True, slots=True)
class HandlerReport:
    """One importable handler, `module:Class` or `module`."""

    handler: str
    tasks: tuple[HandledTask, ...] = ()
    events: tuple[str, ...] = ()
    relations: tuple[Relation, ...] = ()
    watches_presence: bool = False


@dataclass(frozen=True, slots=True)
class HandlerFault:
    """Why a handler cannot be used; `frames` holds the traceback's lines within the user's own code, if it raised.

    `others` are the sentences of further mistakes in the same handler.
    """

    handler: str
    sentence: str
    frames: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


def declared_tasks(names: Iterable[str]) -> tuple[HandledTask, ...]:
    """Return what a program without a handler takes, as far as the topology can say it."""
    return tuple(HandledTask(name, "task", method="", answer="Any") for name in names)
