"""Reads what workers answer as what their tasks promise."""

from __future__ import annotations

from typing import TypeVar

from msgspec import Raw
from pydantic import TypeAdapter, ValidationError

from orchestrator.errors import TaskFailed

R = TypeVar("R")


def read_answer(adapter: TypeAdapter[R], raw: Raw, task: str) -> R:
    """Read a reply or chunk. Raises `TaskFailed` when it is not what the task promises."""
    try:
        return adapter.validate_json(bytes(raw))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the answer"
        raise TaskFailed(task, "WrongReply", f"{where}: {first['msg']}", "its worker", 1) from None
