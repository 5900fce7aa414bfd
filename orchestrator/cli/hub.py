"""`orchestrator hub serve` and `orchestrator keys new|list|revoke`."""

from __future__ import annotations

import argparse
import re
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from orchestrator.cli import backplane
from orchestrator.cli.example_text import examples
from orchestrator.errors import ExitCode, OrchestratorError, did_you_mean

if TYPE_CHECKING:
    import asyncio

    from orchestrator.hub.server import Server
    from orchestrator.protocol.tokens import Rate

_ACTIONS: Final = ("publish", "subscribe", "presence", "send")
_RATE: Final = re.compile(r"(\d+(?:\.\d+)?):(\d+)")
_SECONDS: Final = re.compile(r"\d+(\.\d+)?", re.ASCII)
_SERVE: Final = "orchestrator hub serve --keys keys.yaml --listen 127.0.0.1:7700"
_REREAD: Final = 0.5
"""Seconds between two looks at the key file: a key that is revoked closes its connections within a second."""


class _Usage(OrchestratorError):
    exit_code = ExitCode.USAGE


def arguments(verb: str, parser: argparse.ArgumentParser) -> None:
    """Add the options of `hub` or of `keys`."""
    if verb == "hub":
        _hub_arguments(parser)
    else:
        _keys_arguments(parser)


def _hub_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    serve = commands.add_parser("serve", help="run a hub until SIGTERM or SIGINT", description="Run a hub by itself.")
    serve.add_argument(
        "--listen",
        metavar="HOST:PORT",
        default="127.0.0.1:7700",
        help="port 0 takes any free one; or fd:N, a socket that is inherited and listens",
    )
    serve.add_argument("--keys", metavar="FILE", type=Path, required=True, help="made by `orchestrator keys new`")
    serve.add_argument("--json", action="store_true", help="print one line of JSON when ready: url, http, pid")
    serve.add_argument("--insecure", action="store_true", help="listen beyond this machine without TLS")
    serve.add_argument("--tls-cert", metavar="FILE", help="a certificate with its chain, in PEM")
    serve.add_argument("--tls-key", metavar="FILE", help="its key, unless it is in the same file")
    serve.add_argument(
        "--record",
        metavar="FILE",
        type=Path,
        help="write every frame into this file, without secrets, for `orchestrator replay`; compressed if it ends in .gz",
    )
    serve.add_argument("--no-metrics", action="store_true", help="answer nobody at /metrics")
    backplane.arguments(serve)
    for name, kind, metavar, help_text in _LIMITS:
        serve.add_argument(f"--{name}", type=kind, metavar=metavar, help=help_text)
    examples(parser, _SERVE)
    examples(serve, _SERVE, "orchestrator hub serve --keys keys.yaml --listen 127.0.0.1:0 --json")
    serve.set_defaults(execute=_serve)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return int(text)


