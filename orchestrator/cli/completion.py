"""`orchestrator completion bash|zsh|fish`: a script that has a shell complete what is typed."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orchestrator.cli.example_text import examples
from orchestrator.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence

SHELLS: Final = ("bash", "zsh", "fish")
_SECTIONS: Final = ("coordinators", "workers", "agents")
_LARGEST: Final = 1_048_576
"""Bytes of a topology that is read while somebody waits for a key to do something."""


def arguments(_verb: str, parser: argparse.ArgumentParser) -> None:
    parser.usage = "orchestrator completion {bash,zsh,fish}"
    parser.description = (
        "Prints a script for a shell, made of the verbs and options that there are. Agents' names it asks for while one types: "
        "those of the file that was named, or of what runs in the folder."
    )
    parser.add_argument("shell", nargs="?", choices=SHELLS, help="which shell the script is for")
    parser.add_argument("--words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    examples(
        parser,
        'eval "$(orchestrator completion bash)"  # in ~/.bashrc',
        "orchestrator completion zsh > _orchestrator",
        "orchestrator completion fish > orchestrator.fish",
    )
    parser.set_defaults(execute=execute, usage_error=parser.error)


def execute(args: argparse.Namespace) -> int:
    if args.words is not None:
        print("".join(f"{name}\n" for name in names(args.words, Path.cwd())), end="")
        return ExitCode.DONE
    if args.shell is None:
        args.usage_error(f"name a shell: {', '.join(SHELLS)}")
    from orchestrator.cli import completion_scripts
    from orchestrator.cli.completion_shape import commands

    print(getattr(completion_scripts, args.shell)(commands()), end="")
    return ExitCode.DONE


def names(words: Sequence[str], folder: Path) -> list[str]:
    """Return the agents of the topology that is named among the words of a command, or else of those that run in a folder,
    or of its only topology.

    What cannot be read has none: whoever types is not to be disturbed.
    """
    from orchestrator.cli.running import is_file

    files = [folder / word for word in words if is_file(word) and (folder / word).is_file()]
    if files:
        return _declared(files[0])
    from orchestrator.runtime.run_seat import seen_in

    alive, _ = seen_in(folder, os.environ)
    running = {word.partition(".")[0] for seat in alive for word in seat.agents}
    if running:
        return sorted(running)
    found = [*folder.glob("*.yaml"), *folder.glob("*.yml")]
    return _declared(found[0]) if len(found) == 1 else []


def _declared(file: Path) -> list[str]:
    """Return the names that stand in a topology, without asking whether it is a good one."""
    import yaml

    try:
        with file.open(encoding="utf-8") as opened:
            root = yaml.compose(opened.read(_LARGEST), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return []
    sections = [value for key, value in _pairs(root) if key in _SECTIONS]
    return sorted({name for section in sections for name, _ in _pairs(section)})


def _pairs(node: object) -> list[tuple[str, object]]:
    import yaml

    if not isinstance(node, yaml.MappingNode):
        return []
    return [(str(key.value), value) for key, value in node.value if isinstance(key, yaml.ScalarNode)]
