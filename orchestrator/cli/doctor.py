"""`orchestrator doctor`: what on this machine, and in what a topology needs, keeps it from running, and what to do about it."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orchestrator.cli import doctor_machine as machine
from orchestrator.cli.doctor_findings import Finding, as_object, is_well, none, ok, text
from orchestrator.cli.example_text import examples
from orchestrator.cli.reading import environment, paths, read_plan, read_topology, shown, topology_arguments
from orchestrator.errors import ExitCode, TopologyError

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Iterator, Mapping

    from orchestrator.cli.doctor_reach import Held
    from orchestrator.runtime.run_seat import RunSeat
    from orchestrator.topology.model import Topology
    from orchestrator.topology.plan import Plan

_WATCHED: Final = 0.4
"""Seconds for which clocks are looked at."""
_EXTRAS: Final = {"nats": "nats", "tls": "nats", "redis": "redis", "rediss": "redis"}
"""By the scheme of an engine's address, the extra that speaks to it."""
_PROBE_LIFE: Final = 120


def arguments(_verb: str, parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Looks at Python and its packages, at this machine, and, where a topology is named, at what it needs: its key, its "
        "port, its hub, its store and its broker. It starts nothing and changes nothing, and takes three seconds at most. "
        "Exits with 1 when anything is wrong."
    )
    topology_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    examples(
        parser, "orchestrator doctor", "orchestrator doctor topology.yaml", "orchestrator doctor examples.yaml --json"
    )
    parser.set_defaults(execute=execute)


@dataclass
class _Case:
    """What there is to look at."""

    environ: Mapping[str, str]
    findings: list[Finding]
    """What was found while it was read."""
    topology: Topology | None = None
    plan: Plan | None = None
    held: list[Held] = field(default_factory=list)
    runs: tuple[RunSeat, ...] = ()
    """Those of this topology that are alive."""


def execute(args: argparse.Namespace) -> int:
    import asyncio

    clocks = time.time(), time.monotonic()
    case = _case(args)
    findings = [*_machine(case), *case.findings]
    findings += asyncio.run(_reached(case))
    left = _WATCHED - (time.monotonic() - clocks[1])
    if left > 0:
        time.sleep(left)  # the clocks are looked at for so long, and nothing tells of their being set
    now = time.time()
    findings.insert(_after(findings, "open files"), machine.clock(_gone(clocks, now)))
    if args.json:
        import json

        print(json.dumps(as_object(findings), ensure_ascii=False))
    else:
        screen = machine.find_screen()
        lines = text(findings, unicode=machine.is_unicode(screen.encoding), colour=screen.colours)
        print("\n".join(lines))
    return ExitCode.DONE if is_well(findings) else ExitCode.FAILED


def _gone(clocks: tuple[float, float], now: float) -> machine.Clocks:
    return machine.Clocks(now - clocks[0], time.monotonic() - clocks[1], now)


def _after(findings: list[Finding], check: str) -> int:
    return next((at + 1 for at, finding in enumerate(findings) if finding.check == check), len(findings))


# -- what there is


def _case(args: argparse.Namespace) -> _Case:
    from orchestrator.cli.doctor_topology import mistakes
    from orchestrator.runtime.run_seat import seen_in

    named = args.file is not None or args.more
    folder = paths(args)[0].resolve().parent if named else Path.cwd()
    alive, left = seen_in(folder, os.environ)
    case = _Case(os.environ, [machine.stale_seats(str(folder), len(left))])
    if not named:
        return case
    file = paths(args)[0]
    case.runs = tuple(seat for seat in alive if seat.topology == file.resolve())
    try:
        case.environ = environment(args)
        case.topology = read_topology(args, case.environ)
        case.plan = read_plan(case.topology, None)
    except TopologyError as error:
        case.findings += mistakes(error.problems, shown(args))
        return case
    case.held += _held(args, case.topology)
    replicas = len(case.plan.replicas)
    case.findings.append(ok("topology", f"{shown(args)} is sound: {replicas} replica{'s' if replicas != 1 else ''}"))
    return case


def _held(args: argparse.Namespace, topology: Topology) -> Iterator[Held]:
    """Yield the files that a secret of the topology comes from."""
    from orchestrator.cli.doctor_reach import Held
    from orchestrator.topology.certificates import files_of
    from orchestrator.topology.env_file import load_env_file

    beside = paths(args)[0].parent / ".env"
    file: Path = beside if args.env_file is None else args.env_file
    if file.is_file() and topology.origin.withheld & {*load_env_file(file, str(file))}:
        yield Held(str(file), file.stat().st_mode & 0o777, "holds what the hub or the store is read from", _own(file))
    certificate = files_of(topology)
    if certificate is not None and certificate[1].is_file():
        private = certificate[1]
        yield Held(str(private), private.stat().st_mode & 0o777, "is the key of the hub's certificate", _own(private))


