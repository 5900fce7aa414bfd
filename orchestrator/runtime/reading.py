"""Reads what workers answer as what their tasks promise."""

from __future__ import annotations

from typing import Any, TypeVar

from msgspec import Raw
from pydantic import BaseModel, TypeAdapter, ValidationError

from orchestrator.agents.messages import answer_type
from orchestrator.errors import TaskFailed

R = TypeVar("R")


class Adapters:
    """What reads the answers to each type of task: made once, which takes far longer than reading one."""

    def __init__(self) -> None:
        self._known: dict[type, TypeAdapter[Any]] = {}

    def __call__(self, message: type[BaseModel]) -> TypeAdapter[Any]:
        adapter = self._known.get(message)
        if adapter is None:
            adapter = self._known[message] = TypeAdapter(answer_type(message))
        return adapter


def read_answer(adapter: TypeAdapter[R], raw: Raw, task: str) -> R:
    """Read a reply or chunk. Raises `TaskFailed` when it is not what the task promises."""
    try:
        return adapter.validate_json(bytes(raw))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the answer"
        raise TaskFailed(task, "WrongReply", f"{where}: {first['msg']}", "its worker", 1) from None
