"""`orchestrator bench --hub URL`: what a hub stands, measured from here."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from orchestrator.cli.bench_text import OPERATIONS, Row, fields, table
from orchestrator.cli.example_text import examples
from orchestrator.cli.progress import waiting
from orchestrator.errors import ExitCode, OrchestratorError, did_you_mean

if TYPE_CHECKING:
    import signal

    from orchestrator.cli.progress import StatusLine
    from orchestrator.client.load.course import Part
    from orchestrator.client.load.dialling import HubDialler
    from orchestrator.client.load.figures import Found
    from orchestrator.client.url import Origin
    from orchestrator.protocol.tokens import SecretKey

_WORKLOADS: Final = ("connect", "fan-out", "direct", "stream")
_VARIABLE: Final = "HUB_KEY"
_SECONDS: Final = re.compile(r"\d+(\.\d+)?", re.ASCII)
_LONGEST: Final = 65_536
_FILES: Final = 64
"""That are open for other reasons than connections."""
_BUSY: Final = 0.9
_SPARE_LIFE: Final = 600
"""Seconds that tokens live longer than the measurement is to take."""


class _Usage(OrchestratorError):
    exit_code = ExitCode.USAGE


def arguments(_verb: str, parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Loads a hub and says what it stood: how fast it lets connections in, messages to many subscribers, messages "
        f"between two, and streams. It makes its tokens with a key of the hub: --keys, or the variable {_VARIABLE}."
    )
    parser.add_argument(
        "--hub", metavar="URL", required=True, help="such as ws://localhost:7700 or wss://hub.example.org"
    )
    parser.add_argument(
        "--keys",
        type=Path,
        metavar="FILE",
        help="a file of `orchestrator keys new`, or one that holds a pair sk_id_…:sk_secret_… alone",
    )
    parser.add_argument(
        "--workload",
        type=_workloads,
        default=_WORKLOADS,
        metavar="NAME",
        help=f"one of {', '.join(_WORKLOADS)}, or several with commas between; default: all",
    )
    parser.add_argument("--connections", type=_count, default=100, metavar="N", help="at a time; default: 100")
    parser.add_argument(
        "--duration", type=_seconds, default=10.0, metavar="SECONDS", help="of all workloads together; default: 10"
    )
    parser.add_argument("--size", type=_size, default=120, metavar="BYTES", help="of each message; default: 120")
    parser.add_argument(
        "--chunks", type=_count, default=1_000, metavar="N", help="a second, of all streams together; default: 1000"
    )
    parser.add_argument("--channel", metavar="NAME", help="that is published to; default: one that nobody else has")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    examples(
        parser,
        "orchestrator bench --hub ws://localhost:7700 --keys keys.yaml --duration 1",
        "orchestrator bench --hub ws://localhost:7700 --keys keys.yaml --workload stream --duration 1 --json",
    )
    parser.set_defaults(execute=_execute)


def _workloads(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in _WORKLOADS:
            hint = did_you_mean(name, _WORKLOADS) or f"; there are {', '.join(_WORKLOADS)}"
            raise argparse.ArgumentTypeError(f"there is no workload {name!r}{hint}")
    return names


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:12]) <= 10**9:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


def _seconds(text: str) -> float:
    if not _SECONDS.fullmatch(text) or not 0 < float(text) <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is no time in seconds, more than 0 and up to 3600")
    return float(text)


def _size(text: str) -> int:
    from orchestrator.client.load.mould import LEAST
    from orchestrator.protocol.limits import MAX_MESSAGE_SIZE

    if not text.isascii() or not text.isdigit() or not LEAST <= int(text[:12]) <= MAX_MESSAGE_SIZE:
        raise argparse.ArgumentTypeError(f"{text!r} is no size of a message: {LEAST} to {MAX_MESSAGE_SIZE} bytes")
    return int(text)


def _execute(args: argparse.Namespace) -> int:
    from orchestrator.client.url import parse_origin
    from orchestrator.hub.serve import run_fast
    from orchestrator.protocol.names import is_channel

    try:
        origin = parse_origin(args.hub)
    except ValueError as error:
        raise _Usage(str(error)) from None
    if args.channel is not None and (not is_channel(args.channel) or "*" in args.channel):
        raise _Usage(
            f"--channel: {args.channel!r} is no name of a channel: 1 to 256 bytes, no stars, no control characters"
        )
    key = _key(args.keys)
    _make_room(args.connections)
    return run_fast(_Bench(args, origin, key).run())


def _key(path: Path | None) -> SecretKey:
    """Return the key that tokens are signed with. Raises `_Usage` or `KeyProblem`."""
    from orchestrator.protocol.tokens import SecretKey

    pair = os.environ.get(_VARIABLE) if path is None else _alone_in(path)
    if pair:
        try:
            return SecretKey.parse(pair.strip())
        except ValueError as error:
            raise _Usage(f"{path or f'the variable {_VARIABLE}'}: {error}") from None
    if path is None:
        raise _Usage(f"tokens need a key of the hub: give --keys FILE, or set the variable {_VARIABLE}")
    from orchestrator.hub import key_file

    keys = [entry.key() for entry in key_file.load(path).secret_keys if not entry.revoked]
    if not keys:
        raise _Usage(f"{path}: there is no secret key in it that was not revoked; `orchestrator keys new` makes one")
    return keys[0]


def _alone_in(path: Path) -> str | None:
    """Return the text of a file that holds a pair and nothing else; `None` for others."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            text = file.read(_LONGEST)
    except OSError:
        return None
    return text if text.startswith("sk_id_") else None


