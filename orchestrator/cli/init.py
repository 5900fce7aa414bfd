"""`orchestrator init`: a first topology with its handlers, written into a directory."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.cli.example_text import examples
from orchestrator.errors import ExitCode, OrchestratorError, listed

if TYPE_CHECKING:
    import argparse
    from importlib.resources.abc import Traversable
    from pathlib import Path

TEMPLATES: Final = ("dispatch", "stream", "team", "presence", "all")

_ONLY_IF_MISSING: Final = ("README.md", ".gitignore")
"""Of a directory that has them, they are left as they are."""
_CODE: Final = ".py.txt"
"""How handlers are kept here: they are data of this package, and no code of it."""
_COMMAND: Final = re.compile(r"^#   (orchestrator run .*)$", re.MULTILINE)


class CannotWrite(OrchestratorError):
    """The directory cannot take the files; none was written, or the sentence says which."""

    exit_code = ExitCode.USAGE


class Template(NamedTuple):
    files: dict[str, str]
    """What is written, by the name of the file."""
    command: str
    """The one that asks it something."""


def arguments(_verb: str, parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", nargs="?", default=".", help="made if it is not there (default: .)")
    parser.add_argument(
        "--template",
        choices=TEMPLATES,
        default="dispatch",
        help="the pattern to begin with, or all four in one file (default: dispatch)",
    )
    examples(parser, "orchestrator init my-desk", "orchestrator init my-team --template team")
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Write what is missing. Raises `CannotWrite` before it would overwrite anything."""
    import shlex
    from pathlib import Path

    directory, found = Path(args.directory), template(args.template)
    written, kept = write(directory, found.files)
    print(f"wrote {', '.join(written)}{f'; kept {listed(kept)} as it was' if kept else ''}")
    print("next:")
    if directory.resolve() != Path.cwd():
        print(f"  cd {shlex.quote(str(directory))}")
    print(f"  {found.command}")
    return ExitCode.DONE


def template(name: str) -> Template:
    """Return a template. Raises `KeyError` for one that there is not."""
    from importlib.resources import files

    folder = files("orchestrator.cli").joinpath("templates")
    if name not in TEMPLATES:
        raise KeyError(name)
    parts = [part for part in TEMPLATES if part != "all"] if name == "all" else [name]
    found = {"topology.yaml": _read(folder.joinpath(name, "topology.yaml"))}
    for part in parts:
        for file in sorted(folder.joinpath(part).iterdir(), key=lambda file: file.name):
            if file.name.endswith(_CODE):
                found[file.name.removesuffix(".txt")] = _read(file)
    found["README.md"] = _read(folder.joinpath(name, "README.md"))
    found[".gitignore"] = _read(folder.joinpath("gitignore"))
    [command] = _COMMAND.findall(found["topology.yaml"])
    return Template(found, command)


def _read(file: Traversable) -> str:
    return file.read_text(encoding="utf-8")


def write(directory: Path, files: dict[str, str]) -> tuple[list[str], list[str]]:
    """Write files into a directory, and return the names of those written and of those left as they were.

    Raises `CannotWrite` when one that would have to be written is there already, and then nothing is.
    """
    there = [name for name in files if (directory / name).exists() or (directory / name).is_symlink()]
    in_the_way = [name for name in there if name not in _ONLY_IF_MISSING]
    if in_the_way:
        has = "is" if len(in_the_way) == 1 else "are"
        raise CannotWrite(
            f"{listed(in_the_way)} {has} in {str(directory)!r} already, and nothing is overwritten; "
            "name another directory: orchestrator init DIR"
        )
    written = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            if name not in there:
                with (directory / name).open("x", encoding="utf-8") as file:  # not even what came a moment ago
                    file.write(text)
                written.append(name)
    except OSError as error:
        before = f"; written before that: {', '.join(written)}" if written else ""
        reason = (error.strerror or str(error)).lower()
        raise CannotWrite(f"{error.filename or directory} cannot be written: {reason}{before}") from None
    return written, there
