"""`orchestrator run`: everything that a topology names, until it is asked to end or has answered what it was asked."""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli.example_text import examples
from orchestrator.cli.reading import environment, paths, read_plan, read_topology, topology_arguments, unhandled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.cli.detach import Detached
    from orchestrator.runtime.asking import Question
    from orchestrator.runtime.guardian_process import Guardian
    from orchestrator.runtime.plan_source import PlanSource, Reports
    from orchestrator.runtime.run_seat import OwnSeat
    from orchestrator.topology.model import Topology
    from orchestrator.topology.plan import Plan

BEGAN = time.monotonic()
"""When the command was typed, as far as this process can tell."""


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
        "--abort-on-failure",
        action="store_true",
        help="end everything as soon as one replica has failed for good (default: the others go on)",
    )
    parser.add_argument(
        "--watch",
        action="store_true",
        help="when the topology or a handler's file changes, apply the difference, as SIGHUP does (needs the extra 'watch')",
    )
    parser.add_argument(
        "--inline",
        action="store_true",
        help="have the hub, the store and all handlers in this one process and event loop, for a debugger or a tiny "
        "machine; what is a command stays a process",
    )
    parser.add_argument(
        "-d",
        "--detach",
        action="store_true",
        help="end this command when all replicas are ready, and leave the run going by itself",
    )
    part = parser.add_mutually_exclusive_group()
    part.add_argument(
        "--only",
        type=_names,
        action="extend",
        default=[],
        metavar="AGENTS",
        help="start these agents here, and expect the others to be run elsewhere; names with commas between them, or "
        "replicas of one agent: researcher.3, researcher.1-4, researcher.5-",
    )
    part.add_argument(
        "--except",
        dest="but",
        type=_names,
        action="extend",
        default=[],
        metavar="AGENTS",
        help="start all agents here but these, or but these replicas",
    )
    parser.add_argument(
        "--record",
        type=Path,
        metavar="FILE",
        help="write every frame that passes the hub into this file, without secrets, for `orchestrator replay`; compressed "
        "if it ends in .gz",
    )
    parser.add_argument("--hub", metavar="URL", help="use the hub at this URL, whatever the topology says")
    parser.add_argument(
        "--log",
        choices=("console", "json"),
        help="how the log on standard error looks (default: console on a terminal, JSON lines elsewhere)",
    )
    parser.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), default="info", help="(default: info)"
    )
    parser.add_argument(
        "--log-dir",
        type=Path,
        metavar="DIR",
        help="write the log into this directory as well: a file of JSON lines for each replica, rotated at 10 MiB "
        "(default: nowhere; with --detach .orchestrator/logs beside the topology)",
    )
    examples(
        parser,
        "orchestrator run topology.yaml",
        'orchestrator run topology.yaml --ask desk "to be or not to be"',
        "orchestrator run -d topology.yaml  # in the background",
        "orchestrator run topology.yaml --inline --log-level debug",
    )
    parser.set_defaults(execute=execute)


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if not all(names):  # a variable that is not set, say: to start everything instead would be a surprise
        raise argparse.ArgumentTypeError(f"{text!r} holds an empty name; write AGENT or AGENT,AGENT")
    return names


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
    `NothingKept`, `NoSuchPart`, `AlreadyRunning`, `TooFewFiles`, `CannotListen`, `NoPlace`, `EngineAway`, `NoLogFolder` or
    `NoWatch`."""
    if args.watch:
        from orchestrator.runtime.watching import check_watch

        check_watch()
    if not args.detach:
        return _execute(args, None)
    if args.ask or args.until_idle:
        args.usage_error("--detach leaves nobody to answer to: it goes neither with --ask nor with --until-idle")
    from orchestrator.cli.detach import detached, log_folder

    file = paths(args)[0]
    args.log_dir = args.log_dir or log_folder(file)
    return detached(lambda detached: _execute(args, detached), file, args.log_dir)


def _execute(args: argparse.Namespace, detached: Detached | None) -> int:
    if args.inline:
        return _planned(args, None, detached)
    from orchestrator.runtime.guardian_process import Guardian

    with Guardian(environment(args), warm=True) as guardian:  # it warms up while the topology is read
        return _planned(args, guardian, detached)


def _planned(args: argparse.Namespace, guardian: Guardian | None, detached: Detached | None) -> int:
    from orchestrator.runtime.asking import questions
    from orchestrator.runtime.plan_source import PlanSource
    from orchestrator.runtime.run_seat import registered
    from orchestrator.topology.plan_ranges import written

    # While handlers are in this process its environment is theirs, and holds no key.
    def planned(topology: Topology, reports: Reports) -> Plan:
        return _plan(args, topology, reports, strict=not source.begun)

    source = PlanSource(partial(_read, args, dict(os.environ)), planned)
    reading = source.read()
    source.adopt(reading)
    plan = reading.plan
    if args.until_idle:
        from orchestrator.runtime.idling import check_until_idle

        check_until_idle(plan)
    if args.record is not None and plan.hub.url is not None:
        args.usage_error(
            "--record is for a hub that the run starts itself, and this topology uses one elsewhere: give --record to "
            "`orchestrator hub serve` there"
        )
    asked = questions(plan, args.ask, reading.reports)
    with registered(paths(args)[0], {*written(plan.here, plan)}, os.environ) as seat:
        return _run(args, source, asked, guardian, detached, seat)


def _read(args: argparse.Namespace, inherited: Mapping[str, str]) -> tuple[Topology, Reports, dict[str, str]]:
    from orchestrator.runtime.inspect import inspect_topology
    from orchestrator.runtime.support import check_support

    environ = environment(args, inherited)
    topology = read_topology(args, environ)
    check_support(topology)
    return topology, inspect_topology(topology, environ, app_dir=args.app_dir), environ


def _plan(args: argparse.Namespace, topology: Topology, reports: Reports, *, strict: bool) -> Plan:
    """`strict`: replicas that are named have to be there, which a change of their number while it runs may undo."""
    plan = replace(read_plan(topology, reports), app_dir=args.app_dir)
    if args.only or args.but or args.hub:
        from orchestrator.topology.part import part_of

        plan = part_of(plan, only=args.only, but=args.but, hub=args.hub, strict=strict)
    if args.inline:
        from orchestrator.runtime.shared_environment import check_inline

        check_inline(topology, {replica.agent for replica in plan.here})
    return plan


def _run(
    args: argparse.Namespace,
    source: PlanSource,
    asked: Sequence[Question],
    guardian: Guardian | None,
    detached: Detached | None,
    seat: OwnSeat,
) -> int:
    import asyncio

    from orchestrator.cli.progress import status_line
    from orchestrator.runtime.log_files import LogFiles
    from orchestrator.runtime.output import Output, abandon, rendering
    from orchestrator.runtime.own_logs import routed
    from orchestrator.runtime.recent import Recent
    from orchestrator.runtime.runner import Options, Reach, run

    reading, recent = source.current, Recent()
    plan = reading.plan
    names = ["run", "hub", *(["store"] if plan.serves_store else []), *(replica.peer_id for replica in plan.replicas)]
    line = status_line(plain=args.log == "json" or detached is not None)
    line.show("starting")
    line.keep_time()
    output = Output(
        rendering(args.log, sys.stderr, reading.environ, names),
        args.log_level,
        log=line.beside(),
        answers=sys.stdout,
        files=None if args.log_dir is None else LogFiles(args.log_dir),
        recent=recent,
    )
    reach = Reach(
        source=source,
        seat=seat,
        recent=recent,
        on_starting=lambda ready, planned: line.show(f"starting {ready}/{planned}"),
        on_ready=line.close,
    )
    if detached is not None:
        reach = replace(reach, on_ready=partial(detached.ready, output))
    try:
        for problem in [*plan.warnings, *unhandled(args, reading.topology, reading.reports)]:
            output.say("warning", str(problem))
        options = Options(
            log_level=args.log_level,
            grace=args.grace,
            timeout=args.timeout,
            until_idle=args.until_idle,
            abort_on_failure=args.abort_on_failure,
            inline=args.inline,
            watch=args.watch,
            record=args.record,
            began=BEGAN,
        )
        work = run(plan, output, options, reading.environ, asked, guardian=guardian, reach=reach)
        if args.inline:
            from orchestrator.runtime.inline import seen_off

            work = seen_off(work)
        with routed(output):
            return asyncio.run(work)
    finally:
        line.close()
        output.close()
        if output.unread:
            abandon(sys.stdout)
