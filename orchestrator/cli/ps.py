"""`orchestrator ps`: what a run has running, as it is now."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final

from orchestrator.cli.example_text import examples
from orchestrator.cli.running import find, split, view, word_arguments
from orchestrator.errors import ExitCode

if TYPE_CHECKING:
    import argparse

    from orchestrator.runtime.operator_wire import ReplicaView, RunView

_COLUMNS: Final = ("AGENT", "PEER", "STATE", "PID", "UP", "RESTARTS", "DETAIL")
_NUMBERS: Final = (3, 5)
"""Columns that are aligned to the right."""


def arguments(_verb: str, parser: argparse.ArgumentParser) -> None:
    parser.usage = "orchestrator ps [FILE] [--json]"
    word_arguments(parser, "FILE", "")
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each run")
    examples(parser, "orchestrator ps", "orchestrator ps examples.yaml --json")
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Raises `NoRun`, `RunSilent` or `RunGone`."""
    file, others = split(args)
    if others:
        args.usage_error(f"unrecognized arguments: {' '.join(others)}; a file ends in .yaml, or has a slash in it")
    views = [view(seat) for seat in find(file)]
    if args.json:
        for each in views:
            print(json.dumps(_fields(each), ensure_ascii=False))
    else:
        print("\n\n".join("\n".join(table(each, time.time())) for each in views))
    return ExitCode.DONE


def table(run: RunView, now: float) -> list[str]:
    """Show a run and its replicas, one a line."""
    from orchestrator.cli.tasks_text import age, columns, plain

    state = "ready" if run.ready else "not ready"
    rows = [_COLUMNS, *(tuple(map(plain, _row(replica, now))) for replica in run.replicas)]
    widths = [max(columns(row[at]) for row in rows) for at in range(len(_COLUMNS))]
    head = f"{plain(run.name)}: process {run.pid}, {state}, up {age(now - run.began)}, hub {plain(run.hub_url) or '-'}"
    return [head, *("  ".join(map(_aligned, range(len(_COLUMNS)), row, widths)).rstrip() for row in rows)]


def _row(replica: ReplicaView, now: float) -> tuple[str, ...]:
    from orchestrator.cli.tasks_text import age

    where = "" if replica.where == "here" else replica.where
    return (
        replica.agent or "-",
        replica.peer,
        replica.state,
        "-" if replica.pid is None else str(replica.pid),
        "-" if replica.since is None else age(now - replica.since),
        str(replica.restarts),
        "; ".join(filter(None, (where, replica.detail))),
    )


def _aligned(at: int, text: str, width: int) -> str:
    from orchestrator.cli.tasks_text import columns

    blank = " " * (width - columns(text))
    return blank + text if at in _NUMBERS else text + blank


def _fields(run: RunView) -> dict[str, Any]:
    import msgspec

    fields = msgspec.structs.asdict(run)
    return {**fields, "replicas": [msgspec.structs.asdict(replica) for replica in run.replicas]}
