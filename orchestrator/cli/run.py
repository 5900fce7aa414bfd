"""`orchestrator run`: everything that a topology names, until it is asked to end or has answered what it was asked."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.cli.reading import environment, read_plan, read_topology, topology_arguments, unhandled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.errors import Problem
    from orchestrator.runtime.asking import Question
    from orchestrator.topology.plan import Plan


def arguments(_verb: str, parser: argparse.ArgumentParser) -> None:
    topology_arguments(parser)
    parser.add_argument(
        "--ask",
        nargs=2,
        action="append",
        default=[],
        metavar=("AGENT", "TEXT"),
        help="when all replicas are ready, ask this agent, write its answer to standard output as it comes, and end "
        "with its outcome; may be given several times",
    )
    parser.add_argument(
        "--until-idle",
        action="store_true",
        help="when all replicas are ready and all questions are answered, wait until no task is open in the store, say "
        "how they ended, and end; exit with 1 if any of them died",
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        metavar="SECONDS",
        help="how long all answers, and with --until-idle all tasks, may take together, getting ready included "
        "(default: no limit)",
    )
    parser.add_argument(
        "--grace",
        type=_seconds,
        default=10.0,
        metavar="SECONDS",
        help="how long agents may take to end what they do before they are killed (default: 10)",
    )
    parser.add_argument(
        "--log",
        choices=("console", "json"),
        help="how the log on standard error looks (default: console on a terminal, JSON lines elsewhere)",
    )
    parser.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), default="info", help="(default: info)"
    )
    parser.set_defaults(execute=execute)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= 86_400:  # also turns away what is no number at all
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds between 0 and 86400")
    return seconds


def execute(args: argparse.Namespace) -> int:
    """Load, inspect, plan, run. Before anything is started it raises `TopologyError`, `UnknownAgent`, `TakesNoQuestions`,
    `NothingKept`, `CannotListen` or `NoPlace`."""
    from orchestrator.runtime.asking import questions
    from orchestrator.runtime.inspect import inspect_topology
    from orchestrator.runtime.support import check_support

    environ = environment(args)
    topology = read_topology(args, environ)
    check_support(topology)
    reports = inspect_topology(topology, environ, app_dir=args.app_dir)
    plan = replace(read_plan(topology, reports), app_dir=args.app_dir)
    if args.until_idle:
        from orchestrator.runtime.idling import check_until_idle

        check_until_idle(plan)
    warnings = [*plan.warnings, *unhandled(args, topology, reports)]
    return _run(plan, questions(plan, args.ask, reports), warnings, environ, args)


def _run(
    plan: Plan,
    asked: Sequence[Question],
    warnings: Sequence[Problem],
    environ: Mapping[str, str],
    args: argparse.Namespace,
) -> int:
    import asyncio

    from orchestrator.runtime.output import Output, abandon, rendering
    from orchestrator.runtime.own_logs import routed
    from orchestrator.runtime.runner import Options, run

    names = ["run", "hub", *(["store"] if plan.store else []), *(replica.peer_id for replica in plan.replicas)]
    output = Output(rendering(args.log, sys.stderr, environ, names), args.log_level, log=sys.stderr, answers=sys.stdout)
    try:
        for problem in warnings:
            output.say("warning", str(problem))
        options = Options(log_level=args.log_level, grace=args.grace, timeout=args.timeout, until_idle=args.until_idle)
        with routed(output):
            return asyncio.run(run(plan, output, options, environ, asked))
    finally:
        output.close()
        if output.unread:
            abandon(sys.stdout)