def _own(file: Path) -> str:
    import shlex

    return f"chmod 600 {shlex.quote(str(file))}"


# -- what it comes to


def _machine(case: _Case) -> Iterator[Finding]:
    yield machine.python(sys.version_info[:3])
    requirements = machine.find_requirements()
    names = {each.name for each in requirements} | {package for package, _ in machine.EXTRAS.values()}
    installed = machine.find_versions(names)
    yield from machine.packages(requirements, installed, sys.platform)
    yield from machine.extras(requirements, installed, _needed(case.plan))
    libraries = ("picows",) if sys.platform == "win32" else ("uvloop", "picows")
    yield machine.fast_parts(machine.find_broken(libraries), sys.platform)
    limits = machine.find_open_files()
    if limits is not None:
        yield machine.open_files(*limits, _files(case.plan))
    yield machine.runtime_folder(machine.find_runtime_folder(case.environ))
    yield machine.terminal(machine.find_screen())


def _needed(plan: Plan | None) -> set[str]:
    addresses = [] if plan is None else [plan.shared_store, plan.hub.backplane]
    schemes = {address.partition(":")[0] for address in addresses if address is not None}
    return {_EXTRAS[scheme] for scheme in schemes if scheme in _EXTRAS}


def _files(plan: Plan | None) -> int | None:
    from orchestrator.runtime.open_files import EACH, OWN

    return None if plan is None else (len(plan.here) + 2) * EACH + OWN


async def _reached(case: _Case) -> list[Finding]:
    """Look at everything that takes time at once."""
    import asyncio

    if case.plan is None:
        return []
    plan = case.plan

    async def all_of(found: AsyncIterator[Finding]) -> list[Finding]:
        return [finding async for finding in found]

    parts = await asyncio.gather(all_of(_hub(case, plan)), all_of(_store(case, plan)), all_of(_backplane(plan)))
    return [finding for part in parts for finding in part]


async def _hub(case: _Case, plan: Plan) -> AsyncIterator[Finding]:
    import asyncio

    from orchestrator.cli import doctor_reach as reach
    from orchestrator.cli import doctor_topology as verdicts

    yield verdicts.key(plan.hub.key, local=plan.hub.url is None)
    for finding in verdicts.secret_files(case.held):
        yield finding
    if plan.hub.url is None:
        run = next((seat.pid for seat in case.runs if _port_of(seat) == plan.hub.port), None)
        yield verdicts.port(await asyncio.to_thread(reach.find_port, plan.hub.host, plan.hub.port, run))
        return
    for finding in verdicts.hub(await reach.ask_hub(plan.hub.url, _token(plan))):
        yield finding


def _port_of(seat: RunSeat) -> int | None:
    from urllib.parse import urlsplit

    return None if seat.hub_url is None else urlsplit(seat.hub_url).port


def _token(plan: Plan) -> str:
    from orchestrator.protocol.tokens import mint
    from orchestrator.topology.references import ASKER

    if plan.hub.key is None:
        return "none"
    return mint(plan.hub.key, plan.user(ASKER).claims(f"doctor-{os.getpid()}", int(time.time()) + _PROBE_LIFE))


async def _store(case: _Case, plan: Plan) -> AsyncIterator[Finding]:
    import asyncio

    from orchestrator.cli import doctor_reach as reach
    from orchestrator.cli import doctor_topology as verdicts
    from orchestrator.store.opening import MEMORY, SQLITE

    address = plan.store
    if address is None:
        yield none("store", "nothing in this topology keeps tasks or strong claims")
    elif address == MEMORY:
        yield ok("store", "memory: what it keeps ends with the run")
    elif not plan.serves_store:
        yield verdicts.engine("store", f"{address.partition(':')[0]}://…", await reach.ask_engine(plan))
    else:
        run = case.runs[0].pid if case.runs else None
        for finding in verdicts.store_file(
            await asyncio.to_thread(reach.find_store, address.removeprefix(SQLITE), plan.directory, run)
        ):
            yield finding


async def _backplane(plan: Plan) -> AsyncIterator[Finding]:
    from orchestrator.cli import doctor_reach as reach
    from orchestrator.cli import doctor_topology as verdicts

    if plan.hub.backplane is None:
        yield none("backplane", "its hub is alone")
    else:
        scheme = plan.hub.backplane.partition(":")[0]
        yield verdicts.engine("backplane", f"{scheme}://…", await reach.ask_backplane(plan.hub.backplane))
