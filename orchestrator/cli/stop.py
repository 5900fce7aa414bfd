"""`orchestrator stop`: the end of a run, from another terminal."""

from __future__ import annotations

import argparse
import sys
import threading
from typing import TYPE_CHECKING

from orchestrator.cli.example_text import examples
from orchestrator.cli.running import find, split, word_arguments
from orchestrator.errors import ExitCode, OrchestratorError

if TYPE_CHECKING:
    from orchestrator.runtime.run_seat import RunSeat


def arguments(_verb: str, parser: argparse.ArgumentParser) -> None:
    parser.usage = "orchestrator stop [FILE] [--grace SECONDS]"
    parser.description = (
        "Ends a run as ctrl-c would: agents take nothing new, and end what they do. It waits until the run has ended. "
        "All runs of a file are meant, where parts of it run by themselves."
    )
    word_arguments(parser, "FILE", "")
    parser.add_argument(
        "--grace",
        type=_seconds,
        metavar="SECONDS",
        help="how long agents may take to end what they do before they are killed; 0 = no time at all (default: as the run "
        "was told)",
    )
    examples(parser, "orchestrator stop", "orchestrator stop topology.yaml --grace 3")
    parser.set_defaults(execute=execute)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 86_400:  # also turns away what is no number at all
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds between 0 and 86400")
    return seconds


def execute(args: argparse.Namespace) -> int:
    """Raises `NoRun`."""
    file, others = split(args)
    if others:
        args.usage_error(f"unrecognized arguments: {' '.join(others)}; a file ends in .yaml, or has a slash in it")
    ends = [_End(seat, args.grace) for seat in find(file)]
    for end in ends:
        end.start()
    for end in ends:
        end.join()
        print(end.sentence, file=sys.stdout if end.code == ExitCode.DONE else sys.stderr)
    return max(end.code for end in ends)


class _End(threading.Thread):
    """Asks one run to end, and waits for that: several end side by side."""

    def __init__(self, seat: RunSeat, grace: float | None) -> None:
        super().__init__(daemon=True)  # ctrl-c ends the command, and the runs go on ending
        self._seat, self._grace = seat, grace
        self.code: int = ExitCode.FAILED
        self.sentence = f"the run, process {seat.pid}, could not be asked to end"

    def run(self) -> None:
        from orchestrator.runtime.operator_client import stop
        from orchestrator.runtime.operator_wire import Stop

        try:
            ended = stop(self._seat, Stop(self._grace))
        except OrchestratorError as error:
            self.code, self.sentence = error.exit_code, f"orchestrator: {error}"
            return
        name, pid = self._seat.topology.name, self._seat.pid
        if ended:
            self.code, self.sentence = ExitCode.DONE, f"{name}: process {pid} has ended"
        else:
            self.sentence = f"orchestrator: {name}: process {pid} was asked to end, and is still there"
