"""From what is typed to tasks: all of a listing page by page, and the one task that an ID, or its beginning, means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.cli.tasks_text import plain
from orchestrator.errors import OrchestratorError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    from orchestrator.store.tasks import State, TaskInfo, Tasks

PAGE: Final = 1_000
LEAST: Final = 8
"""Characters of an ID that can stand for all of it."""
_ALIKE: Final = 4
"""Characters with which an ID begins alike."""
_TOLD: Final = 3


class NoSuchTask(OrchestratorError):
    """No task, or more than one, is meant by what was typed; `near` are IDs that begin alike."""

    def __init__(self, word: str, why: str, near: Collection[str]) -> None:
        self.word, self.why, self.near = word, why, tuple(near)
        super().__init__(word, why, self.near)

    def __str__(self) -> str:
        if not self.near:
            return self.why
        told = [plain(task_id) for task_id in self.near[:_TOLD]]
        return f"{self.why}: {', '.join(told)}{' and more' if len(self.near) > _TOLD else ''}"


async def every(
    tasks: Tasks, *, states: Collection[State] = (), queue: str | None = None, limit: int | None = None
) -> AsyncIterator[TaskInfo]:
    """Yield tasks, the last that was stored first; those that are purged meanwhile come or do not come."""
    page = await tasks.list(states=states, queue=queue, limit=min(limit or PAGE, PAGE))
    left = limit
    while page:
        for info in page:
            yield info
        left = None if left is None else left - len(page)
        if left == 0 or len(page) < PAGE:
            return
        page = await _after(tasks, page, states, queue, min(left or PAGE, PAGE))


async def _after(
    tasks: Tasks, page: tuple[TaskInfo, ...], states: Collection[State], queue: str | None, limit: int
) -> tuple[TaskInfo, ...]:
    """Return the page after one; it begins after the last task of that one which has not been purged."""
    from orchestrator.store.errors import UnknownTask

    for info in reversed(page):
        try:
            found = await tasks.list(states=states, queue=queue, limit=limit, before=info.id)
        except UnknownTask:
            continue
        known = {each.id for each in page}
        return tuple(each for each in found if each.id not in known)
    return ()


async def resolved(tasks: Tasks, word: str) -> str:
    """Return the ID that is meant. Raises `NoSuchTask`."""
    from orchestrator.store.errors import UnknownTask

    try:
        await tasks.result(word)
    except UnknownTask:
        return await _by_beginning(tasks, word)
    return word


async def _by_beginning(tasks: Tasks, word: str) -> str:
    matches: list[str] = []
    near: list[tuple[int, str]] = []
    async for info in every(tasks):
        if len(word) >= LEAST and info.id.startswith(word):
            matches.append(info.id)
            if len(matches) > _TOLD:
                break
        alike = _alike(word, info.id)
        if alike >= min(_ALIKE, len(word)):
            near = sorted([*near, (alike, info.id)], key=lambda each: -each[0])[:_TOLD]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise NoSuchTask(word, f"several tasks begin with {plain(word)}", matches)
    short = f"; the beginning of an ID has at least {LEAST} characters" if len(word) < LEAST else ""
    why = f"there is no task {plain(word)}: it was never stored, or has been purged{short}"
    raise NoSuchTask(word, f"{why}; these begin alike" if near else why, [each for _, each in near])


def _alike(one: str, other: str) -> int:
    """Return with how many characters two texts begin alike."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
