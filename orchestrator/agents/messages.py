"""What agents say to each other: tasks that name their reply, stream tasks that name their chunk, team events."""

from __future__ import annotations

from typing import Any, ClassVar, Generic, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict

Reply = TypeVar("Reply", covariant=True)
Chunk = TypeVar("Chunk", covariant=True)


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=False)


class Task(_Message, Generic[Reply]):
    """Work for one worker, answered by one `Reply`: ``class Research(Task[Facts]): topic: str``."""

    kind: ClassVar[str] = "task"


class StreamTask(_Message, Generic[Chunk]):
    """Work for one worker, answered by a stream of `Chunk`: ``class Write(StreamTask[str]): prompt: str``."""

    kind: ClassVar[str] = "stream"


class Event(_Message):
    """Something that happened, told to all members of a team."""


def message_name(message: type[BaseModel]) -> str:
    """Return the name under which messages of this class travel."""
    return message.__name__


def answer_type(message: type[BaseModel]) -> Any:
    """Return the reply of a task class or the chunk of a stream task class; `Any` where the class names none."""
    for cls in message.__mro__:
        meta = getattr(cls, "__pydantic_generic_metadata__", None)
        if meta and meta.get("origin") in (Task, StreamTask) and meta.get("args"):
            return _stated(meta["args"][0])
        for base in getattr(cls, "__orig_bases__", ()):
            if get_origin(base) in (Task, StreamTask):
                return _stated(get_args(base)[0])
    return Any


def _stated(answer: Any) -> Any:
    """Return `None` as annotations are resolved to it."""
    return type(None) if answer is None else answer
