"""The `orchestrator` command: one small module per family of verbs, imported when one of its verbs is typed.

`--help` is answered from here alone. What it does not need is imported where it is used, `typing` and `dataclasses` with
it: they would take longer than all the rest.
"""

from __future__ import annotations

import argparse
import errno
import gc
import importlib
import io
import os
import sys
from functools import partial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Final, NoReturn

    from orchestrator.cli.problems import Form


class Verb:
    def __init__(self, module: str, help: str, *, lasts: bool = False) -> None:  # noqa: A002 - as argparse calls it
        """`lasts`: it runs until it is told to end."""
        self.module, self.help, self.lasts = module, help, lasts


VERBS: Final[dict[str, Verb]] = {
    "run": Verb("run", "start everything that a topology names, and keep it running", lasts=True),
    "ps": Verb(
        "ps", "show what a run has running: every replica, its state, since when, and how often it was restarted"
    ),
    "top": Verb(
        "top", "show what the agents of a run are doing, as rates, and what they take of the machine", lasts=True
    ),
    "logs": Verb("logs", "show what a run, or some of its agents, have said last, and go on with it", lasts=True),
    "scale": Verb("scale", "have more or fewer replicas of an agent in a run"),
    "restart": Verb("restart", "restart agents or replicas of a run, one after the other"),
    "reload": Verb("restart", "have a run read its topology again, and apply what is different"),
    "stop": Verb("stop", "end a run in peace, and wait until it has ended"),
    "validate": Verb("topology", "check a topology and its handlers; say every mistake at once"),
    "plan": Verb("topology", "show what would run: replicas, peer ids, channels, scopes"),
    "lint": Verb("lint", "say what a topology and its handlers had better not do, with a code for each kind"),
    "scopes": Verb("scopes", "show what every token allows, and what a change to the file grants and withdraws"),
    "graph": Verb("graph", "draw a topology: who hands tasks to whom, who shares a team, who sees whom"),
    "export": Verb("export", "write the files with which Compose, Kubernetes or systemd runs a topology"),
    "schema": Verb("schema", "print the JSON Schema of topology files, for editors"),
    "init": Verb("init", "write a first topology with its handlers into a directory"),
    "token": Verb("token", "make a token for a user or an agent that runs elsewhere, or look into one"),
    "ask": Verb("ask", "ask an agent of a run in words, and see its answer as it comes"),
    "chat": Verb("chat", "talk with the agents of a run, and see who comes and goes", lasts=True),
    "send": Verb("send", "send a message to a peer of a run's hub"),
    "publish": Verb("send", "publish a message on a channel of a run's hub"),
    "dispatch": Verb("dispatch", "hand an agent of a run a task by its name"),
    "who": Verb("who", "show who is present, and with --watch who comes and goes", lasts=True),
    "dashboard": Verb("dashboard", "print a link to the dashboard of a run that signs in once"),
    "tasks": Verb("tasks", "list the tasks that a topology's store holds; show, retry, cancel or purge them"),
    "hub": Verb("hub", "run a hub by itself", lasts=True),
    "replay": Verb(
        "replay", "show a recording of a run in the dashboard, or check it against the hub of today", lasts=True
    ),
    "bench": Verb("bench", "load a hub, and say what it stands", lasts=True),
    "keys": Verb("hub", "make the keys that a hub of its own accepts"),
    "completion": Verb("completion", "print what has a shell complete verbs, options, files and the names of agents"),
    "doctor": Verb("doctor", "look for what keeps a topology from running here, and say what to do about it"),
}


class VerbParser(argparse.ArgumentParser):
    """The parser of a verb; one that is not typed is a name in the list of verbs, and takes no time to make."""

    def __init__(self, *, typed: bool = True, **settings: Any) -> None:
        if typed:
            super().__init__(**settings)


