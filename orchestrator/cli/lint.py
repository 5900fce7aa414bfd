"""`orchestrator lint`: what a topology and its handlers had better not do, and a page on each kind of it."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from orchestrator.cli.example_text import examples
from orchestrator.cli.problems import FORMS, as_json, described, render, wants_colour
from orchestrator.cli.reading import environment, import_arguments, read_code, read_topology, shown, topology_arguments
from orchestrator.errors import ExitCode, did_you_mean, listed

if TYPE_CHECKING:
    from orchestrator.topology.lint import Lint


def arguments(_verb: str, parser: argparse.ArgumentParser) -> None:
    topology_arguments(parser)
    import_arguments(parser)
    parser.add_argument(
        "--format",
        dest="form",
        choices=FORMS,
        default="text",
        help="how findings are written: text for people, json, or annotations for github (default: text)",
    )
    parser.add_argument("--json", dest="form", action="store_const", const="json", help="the same as --format json")
    parser.add_argument("--strict", action="store_true", help="take a warning for an error: exit with 3")
    parser.add_argument(
        "--explain", metavar="CODE", help="print the page on a code, such as ORC104, and do nothing else"
    )
    examples(
        parser,
        "orchestrator lint topology.yaml",
        "orchestrator lint examples.yaml --json",
        "orchestrator lint --explain ORC104",
    )
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Raises `TopologyError` for what is no valid topology: that comes before any advice on it."""
    if args.explain is not None:
        return _explain(args)
    found = _looked_at(args)
    if args.form == "json":
        sys.stdout.write(as_json([*described(found.errors, "error"), *described(found.warnings, "warning")]))
    else:
        colour = wants_colour(sys.stdout)
        parts = [
            render(found.errors, found.texts, args.form, "error", colour=colour),
            render(found.warnings, found.texts, args.form, "warning", colour=colour),
        ]
        between = "\n" if args.form == "text" else ""
        sys.stdout.write(between.join(filter(None, parts)))
        if args.form == "text" and not found.errors and not found.warnings:
            print(f"{shown(args)}: nothing found")
    return ExitCode.INVALID if found.errors or (args.strict and found.warnings) else ExitCode.DONE


def _looked_at(args: argparse.Namespace) -> Lint:
    import time
    from pathlib import Path

    from orchestrator.agents.locating import source_reader
    from orchestrator.topology.lint import lint
    from orchestrator.topology.plan import make_plan

    environ = environment(args)
    topology = read_topology(args, environ)
    make_plan(topology, read_code(args, topology, environ))
    directory = topology.origin.path.resolve().parent
    return lint(topology, source_reader(directory, Path.cwd(), args.app_dir), now=time.time())


def _explain(args: argparse.Namespace) -> int:
    from orchestrator.topology.explanations import CODES, explanation

    code = args.explain.upper()
    if code not in CODES:
        args.usage_error(
            f"there is no code {args.explain!r}{did_you_mean(code, CODES) or f'; there are {listed(CODES)}'}"
        )
    sys.stdout.write(explanation(code))
    return ExitCode.DONE