def _seconds(text: str) -> float:
    if not _SECONDS.fullmatch(text) or not float(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a time in seconds, more than 0")
    return float(text)


_LIMITS: Final = (
    ("max-connections", _count, "N", "of one app at a time; default: 0, no limit"),
    ("max-messages", _count, "N", "publishes and sends that one app may attempt; default: 0, no limit"),
    ("connects-per-minute", _count, "N", "WebSockets that one address may ask for; default: 60; 0: no limit"),
    ("outbound-bytes", _count, "N", "that may wait for all slow readers together; default: a quarter of the memory"),
    ("fan-out-bytes", _count, "N", "per second, times receivers, from one limited publisher; default: 134217728"),
    ("ping-interval", _seconds, "SECONDS", "of silence before a connection is asked for a sign of life; default: 25"),
    ("ping-timeout", _seconds, "SECONDS", "that it has to give one; default: 10"),
    ("drain-window", _seconds, "SECONDS", "over which a shutdown spreads its closes at most; default: 10"),
    ("drain-grace", _seconds, "SECONDS", "that clients have to answer them; default: 5"),
)
"""Options that are fields of `Settings`; each has that one's default."""


def _keys_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    new = commands.add_parser("new", help="make a key, and print it alone", description="Make a key, and print it.")
    new.add_argument("--publishable", action="store_true", help="a key that opens connections by itself")
    new.add_argument(
        "--for-metrics",
        action="store_true",
        help="a key that reads /metrics from other machines, and opens nothing else",
    )
    new.add_argument("--channels", metavar="PATTERN", nargs="+", help="default: **")
    new.add_argument("--actions", metavar="ACTION", nargs="+", help=f"of {', '.join(_ACTIONS)}")
    new.add_argument("--origins", metavar="ORIGIN", nargs="+", default=[], help="pages that may use it (publishable)")
    new.add_argument("--app", metavar="NAME", help="apps share nothing; default: default")
    new.add_argument("--rate", metavar="N:BURST", help="messages per second and at once, or: unlimited")
    new.set_defaults(execute=_new)
    listing = commands.add_parser("list", help="show the keys, without their secrets", description="Show the keys.")
    listing.set_defaults(execute=_list)
    revoke = commands.add_parser("revoke", help="end a key and its connections", description="End a key.")
    revoke.add_argument("id", metavar="ID", help="as `keys list` shows it")
    revoke.set_defaults(execute=_revoke)
    for command in (new, listing, revoke):
        command.add_argument("--keys", metavar="FILE", type=Path, required=True, help="YAML, or JSON if named .json")
    made = "orchestrator keys new --keys keys.yaml"
    listed = "orchestrator keys list --keys keys.yaml"
    revoked = "orchestrator keys revoke sk_id_0123456789ab --keys keys.yaml"
    examples(parser, made, listed, revoked)
    examples(new, made, "orchestrator keys new --keys keys.yaml --publishable --origins https://app.example.org")
    examples(listing, listed)
    examples(revoke, revoked)


def _serve(args: argparse.Namespace) -> int:
    import json
    import logging
    import os

    from orchestrator.hub import key_file
    from orchestrator.hub.listening import ListenUsage, listen, parse_address
    from orchestrator.hub.serve import serve
    from orchestrator.hub.settings import Settings
    from orchestrator.runtime.node_name import node_name

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO, stream=sys.stderr)
    address = parse_address(args.listen)
    if args.tls_key and not args.tls_cert:
        raise _Usage("--tls-key needs --tls-cert")
    if not (address.is_loopback or args.tls_cert or args.insecure):
        raise ListenUsage(
            f"{address} can be reached from other machines: give --tls-cert, or --insecure to do without TLS"
        )
    joined = backplane.given(args)
    path: Path = args.keys
    seen = _stamp(path)
    ring = key_file.load(path).ring()
    given = {field: getattr(args, field) for field in (name.replace("-", "_") for name, *_ in _LIMITS)}
    limits = {field: value for field, value in given.items() if value is not None}
    settings = Settings(
        tls_certificate=args.tls_cert,
        tls_key=args.tls_key,
        metrics=not args.no_metrics,
        backplane=joined,
        node_name=args.node_name or node_name(),
        **limits,
    )

    def ready(server: Server) -> None:
        if args.json:
            print(json.dumps({"url": server.url, "http": server.http_url, "pid": os.getpid()}), flush=True)
        else:
            print(f"the hub is ready at {server.url} (stop it with ctrl-c)", flush=True)

    async def reread(server: Server, _stop: asyncio.Event) -> None:
        await _follow(path, seen, server)

    listening = listen(address)
    recorder = None
    if args.record is not None:
        from orchestrator.hub.record_file import Recorder, create

        create(args.record)
        recorder = Recorder(args.record)
    return serve(listening, ring, settings, on_ready=ready, beside=reread, record=recorder)


async def _follow(path: Path, seen: _Stamp | None, server: Server) -> None:
    """Give the server the keys of the file whenever it is not what was `seen`; one that cannot be read changes nothing.

    Nor does one that is empty, or changes while it is read: somebody is writing it just now.
    """
    import asyncio
    import logging

    from orchestrator.hub import key_file
    from orchestrator.hub.keys import KeyProblem

    log = logging.getLogger("orchestrator.hub")
    while True:
        await asyncio.sleep(_REREAD)
        now = _stamp(path)
        if now == seen or (now is not None and not now.size):
            continue
        try:
            ring = key_file.load(path).ring()
        except KeyProblem as problem:
            log.error("%s; the keys stay what they were", problem)
        else:
            if _stamp(path) != now:
                continue
            server.rekey(ring)
            log.info("%s: the keys were read again", path)
        seen = now


