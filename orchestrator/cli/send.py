"""`orchestrator send` and `publish`: one message, for one peer or for all on a channel."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from orchestrator.cli.entering import entered, entering_arguments, sayable, talk, way, words_of
from orchestrator.cli.example_text import examples
from orchestrator.errors import ExitCode, NotAuthorized, OrchestratorError, PeerNotFound, did_you_mean

if TYPE_CHECKING:
    import argparse

    from orchestrator.cli.entering import Way


def arguments(verb: str, parser: argparse.ArgumentParser) -> None:
    to = "PEER" if verb == "send" else "CHANNEL"
    parser.usage = f"orchestrator {verb} [FILE] {to} JSON|- [--json] [--hub URL [--token-file FILE]]"
    parser.description = (
        "Sends a message to one peer, by its id: lead, researcher.2. It ends when the hub has taken it."
        if verb == "send"
        else "Publishes a message on a channel, and prints how many connections got it."
    )
    parser.add_argument("words", nargs="*", default=[], metavar="WORD", help=f"{to} and JSON; - reads it from stdin")
    parser.add_argument("--json", action="store_true", help="print what became of it as a line of JSON")
    entering_arguments(parser)
    if verb == "send":
        examples(
            parser,
            """orchestrator send lead '{"type": "hello"}'""",
            """orchestrator send lead '{"type": "hello"}' --json""",
        )
        parser.set_defaults(execute=_execute_send)
    else:
        examples(
            parser,
            """orchestrator publish announcements '{"text": "tea is ready"}'""",
            """orchestrator publish announcements '{"text": "tea is ready"}' --json""",
        )
        parser.set_defaults(execute=_execute_publish)


def _execute_send(args: argparse.Namespace) -> int:
    from orchestrator.cli.json_words import read_json

    file, (peer, word) = words_of(args, ("PEER", "JSON"))
    data = read_json(args, word, "the message")
    return talk(_send(args, way(args, file, peer), peer, data))


async def _send(args: argparse.Namespace, found: Way, peer: str, data: Any) -> int:
    async with entered(found) as user:
        try:
            with sayable():
                await user.send(peer, data)
        except (PeerNotFound, NotAuthorized) as error:
            known = [each for peers in user.agents.values() for each in peers]
            if isinstance(error, NotAuthorized) and not did_you_mean(peer, known):
                raise
            raise NotThere(peer, known) from error
    _say(args, {"sent": True, "to": peer}, f"sent to {peer}")
    return ExitCode.DONE


def _execute_publish(args: argparse.Namespace) -> int:
    from orchestrator.cli.json_words import read_json

    file, (channel, word) = words_of(args, ("CHANNEL", "JSON"))
    data = read_json(args, word, "the message")
    return talk(_publish(args, way(args, file), channel, data))


async def _publish(args: argparse.Namespace, found: Way, channel: str, data: Any) -> int:
    async with entered(found) as user:
        with sayable():
            receivers = await user.publish(channel, data)
    count = "an unknown number of receivers" if receivers is None else f"{receivers:,} receivers"
    _say(args, {"channel": channel, "receivers": receivers}, "1 receiver" if receivers == 1 else count)
    return ExitCode.DONE


def _say(args: argparse.Namespace, told: dict[str, Any], sentence: str) -> None:
    from orchestrator.cli.tasks_text import plain

    print(json.dumps(told) if args.json else plain(sentence))


class NotThere(OrchestratorError):
    """Nobody is connected under a peer id."""

    exit_code = ExitCode.PEER_NOT_FOUND

    def __init__(self, peer: str, known: list[str]) -> None:
        self.peer, self.known = peer, known
        super().__init__(peer, known)

    def __str__(self) -> str:
        if self.peer in self.known:
            return f"{self.peer!r} is not connected now"
        return f"nobody is connected as {self.peer!r}{did_you_mean(self.peer, self.known)}"
