"""The address of a backplane on the way to `orchestrator hub serve`: no password in it is ever an argument."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orchestrator.errors import ExitCode, OrchestratorError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

VARIABLE: Final = "ORCHESTRATOR_BACKPLANE"
_LONGEST: Final = 8_192
"""Bytes of a file that holds an address."""


class BackplaneUsage(OrchestratorError):
    """The address was given in a way in which it cannot be."""

    exit_code = ExitCode.USAGE


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--backplane",
        metavar="URL",
        help="what joins this hub to others, nats://HOST:4222/NAME or redis://HOST:6379/NAME; with a password in it, it goes "
        f"into a file or the variable {VARIABLE}",
    )
    parser.add_argument(
        "--backplane-file", type=Path, metavar="FILE", help="a file that holds that address, and no more"
    )
    parser.add_argument(
        "--node-name", metavar="NAME", help="what this hub is called among them; default: the name of the machine"
    )


def given(args: argparse.Namespace, environ: Mapping[str, str] | None = None) -> str | None:
    """Return the address that was given: by an option, or else by the variable. `None` = the hub is alone.

    Raises `BackplaneUsage`.
    """
    environ = os.environ if environ is None else environ
    if args.backplane is not None and args.backplane_file is not None:
        raise BackplaneUsage("--backplane and --backplane-file say the same in two ways; give one of them")
    if args.backplane is not None:
        if "@" in args.backplane:
            raise BackplaneUsage(
                "--backplane: everybody on this machine can read the arguments of a command, and this address holds a "
                f"credential: write it into a file, and give --backplane-file FILE, or set the variable {VARIABLE}"
            )
        return _address(args.backplane, "--backplane")
    if args.backplane_file is not None:
        return _address(_content(args.backplane_file), str(args.backplane_file))
    return _address(environ[VARIABLE], f"the variable {VARIABLE}") if environ.get(VARIABLE) else None


def _content(path: Path) -> str:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            content = file.read(_LONGEST).decode("utf-8", "replace").strip()
    except OSError as error:
        raise BackplaneUsage(f"--backplane-file: {path}: {(error.strerror or str(error)).lower()}") from None
    if "@" in content and mode & 0o007:
        raise BackplaneUsage(
            f"{path}: everybody may read this file (mode {mode:o}), and it holds a credential; `chmod 600 {path}` mends that"
        )
    return content


def _address(text: str, where: str) -> str:
    """Return an address that has the shape of one; what else is wrong with it, the engine's own reading says."""
    if "://" not in text or not text.isprintable() or " " in text:
        raise BackplaneUsage(
            f"{where}: this is not the address of a backplane; one looks like nats://127.0.0.1:4222/name or "
            "redis://127.0.0.1:6379/name"
        )
    return text
