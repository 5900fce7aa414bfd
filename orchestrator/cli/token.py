"""`orchestrator token FILE NAME`: a token for a user, or an agent that runs elsewhere; `token inspect` looks into one.

The two share one parser, which cannot know the first word when its options are named: `inspect` is a word in the
place of FILE.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orchestrator.cli.example_text import examples
from orchestrator.cli.reading import environment, read_topology, shown, topology_arguments
from orchestrator.errors import ExitCode

if TYPE_CHECKING:
    from orchestrator.protocol.tokens import Claims
    from orchestrator.topology.model import Topology
    from orchestrator.topology.plan import Plan
    from orchestrator.topology.replica import Replica

_INSPECT: Final = Path("inspect")
_USAGE: Final = """orchestrator token FILE USER --sub WHO [--ttl TIME] [--json]
       orchestrator token FILE AGENT [--replica N] [--instance ID] [--ttl TIME] [--json]
       orchestrator token inspect [-|FILE] [--key-file FILE] [--json]"""
_DESCRIPTION: Final = """Makes a token for a kind of user, or for an `external: true` agent, of a topology, and prints it
alone. It is signed with the file's `hub.key`. `inspect` says what a token holds, which it reads from its standard input."""


def arguments(_verb: str, parser: argparse.ArgumentParser) -> None:
    parser.usage, parser.description = _USAGE, _DESCRIPTION
    topology_arguments(parser)
    parser.add_argument(
        "peer_name",
        nargs="?",
        metavar="NAME",
        help="the user or agent; after `inspect`: -, a file that holds a token, or a token, which others then see in ps",
    )
    parser.add_argument("--json", action="store_true", help="print JSON: the token with its times, or what is in it")
    making = parser.add_argument_group("making a token")
    making.add_argument("--sub", metavar="WHO", help="the person or program; its peer id is then USER/WHO")
    making.add_argument("--replica", type=int, metavar="N", help="which replica of an agent that has several, from 1")
    making.add_argument(
        "--instance",
        metavar="ID",
        help="which start of an agent it is for; the same as before lets it continue its connection (default: a new one)",
    )
    making.add_argument(
        "--ttl",
        type=_time,
        metavar="TIME",
        help="how long it lives, such as 90s or 2h: for users up to the file's token_ttl, which is the default, "
        "for agents up to 24h",
    )
    looking = parser.add_argument_group("inspecting one")
    looking.add_argument(
        "--key-file",
        type=Path,
        metavar="FILE",
        help="verify it with this key: a file of `orchestrator keys new`, or one that holds a pair alone "
        "(default: the variable HUB_KEY, if it is set)",
    )
    examples(
        parser,
        "orchestrator token topology.yaml reader --sub alice --ttl 30m",
        "orchestrator token topology.yaml reader --sub alice | orchestrator token inspect",
        "orchestrator token inspect token.txt --key-file keys.yaml --json",
    )
    parser.set_defaults(execute=_execute)


