"""`orchestrator replay`: a recording in the dashboard, or held against the hub of today."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from orchestrator.cli.example_text import examples
from orchestrator.errors import ExitCode


def arguments(_verb: str, parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="what `orchestrator run --record FILE` has written")
    parser.add_argument(
        "--speed", type=_speed, default=1.0, metavar="N", help="times as fast as it was, 0.1 to 1000 (default: 1)"
    )
    parser.add_argument("--port", type=_port, default=0, metavar="P", help="on this machine (default: any free one)")
    parser.add_argument("--no-open", action="store_true", help="print the link, and open no browser")
    parser.add_argument(
        "--check",
        action="store_true",
        help="show nothing: feed what the hub was sent to a fresh one, compare what comes of it, and exit with 1 if "
        "anything is different",
    )
    parser.set_defaults(execute=execute)
    examples(
        parser,
        "orchestrator replay run.jsonl.gz",
        "orchestrator replay run.jsonl.gz --speed 10 --no-open",
        "orchestrator replay run.jsonl.gz --check",
    )


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0.1 <= speed <= 1000:  # also turns away what is no number at all
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0.1 to 1000")
    return speed


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65_535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: 0 to 65535")
    return int(text)


def execute(args: argparse.Namespace) -> int:
    """Raises `NoRecording` and `CannotListen`."""
    return _check(args.file) if args.check else _show(args)


def _check(file: Path) -> int:
    from orchestrator.hub.rehearsal import replay_check

    found = replay_check(file)
    print(found)
    return ExitCode.DONE if found.same else ExitCode.FAILED


def _show(args: argparse.Namespace) -> int:
    import asyncio

    from orchestrator.hub.record_reading import Recording
    from orchestrator.runtime.logs import configure_logging
    from orchestrator.runtime.replay_player import Player
    from orchestrator.runtime.replay_server import show

    configure_logging({"process": "replay"}, "warning", sys.stderr)
    player = Player(Recording(args.file), speed=args.speed)

    def ready(link: str) -> None:
        print(f"{args.file}: {player.seconds:.1f} s are shown at {link} (stop it with ctrl-c)", flush=True)
        if not args.no_open and sys.stdout.isatty():
            import webbrowser

            webbrowser.open(link)

    asyncio.run(show(player, port=args.port, ready=ready))
    return ExitCode.DONE
