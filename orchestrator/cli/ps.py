"""`orchestrator ps`: what a run has running, as it is now, or as it changes."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final

from orchestrator.cli.example_text import examples
from orchestrator.cli.running import find, split, view, word_arguments
from orchestrator.errors import ExitCode

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from orchestrator.runtime.operator_wire import ReplicaView, RunView

_COLUMNS: Final = ("AGENT", "PEER", "STATE", "PID", "READY", "RESTARTS", "TASKS", "MEMORY", "DETAIL")
_NUMBERS: Final = ("PID", "READY", "RESTARTS", "TASKS", "MEMORY")
"""Columns that are aligned to the right."""
_SPARE: Final = ("MEMORY", "READY", "PID", "AGENT", "RESTARTS", "TASKS")
"""Those that a narrow terminal does without, the first of them first."""
_COLOURS: Final = {"ready": "green", "failed": "red", "offline": "yellow", "waiting": "yellow", "starting": "yellow"}
_EVERY: Final = 1.0
"""Seconds between two looks."""


def arguments(_verb: str, parser: argparse.ArgumentParser) -> None:
    parser.usage = "orchestrator ps [FILE] [--watch] [--json]"
    word_arguments(parser, "FILE", "")
    parser.add_argument(
        "--watch", action="store_true", help="go on until ctrl-c: in place on a terminal, else when something changes"
    )
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each run")
    examples(parser, "orchestrator ps", "orchestrator ps examples.yaml --json")
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Raises `NoRun`, `RunSilent` or `RunGone`."""
    file, others = split(args)
    if others:
        args.usage_error(f"unrecognized arguments: {' '.join(others)}; a file ends in .yaml, or has a slash in it")
    if args.watch:
        return _watch(file, as_json=args.json)
    views = [view(seat) for seat in find(file)]
    print("\n".join(_lines(views, as_json=args.json, width=_width())))
    return ExitCode.DONE


def _width() -> int | None:
    import shutil
    import sys

    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _lines(views: list[RunView], *, as_json: bool = False, width: int | None = None) -> list[str]:
    from orchestrator.cli.live_screen import coloured

    if as_json:
        return [json.dumps(_fields(each), ensure_ascii=False) for each in views]
    colours = width is not None and coloured()
    tables = [table(each, time.time(), width, colours=colours) for each in views]
    return [line for number, lines in enumerate(tables) for line in ([""] * bool(number) + lines)]


def table(run: RunView, now: float, width: int | None = None, *, colours: bool = False) -> list[str]:
    """Show a run and its replicas, one a line, in at most `width` columns."""
    from orchestrator.cli.sizes import aligned
    from orchestrator.cli.tasks_text import age, cut, plain

    state = "ready" if run.ready else "not ready"
    rows = [_COLUMNS, *(tuple(map(plain, _row(replica, now))) for replica in run.replicas)]
    head = f"{plain(run.name)}: process {run.pid}, {state}, up {age(now - run.began)}, hub {plain(run.hub_url) or '-'}"
    lines = aligned(rows, _NUMBERS, width, _SPARE)
    if colours:
        lines = [lines[0], *map(_coloured, lines[1:], run.replicas)]
    return [cut(head, width), *lines]


def _coloured(line: str, replica: ReplicaView) -> str:
    from orchestrator.cli.live_screen import painted

    colour, state = _COLOURS.get(replica.state), f"  {replica.state} "
    before, found, after = f"{line} ".partition(state)
    if colour is None or not found:
        return line
    return f"{before}  {painted(replica.state, colour)} {after}".rstrip()


def _row(replica: ReplicaView, now: float) -> tuple[str, ...]:
    from orchestrator.cli.sizes import bytes_text
    from orchestrator.cli.tasks_text import age

    where = "" if replica.where == "here" else replica.where
    error = "" if not replica.last_error or replica.last_error in replica.detail else f"last: {replica.last_error}"
    return (
        replica.agent or "-",
        replica.peer,
        replica.state,
        "-" if replica.pid is None else str(replica.pid),
        "-" if replica.ready_since is None else age(now - replica.ready_since),
        str(replica.restarts),
        f"{replica.inflight}/{replica.capacity}" if replica.capacity else "-",
        bytes_text(replica.memory),
        "; ".join(filter(None, (where, replica.detail, error))),
    )


def _fields(run: RunView) -> dict[str, Any]:
    import msgspec

    fields = msgspec.structs.asdict(run)
    return {**fields, "replicas": [msgspec.structs.asdict(replica) for replica in run.replicas]}


# -- as it changes


def _watch(file: Path | None, *, as_json: bool) -> int:
    import gc

    from orchestrator.cli.live_screen import LiveScreen, Terminated, on_terminal

    gc.enable()  # it is off for commands that are short
    try:
        views = [view(seat) for seat in find(file)]
        if as_json or not on_terminal():
            _tell_changes(file, views, as_json=as_json)
        with LiveScreen() as screen:
            note = ""
            while True:
                width = screen.size[0]
                screen.show([*_lines(views, width=width), *([note[:width]] if note else [])])
                if screen.wait(_EVERY) is None:
                    views, note = _look(file, views)
    except Terminated:
        return ExitCode.TERMINATED
    except KeyboardInterrupt:
        return ExitCode.DONE


def _tell_changes(file: Path | None, views: list[RunView], *, as_json: bool) -> None:
    """Print what there is whenever it is not what it was; ends by a signal alone."""
    import sys

    told: object = None
    said = note = ""
    while True:
        state = [_state(each, work=as_json) for each in views]
        if state != told:
            between = [""] if told is not None and not as_json else []
            print("\n".join([*between, *_lines(views, as_json=as_json)]), flush=True)
            told = state
        if note != said:
            print(f"orchestrator: {note}" if note else "orchestrator: it runs again", file=sys.stderr, flush=True)
            said = note
        time.sleep(_EVERY)
        views, note = _look(file, views)


def _look(file: Path | None, before: list[RunView]) -> tuple[list[RunView], str]:
    """Return what runs now; or what was seen before, and why there is nothing newer."""
    from orchestrator.errors import OrchestratorError

    try:
        return [view(seat) for seat in find(file)], ""
    except OrchestratorError as error:
        return before, str(error)


def _state(run: RunView, *, work: bool) -> RunView:
    """Return a view without what changes all the time; `work`: with how many tasks have ended."""
    import msgspec

    fleeting: dict[str, Any] = {"memory": 0, "since": None, "ready_since": None}
    if not work:
        fleeting |= {"done": 0, "failed": 0}
    still = tuple(msgspec.structs.replace(each, **fleeting) for each in run.replicas)
    return msgspec.structs.replace(run, replicas=still)
