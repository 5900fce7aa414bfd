"""`orchestrator restart` and `orchestrator reload`: new processes for a run that goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.cli.example_text import examples
from orchestrator.cli.running import change, find, share_out, split, word_arguments
from orchestrator.errors import ExitCode

if TYPE_CHECKING:
    import argparse


def arguments(verb: str, parser: argparse.ArgumentParser) -> None:
    if verb == "reload":
        parser.usage = "orchestrator reload [FILE]"
        parser.description = (
            "Has a run read its topology again, and apply what is different: replicas that are the same stay as they are. "
            "A file with a mistake changes nothing. SIGHUP to the run does the same."
        )
        word_arguments(parser, "FILE", "")
        examples(parser, "orchestrator reload", "orchestrator reload examples.yaml")
        parser.set_defaults(execute=_reload)
        return
    parser.usage = "orchestrator restart [FILE] AGENT|PEER ..."
    parser.description = (
        "Restarts replicas of a run, one after the other of each agent: each ends what it does, and the next one is told to "
        "end when it is ready again."
    )
    word_arguments(parser, "WORD", "; and which agents or replicas: researcher, researcher.2, (hub)")
    examples(parser, "orchestrator restart reviewer.2", "orchestrator restart examples.yaml narrator")
    parser.set_defaults(execute=_restart)


def _restart(args: argparse.Namespace) -> int:
    """Raises `NoRun`, `NotInRun`, or what the run says against it."""
    from orchestrator.runtime.operator_wire import Restart

    file, names = split(args)
    if not names:
        args.usage_error("name an agent or a replica: researcher, or researcher.2")
    for seat, own in share_out(find(file), names):
        change(seat, Restart(tuple(own)))
    return ExitCode.DONE


def _reload(args: argparse.Namespace) -> int:
    """Raises `NoRun`, or what the run says against it."""
    from orchestrator.runtime.operator_wire import Reload

    file, others = split(args)
    if others:
        args.usage_error(f"unrecognized arguments: {' '.join(others)}; a file ends in .yaml, or has a slash in it")
    for seat in find(file):
        change(seat, Reload())
    return ExitCode.DONE