def _make_room(connections: int) -> None:
    """Let this process have so many connections. Raises `_Usage` where the system does not allow it."""
    try:
        import resource
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _FILES
    if hard != resource.RLIM_INFINITY and wanted > hard:
        raise _Usage(
            f"--connections: a process here may have {hard} files open, so at most {hard - _FILES} connections"
        )
    if soft != resource.RLIM_INFINITY and wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class _Bench:
    """What was found stays here, so that it can be told whatever comes in between."""

    def __init__(self, args: argparse.Namespace, origin: Origin, key: SecretKey) -> None:
        import secrets

        self._args, self._origin, self._key = args, origin, key
        self._name = f"bench-{secrets.token_hex(4)}"
        self._rows: list[Row] = []
        self._rate: float | None = None
        self._signal: signal.Signals | None = None
        self._line: StatusLine | None = None

    async def run(self) -> int:
        import asyncio
        import signal

        from orchestrator.client.load.course import Course, Wishes
        from orchestrator.errors import ConnectionProblem

        args = self._args
        wishes = Wishes(
            args.connections, args.duration, args.size, float(args.chunks), args.channel or f"load/{self._name}"
        )
        course = Course(self._dialler, wishes, self._found)

        def interrupted(number: signal.Signals) -> None:
            if self._signal is not None:  # asked once more: at once, then
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)
            self._signal = number
            course.stop()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, interrupted, number)
        try:
            with waiting(f"loading the hub for about {args.duration:g} s") as self._line:
                await course.go(args.workload)
        except ConnectionProblem:
            if self._rows:
                self._tell()
            raise
        self._tell()
        if self._signal is not None:
            return ExitCode.INTERRUPTED if self._signal == signal.SIGINT else ExitCode.TERMINATED
        return ExitCode.FAILED if any(row.found.lost or row.found.uneven for row in self._rows) else ExitCode.DONE

    def _dialler(self) -> HubDialler:
        from orchestrator.client.load.dialling import HubDialler

        tls = None
        if self._origin.secure:
            import ssl

            tls = ssl.create_default_context()
        return HubDialler(self._origin, self._token, tls)

    def _token(self, name: str) -> str:
        import time

        from orchestrator.protocol.tokens import Claims, mint

        life = min(self._args.duration + _SPARE_LIFE, self._key.max_token_life)
        claims = Claims(sub=f"{self._name}/{name}", exp=int(time.time() + life), rate="unlimited")
        return mint(self._key, claims)

    def _found(self, part: Part, found: Found, rate: float) -> None:
        import math

        if self._rate is None:
            self._rate = rate
            if rate != math.inf:
                self._say(
                    f"this hub lets each connection send {rate:g} messages a second, and the load keeps to it; a key "
                    "made with `keys new --rate unlimited` has no limit"
                )
        self._rows.append(Row(part, found))
        if found.lost:
            self._say(f"{part}: {found.lost:,} {OPERATIONS[part]} never came")
        elif found.uneven:
            self._say(f"{part}: {found.uneven:,} subscribers got more or fewer messages than the others")
        if found.span.generator_cpu > _BUSY * found.span.seconds:
            self._say(f"{part}: this command took its whole core, so the hub may stand more")

    def _say(self, sentence: str) -> None:
        with contextlib.nullcontext() if self._line is None else self._line.above():
            print(f"orchestrator: {sentence}", file=sys.stderr, flush=True)

    def _tell(self) -> None:
        if self._args.json:
            import json

            print(json.dumps(self._as_json()), flush=True)
        elif self._rows:
            print("\n".join(table(self._rows)), flush=True)
        else:
            self._say("nothing was measured yet")

    def _as_json(self) -> dict[str, Any]:
        import math

        args = self._args
        return {
            "hub": str(self._origin),
            "connections": args.connections,
            "duration": args.duration,
            "size": args.size,
            "messages_per_second_allowed": None if self._rate in (None, math.inf) else self._rate,
            "interrupted": self._signal is not None,
            "found": {row.part.replace("-", "_").replace(" ", "_"): fields(row.found) for row in self._rows},
        }
