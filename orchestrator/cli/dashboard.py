"""`orchestrator dashboard`: a link to the dashboard of a run, which signs whoever opens it in, once."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from orchestrator.cli.entering import complain
from orchestrator.cli.example_text import examples
from orchestrator.cli.running import find, split, word_arguments
from orchestrator.errors import ExitCode

if TYPE_CHECKING:
    import argparse

    from orchestrator.runtime.run_seat import RunSeat


def arguments(_verb: str, parser: argparse.ArgumentParser) -> None:
    parser.usage = "orchestrator dashboard [FILE] [--open]"
    parser.description = (
        "Prints a link to the dashboard of a run, and nothing else, on standard output. It holds a secret: whoever opens "
        "it first may do with the run what you may."
    )
    word_arguments(parser, "FILE", "")
    parser.add_argument("--open", action="store_true", help="open it in the browser, too")
    examples(parser, "orchestrator dashboard", "orchestrator dashboard examples.yaml")
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Raises `NoRun`, `RunSilent`, `RunGone` or `RunRefused`."""
    file, others = split(args)
    if others:
        args.usage_error(f"unrecognized arguments: {' '.join(others)}; a file ends in .yaml, or has a slash in it")
    url = link(find(file)[0])
    print(url)
    if not args.open:
        return ExitCode.DONE
    if "#code=" not in url:
        complain(
            "its hub is elsewhere, so the link holds a token, which the list of processes would show: open it yourself"
        )
        return ExitCode.FAILED
    import webbrowser

    sys.stdout.flush()
    if webbrowser.open(url):
        return ExitCode.DONE
    complain("there is no browser here that could be opened; open the link yourself")
    return ExitCode.FAILED


def link(seat: RunSeat) -> str:
    from orchestrator.runtime.operator_client import RunGone, asked
    from orchestrator.runtime.operator_wire import Link, Linked

    with asked(seat, Link()) as answers:
        for answer in answers:
            if isinstance(answer, Linked):
                return answer.url
    raise RunGone(seat.pid)
