"""`orchestrator tasks`: what a topology's store holds; `show`, `retry`, `cancel` and `purge` for single tasks and many.

Which of them is meant is the first word, or the one after FILE; each has a parser of its own, and what is neither lists.
"""

from __future__ import annotations

import argparse
import re
import sys
from typing import TYPE_CHECKING, Any, Final

from orchestrator.cli.example_text import examples
from orchestrator.cli.reading import topology_arguments
from orchestrator.errors import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchestrator.store.tasks import State

_USAGE: Final = """orchestrator tasks [FILE] [--state STATE] [--queue AGENT] [--limit N] [--json] [--watch]
       orchestrator tasks show [FILE] ID [--json]
       orchestrator tasks retry [FILE] ID ... | --dead [--queue AGENT]
       orchestrator tasks cancel [FILE] ID ...
       orchestrator tasks purge [FILE] --older TIME [--state STATE]"""
_DESCRIPTION: Final = """Lists the tasks in a topology's store, the last that was stored first, and counts those in each
state. While the topology runs, its run is asked; else the file of the store is opened. FILE may be given as -f FILE,
too, and --store names a store by itself. `orchestrator tasks show --help`, and so on, tells more."""
_DAYS: Final = re.compile(r"(\d{1,6}(?:\.\d+)?)d", re.ASCII)
_MOST_DAYS: Final = 3650
SHOWN: Final = 50
"""Tasks that are listed for people where no limit is given."""


def arguments(_verb: str, parser: argparse.ArgumentParser) -> None:
    parser.usage, parser.description = _USAGE, _DESCRIPTION
    _listing(parser)
    words = parser.add_argument("words", nargs=argparse.PARSER, action=_Words, help=argparse.SUPPRESS)
    words.required = False


def _listing(parser: argparse.ArgumentParser) -> None:
    _which(parser)
    parser.add_argument(
        "--state",
        dest="states",
        type=_states,
        action="extend",
        default=[],
        metavar="STATE",
        help="those that are ready, leased, done, dead or cancelled; several with commas between, or given again",
    )
    parser.add_argument("--queue", metavar="AGENT", help="those that are for this agent")
    parser.add_argument(
        "--limit", type=_count, metavar="N", help=f"how many at most (default: {SHOWN}, and with --json all)"
    )
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each task")
    parser.add_argument(
        "--watch",
        action="store_true",
        help="go on until ctrl-c, and show it anew when something has changed; with --json, print a line for each change "
        "of a task's state",
    )
    examples(
        parser,
        "orchestrator tasks topology.yaml --state dead,ready",
        "orchestrator tasks topology.yaml --watch",
        "orchestrator tasks show topology.yaml 3f2a9c41",
        "orchestrator tasks retry topology.yaml --dead",
    )
    parser.set_defaults(execute=_execute, command="list", ids=[])


def _which(parser: argparse.ArgumentParser) -> None:
    topology_arguments(parser)
    parser.add_argument(
        "--store", metavar="ADDRESS", help="the store itself, in place of a topology: sqlite:///tasks.db"
    )


def _ids(parser: argparse.ArgumentParser, count: str) -> None:
    parser.add_argument(
        "ids",
        nargs=count,
        default=[],
        metavar="ID",
        help="an ID as it is listed, or how it begins, with 8 characters at least; after FILE, unless -f or --store is given",
    )


def _show(parser: argparse.ArgumentParser) -> None:
    parser.usage = "orchestrator tasks show [FILE] ID [--json]"
    parser.description = "Shows all that is known of a task: payload, result, and each attempt with its error."
    _which(parser)
    _ids(parser, "*")
    parser.add_argument("--json", action="store_true", help="print it as one line of JSON")
    examples(
        parser,
        "orchestrator tasks show topology.yaml 3f2a9c41",
        "orchestrator tasks show --store sqlite:///tasks.db 3f2a9c41 --json",
    )


def _retry(parser: argparse.ArgumentParser) -> None:
    parser.usage = "orchestrator tasks retry [FILE] ID ... | --dead [--queue AGENT]"
    parser.description = (
        "Makes dead tasks due again, with all their attempts before them and no expiry. Their history stays."
    )
    _which(parser)
    _ids(parser, "*")
    parser.add_argument("--dead", action="store_true", help="all that are dead")
    parser.add_argument("--queue", metavar="AGENT", help="with --dead: those that are for this agent")
    examples(
        parser,
        "orchestrator tasks retry topology.yaml 3f2a9c41",
        "orchestrator tasks retry topology.yaml --dead --queue counter",
    )


def _cancel(parser: argparse.ArgumentParser) -> None:
    parser.usage = "orchestrator tasks cancel [FILE] ID ..."
    parser.description = (
        "Ends tasks that have not ended. A worker that is at one of them is told, and its result refused."
    )
    _which(parser)
    _ids(parser, "*")
    examples(parser, "orchestrator tasks cancel topology.yaml 7d05be18")


