"""Tasks for programs: keys that stay, times in Unix seconds. All of it is ASCII, so it can go to a terminal as it is."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from orchestrator.store.tasks import Attempt, Failure, TaskHistory, TaskInfo


def line(described: dict[str, Any]) -> str:
    return json.dumps(described)


def task(info: TaskInfo) -> dict[str, Any]:
    return {
        "id": info.id,
        "queue": info.queue,
        "type": info.type,
        "caller": info.caller,
        "origin": info.origin,
        "state": str(info.state),
        "attempt": info.attempt,
        "max_attempts": info.max_attempts,
        "priority": info.priority,
        "requires": sorted(info.requires),
        "key": info.key,
        "worker": info.worker,
        "stored": info.stored,
        "since": info.since,
        "failure": _failure(info.failure),
    }


def history(found: TaskHistory) -> dict[str, Any]:
    return {
        **task(found.info),
        **_bytes("payload", found.payload),
        **_bytes("result", found.result),
        "attempts": [_attempt(attempt) for attempt in found.attempts],
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "fence": attempt.fence,
        "worker": attempt.worker,
        "began": attempt.began,
        "ended": attempt.ended,
        "ending": None if attempt.ending is None else str(attempt.ending),
        "failure": _failure(attempt.failure),
    }


def _failure(failure: Failure | None) -> dict[str, Any] | None:
    if failure is None:
        return None
    return {"type": failure.type, "message": failure.message, "frames": list(failure.frames)}


def _bytes(name: str, data: bytes | None) -> dict[str, Any]:
    """Return bytes as the JSON that they are; what is none, in base64 under a name of its own."""
    if data is None:
        return {name: None, f"{name}_base64": None}
    try:
        return {name: _parsed(data), f"{name}_base64": None}
    except (ValueError, RecursionError):
        return {name: None, f"{name}_base64": base64.b64encode(data).decode("ascii")}


def readable(data: bytes) -> str | None:
    """Return JSON with line breaks and indents; `None` = it is no JSON."""
    try:
        return json.dumps(_parsed(data), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return None


def _parsed(data: bytes) -> Any:
    return json.loads(data.decode("utf-8"), parse_constant=_refused)


def _refused(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
