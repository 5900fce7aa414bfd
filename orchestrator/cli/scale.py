"""`orchestrator scale`: more or fewer replicas of an agent, while its run goes on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from orchestrator.cli.example_text import examples
from orchestrator.cli.running import change, find, share_out, split, word_arguments
from orchestrator.errors import ExitCode

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

_WISH: Final = re.compile(r"([^=]+)=(\d{1,5})", re.ASCII)
_MOST: Final = 10_000


def arguments(_verb: str, parser: argparse.ArgumentParser) -> None:
    parser.usage = "orchestrator scale [FILE] AGENT=COUNT ..."
    parser.description = (
        "Has so many replicas of agents in a run. Those that are too many end what they do, within the grace of the run. "
        "The file stays as it is: what it says counts again from the next reload on."
    )
    word_arguments(parser, "WORD", "; and how many replicas of which agent: researcher=5")
    examples(parser, "orchestrator scale reviewer=4", "orchestrator scale examples.yaml reviewer=3 checker=2")
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Raises `NoRun`, `NotInRun`, or what the run says against it."""
    from orchestrator.runtime.operator_wire import Scale

    file, words = split(args)
    wished = _read(args, words)
    for seat, agents in share_out(find(file), wished):
        change(seat, Scale({agent: wished[agent] for agent in agents}))
    return ExitCode.DONE


def _read(args: argparse.Namespace, words: Sequence[str]) -> dict[str, int]:
    wished: dict[str, int] = {}
    for word in words:
        found = _WISH.fullmatch(word)
        if found is None or int(found[2]) > _MOST:
            args.usage_error(f"{word!r} is no AGENT=COUNT with a count of 0 to {_MOST}")
        assert found is not None, "a usage error ends the command"
        if found[1] in wished:
            args.usage_error(f"{found[1]!r} is named twice")
        wished[found[1]] = int(found[2])
    if not wished:
        args.usage_error("name an agent, and how many replicas of it there are to be: researcher=5")
    return wished