def _time(text: str) -> float:
    from orchestrator.protocol.limits import MAX_TOKEN_LIFE
    from orchestrator.topology.values import MIN_TOKEN_LIFE, read_duration

    try:
        seconds = read_duration(int(text) if text.isascii() and text.isdigit() else text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 90s, 15m or 2h") from None
    if not MIN_TOKEN_LIFE <= seconds <= MAX_TOKEN_LIFE:
        raise argparse.ArgumentTypeError(f"a token lives between {MIN_TOKEN_LIFE:g}s and {MAX_TOKEN_LIFE // 3600}h")
    return seconds


def _execute(args: argparse.Namespace) -> int:
    making = [name for name in ("sub", "replica", "instance", "ttl") if getattr(args, name) is not None]
    if args.file == _INSPECT and not args.more:
        if making:
            args.usage_error(f"--{making[0]} is for making a token, not for inspecting one")
        from orchestrator.cli.token_inspect import inspect

        return inspect(args.peer_name, args.key_file, as_json=args.json)
    if args.key_file is not None:
        args.usage_error("--key-file is for inspecting a token; one is made with the file's hub.key")
    return _make(args)


def _make(args: argparse.Namespace) -> int:
    import time

    from orchestrator.cli.peer_names import Usage, take_name
    from orchestrator.protocol.tokens import mint
    from orchestrator.topology.plan import make_plan

    take_name(args)
    if args.peer_name is None:
        args.usage_error("name a user or agent of the topology")
    topology = read_topology(args, environment(args))
    plan = make_plan(topology, None)
    claims = _claims(args, topology, plan, time.time())
    if plan.hub.key is None:
        raise Usage(
            f"{shown(args)}: its hub is started by each run with a key of its own, which nobody else knows; a token of "
            "such a hub must be asked for while it runs. To make tokens here, give the hub a key that lasts: "
            "'hub: {key: \"${HUB_KEY}\"}', with HUB_KEY a pair as `orchestrator keys new` prints it"
        )
    token = mint(plan.hub.key, claims)
    _check_size(token)
    if args.json:
        import json

        print(json.dumps({"token": token, "peerId": claims.sub, "expiresAt": claims.exp}))
    else:
        print(token)
    return ExitCode.DONE


def _claims(args: argparse.Namespace, topology: Topology, plan: Plan, now: float) -> Claims:
    """Return the claims of the token that is asked for. Raises `Usage` when it cannot be had."""
    from orchestrator.cli.peer_names import Usage, unknown

    name = args.peer_name
    if any(user.user == name for user in plan.users):
        return _user_claims(args, topology, plan, now)
    replicas = plan.replicas_of(name)
    outside = list(dict.fromkeys(replica.agent for replica in plan.replicas if replica.external))
    if not replicas:
        raise unknown(shown(args), name, [*(user.user for user in plan.users), *outside], "user or external agent")
    if not replicas[0].external:
        raise Usage(
            f"{name!r} is started by `orchestrator run`, which gives each of its processes a token of its own and "
            "renews it; a second one would take its place on the hub. For a program that you start yourself, "
            f"write 'external: true' in place of what runs {name!r}"
        )
    if args.sub is not None:
        raise Usage(f"--sub is for users, and {name!r} is an agent: its peer ids are the topology's")
    replica = _replica(args, replicas)
    import secrets

    life = plan.hub.token_ttl if args.ttl is None else args.ttl
    instance = secrets.token_hex(8) if args.instance is None else args.instance
    if not 0 < len(instance) <= _MAX_INSTANCE:
        raise Usage(f"--instance has 1 to {_MAX_INSTANCE} characters")
    return replica.claims(exp=int(now + life), instance=instance)


_MAX_INSTANCE: Final = 128


def _replica(args: argparse.Namespace, replicas: tuple[Replica, ...]) -> Replica:
    from orchestrator.cli.peer_names import Usage

    if replicas[0].replica is None:
        if args.replica is not None:
            raise Usage(f"{args.peer_name!r} has no replicas; leave --replica out")
        return replicas[0]
    number: int | None = args.replica
    if number is None or not 1 <= number <= len(replicas):
        raise Usage(f"{args.peer_name!r} has {len(replicas)} replicas; say which with --replica 1 to {len(replicas)}")
    return replicas[number - 1]


def _user_claims(args: argparse.Namespace, topology: Topology, plan: Plan, now: float) -> Claims:
    from orchestrator.cli.peer_names import Usage
    from orchestrator.cli.scope_text import duration

    name, user = args.peer_name, plan.user(args.peer_name)
    for option in ("replica", "instance"):
        if getattr(args, option) is not None:
            raise Usage(f"--{option} is for agents, and {name!r} is a kind of user")
    if args.sub is None:
        raise Usage(f"{name!r} is a kind of user; say who it is for: --sub alice")
    life = user.token_ttl if args.ttl is None else args.ttl
    if life > user.token_ttl:
        where = ""
        if name in topology.users:
            spot = topology.origin.at_value(("users", name, "token_ttl"), "")
            where = f"; 'token_ttl' at {spot.source}:{spot.line} may be up to 24h"
        raise Usage(
            f"--ttl {duration(life)} is too long: a token of {name!r} lives at most {duration(user.token_ttl)}{where}"
        )
    try:
        return user.claims(args.sub, int(now + life))
    except ValueError as error:
        raise Usage(f"--sub: {error}") from None


def _check_size(token: str) -> None:
    from orchestrator.cli.peer_names import Usage
    from orchestrator.protocol.limits import MAX_TOKEN

    if len(token) > MAX_TOKEN:
        raise Usage(
            f"this token has {len(token)} characters, and a connection takes {MAX_TOKEN}; it needs fewer scopes"
        )
