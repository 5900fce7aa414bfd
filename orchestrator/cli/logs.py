"""`orchestrator logs`: what a run has said last, and what it says from now on."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Final

from orchestrator.cli.example_text import examples
from orchestrator.cli.running import find, share_out, split, view, word_arguments
from orchestrator.errors import ExitCode

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable, Iterator, Sequence

    from orchestrator.runtime.console import Rendering
    from orchestrator.runtime.operator_wire import AnyAnswer
    from orchestrator.runtime.run_seat import RunSeat

_OWN: Final = ("run", "hub", "store")
"""Names of what every run may have."""
_LINES: Final = 100
_MOST: Final = 1_000_000
_LEVELS: Final = ("debug", "info", "warning", "error")


def arguments(_verb: str, parser: argparse.ArgumentParser) -> None:
    parser.usage = "orchestrator logs [FILE] [AGENT|PEER ...] [-f] [-n LINES] [--since TIME] [--level LEVEL] [--grep PATTERN] [--json]"
    parser.description = (
        "Shows the last lines of a run's log, of these agents and replicas or of all. A run keeps the last 1,000 of each "
        "process; those before them are in its log files, if it writes any."
    )
    word_arguments(
        parser, "WORD", "; and whose lines: an agent, a replica, or run, hub or store for the run's own processes"
    )
    parser.add_argument(
        "-n",
        "--lines",
        type=_count,
        help=f"how many, of those that pass the other options (default: {_LINES}; with --since all)",
    )
    parser.add_argument("-f", "-F", "--follow", action="store_true", help="go on until ctrl-c, or the end of the run")
    parser.add_argument(
        "--since", type=_since, metavar="TIME", help="lines from then on: 5m, 2h, 14:30, or 2026-01-31T14:30"
    )
    parser.add_argument("--level", choices=_LEVELS, default="debug", help="lines of this level, and of worse ones")
    parser.add_argument(
        "--grep",
        type=_pattern,
        metavar="PATTERN",
        help="lines with this regular expression in their event, fields or traceback, each of which is a line to ^ and $; "
        "(?i) at its beginning takes small letters for large ones",
    )
    parser.add_argument(
        "--log",
        choices=("console", "json"),
        help="how the lines look (default: console on a terminal, JSON lines elsewhere)",
    )
    parser.add_argument("--json", dest="log", action="store_const", const="json", help="the same as --log json")
    examples(
        parser,
        "orchestrator logs -f reviewer",
        "orchestrator logs --since 5m --level warning",
        "orchestrator logs examples.yaml lead hub -n 20 --json",
        "orchestrator logs --grep 'ready|restart' -n 10",
    )
    parser.set_defaults(execute=execute)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text[:12]) > _MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number between 0 and {_MOST}")
    return int(text)


def _since(text: str) -> float:
    from orchestrator.cli.log_filters import since_now

    return since_now(text)


def _pattern(text: str) -> re.Pattern[str]:
    from orchestrator.cli.log_filters import pattern

    return pattern(text)


def execute(args: argparse.Namespace) -> int:
    """Raises `NoRun`, `NotInRun`, `RunSilent` or `RunGone`."""
    file, names = split(args)
    if args.lines is None:
        args.lines = _LINES if args.since is None else _MOST
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

    searched = args.grep is not None  # which is done here, so that a pattern that takes for ever is in nobody's way
    request = Logs(
        tuple(names),
        _MOST if searched and args.lines else args.lines,
        args.follow,
        args.level,
        args.since,
        marked=searched and args.follow,
    )
    with asked(seat, request) as answers:
        for answer in answers:
            yield answer
            if isinstance(answer, Done):
                return
    if not args.follow:
        raise RunGone(seat.pid)
    print(f"orchestrator: the run, process {seat.pid}, has ended", file=sys.stderr)


def _show(args: argparse.Namespace, seat: RunSeat, names: Sequence[str], render: Rendering) -> None:
    for answer in _passed(args, _answers(args, seat, names)):
        _print(answer, render, flush=args.follow)


def _passed(args: argparse.Namespace, answers: Iterable[AnyAnswer]) -> Iterator[AnyAnswer]:
    """Yield what is to be shown of the answers of one run."""
    if args.grep is None:
        yield from answers
        return
    from orchestrator.cli.log_filters import Sieve

    sieve = Sieve(args.grep, args.lines)
    for answer in answers:
        yield from sieve.passed(answer)
    yield from sieve.last()


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

    found = [
        answer for share in shares for answer in _passed(args, _answers(args, *share)) if isinstance(answer, LogLine)
    ]
    for line in sorted(found, key=lambda line: line.time)[-args.lines :] if args.lines else ():
        _print(line, render, flush=False)


def _follow_all(args: argparse.Namespace, shares: Sequence[tuple[RunSeat, list[str]]], render: Rendering) -> None:
    """Show what several runs say, as it comes."""
    import queue
    import threading

    from orchestrator.cli.log_filters import Sieve
    from orchestrator.errors import OrchestratorError

    coming: queue.Queue[tuple[Sieve, AnyAnswer | Exception | None]] = queue.Queue(maxsize=1_000)

    def read(sieve: Sieve, seat: RunSeat, names: Sequence[str]) -> None:
        try:
            for answer in _answers(args, seat, names):
                coming.put((sieve, answer))
            coming.put((sieve, None))
        except OrchestratorError as error:
            coming.put((sieve, error))

    for seat, names in shares:
        sieve = Sieve(args.grep, args.lines)
        threading.Thread(target=read, args=(sieve, seat, names), daemon=True).start()
    left = len(shares)
    while left:
        sieve, answer = coming.get()
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            left -= 1
        for each in sieve.last() if answer is None else sieve.passed(answer):  # here, where ctrl-c can end the search
            _print(each, render, flush=True)
