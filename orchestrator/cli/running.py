"""Which runs a command is about: those of the file that it names, or the one that is alive in the folder that it is in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli.peer_names import Usage
from orchestrator.errors import ExitCode, OrchestratorError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Sequence

    from orchestrator.runtime.operator_wire import AnyRequest, RunView, TopView
    from orchestrator.runtime.run_seat import RunSeat


class NoRun(OrchestratorError):
    """No run is alive that could be asked."""

    exit_code = ExitCode.FAILED


def word_arguments(parser: argparse.ArgumentParser, metavar: str, others: str) -> None:
    """Add the words of a command; `others` says what they are besides the file."""
    parser.add_argument(
        "words",
        nargs="*",
        default=[],
        metavar=metavar,
        help=f"the topology file, which ends in .yaml or .yml or has a slash in it (default: the one that runs in this "
        f"folder){others}",
    )
    parser.set_defaults(usage_error=parser.error)


def split(args: argparse.Namespace) -> tuple[Path | None, list[str]]:
    """Return the file among the words of a command, and the others. Ends the command over two files."""
    files = [word for word in args.words if is_file(word)]
    if len(files) > 1:
        args.usage_error(f"name one topology file, not {' and '.join(files)}")
    return Path(files[0]) if files else None, [word for word in args.words if not is_file(word)]


def is_file(word: str) -> bool:
    """Tell whether a word of a command is the topology: no agent or replica is called so."""
    return word.endswith((".yaml", ".yml")) or "/" in word


def find(file: Path | None) -> tuple[RunSeat, ...]:
    """Return the runs that are meant: at least one, and all of one file. Raises `NoRun`, and `Usage` for several files."""
    from orchestrator.runtime.run_seat import running, running_in

    if file is not None:
        seats = running(file, os.environ)
        if not seats:
            raise NoRun(f"nothing runs of {file}" if file.exists() else f"there is no file '{file}', and no run of it")
        return seats
    seats = running_in(Path.cwd(), os.environ)
    files = sorted({seat.topology.name for seat in seats})
    if not files:
        raise NoRun("no topology of this folder runs; name the file of one that lies elsewhere")
    if len(files) > 1:
        raise Usage(f"{len(files)} topologies of this folder run; name one of them: {', '.join(files)}")
    return seats


def view(seat: RunSeat) -> RunView:
    """Ask a run what it has running. Raises `OrchestratorError`."""
    from orchestrator.runtime.operator_client import RunGone, asked
    from orchestrator.runtime.operator_wire import Ps, RunView

    with asked(seat, Ps()) as answers:
        for answer in answers:
            if isinstance(answer, RunView):
                return answer
    raise RunGone(seat.pid)


def counts(seat: RunSeat) -> TopView:
    """Ask a run what it has done until now. Raises `OrchestratorError`."""
    from orchestrator.runtime.operator_client import RunGone, asked
    from orchestrator.runtime.operator_wire import Top, TopView

    with asked(seat, Top()) as answers:
        for answer in answers:
            if isinstance(answer, TopView):
                return answer
    raise RunGone(seat.pid)


def share_out(seats: Sequence[RunSeat], names: Iterable[str]) -> list[tuple[RunSeat, list[str]]]:
    """Return which of several runs has which of these agents or replicas. Raises `NotInRun` for one that none has."""
    if len(seats) == 1:
        return [(seats[0], list(names))]  # it knows best what it has
    from orchestrator.runtime.operator_wire import NotInRun

    has: dict[str, list[RunSeat]] = {}
    plans: dict[str, list[RunSeat]] = {}
    for seat in seats:
        for replica in view(seat).replicas:
            for name in {replica.agent, replica.peer} - {""}:
                owners = (has if replica.where == "here" else plans).setdefault(name, [])
                owners += [] if seat in owners else [seat]
    shares: dict[RunSeat, list[str]] = {}
    for name in names:
        owners = has.get(name) or plans.get(name, [])[:1]  # what none of them runs, any of them can refuse
        if not owners:
            raise NotInRun(name, sorted({*has, *plans}))
        for seat in owners:
            shares.setdefault(seat, []).append(name)
    return list(shares.items())


def change(seat: RunSeat, request: AnyRequest) -> None:
    """Have a run changed: what it says about it meanwhile goes to standard error, and what it did to standard output.

    Raises `OrchestratorError`.
    """
    import sys

    from orchestrator.cli.progress import waiting
    from orchestrator.runtime.operator_client import RunGone, asked
    from orchestrator.runtime.operator_wire import Done, Progress

    with waiting(f"{seat.topology.name}: {type(request).__name__.lower()}") as line, asked(seat, request) as answers:
        for answer in answers:
            match answer:
                case Progress(sentence=sentence):
                    with line.above():
                        print(sentence, file=sys.stderr, flush=True)
                case Done(sentence=sentence):
                    line.close()
                    print(sentence, flush=True)
                    return
    raise RunGone(seat.pid)
