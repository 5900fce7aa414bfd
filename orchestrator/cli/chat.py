"""`orchestrator chat`: talk with agents, one question after the other, and see who comes and goes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli.entering import entering_arguments, is_topology, way
from orchestrator.cli.example_text import examples
from orchestrator.errors import ExitCode

if TYPE_CHECKING:
    import argparse


def arguments(_verb: str, parser: argparse.ArgumentParser) -> None:
    parser.usage = "orchestrator chat [FILE] [AGENT] [--hub URL [--token-file FILE]]"
    parser.description = (
        "Talks with an agent of a run, by default the first of its topology. /agent NAME goes on with another one, /who "
        "shows who is there, /cancel or ctrl-c ends an answer, and ctrl-d the talk. Where standard input is no terminal, "
        "each line is a question, and the answers are on standard output."
    )
    parser.add_argument("words", nargs="*", default=[], metavar="WORD", help="the topology file, and the agent")
    entering_arguments(parser)
    examples(parser, "orchestrator chat lead", "echo json | orchestrator chat lead")
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    from orchestrator.cli.chat_screen import Lines, Screen
    from orchestrator.cli.chatting import Chat
    from orchestrator.cli.live_screen import Terminated, terminating

    file, names = None, list(args.words)
    if args.hub is None and names and is_topology(names[0]):
        file, names = Path(names[0]), names[1:]
    if len(names) > 1:
        args.usage_error(f"name one agent, not {len(names)}")
    if args.token_file == "-":
        args.usage_error("the token and the questions cannot both come from standard input")
    found = way(args, file, *names)
    people = sys.stdin.isatty() and sys.stdout.isatty()
    try:
        with terminating(), Chat(found, names[0] if names else "", Screen() if people else Lines()) as chat:
            return chat.run()
    except Terminated:
        return ExitCode.TERMINATED