def _purge(parser: argparse.ArgumentParser) -> None:
    parser.usage = "orchestrator tasks purge [FILE] --older TIME [--state STATE]"
    parser.description = (
        "Forgets tasks that have ended, for good: with their results, history, idempotency keys and recorded effects. "
        "The same key stores a new task after that."
    )
    _which(parser)
    parser.add_argument(
        "--older",
        type=_age,
        required=True,
        metavar="TIME",
        help="those that ended so long ago, or longer: 7d, 12h, 30m",
    )
    parser.add_argument(
        "--state",
        dest="states",
        type=_states,
        action="extend",
        default=[],
        metavar="STATE",
        help="those that are done, dead or cancelled (default: all three)",
    )
    examples(parser, "orchestrator tasks purge topology.yaml --older 7d --state done")


COMMANDS: Final[dict[str, Callable[[argparse.ArgumentParser], None]]] = {
    "list": _listing,
    "show": _show,
    "retry": _retry,
    "cancel": _cancel,
    "purge": _purge,
}
"""What adds the options of each command, by its name."""
_TAKEN: Final = {"show": {"json"}, "retry": {"queue"}, "cancel": set[str](), "purge": {"states"}}
"""Options of the listing that others have as well, by the names of their values."""


class _Words(argparse.Action):
    """Reads everything from the first word on with the parser of what that word means."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        _option: str | None = None,
    ) -> None:
        words = [*([] if namespace.file is None else [str(namespace.file)]), *(values or ())]
        namespace.file = None
        at = next((at for at, word in enumerate(words[:2]) if word in _TAKEN), None)
        command = "list" if at is None else words.pop(at)
        prog = parser.prog if at is None else f"{parser.prog} {command}"
        own = argparse.ArgumentParser(prog=prog, formatter_class=parser.formatter_class)
        COMMANDS[command](own)
        if at is None:
            own.usage, own.description = parser.usage, parser.description
        namespace.command, namespace.usage_error = command, own.error
        _, left = own.parse_known_args(words, namespace)
        if at is not None and command != "purge":  # words on both sides of an option
            namespace.ids += [word for word in left if not word.startswith("-")]
            left = [word for word in left if word.startswith("-")]
        if left:
            options = [option for action in own._actions for option in action.option_strings]
            hint = did_you_mean(left[0].partition("=")[0], options) if left[0].startswith("-") else ""
            own.error(f"unrecognized arguments: {' '.join(left)}{hint}")


def _states(text: str) -> list[State]:
    from orchestrator.store.tasks import State

    names, known = text.split(","), [str(state) for state in State]
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known) or f"; there are {', '.join(known)}"
            raise argparse.ArgumentTypeError(f"there is no state {name!r}{hint}")
    return [State(name) for name in names]


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:12]) <= 10**9:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


def _age(text: str) -> float:
    """Return seconds. Days are known here alone: a topology has no use for them."""
    from orchestrator.topology.values import read_duration

    days = _DAYS.fullmatch(text)
    try:
        seconds = float(days[1]) * 86_400 if days else read_duration(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 7d, 12h or 30m") from None
    if seconds > _MOST_DAYS * 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is longer than {_MOST_DAYS}d")
    return seconds


def _execute(args: argparse.Namespace) -> int:
    import asyncio

    from orchestrator.cli import tasks_changing, tasks_listing, tasks_watch

    _check(args)
    if args.command == "list" and args.watch:
        return tasks_watch.watch(args)
    commands = {
        "list": tasks_listing.listing,
        "show": tasks_listing.show,
        "retry": tasks_changing.retry,
        "cancel": tasks_changing.cancel,
        "purge": tasks_changing.purge,
    }
    code = asyncio.run(commands[args.command](args))
    sys.stdout.flush()
    return code


def _check(args: argparse.Namespace) -> None:
    """End the command over words and options that do not go together; tell the file from the first ID."""
    for name in ("states", "queue", "limit", "json", "watch"):
        if args.command in _TAKEN and name not in _TAKEN[args.command] and getattr(args, name):
            args.usage_error(f"--{name.removesuffix('s')} is for the list of tasks, not for {args.command!r}")
    takes_ids = args.command in ("show", "retry", "cancel")
    named = args.store is not None or args.more
    if takes_ids and named and args.file is not None and (args.store is not None or not args.file.exists()):
        args.file, args.ids = None, [str(args.file), *args.ids]
    if args.store is None and not args.more and args.file is None:
        args.usage_error("name a topology file: FILE, or -f FILE; or a store by itself: --store sqlite:///tasks.db")
    if args.store is not None and (args.more or args.file is not None):
        args.usage_error("--store names a store by itself; leave the topology out")
    if takes_ids and not args.ids and not getattr(args, "dead", False):
        found = "" if args.file is None else f"; {str(args.file)!r} was taken for the topology, which comes first"
        args.usage_error(f"name a task by its ID{found}")
    if args.command == "list" and args.file is not None and not args.file.exists():
        hint = did_you_mean(str(args.file), _TAKEN)
        if hint:
            args.usage_error(f"there is no file {str(args.file)!r}, nor such a command{hint}")
    if args.command == "show" and len(args.ids) > 1:
        args.usage_error("one task is shown at a time")
    if args.command == "retry":
        _check_retry(args)


def _check_retry(args: argparse.Namespace) -> None:
    if args.dead and args.ids:
        args.usage_error("either IDs or --dead, which means all of them")
    if args.queue is not None and not args.dead:
        args.usage_error("--queue goes with --dead")
