"""`orchestrator scopes`: what every token of a topology allows, and what a change to the file does to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.cli.example_text import examples
from orchestrator.cli.reading import environment, read_topology, shown, topology_arguments
from orchestrator.errors import ExitCode

if TYPE_CHECKING:
    import argparse

    from orchestrator.protocol.tokens import Grants
    from orchestrator.topology.plan import Plan
    from orchestrator.topology.scope_diff import PeerChange
    from orchestrator.topology.scope_table import ScopeSection


def arguments(_verb: str, parser: argparse.ArgumentParser) -> None:
    topology_arguments(parser)
    parser.add_argument(
        "peer_name", nargs="?", metavar="AGENT", help="show this agent, kind of user or replica alone; after FILE"
    )
    parser.add_argument("--json", action="store_true", help="print JSON: relations, claims and what flat claims add")
    parser.add_argument(
        "--diff",
        type=Path,
        action="append",
        default=[],
        metavar="OTHER",
        help="show what FILE grants (+) and withdraws (-) compared with this one; several are merged, as with -f",
    )
    parser.add_argument(
        "--exit-code", action="store_true", help="with --diff: exit with 1 when anything is granted that was not before"
    )
    examples(
        parser,
        "orchestrator scopes examples.yaml",
        "orchestrator scopes examples.yaml lead --json",
        "orchestrator scopes topology.yaml --diff examples.yaml",
    )
    parser.set_defaults(execute=_execute)


def _execute(args: argparse.Namespace) -> int:
    from orchestrator.cli.peer_names import take_name

    take_name(args)
    if args.exit_code and not args.diff:
        args.usage_error("--exit-code goes with --diff")
    return _diff(args) if args.diff else _table(args)


def _table(args: argparse.Namespace) -> int:
    from orchestrator.topology.plan import make_plan
    from orchestrator.topology.scope_table import scope_table

    topology = read_topology(args, environment(args))
    plan = _narrowed(make_plan(topology, None), args)
    sections = scope_table(topology, plan)
    if args.json:
        _print_json({"name": plan.name, "tokens": [_section(section) for section in sections]})
    else:
        from orchestrator.cli.scope_text import table

        print("\n\n".join("\n".join(table(section)) for section in sections))
    return ExitCode.DONE


def _narrowed(plan: Plan, args: argparse.Namespace) -> Plan:
    """Return the plan with those alone that the command is about: an agent, one replica of it, or a kind of user."""
    from dataclasses import replace

    from orchestrator.cli.peer_names import unknown

    name = args.peer_name
    if name is None:
        return plan
    replicas = tuple(replica for replica in plan.replicas if name in (replica.agent, replica.peer_id))
    users = tuple(user for user in plan.users if user.user == name)
    if not replicas and not users:
        raise unknown(shown(args), name, list(_owners(plan)))
    return replace(plan, replicas=replicas, users=users)


def _diff(args: argparse.Namespace) -> int:
    from orchestrator.cli.peer_names import unknown
    from orchestrator.cli.scope_text import difference
    from orchestrator.topology.load import load_topology
    from orchestrator.topology.plan import make_plan
    from orchestrator.topology.scope_diff import grants_more, scope_diff

    environ = environment(args)
    after = make_plan(read_topology(args, environ), None)
    before = make_plan(load_topology(args.diff, environ, args.profiles), None)
    changes = scope_diff(before, after)
    if args.peer_name is not None:
        known = {**_owners(after), **_owners(before)}
        if args.peer_name not in known:
            raise unknown(f"neither {shown(args)} nor {args.diff[-1]}", args.peer_name, list(known))
        changes = tuple(change for change in changes if args.peer_name in (change.owner, change.peer))
    if args.json:
        _print_json({"grants_more": grants_more(changes), "changes": [_change(change) for change in changes]})
    else:
        print("\n".join(difference(changes)) or "nothing is granted, and nothing is withdrawn")
    return ExitCode.FAILED if args.exit_code and grants_more(changes) else ExitCode.DONE


def _owners(plan: Plan) -> dict[str, None]:
    """Return every agent, kind of user and peer id of a plan, as keys."""
    agents = [name for replica in plan.replicas for name in (replica.agent, replica.peer_id)]
    return dict.fromkeys([*agents, *(user.user for user in plan.users)])


# -- for programs


def _section(section: ScopeSection) -> dict[str, Any]:
    return {
        "name": section.name,
        "kind": section.kind,
        "token_ttl": section.token_ttl,
        "relations": [
            {"relation": need.relation, "with": list(need.others), **_lists(need.grants)} for need in section.needs
        ],
        "claims": [token.claims for token in section.tokens],
        "flat_also_allows": {
            name: list(patterns) for name in section.flat.__slots__ if (patterns := getattr(section.flat, name))
        },
    }


def _change(change: PeerChange) -> dict[str, Any]:
    return {
        "owner": change.owner,
        "peer": change.peer,
        "kind": change.kind,
        "granted": _lists(change.granted),
        "withdrawn": _lists(change.withdrawn),
    }


def _lists(grants: Grants) -> dict[str, list[str]]:
    return grants.to_claim()


def _print_json(value: object) -> None:
    import json

    print(json.dumps(value, indent=2, ensure_ascii=False))
