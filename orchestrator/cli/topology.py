"""`orchestrator validate` and `orchestrator plan`: look at a topology without starting anything."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from orchestrator.cli import machines
from orchestrator.cli.example_text import examples
from orchestrator.cli.problems import FORMS, render, wants_colour
from orchestrator.cli.reading import (
    environment,
    import_arguments,
    read_code,
    read_plan,
    read_topology,
    shown,
    topology_arguments,
    unhandled,
)
from orchestrator.errors import ExitCode

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator, Sequence

    from orchestrator.cli.problems import Form
    from orchestrator.errors import Problem
    from orchestrator.topology.model import Topology
    from orchestrator.topology.plan import Plan, Replica, UserPlan
    from orchestrator.topology.replica import DurableDelivery, Pool
    from orchestrator.topology.store_access import Access


def arguments(verb: str, parser: argparse.ArgumentParser) -> None:
    topology_arguments(parser)
    import_arguments(parser)
    if verb == "plan":
        parser.add_argument("--json", action="store_true", help="print the plan as JSON")
        machines.arguments(parser)
        examples(
            parser,
            "orchestrator plan topology.yaml",
            "orchestrator plan topology.yaml --json",
            "orchestrator plan topology.yaml --machines  # one command for each machine",
        )
        parser.set_defaults(execute=plan)
        return
    parser.add_argument(
        "--format",
        dest="form",
        choices=FORMS,
        default="text",
        help="text for people, on standard error; json, or annotations for github, on standard output (default: text)",
    )
    parser.add_argument("--json", dest="form", action="store_const", const="json", help="the same as --format json")
    parser.add_argument("--strict", action="store_true", help="take a warning for a mistake: exit with 3")
    examples(
        parser,
        "orchestrator validate topology.yaml",
        "orchestrator validate topology.yaml --no-import --json",
        "orchestrator validate examples.yaml --strict",
    )
    parser.set_defaults(execute=validate)


def validate(args: argparse.Namespace) -> int:
    topology, found, warnings = _planned(args)
    _warn(warnings, topology, args.form)
    if warnings and args.strict:
        if args.form == "text":
            print(f"\n{_count(len(warnings), 'warning', 'warnings')}, and --strict takes none", file=sys.stderr)
        return ExitCode.INVALID
    if args.form != "json":
        print(f"{shown(args)}: ok: {_summary(found)}{'' if args.imports else '; handlers were not imported'}")
    return ExitCode.DONE


def plan(args: argparse.Namespace) -> int:
    topology, found, warnings = _planned(args)
    _warn(warnings, topology, "text")
    if machines.asked_for(args):
        return machines.show(args, found)
    if args.json:
        import json

        print(json.dumps(_as_json(found), indent=2, ensure_ascii=False))
    else:
        print("\n".join(_as_text(found)))
    return ExitCode.DONE


def _planned(args: argparse.Namespace) -> tuple[Topology, Plan, list[Problem]]:
    """Load, inspect and plan; also return every warning. Raises `TopologyError` with every mistake."""
    environ = environment(args)
    topology = read_topology(args, environ)
    reports = read_code(args, topology, environ)
    found = read_plan(topology, reports)
    return topology, found, [*found.warnings, *(unhandled(args, topology, reports) if reports is not None else ())]


def _warn(warnings: Sequence[Problem], topology: Topology, form: Form) -> None:
    stream = sys.stderr if form == "text" else sys.stdout
    stream.write(render(warnings, topology.origin.texts, form, "warning", colour=wants_colour(stream)))


def _summary(found: Plan) -> str:
    agents = {replica.agent for replica in found.replicas}
    teams = {seat.name for replica in found.replicas for seat in replica.teams}
    lobbies = {seat.name for replica in found.replicas for seat in replica.lobbies}
    users = len(found.users) - 1  # the built-in one is in every plan
    counts = [
        _count(len(agents), "agent", "agents"),
        _count(len(found.replicas), "replica", "replicas"),
        _count(len(teams), "team", "teams"),
        _count(len(lobbies), "lobby", "lobbies"),
        _count(users, "kind of user", "kinds of user"),
    ]
    return ", ".join(count for count in counts if not count.startswith("0 "))


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


# -- for people


def _as_text(found: Plan) -> Iterator[str]:
    hub = found.hub
    port = "any free port" if hub.port == 0 else f"port {hub.port}"
    where = f"at {hub.url}" if hub.url else f"started here, on {hub.host}, {port}"
    yield f"{found.name}: {_summary(found)}"
    yield f"hub {where}; tokens of agents live {_duration(hub.token_ttl)}"
    if found.store is not None:
        yield f"store {_store(found.store)}"
    for agent in dict.fromkeys(replica.agent for replica in found.replicas):
        yield ""
        yield from _agent(found.replicas_of(agent))
    for user in found.users:
        yield ""
        yield from _user(user)


def _agent(replicas: tuple[Replica, ...]) -> Iterator[str]:
    """Show an agent once: its replicas differ in what holds their own peer id, and in nothing else."""
    first = replicas[0]
    program = first.handler or ("run elsewhere" if first.external else " ".join(first.command))
    yield f"{first.agent}  {first.role}  {program}"
    ids = first.peer_id if len(replicas) == 1 else f"{first.peer_id} … {replicas[-1].peer_id}"
    yield from _row("replicas", [_count(len(replicas), "process", "processes"), ids])
    yield from _row("tasks at once", [str(first.concurrency)] if first.inbox or first.role == "coordinator" else [])
    own = {first.inbox: "tasks/{peer}"} if len(replicas) > 1 else {}
    yield from _row("delivery", _delivery(first.delivery))
    yield from _row("store", _access(first.store))
    yield from _row("subscribe", [own.get(channel, channel) for channel in first.grants.subscribe])
    yield from _row("observe", first.grants.observe)
    yield from _row("publish", first.grants.publish)
    yield from _row("send to", first.grants.send)
    yield from _row("dispatches", map(_dispatch, first.pools))


def _dispatch(pool: Pool) -> str:
    tasks = ", ".join(task.name for task in pool.tasks)
    return f"{tasks} → {pool.agent}" if tasks else pool.agent


def _delivery(delivery: DurableDelivery | None) -> Iterator[str]:
    if delivery is not None:
        yield "at least once"
        yield _count(delivery.max_attempts, "attempt", "attempts")
        yield f"up to {_duration(delivery.delay)} … {_duration(delivery.max_delay)} between two"


def _access(access: Access | None) -> Iterator[str]:
    """Say what an agent may do with the store."""
    if access is not None:
        if access.claims:
            yield "takes its tasks"
        if access.queues:
            yield f"keeps tasks for {', '.join(access.queues)}"
        if access.teams:
            yield f"keeps claims of {', '.join(access.teams)}"


def _store(address: str) -> str:
    """Return an address without what might be a password."""
    if address == "memory:" or address.startswith("sqlite:"):
        return address
    return f"{address.partition(':')[0]}://…"


def _user(user: UserPlan) -> Iterator[str]:
    from orchestrator.topology.references import ASKER

    yield f"{user.user}  {'built-in user, for --ask' if user.user == ASKER else 'user'}"
    yield from _row("peer id", [f"{user.user}/{{sub}}", f"tokens live {_duration(user.token_ttl)}"])
    yield from _row("subscribe", user.grants.subscribe)
    yield from _row("observe", user.grants.observe)
    yield from _row("publish", user.grants.publish)
    yield from _row("send to", user.grants.send)


def _row(title: str, values: Iterable[str]) -> Iterator[str]:
    text = "  ".join(values)
    if text:
        yield f"  {title:<14}{text}"


def _duration(seconds: float) -> str:
    for size, unit in ((3600, "h"), (60, "m")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"


# -- for programs


def _as_json(found: Plan) -> dict[str, Any]:
    """Return the plan without the hub's key and the store's password, and of environments the names alone: values may be secrets."""
    import msgspec

    hub = found.hub
    return {
        "name": found.name,
        "source": str(found.source),
        "directory": str(found.directory),
        "hub": {"url": hub.url, "host": hub.host, "port": hub.port, "token_ttl": hub.token_ttl},
        "store": None if found.store is None else _store(found.store),
        "replicas": [
            {
                **msgspec.to_builtins(replica),
                "permissions": sorted(replica.permissions),
                "environment": sorted(replica.environment),
            }
            for replica in found.replicas
        ],
        "users": [{**msgspec.to_builtins(user), "permissions": sorted(user.permissions)} for user in found.users],
        "warnings": [msgspec.to_builtins(problem) for problem in found.warnings],
    }