_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code (see `ExitCode`)."""
    words = list(sys.argv[1:] if argv is None else argv)
    collects = gc.isenabled()
    if words and words[0] in VERBS and VERBS[words[0]].lasts:
        _leave_no_core()
    else:
        gc.disable()  # nearly all that a short command makes are modules: looking for garbage among them takes a tenth
    try:
        try:
            return _run(words)
        finally:
            sys.stdout.flush()  # also what `--help` and a refused topology have printed, while there is somebody to notice
    except KeyboardInterrupt:  # while what a verb needs was still being imported
        from orchestrator.errors import ExitCode

        return ExitCode.INTERRUPTED
    except BrokenPipeError:  # whoever read the output has seen enough; what is still buffered goes nowhere
        from orchestrator.errors import ExitCode

        _drop_output()
        return ExitCode.FAILED
    except OSError as error:
        if error.errno is None or error.errno not in _FULL:
            raise
        from orchestrator.errors import ExitCode

        print(
            f"orchestrator: what was to be written found no room: {os.strerror(error.errno).lower()}", file=sys.stderr
        )
        _drop_output()
        return ExitCode.FAILED
    finally:
        if collects:
            gc.enable()


def _run(words: Sequence[str]) -> int:
    _open_standard_streams()
    formatter = partial(argparse.HelpFormatter, width=_columns() - 2)
    parser = argparse.ArgumentParser(
        prog="orchestrator",
        description="Runs the agents of a topology file: nothing is dropped silently, and nothing misspelt starts.",
        epilog="`orchestrator VERB --help` tells more about one verb.",
        formatter_class=formatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs", parser_class=VerbParser)
    typed = next((word for word in words if not word.startswith("-")), None)
    if words and not words[0].startswith("-") and words[0] not in VERBS:
        _refuse_verb(words[0], parser)
    for name, verb in VERBS.items():
        sub = verbs.add_parser(
            name, help=verb.help, description=verb.help, formatter_class=formatter, typed=name == typed
        )
        if words and words[0] == name:
            importlib.import_module(f"orchestrator.cli.{verb.module}").arguments(name, sub)
    args, unknown = parser.parse_known_args(words)
    if isinstance(getattr(args, "words", None), list):  # a verb that takes words on both sides of an option
        args.words += [word for word in unknown if word == "-" or not word.startswith("-")]
        unknown = [word for word in unknown if word != "-" and word.startswith("-")]
    if unknown:
        _refuse(unknown, parser if args.verb is None else verbs.choices[args.verb])
    if args.version:
        from importlib.metadata import version

        print(version("topology-orchestrator"))
        return 0
    if args.verb is None:
        from orchestrator.errors import ExitCode

        parser.print_help()
        return ExitCode.USAGE
    return reported(lambda: int(args.execute(args)), getattr(args, "form", "text"))


def reported(execute: Callable[[], int], form: Form = "text") -> int:
    """Do what a verb is for, and say what went wrong with it; return the exit code."""
    from orchestrator.errors import ExitCode, OrchestratorError, TopologyError

    try:
        code = execute()
        sys.stdout.flush()
        return code
    except TopologyError as error:
        from orchestrator.cli.problems import report

        report(error, form)
        return error.exit_code
    except OrchestratorError as error:
        _complain(f"orchestrator: {error}" if error.exit_code is not ExitCode.INVALID else str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:  # whoever read the output has seen enough; what is still buffered goes nowhere
        _drop_output()
        return ExitCode.FAILED


def _complain(sentence: str) -> None:
    """Say it on standard error: what agents and hubs have put into it steers no terminal."""
    if sys.stderr.isatty() and not sentence.isprintable():
        from orchestrator.runtime.console import visible

        sentence = visible(sentence)
    print(sentence, file=sys.stderr)


def _leave_no_core() -> None:
    """Have this process, and those that it starts, leave no file with their memory when they crash: keys are in it.

    A program among them that has none may raise the limit again.
    """
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _columns() -> int:
    """Return how wide help may be, as `shutil` would: its import takes longer than the help that it is for."""
    try:
        wished = int(os.environ.get("COLUMNS", "0"))
        return wished if wished > 0 else os.get_terminal_size(1).columns or 80
    except (ValueError, OSError):
        return 80


def _refuse_verb(name: str, parser: argparse.ArgumentParser) -> NoReturn:
    from orchestrator.errors import ExitCode, did_you_mean, listed

    hint = did_you_mean(name, VERBS) or f"; there are {listed(VERBS)}"
    parser.exit(ExitCode.USAGE, f"orchestrator: there is no verb {name!r}{hint}\n")


def _refuse(unknown: Sequence[str], verb: argparse.ArgumentParser) -> NoReturn:
    """End the command over arguments that its verb does not know, with the nearest option."""
    from orchestrator.errors import did_you_mean

    word = unknown[0].partition("=")[0]
    options = [option for action in verb._actions for option in action.option_strings]  # argparse has no other way
    hint = did_you_mean(word, options) if word.startswith("-") else ""
    verb.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")


def _drop_output() -> None:
    """Have what is still buffered for standard output go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _open_standard_streams() -> None:
    """Make sure that all three are there and take every character.

    Where one was closed, the next file that is opened, a socket, say, would take its number and be written to.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - for good
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    sys.exit(main())
