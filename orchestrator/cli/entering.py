"""How commands that talk to agents get in to a hub: through a run, with a token that was given, or with a key in the file."""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from orchestrator.cli.peer_names import Usage
from orchestrator.cli.running import NoRun, find
from orchestrator.errors import ConnectionProblem, ExitCode, OrchestratorError, did_you_mean, listed

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Awaitable,
        Callable,
        Collection,
        Coroutine,
        Iterator,
        Mapping,
        MutableMapping,
        Sequence,
    )

    from orchestrator.runtime.operator_wire import Entry, KeptTasks
    from orchestrator.runtime.run_seat import RunSeat
    from orchestrator.runtime.user import User

TOKEN: Final = "ORCHESTRATOR_TOKEN"
_MANY: Final = 20
_MAX_TOKEN_FILE: Final = 65_536


def entering_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which hub is meant, where that is not the one of a run on this machine."""
    elsewhere = parser.add_argument_group("a hub elsewhere")
    elsewhere.add_argument("--hub", metavar="URL", help="its address, such as wss://hub.example.org")
    elsewhere.add_argument(
        "--token-file",
        metavar="FILE",
        help=f"read the token from this file, or from - (default: the variable {TOKEN})",
    )
    parser.set_defaults(usage_error=parser.error)


def words_of(args: argparse.Namespace, names: Sequence[str]) -> tuple[Path | None, list[str]]:
    """Return the topology file, if one stands before the words that a command takes, and those words."""
    words = args.words
    if args.hub is None and len(words) == len(names) + 1 and is_topology(words[0]):
        return Path(words[0]), words[1:]
    if len(words) != len(names):
        found = f", not {len(words)} words; a text of several words stands in quotes" if words else ""
        args.usage_error(f"it takes {' '.join(names)}{found}")
    return None, list(words)


def is_topology(word: str) -> bool:
    if word.endswith((".yaml", ".yml")):
        return True
    try:
        return Path(word).is_file()
    except (OSError, ValueError):  # it is too long to be the name of a file
        return False


@dataclass(frozen=True, slots=True)
class Way:
    """The way to one hub, and what is known of whom one meets there."""

    url: str
    token: Callable[[], Awaitable[str]] = field(repr=False)
    """Gives another one whenever one is needed."""
    trusted: str = ""
    lobbies: Mapping[str, str] = field(default_factory=dict)
    agents: Mapping[str, Sequence[str]] = field(default_factory=dict)
    tasks: Mapping[str, Mapping[str, bool]] = field(default_factory=dict)
    kept: Mapping[str, KeptTasks] = field(default_factory=dict)
    seat: RunSeat | None = None
    """The run that let us in."""
    topology: Path | None = None
    """`None` = nothing is known but the hub."""


def way(args: argparse.Namespace, file: Path | None, agent: str = "") -> Way:
    """Find the way in; of several runs of a file, through the one that runs this agent.

    Raises `Usage`, `NoRun`, and whatever a run or a topology says instead.
    """
    if args.hub is not None:
        return Way(args.hub, _given_token(args))
    if args.token_file is not None:
        raise Usage("--token-file goes with --hub URL: a run on this machine makes its own token")
    try:
        seats = find(file)
    except NoRun:
        if file is None or not file.exists():
            raise
        return _with_key(file)
    return _through(next((seat for seat in seats if _runs(seat, agent)), seats[0]))


def _runs(seat: RunSeat, agent: str) -> bool:
    return any(each.partition(".")[0] == agent.partition(".")[0] for each in seat.agents)


def _through(seat: RunSeat) -> Way:
    import asyncio

    sub, instance = secrets.token_hex(4), secrets.token_hex(8)
    entry = enter(seat, sub, instance)
    first = [entry.token]

    async def token() -> str:
        """Give the first token once, and then fresh ones of the same peer."""
        return first.pop() if first else (await asyncio.to_thread(enter, seat, sub, instance)).token

    return Way(
        entry.url, token, entry.trusted, entry.lobbies, entry.agents, entry.tasks, entry.kept, seat, seat.topology
    )


def enter(seat: RunSeat, sub: str, instance: str) -> Entry:
    """Have a run let us in. Raises `RunGone`, `RunSilent` or `RunRefused`."""
    from orchestrator.runtime.operator_client import RunGone, asked
    from orchestrator.runtime.operator_wire import Enter, Entry

    with asked(seat, Enter(sub, instance)) as answers:
        for answer in answers:
            if isinstance(answer, Entry):
                return answer
    raise RunGone(seat.pid)


def _with_key(file: Path) -> Way:
    """Make tokens with the key of a topology whose hub is elsewhere. Raises `NoRun` where there is no such key."""
    from orchestrator.cli.reading import environment, read_topology
    from orchestrator.protocol.tokens import mint
    from orchestrator.runtime.letting_in import agents_of, kept_in, lobbies_of
    from orchestrator.topology.operator import operator_claims
    from orchestrator.topology.plan import ASKER_TOKEN_LIFE, make_plan

    where = argparse.Namespace(file=file, more=[], profiles=[], env_file=None, variables=[])
    plan = make_plan(read_topology(where, environment(where)), None)
    url, key = plan.hub.url, plan.hub.key
    if url is None or key is None:
        raise NoRun(f"nothing runs of {file}, and its hub runs only along with it")
    sub, instance = secrets.token_hex(4), secrets.token_hex(8)

    async def token() -> str:
        return mint(key, operator_claims(plan, sub, int(time.time() + ASKER_TOKEN_LIFE), instance))

    return Way(url, token, "", lobbies_of(plan), agents_of(plan), {}, kept_in(plan), None, plan.source)


def _given_token(args: argparse.Namespace) -> Callable[[], Awaitable[str]]:
    """Raises `Usage` where no token was given."""
    name = args.token_file
    if name is None or name == "-":
        text = os.environ.get(TOKEN, "") if name is None else sys.stdin.readline(_MAX_TOKEN_FILE)
        if name is None and not text:
            raise Usage(f"--hub wants a token: in a file, --token-file FILE, or in the variable {TOKEN}")
        told = _checked(text, f"the variable {TOKEN}" if name is None else "standard input")

        async def same() -> str:
            return told

        return same
    path = Path(name)
    _read_token(path)

    async def read() -> str:
        return _read_token(path)  # whoever renews the token writes the file anew

    return read


def _read_token(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return _checked(file.read(_MAX_TOKEN_FILE).decode("ascii", "replace"), str(path))
    except OSError as error:
        raise Usage(f"--token-file {path}: {(error.strerror or str(error)).lower()}") from None


def _checked(text: str, where: str) -> str:
    token = text.strip()
    if not token or not token.isascii() or not token.isprintable() or len(token.split(" ")) > 1:
        raise Usage(f"there is no token in {where}: a token is one word, as `orchestrator token` prints it")
    return token


@asynccontextmanager
async def entered(found: Way, say: Callable[[str], None] | None = None) -> AsyncIterator[User]:
    """Be connected. `say` takes what the connection has to say meanwhile, a sentence each; `None` = standard error.

    Raises `Usage` for an address that is none, and what `orchestrator.connect` raises.
    """
    from orchestrator.runtime.pinned import trusting
    from orchestrator.runtime.user import connect

    async with AsyncExitStack() as stack:
        stack.enter_context(_said_by(say or complain))
        try:
            connecting = connect(found.url, token_provider=found.token, tls=trusting(found.trusted))
            user = await stack.enter_async_context(connecting)
        except ValueError as error:
            raise Usage(f"--hub: {error}") from None
        user.knows(found.agents)
        yield user


@asynccontextmanager
async def traced(found: Way, say: Callable[[str], None] | None = None) -> AsyncIterator[None]:
    """While entered, what is asked is traced, if the environment says so; at the end its last spans leave, which may take 2 s."""
    from orchestrator.runtime.trace_export import exporting, lacking
    from orchestrator.topology.references import ASKER

    say = say or complain
    if found.seat is None and (why := lacking(os.environ)) is not None:  # else the run has said so
        say(why)
    async with exporting(os.environ, ASKER, {"service.instance.id": ASKER}, say, console=sys.stderr):
        yield


@contextmanager
def sayable() -> Iterator[None]:
    """What the client refuses to send, since no message can hold it, was typed: it raises `Usage` instead."""
    try:
        yield
    except UnicodeEncodeError as error:
        raise Usage(f"character {error.start + 1} of {error.object[:80]!r} is half a surrogate pair") from None
    except ValueError as error:
        raise Usage(str(error)) from None


def complain(sentence: str) -> None:
    print(f"orchestrator: {sentence}", file=sys.stderr, flush=True)


@contextmanager
def _said_by(say: Callable[[str], None]) -> Iterator[None]:
    """While entered, warnings of the connection are said in a sentence each, without colours."""
    import structlog

    from orchestrator.cli.tasks_text import plain

    def told(_logger: Any, level: str, event: MutableMapping[str, Any]) -> str:
        more = ", ".join(f"{name} {value}" for name, value in event.items() if name != "event")
        if level in ("warning", "error", "critical", "exception"):
            say(plain(f"{event.get('event', '')}{f' ({more})' if more else ''}"))
        raise structlog.DropEvent

    before, configured = structlog.get_config(), structlog.is_configured()
    structlog.configure(processors=[told], cache_logger_on_first_use=False)
    try:
        yield
    finally:
        if configured:
            structlog.configure(**before)
        else:
            structlog.reset_defaults()


def check_agent(name: str, user: User) -> None:
    """Raises `Usage` for what is neither an agent nor one of its peers, where they are known."""
    known = user.agents
    if known and name not in known and not any(name in peers for peers in known.values()):
        raise nobody(name, known)


def nobody(name: str, known: Collection[str], what: str = "agent") -> Usage:
    from orchestrator.cli.tasks_text import plain

    hint = did_you_mean(name, known) or (f"; there are {listed(known)}" if 0 < len(known) <= _MANY else "")
    return Usage(f"there is no {what} {plain(name)!r} here{hint}")


class Away(ConnectionProblem):
    """Nobody is there who could be asked."""

    exit_code = ExitCode.PEER_NOT_FOUND


class Overdue(OrchestratorError):
    """Something did not end in the time that it was given."""

    exit_code = ExitCode.TIMED_OUT


def talk(work: Coroutine[Any, Any, int]) -> int:
    """Do the work of a command in an event loop, until SIGINT, or SIGTERM, which end it in peace as well."""

    import asyncio
    import gc
    import signal

    gc.enable()  # it is off for commands that are short

    async def main() -> int:
        loop, me = asyncio.get_running_loop(), asyncio.current_task()
        assert me is not None, "it runs as a task"
        ended = False

        def end() -> None:
            nonlocal ended
            ended = True
            me.cancel()

        loop.add_signal_handler(signal.SIGTERM, end)
        try:
            return await work
        except asyncio.CancelledError:
            if not ended:
                raise
            return ExitCode.TERMINATED
        finally:
            loop.remove_signal_handler(signal.SIGTERM)

    return asyncio.run(main())


def seconds(text: str) -> float:
    """Read a time limit: seconds, or a duration like the file's."""
    from orchestrator.topology.values import read_duration

    try:
        found = read_duration(float(text) if text.replace(".", "", 1).isdigit() else text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 30, 90s or 2m") from None
    if found <= 0:
        raise argparse.ArgumentTypeError("a time limit is greater than 0")
    return found
