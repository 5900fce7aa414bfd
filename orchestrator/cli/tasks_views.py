"""How a watched store is shown: on a terminal in place, elsewhere one listing after another, and as lines of JSON."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TYPE_CHECKING, Final, Protocol

from orchestrator.cli import tasks_json
from orchestrator.cli.tasks import SHOWN
from orchestrator.cli.tasks_find import every
from orchestrator.cli.tasks_listing import shown
from orchestrator.cli.tasks_text import cut, plain

if TYPE_CHECKING:
    import argparse
    from collections.abc import Collection, Iterable, Sequence
    from types import TracebackType
    from typing import Self

    from orchestrator.cli.tasks_store import Source
    from orchestrator.store.tasks import QueueStats, State, TaskInfo, Tasks

FOLLOWED: Final = 1_000
"""Tasks whose changes are told where no limit is given, the last that were stored."""
OPEN: Final = 10_000
"""Tasks before those that are followed all the same until they end, at most."""
_BESIDE: Final = 4
"""Lines of a screen that hold no task: the heading, how many more there are, the sums, a note."""
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
"""To another screen, without a cursor, and back to the one before."""
_HOME, _REST_OF_LINE, _REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"


class View(Protocol):
    async def look(self, tasks: Tasks) -> None:
        """Ask for what is to be shown."""
        ...

    def show(self, note: str) -> None:
        """Show it, if it is not shown yet; `note` says why it may be old, and is empty where it is not."""
        ...


class _Listing:
    """A listing as it was when it was looked at."""

    def __init__(self, args: argparse.Namespace, source: Source) -> None:
        self.args, self._source = args, source
        self._checked = False
        self.infos: list[TaskInfo] = []
        self.stats: Sequence[QueueStats] = ()

    async def look(self, tasks: Tasks) -> None:
        self.stats = await tasks.stats()
        if not self._checked:
            self._source.check_queue(self.args.queue, self.stats)
            self._checked = True
        found = every(tasks, states=self.args.states, queue=self.args.queue, limit=self.limit())
        self.infos = [info async for info in found]

    def limit(self) -> int:
        return self.args.limit or SHOWN

    def lines(self, note: str, width: int | None) -> list[str]:
        if note and not self.stats:  # it says more than that there is no task
            return [plain(note)]
        listed = shown(self.infos, self.stats, self.args.states, self.args.queue, time.time(), width)
        return [*listed, *([plain(note)] if note else [])]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave things as they were."""


class Screen(_Listing):
    """A terminal's other screen, as many tasks as it has room for; at the end the last of it stays on the usual one."""

    def __init__(self, args: argparse.Namespace, source: Source) -> None:
        super().__init__(args, source)
        self._frame: list[str] = []

    def __enter__(self) -> Self:
        sys.stdout.write(_ENTER)
        sys.stdout.flush()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        last = "".join(f"{line}\n" for line in self._frame)
        sys.stdout.write(_LEAVE + last)
        sys.stdout.flush()

    def limit(self) -> int:
        room = max(shutil.get_terminal_size().lines - _BESIDE, 1)
        return min(self.args.limit or room, room)

    def show(self, note: str) -> None:
        width = shutil.get_terminal_size().columns
        frame = [cut(line, width) for line in self.lines(note, width)]
        if frame != self._frame:
            self._frame = frame
            sys.stdout.write(_HOME + "\r\n".join(f"{line}{_REST_OF_LINE}" for line in frame) + _REST_OF_SCREEN)
            sys.stdout.flush()


class Pages(_Listing):
    """One listing after another, with an empty line between; that time passes is no change."""

    def __init__(self, args: argparse.Namespace, source: Source) -> None:
        super().__init__(args, source)
        self._last: object = None

    def show(self, note: str) -> None:
        state = (self.infos, self.stats, note)
        if state != self._last:
            between = "" if self._last is None else "\n"
            self._last = state
            print(between + "\n".join(self.lines(note, None)), flush=True)


class Lines(_Listing):
    """A line of JSON for each task that is followed, and one whenever its state or attempt has changed."""

    def __init__(self, args: argparse.Namespace, source: Source) -> None:
        super().__init__(args, source)
        self._changes = Changes(args.states)
        self._told: list[TaskInfo] = []
        self._note = ""

    async def look(self, tasks: Tasks) -> None:
        if not self._checked:
            self._source.check_queue(self.args.queue, await tasks.stats())
            self._checked = True
        limit = self.args.limit or FOLLOWED
        infos = [info async for info in every(tasks, queue=self.args.queue, limit=limit)]
        older = await _ended(tasks, self._changes.before(infos))
        self._told = self._changes.told([*older, *reversed(infos)])

    def show(self, note: str) -> None:
        for info in self._told:
            print(tasks_json.line(tasks_json.task(info)))
        sys.stdout.flush()
        self._told = []
        if note not in ("", self._note):
            print(note, file=sys.stderr)
        self._note = note


async def _ended(tasks: Tasks, task_ids: Sequence[str]) -> list[TaskInfo]:
    """Return those tasks that have ended."""
    from orchestrator.store.errors import UnknownTask
    from orchestrator.store.tasks import MAX_OUTCOMES

    ended = []
    for first in range(0, len(task_ids), MAX_OUTCOMES):
        for task_id, outcome in (await tasks.outcomes(task_ids[first : first + MAX_OUTCOMES])).items():
            if outcome is not None:
                try:
                    ended.append((await tasks.get(task_id)).info)
                except UnknownTask:
                    continue
    return ended


class Changes:
    """Tells which tasks are not as they were when they were last told of."""

    def __init__(self, states: Collection[State] = ()) -> None:
        """`states` = those into which a change is told; none = all of them."""
        self._states = frozenset(states)
        self._known: dict[str, tuple[State, int]] = {}

    def before(self, infos: Iterable[TaskInfo]) -> list[str]:
        """Return those that have not ended as far as is known, and are not among these."""
        from orchestrator.store.tasks import FINAL

        among = {info.id for info in infos}
        return [task_id for task_id, (state, _) in self._known.items() if state not in FINAL and task_id not in among]

    def told(self, infos: Sequence[TaskInfo]) -> list[TaskInfo]:
        """Return those that are new or changed, in the order given; of all others, the last `OPEN` stay known."""
        changed = [info for info in infos if self._known.get(info.id) != (info.state, info.attempt)]
        kept = self.before(infos)[-OPEN:]
        self._known = {
            **{task_id: self._known[task_id] for task_id in kept},
            **{info.id: (info.state, info.attempt) for info in infos},
        }
        return [info for info in changed if not self._states or info.state in self._states]
