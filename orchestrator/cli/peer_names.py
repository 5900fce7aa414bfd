"""Verbs about a topology and one name in it: which word is which, and what is said of a name that is not there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.errors import ExitCode, OrchestratorError, did_you_mean, listed

if TYPE_CHECKING:
    import argparse
    from collections.abc import Collection


_MANY: Final = 20
"""Names after which listing them all helps nobody."""


class Usage(OrchestratorError):
    """The command line asks for something that there is not."""

    exit_code = ExitCode.USAGE


def take_name(args: argparse.Namespace) -> None:
    """Read a first word as the name, not the file, where ``-f`` has named the files and no such file is there."""
    if args.more and args.peer_name is None and args.file is not None and not args.file.exists():
        args.file, args.peer_name = None, str(args.file)


def unknown(source: str, name: str, known: Collection[str], what: str = "agent or user") -> Usage:
    hint = did_you_mean(name, known) or (f"; there are {listed(known)}" if len(known) <= _MANY else "")
    return Usage(f"{source}: there is no {what} {name!r}{hint}")
