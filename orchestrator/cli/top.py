"""`orchestrator top`: what the agents of a run are doing, as it changes."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from orchestrator.cli.running import counts, find, split, word_arguments
from orchestrator.errors import ExitCode, OrchestratorError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from orchestrator.cli.top_rates import Row
    from orchestrator.runtime.operator_wire import TopView

_COLUMNS: Final = (
    "NAME",
    "READY",
    "TASKS",
    "DONE/S",
    "FAILED/S",
    "CHUNKS/S",
    "P50",
    "P95",
    "CPU",
    "MEMORY",
    "RESTARTS",
)
_NUMBERS: Final = _COLUMNS[1:]
_SPARE: Final = ("P50", "CHUNKS/S", "MEMORY", "CPU", "READY", "FAILED/S", "TASKS")
"""Columns that a narrow terminal does without, the first of them first."""
_SORTS: Final = ("name", "tasks", "done", "failed", "chunks", "p95", "cpu", "memory")
_EVERY, _ONCE = 1.0, 2.0
_WINDOW: Final = 5.0
"""Seconds that rates are taken over, once there are so many: replicas tell what they do once a second."""
_LEAST, _MOST = 0.1, 3600.0


def arguments(_verb: str, parser: argparse.ArgumentParser) -> None:
    parser.usage = "orchestrator top [FILE] [--replicas] [--sort COLUMN] [--once] [--interval SECONDS] [--json]"
    parser.description = (
        "Shows what the agents of a run are doing: tasks in flight, rates over the last five seconds, how long tasks took, "
        "and what their processes take. On a terminal, q quits and s sorts by the next column."
    )
    word_arguments(parser, "FILE", "")
    parser.add_argument("--replicas", action="store_true", help="a line for each replica instead of each agent")
    parser.add_argument(
        "--sort",
        choices=_SORTS,
        default=_SORTS[0],
        help="by which column, the most first (default: name, which is as in the topology)",
    )
    parser.add_argument("--once", action="store_true", help="print one table, as is done where there is no terminal")
    parser.add_argument(
        "--interval",
        type=_seconds,
        metavar="SECONDS",
        help=f"between two looks (default: {_EVERY:g}, and {_ONCE:g} for one table)",
    )
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each run and look, until ctrl-c")
    parser.set_defaults(execute=execute)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not _LEAST <= seconds <= _MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from {_LEAST:g} to {_MOST:g}")
    return seconds


def execute(args: argparse.Namespace) -> int:
    """Raises `NoRun`, `RunSilent` or `RunGone`."""
    from orchestrator.cli.live_screen import Terminated, on_terminal

    file, others = split(args)
    if others:
        args.usage_error(f"unrecognized arguments: {' '.join(others)}; a file ends in .yaml, or has a slash in it")
    live = not args.once and (args.json or on_terminal())
    every = args.interval or (_EVERY if live else _ONCE)
    looks = Looks(file)
    looks.look()
    try:
        if not live:
            time.sleep(every)
            looks.look()
            print("\n".join(looks.json_lines(args) if args.json else looks.lines(args)))
        elif args.json:
            _follow(args, looks, every)
        else:
            _show(args, looks, every)
    except Terminated:
        return ExitCode.TERMINATED
    except KeyboardInterrupt:
        if not live:
            raise
    return ExitCode.DONE


def _follow(args: argparse.Namespace, looks: Looks, every: float) -> None:
    said = ""
    while True:
        time.sleep(every)
        note = looks.look_again()
        if not note:
            print("\n".join(looks.json_lines(args)), flush=True)
        elif note != said:
            print(f"orchestrator: {note}", file=sys.stderr, flush=True)
        said = note


def _show(args: argparse.Namespace, looks: Looks, every: float) -> None:
    from orchestrator.cli.live_screen import LiveScreen

    note = ""
    due = time.monotonic() + every
    with LiveScreen(keys=True) as screen:
        while True:
            width = screen.size[0]
            screen.show([*looks.lines(args, width), *([note[:width]] if note else [])])
            key = screen.wait(max(due - time.monotonic(), 0.0))
            if key is None:
                note = looks.look_again()
                due = time.monotonic() + every
            elif key in ("q", "Q"):
                return
            elif key in ("s", "S"):
                args.sort = _SORTS[(_SORTS.index(args.sort) + 1) % len(_SORTS)]


class Looks:
    """The last looks at the runs that are meant, by the process of each."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._views: dict[int, deque[TopView]] = {}

    def look(self) -> None:
        """Raises `OrchestratorError`."""
        views = [counts(seat) for seat in find(self._file)]
        self._views = {view.run.pid: self._views.get(view.run.pid, deque()) for view in views}
        for view in views:
            known = self._views[view.run.pid]
            known.append(view)
            while len(known) > 2 and known[1].time <= view.time - _WINDOW:
                known.popleft()

    def look_again(self) -> str:
        """Return why there is nothing newer, or nothing."""
        try:
            self.look()
        except OrchestratorError as error:
            return str(error)
        return ""

    def lines(self, args: argparse.Namespace, width: int | None = None) -> list[str]:
        found: list[str] = []
        for views in self._views.values():
            found += [""] if found else []
            found += table(views[0], views[-1], args.sort, width, by_replica=args.replicas)
        return found

    def json_lines(self, args: argparse.Namespace) -> list[str]:
        return [
            json.dumps(_fields(views[0], views[-1], args), ensure_ascii=False, allow_nan=False)
            for views in self._views.values()
        ]


