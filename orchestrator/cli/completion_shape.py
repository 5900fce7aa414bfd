"""What can be typed after `orchestrator`, as its parsers know it."""

from __future__ import annotations

import argparse
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_AGENTS: Final = {"AGENT", "AGENTS", "WORD", "NAME", "PEER"}
"""Words in place of which the name of an agent may stand."""
_FILES: Final = {"FILE", "WORD", "OTHER"}
_FOLDERS: Final = {"DIR"}


@dataclass(frozen=True, slots=True)
class Value:
    """What may stand in one place."""

    choices: tuple[str, ...] = ()
    files: bool = False
    folders: bool = False
    agents: bool = False


@dataclass(frozen=True, slots=True)
class Option:
    names: tuple[str, ...]
    help: str
    value: Value | None
    """`None` = it takes none."""


@dataclass(frozen=True, slots=True)
class Command:
    words: tuple[str, ...]
    """The verb, and what follows it; none for the command itself."""
    help: str
    options: tuple[Option, ...]
    value: Value
    """What may stand in its other places, all of them together."""


def commands() -> tuple[Command, ...]:
    """Return the command itself, each verb, and each that follows one."""
    from orchestrator.cli.main import VERBS

    found = []
    for name, verb in VERBS.items():
        parser = argparse.ArgumentParser(prog=f"orchestrator {name}")
        importlib.import_module(f"orchestrator.cli.{verb.module}").arguments(name, parser)
        subs = dict(_following(name, parser))
        found.append(_command((name,), verb.help, parser, tuple(subs)))
        found += [_command((name, word), help_text, sub, ()) for word, (help_text, sub) in subs.items()]
    version = Option(("--version",), "print the version and exit", None)
    help_option = Option(("-h", "--help"), "show this help message and exit", None)
    return (Command((), "", (help_option, version), Value(tuple(VERBS))), *found)


def _following(verb: str, parser: argparse.ArgumentParser) -> Iterator[tuple[str, tuple[str, argparse.ArgumentParser]]]:
    for action in parser._actions:  # argparse has no other way
        if isinstance(action, argparse._SubParsersAction):
            told = {choice.dest: choice.help or "" for choice in action._choices_actions}
            yield from ((name, (told.get(name, ""), sub)) for name, sub in action.choices.items())
    if verb == "tasks":
        from orchestrator.cli.tasks import COMMANDS

        for name, add in COMMANDS.items():
            if name != "list":
                sub = argparse.ArgumentParser()
                add(sub)
                yield name, (sub.description or "", sub)


def _command(words: tuple[str, ...], help_text: str, parser: argparse.ArgumentParser, subs: tuple[str, ...]) -> Command:
    options, values = [], [Value(subs)]
    for action in parser._actions:
        if action.help is argparse.SUPPRESS or isinstance(action, argparse._SubParsersAction):
            continue
        if action.option_strings:
            takes = action.nargs != 0
            options.append(Option(tuple(action.option_strings), _short(action.help), _value(action) if takes else None))
        else:
            values.append(_value(action))
    if words == ("token",):
        values.append(Value(("inspect",)))
    merged = Value(
        tuple(dict.fromkeys(choice for value in values for choice in value.choices)),
        *(any(getattr(value, name) for value in values) for name in ("files", "folders", "agents")),
    )
    return Command(words, help_text, tuple(options), merged)


def _value(action: argparse.Action) -> Value:
    metavar: Any = action.metavar
    shown = metavar[0] if isinstance(metavar, tuple) else str(metavar or action.dest).upper()
    if action.choices is not None:
        return Value(tuple(map(str, action.choices)))
    folders = shown in _FOLDERS
    files = not folders and (shown in _FILES or action.type is Path)
    return Value(files=files, folders=folders, agents=shown in _AGENTS)


def _short(text: str | None) -> str:
    """Return a help text for a list: its first part, on one line."""
    return " ".join((text or "").split()).partition(";")[0].partition(" (")[0]