class _Stamp(NamedTuple):
    """What tells one state of a file from another."""

    inode: int
    changed: int
    size: int


def _stamp(path: Path) -> _Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return _Stamp(status.st_ino, status.st_mtime_ns, status.st_size)


def _new(args: argparse.Namespace) -> int:
    from orchestrator.hub import key_file
    from orchestrator.hub.keys import PUBLISHABLE_ACTIONS
    from orchestrator.protocol.codes import ALL_ACTIONS, Action
    from orchestrator.protocol.names import is_channel

    unknown = [name for name in args.actions or () if name not in _ACTIONS]
    if unknown:
        raise _Usage(f"there is no action {unknown[0]!r}{did_you_mean(unknown[0], _ACTIONS)}")
    if args.origins and not args.publishable:
        raise _Usage("--origins is for publishable keys")
    app = args.app if args.app is not None else "(metrics)" if args.for_metrics else "default"
    if not app or not app.isprintable():
        raise _Usage("--app is the name of an app")
    if args.for_metrics and (args.publishable or args.channels or args.actions or args.origins or args.rate):
        raise _Usage("--for-metrics makes a key that is for nothing else: it goes with --app alone")
    channels = [] if args.for_metrics else args.channels or ["**"]
    for pattern in channels:
        if not is_channel(pattern):
            raise _Usage(f"--channels: {pattern!r} is no pattern of channels: 1 to 256 bytes, no control characters")
    chosen = sorted({Action(name) for name in args.actions}) if args.actions else None
    rate = _rate(args.rate)
    with key_file.changed(args.keys) as keys:
        if args.publishable:
            shown = f"pk_live_{secrets.token_urlsafe(24)}"
            open_key = key_file.PublishableEntry(f"pk_id_{secrets.token_hex(6)}", shown, app, channels)
            open_key.actions = chosen or sorted(PUBLISHABLE_ACTIONS)
            open_key.origins, open_key.rate = args.origins, rate
            keys.publishable_keys.append(open_key)
        else:
            pair = key_file.SecretEntry(f"sk_id_{secrets.token_hex(6)}", f"sk_secret_{secrets.token_urlsafe(32)}")
            pair.app, pair.channels, pair.rate = app, channels, rate
            pair.actions = [] if args.for_metrics else chosen or sorted(ALL_ACTIONS)
            keys.secret_keys.append(pair)
            shown = f"{pair.id}:{pair.secret}"
    print(shown)
    return ExitCode.DONE


def _list(args: argparse.Namespace) -> int:
    from orchestrator.hub import key_file

    rows = [("ID", "KIND", "APP", "ACTIONS", "CHANNELS", "")]
    for entry in key_file.load(args.keys).entries():
        kind = "secret" if isinstance(entry, key_file.SecretEntry) else "publishable"
        state = "revoked" if entry.revoked else ""
        rows.append((entry.id, kind, entry.app, ",".join(entry.actions), " ".join(entry.channels), state))
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return ExitCode.DONE


def _revoke(args: argparse.Namespace) -> int:
    from orchestrator.hub import key_file
    from orchestrator.hub.keys import KeyProblem

    wanted = args.id.partition(":")[0]  # of a whole pair the secret is not repeated
    with key_file.changed(args.keys) as keys:
        found = [entry for entry in keys.entries() if entry.id == wanted]
        if not found:
            known = [entry.id for entry in keys.entries()]
            raise KeyProblem(f"{args.keys}: there is no key {wanted!r}{did_you_mean(wanted, known)}")
        for entry in found:
            entry.revoked = True
    return ExitCode.DONE


def _rate(text: str | None) -> Rate | Literal["unlimited"] | None:
    from orchestrator.protocol.tokens import Rate

    if text is None or text == "unlimited":
        return "unlimited" if text else None
    found = _RATE.fullmatch(text)
    if found is None or float(found[1]) <= 0 or int(found[2]) < 1:
        raise _Usage(f"{text!r} is not a rate; write N:BURST, as in 100:200, or: unlimited")
    return Rate(float(found[1]), int(found[2]))