def table(
    before: TopView, after: TopView, sort: str, width: int | None = None, *, by_replica: bool = False
) -> list[str]:
    """Show what a run did between two looks, in at most `width` columns: first the whole, then a line for each agent."""
    from orchestrator.cli.live_screen import coloured, painted
    from orchestrator.cli.sizes import aligned, bytes_text
    from orchestrator.cli.tasks_text import age, cut, plain
    from orchestrator.cli.top_rates import total_of

    total, run = total_of(before, after), after.run
    head = (
        f"{plain(run.name)}: up {age(after.time - run.began)}, {total.ready} of {total.replicas} ready, "
        f"{total.inflight}/{total.capacity} tasks, {_rate(total.done)} done/s, {_rate(total.failed)} failed/s, "
        f"{_rate(total.chunks)} chunks/s, CPU {_share(total.cpu)}, memory {bytes_text(total.memory)}"
    )
    rows = _sorted(before, after, sort, by_replica=by_replica)
    titles = tuple(f"{title}*" if title.lower().partition("/")[0] == sort != _SORTS[0] else title for title in _COLUMNS)
    marked = dict(zip(_COLUMNS, titles, strict=True))
    cells = [titles, *(tuple(map(plain, _cells(row))) for row in rows)]
    lines = aligned(cells, [marked[title] for title in _NUMBERS], width, [marked[title] for title in _SPARE])
    if width is not None and coloured():
        lines = [
            lines[0],
            *(painted(line, "red") if row.failed else line for line, row in zip(lines[1:], rows, strict=True)),
        ]
    return [cut(head, width), *lines]


def _sorted(before: TopView, after: TopView, sort: str, *, by_replica: bool) -> Sequence[Row]:
    from orchestrator.cli.top_rates import SORTS, rows_of

    rows = rows_of(before, after, by_replica=by_replica)
    return rows if sort == _SORTS[0] else sorted(rows, key=SORTS[sort])


def _cells(row: Row) -> tuple[str, ...]:
    from orchestrator.cli.sizes import bytes_text
    from orchestrator.cli.tasks_text import span

    works = row.capacity > 0
    return (
        row.name,
        f"{row.ready}/{row.replicas}" if row.replicas else "-",
        f"{row.inflight}/{row.capacity}" if works else "-",
        *(_rate(rate) if works else "-" for rate in (row.done, row.failed, row.chunks)),
        *("-" if seconds is None else span(seconds) for seconds in (row.p50, row.p95)),
        _share(row.cpu),
        bytes_text(row.memory),
        str(row.restarts),
    )


_TENTHS_UNTIL: Final = 10.0


def _rate(rate: float) -> str:
    return f"{rate:.1f}" if 0 < rate < _TENTHS_UNTIL else f"{rate:.0f}"


def _share(cpu: float | None) -> str:
    return "-" if cpu is None else f"{cpu:.0%}"


def _fields(before: TopView, after: TopView, args: argparse.Namespace) -> dict[str, Any]:
    import dataclasses

    from orchestrator.cli.top_rates import total_of

    return {
        "time": after.time,
        "seconds": after.time - before.time,
        "name": after.run.name,
        "pid": after.run.pid,
        "total": dataclasses.asdict(total_of(before, after)),
        "rows": [dataclasses.asdict(row) for row in _sorted(before, after, args.sort, by_replica=args.replicas)],
    }
