"""Which topology a command is about: files, profiles, variables; the same options for every verb that reads one."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.errors import Problem
    from orchestrator.topology.handlers import HandlerFault, HandlerReport
    from orchestrator.topology.model import Topology
    from orchestrator.topology.plan import Plan

_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)


def topology_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which topology is meant."""
    parser.add_argument("file", type=Path, nargs="?", metavar="FILE", help="the topology file")
    parser.add_argument(
        "-f",
        "--file",
        dest="more",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a further file, merged over the ones before it; may be given several times",
    )
    parser.add_argument(
        "--profile",
        dest="profiles",
        action="append",
        default=[],
        metavar="NAME",
        help="apply this profile of the file; of several the later wins",
    )
    parser.add_argument(
        "--env-file",
        type=Path,
        metavar="FILE",
        help="take variables that the environment lacks from this file (default: .env beside the topology, if it is there)",
    )
    parser.add_argument(
        "--var",
        dest="variables",
        type=_assignment,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="set a variable of the topology, whatever the environment says",
    )
    parser.add_argument(
        "--app-dir",
        type=_directory,
        metavar="DIR",
        help="look for handlers here (default: beside the topology, then in the project around it)",
    )
    parser.set_defaults(usage_error=parser.error)


def import_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options about handlers' code."""
    parser.add_argument(
        "--no-import",
        dest="imports",
        action="store_false",
        help="leave the handlers' code out of it: check, or show, what the file alone says",
    )


def _directory(text: str) -> Path:
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"there is no directory {text!r}")
    return Path(text)


def _assignment(text: str) -> tuple[str, str]:
    found = _ASSIGNMENT.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text.partition('=')[0]!r} is no NAME=VALUE")
    return found[1], found[2]


def environment(args: argparse.Namespace, inherited: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables of a command: those given as options, then the environment, then the ``.env`` file.

    `inherited`: the environment as it was when the command began, where it is another one by now.

    Raises `TopologyError` for an ``.env`` file with mistakes.
    """
    beside = paths(args)[0].parent / ".env"
    file = beside if args.env_file is None and beside.is_file() else args.env_file
    found: dict[str, str] = {}
    if file is not None:
        from orchestrator.topology.env_file import load_env_file

        found = load_env_file(file, str(file))
    return {**found, **(os.environ if inherited is None else inherited), **dict(args.variables)}


def paths(args: argparse.Namespace) -> list[Path]:
    """Return the files in the order in which they are merged; ends the command when there is none."""
    files: list[Path] = [*([] if args.file is None else [args.file]), *args.more]
    if not files:
        args.usage_error("name a topology file: FILE, or -f FILE")
    return files


def shown(args: argparse.Namespace) -> str:
    """Return how messages name the topology of a command."""
    return " + ".join(map(str, paths(args)))


def read_topology(args: argparse.Namespace, environ: Mapping[str, str]) -> Topology:
    """Raises `TopologyError` with every mistake of the files."""
    from orchestrator.topology.load import load_topology

    return load_topology(paths(args), environ, args.profiles)


def read_code(
    args: argparse.Namespace, topology: Topology, environ: Mapping[str, str]
) -> dict[str, HandlerReport | HandlerFault] | None:
    """Return what the handlers declare, or `None` where the command is to leave their code alone."""
    if not args.imports:
        return None
    from orchestrator.runtime.inspect import inspect_topology

    return inspect_topology(topology, environ, app_dir=args.app_dir)


def read_plan(topology: Topology, reports: Mapping[str, HandlerReport | HandlerFault] | None) -> Plan:
    """Raises `TopologyError` with everything in which the file, its code and the hub's certificate do not fit."""
    from orchestrator.topology.plan import make_plan

    if topology.hub.tls is None:
        return make_plan(topology, reports)
    from orchestrator.errors import TopologyError
    from orchestrator.topology.certificates import check_certificates

    problems = list(check_certificates(topology))
    try:
        plan = make_plan(topology, reports)
    except TopologyError as error:
        raise TopologyError(sorted([*problems, *error.problems]), texts=error.texts) from None
    if problems:
        raise TopologyError(sorted(problems), texts=topology.origin.texts)
    return plan


def unhandled(
    args: argparse.Namespace, topology: Topology, reports: Mapping[str, HandlerReport | HandlerFault]
) -> list[Problem]:
    """Return a warning for every task that a coordinator's code can send and none of its workers takes."""
    from orchestrator.agents.locating import source_reader
    from orchestrator.topology.lint_dispatch import unhandled_sends

    directory = topology.origin.path.resolve().parent
    return unhandled_sends(topology, reports, source_reader(directory, Path.cwd(), args.app_dir))
