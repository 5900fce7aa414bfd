"""`orchestrator plan --machines`: what runs where, and the command to type on each machine."""

from __future__ import annotations

import argparse
import shlex
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.topology.plan import Plan
    from orchestrator.topology.plan_machines import Machine, Machines


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--machines",
        action="store_true",
        help="show what runs where, and the command that starts each part: on one machine, unless --machine says otherwise",
    )
    parser.add_argument(
        "--machine",
        dest="placed",
        type=_assignment,
        action="append",
        default=[],
        metavar="NAME=AGENTS",
        help="the machine that others reach by this name runs these agents, replicas of them, or the hub: "
        "desk=hub,editor,researcher.1-4; given for each machine, and checked to place everything once",
    )


def _assignment(text: str) -> tuple[str, tuple[str, ...]]:
    from orchestrator.topology.plan_machines import read_assignment

    try:
        return read_assignment(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def asked_for(args: argparse.Namespace) -> bool:
    return args.machines or bool(args.placed)


def show(args: argparse.Namespace, plan: Plan) -> int:
    """Raises `Misplaced`."""
    from orchestrator.topology.plan_machines import arranged

    placed: dict[str, list[str]] = {}
    for name, words in args.placed:
        placed.setdefault(name, []).extend(words)
    found = arranged(plan, placed, tuple(_files(args)))
    if args.json:
        import json

        print(json.dumps(_as_json(found), indent=2, ensure_ascii=False))
    else:
        print("\n".join(_as_text(found)))
    return ExitCode.DONE


def _files(args: argparse.Namespace) -> Iterator[str]:
    """Yield the words that name the topology, as they were given; a value that may be a secret is not repeated."""
    from orchestrator.topology.masking import MASK, concealed

    if args.file is not None:
        yield str(args.file)
    for file in args.more:
        yield from ("-f", str(file))
    for profile in args.profiles:
        yield from ("--profile", profile)
    if args.env_file is not None:
        yield from ("--env-file", str(args.env_file))
    for name, value in args.variables:
        assignment = f"{name}={value}"
        yield from ("--var", assignment if concealed(assignment) == assignment else f"{name}={MASK}")
    if args.app_dir is not None:
        yield from ("--app-dir", str(args.app_dir))


# -- for people


def _as_text(found: Machines) -> Iterator[str]:
    count = len(found.machines)
    yield f"{found.plan.name} on {count} machine{'' if count == 1 else 's'}: {_replicas(_started(found))}"
    yield f"hub    {_hub(found)}"
    if found.plan.store is not None:
        yield f"store  {_store(found)}"
    for machine in found.machines:
        yield ""
        what = [*(["hub"] if machine.hub else []), *machine.words]
        yield f"{machine.name}  {', '.join(what)}  ({_replicas(len(machine.replicas))})"
        yield f"  {shlex.join(machine.command)}"
    if found.external:
        yield ""
        yield f"started by others, with `orchestrator token`: {', '.join(found.external)}"


def _started(found: Machines) -> int:
    return sum(len(machine.replicas) for machine in found.machines)


def _replicas(count: int) -> str:
    return f"{count} replica{'' if count == 1 else 's'}"


def _hub(found: Machines) -> str:
    starting = [machine.name for machine in found.machines if machine.hub]
    if found.backplane is not None:
        return f"on {', '.join(starting)}, joined by {found.backplane}"
    if not starting:
        return f"at {found.hub_url}, started by others"
    return f"on {starting[0]}" + (f", at {found.hub_url} for the others" if found.hub_url is not None else "")


def _store(found: Machines) -> str:
    if found.plan.shared_store is not None:
        return f"at {found.store}, which each agent reaches by itself"
    where = ", ".join(machine.name for machine in found.machines if machine.store)
    return f"{found.store}, on {where}"


# -- for programs


def _as_json(found: Machines) -> dict[str, Any]:
    hub = found.plan.hub
    return {
        "name": found.plan.name,
        "source": str(found.plan.source),
        "hub": {"url": found.hub_url, "started": hub.url is None, "backplane": found.backplane},
        "store": found.store,
        "machines": [_machine(machine) for machine in found.machines],
        "external": list(found.external),
    }


def _machine(machine: Machine) -> dict[str, Any]:
    return {
        "name": machine.name,
        "replicas": [replica.peer_id for replica in machine.replicas],
        "hub": machine.hub,
        "store": machine.store,
        "command": list(machine.command),
    }
