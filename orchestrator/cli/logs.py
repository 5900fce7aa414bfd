"""`orchestrator logs`: what a run has said last, and what it says from now on."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Final

from orchestrator.cli.running import find, share_out, split, view, word_arguments
from orchestrator.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchestrator.runtime.console import Rendering
    from orchestrator.runtime.operator_wire import AnyAnswer
    from orchestrator.runtime.run_seat import RunSeat

_OWN: Final = ("run", "hub", "store")
"""Names of what every run may have."""
_LINES: Final = 100
_MOST: Final = 1_000_000


def arguments(_verb: str, parser: argparse.ArgumentParser) -> None:
    parser.usage = "orchestrator logs [FILE] [AGENT|PEER ...] [-n LINES] [-F] [--log console|json]"
    parser.description = (
        "Shows the last lines of a run's log, of these agents and replicas or of all. A run keeps the last 1,000 of each "
        "process; those before them are in its log files, if it writes any."
    )
    word_arguments(
        parser, "WORD", "; and whose lines: an agent, a replica, or run, hub or store for the run's own processes"
    )
    parser.add_argument("-n", "--lines", type=_count, default=_LINES, help=f"how many (default: {_LINES})")
    parser.add_argument("-F", "--follow", action="store_true", help="go on until ctrl-c, or the end of the run")
    parser.add_argument(
        "--log",
        choices=("console", "json"),
        help="how the lines look (default: console on a terminal, JSON lines elsewhere)",
    )
    parser.set_defaults(execute=execute)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text[:12]) > _MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number between 0 and {_MOST}")
    return int(text)


def execute(args: argparse.Namespace) -> int:
    """Raises `NoRun`, `NotInRun`, `RunSilent` or `RunGone`."""
    file, names = split(args)
    seats = find(file)
    try:
        shares = _shares(seats, names)
        render = _rendering(args, seats)
        if len(shares) == 1:
            _show(args, *shares[0], render)
        elif args.follow:
            _follow_all(args, shares, render)
        else:
            _show_all(args, shares, render)
    except KeyboardInterrupt:
        if not args.follow:
            raise
    return ExitCode.DONE


def _shares(seats: Sequence[RunSeat], names: Sequence[str]) -> list[tuple[RunSeat, list[str]]]:
    """Return which runs are asked for whose lines; no names = all lines."""
    if not names or len(seats) == 1:
        return [(seat, list(names)) for seat in seats]
    own = [name for name in names if name in _OWN]
    shares = dict.fromkeys(seats, own) if own else {}
    for seat, others in share_out(seats, [name for name in names if name not in _OWN]):
        shares[seat] = own + others
    return list(shares.items())


def _rendering(args: argparse.Namespace, seats: Sequence[RunSeat]) -> Rendering:
    from orchestrator.runtime.output import rendering

    names = [*_OWN]
    if args.log == "console" or (args.log is None and sys.stdout.isatty()):
        names += [replica.peer for seat in seats for replica in view(seat).replicas]
    return rendering(args.log, sys.stdout, os.environ, names)


def _answers(args: argparse.Namespace, seat: RunSeat, names: Sequence[str]) -> Iterator[AnyAnswer]:
    from orchestrator.runtime.operator_client import RunGone, asked
    from orchestrator.runtime.operator_wire import Done, Logs

    with asked(seat, Logs(tuple(names), args.lines, args.follow)) as answers:
        for answer in answers:
            yield answer
            if isinstance(answer, Done):
                return
    if not args.follow:
        raise RunGone(seat.pid)
    print(f"orchestrator: the run, process {seat.pid}, has ended", file=sys.stderr)


def _show(args: argparse.Namespace, seat: RunSeat, names: Sequence[str], render: Rendering) -> None:
    for answer in _answers(args, seat, names):
        _print(answer, render, flush=args.follow)


def _print(answer: AnyAnswer, render: Rendering, *, flush: bool) -> None:
    from orchestrator.runtime.operator_wire import LogLine, Missed, record_of

    match answer:
        case LogLine():
            print(render(*record_of(answer)), flush=flush)
        case Missed(count=count):
            lines = "1 line was" if count == 1 else f"{count} lines were"
            print(f"orchestrator: {lines} not shown: they came faster than they were read", file=sys.stderr)


def _show_all(args: argparse.Namespace, shares: Sequence[tuple[RunSeat, list[str]]], render: Rendering) -> None:
    """Show what several runs have said last, in the order of time."""
    from orchestrator.runtime.operator_wire import LogLine

    found = [answer for share in shares for answer in _answers(args, *share) if isinstance(answer, LogLine)]
    for line in sorted(found, key=lambda line: line.time)[-args.lines :] if args.lines else ():
        _print(line, render, flush=False)


def _follow_all(args: argparse.Namespace, shares: Sequence[tuple[RunSeat, list[str]]], render: Rendering) -> None:
    """Show what several runs say, as it comes."""
    import queue
    import threading

    from orchestrator.errors import OrchestratorError

    coming: queue.Queue[AnyAnswer | Exception | None] = queue.Queue(maxsize=1_000)

    def read(seat: RunSeat, names: Sequence[str]) -> None:
        try:
            for answer in _answers(args, seat, names):
                coming.put(answer)
            coming.put(None)
        except OrchestratorError as error:
            coming.put(error)

    for share in shares:
        threading.Thread(target=read, args=share, daemon=True).start()
    left = len(shares)
    while left:
        match answer := coming.get():
            case None:
                left -= 1
            case Exception():
                raise answer
            case _:
                _print(answer, render, flush=True)
