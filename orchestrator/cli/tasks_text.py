"""Tasks as people read them. All that others have written is shown without its control characters."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from orchestrator.cli.scope_text import duration
from orchestrator.cli.tasks_json import readable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from orchestrator.store.tasks import Attempt, Failure, QueueStats, State, TaskHistory, TaskInfo

_COLUMNS: Final = ("ID", "STATE", "QUEUE", "TYPE", "ATTEMPT", "WORKER", "AGE", "LAST ERROR")
_WORD: Final = 32
"""Columns after which the names of queues, types and workers are cut; IDs are not, for they are copied."""
_AGES: Final = ((86_400, "d"), (3600, "h"), (60, "m"))
_MILLISECONDS_UNTIL: Final = 1.0
_TENTHS_UNTIL: Final = 60.0


# -- text of others


def plain(text: str) -> str:
    """Return a text on one line, with all that would steer a terminal, or hide in it, written as an escape."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def cut(text: str, width: int | None) -> str:
    """Return a plain text in at most so many columns; ``…`` stands for what is left out, `None` = all of it."""
    if width is None or columns(text) <= width:
        return text
    taken = 0
    for index, character in enumerate(text):
        taken += _width(character)
        if taken > width - 1:
            return f"{text[:index]}…" if width > 0 else ""
    return text


def columns(text: str) -> int:
    return len(text) if text.isascii() else sum(map(_width, text))


def _width(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


# -- the list


def table(infos: Sequence[TaskInfo], now: float, width: int | None) -> list[str]:
    """Show tasks, one a line, in at most `width` columns; nothing where there are none."""
    if not infos:
        return []
    rows = [_COLUMNS, *(_row(info, now) for info in infos)]
    widths = [max(columns(row[at]) for row in rows) for at in range(len(_COLUMNS) - 1)]
    return [
        cut("  ".join([*(_padded(cell, size) for cell, size in zip(row[:-1], widths, strict=True)), row[-1]]), width)
        .rstrip()
        for row in rows
    ]  # fmt: skip


def _row(info: TaskInfo, now: float) -> tuple[str, ...]:
    return (
        plain(info.id),
        _state(info, now),
        cut(plain(info.queue), _WORD),
        cut(plain(info.type), _WORD),
        f"{info.attempt}/{info.max_attempts}",
        cut(plain(info.worker or "-"), _WORD),
        age(now - info.stored),
        "" if info.failure is None else _error(info.failure),
    )


def _state(info: TaskInfo, now: float) -> str:
    waits = info.state == "ready" and info.since > now
    return f"{info.state} in {age(info.since - now)}" if waits else str(info.state)


def _error(failure: Failure) -> str:
    first = failure.message.strip().partition("\n")[0]
    return plain(f"{failure.type}: {first}" if first else failure.type)


def _padded(text: str, width: int) -> str:
    return text + " " * (width - columns(text))


def age(seconds: float) -> str:
    """Return a time in its largest unit alone: ``3s``, ``12m``, ``2d``."""
    for size, unit in _AGES:
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{max(int(seconds), 0)}s"


def matching(stats: Iterable[QueueStats], states: Iterable[State], queue: str | None) -> int:
    """Return how many tasks a listing with these filters would have; no states = all of them."""
    counts = _counts(stats, queue)
    counts["ready"] += counts.pop("later")
    return sum(counts[state] for state in set(states) or counts)


def totals(stats: Iterable[QueueStats], queue: str | None) -> str:
    """Count tasks by their states: ``3 ready, 1 leased, 240 done``. Those that are `later` wait for their time."""
    return ", ".join(f"{count} {state}" for state, count in _counts(stats, queue).items() if count) or "no tasks"


def _counts(stats: Iterable[QueueStats], queue: str | None) -> dict[str, int]:
    chosen = [each for each in stats if queue in (None, each.queue)]
    return {
        name: sum(getattr(each, name) for each in chosen)
        for name in ("ready", "later", "leased", "done", "dead", "cancelled")
    }


# -- one task


def history(task: TaskHistory, now: float) -> Iterator[str]:
    """Show all that is known of a task."""
    info = task.info
    yield f"{plain(info.id)}  {plain(info.type)}"
    for name, value in _facts(info, now):
        yield f"  {name:<10} {value}"
    yield "payload"
    yield from _bytes(task.payload)
    if task.result is not None:
        yield "result"
        yield from _bytes(task.result)
    yield "attempts" if task.attempts else "attempts: none yet"
    for attempt in task.attempts:
        yield from _attempt(attempt, now)
    last = task.attempts[-1].failure if task.attempts else None
    if info.failure is not None and info.failure != last:
        yield "error"
        yield from _failure(info.failure, "  ")


def _facts(info: TaskInfo, now: float) -> Iterator[tuple[str, str]]:
    yield "state", f"{info.state}{_since(info, now)}"
    yield "queue", plain(info.queue)
    origin = "" if info.origin in ("", info.caller) else f" ({plain(info.origin)})"
    yield "stored", f"{_ago(info.stored, now)}, by {plain(info.caller)}{origin}"
    yield "attempts", f"{info.attempt} of {info.max_attempts}"
    if info.worker is not None:
        yield "worker", plain(info.worker)
    if info.priority:
        yield "priority", str(info.priority)
    if info.requires:
        yield "requires", ", ".join(map(plain, sorted(info.requires)))
    if info.key is not None:
        yield "key", plain(info.key)


def _since(info: TaskInfo, now: float) -> str:
    if info.state == "ready":
        return f", due {_ago(info.since, now)}"
    return f"{', its lease ends' if info.state == 'leased' else ' since'} {_ago(info.since, now)}"


def _ago(at: float, now: float) -> str:
    left = at - now
    return f"{_local(at)} ({f'in {age(left)}' if left > 0 else f'{age(-left)} ago'})"


def _local(at: float) -> str:
    """Return a time as the clock on the wall has it, with its distance from UTC."""
    return datetime.fromtimestamp(at, UTC).astimezone().isoformat(timespec="seconds")


def _bytes(data: bytes) -> Iterator[str]:
    text = readable(data)
    if text is None:
        yield f"  {len(data)} bytes that are no JSON"
    else:
        yield from (f"  {plain(line)}" for line in text.split("\n"))


def _attempt(attempt: Attempt, now: float) -> Iterator[str]:
    took = span((now if attempt.ended is None else attempt.ended) - attempt.began)
    ended = f"under way for {took}" if attempt.ending is None else f"{attempt.ending} after {took}"
    yield f"  {attempt.number}  {plain(attempt.worker)}  {_local(attempt.began)}  {ended}"
    if attempt.failure is not None:
        yield from _failure(attempt.failure, "     ")


def _failure(failure: Failure, indent: str) -> Iterator[str]:
    first, *rest = f"{failure.type}: {failure.message}".rstrip().split("\n")
    yield f"{indent}{plain(first)}"
    yield from (f"{indent}  {plain(line)}" for line in rest)
    yield from (f"{indent}  at {plain(frame)}" for frame in failure.frames)


def span(seconds: float) -> str:
    """Return how long something took: ``120ms``, ``1.2s``, ``3m 20s``."""
    if seconds < _MILLISECONDS_UNTIL:
        return f"{max(round(seconds * 1000), 0)}ms"
    return f"{seconds:.1f}s" if seconds < _TENTHS_UNTIL else duration(seconds)
