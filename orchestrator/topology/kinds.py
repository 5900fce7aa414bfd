"""What runs an agent: a handler of this package or a command in any language, here, or somebody else, elsewhere.

Like the references, this reads the file's plain values, so that one wrong type elsewhere hides nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from orchestrator.errors import did_you_mean
from orchestrator.topology.guesses import Guesses
from orchestrator.topology.model import AGENT_SECTIONS, Agent
from orchestrator.topology.values import Text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchestrator.errors import Problem
    from orchestrator.topology.model import Origin
    from orchestrator.topology.yaml_nodes import Steps

KINDS: Final = ("handler", "command", "external")
_OF_HANDLERS: Final = ("start_method", "watchdog")


def check_kinds(data: Mapping[str, Any], origin: Origin) -> Iterator[Problem]:
    guesses = Guesses()
    for section in AGENT_SECTIONS:
        named = data.get(section)
        if isinstance(named, dict):
            for name, entry in named.items():
                if isinstance(entry, dict):
                    yield from _check(entry, (section, name), named, origin, guesses)


def _check(
    entry: Mapping[str, Any], steps: Steps, named: Mapping[str, Any], origin: Origin, guesses: Guesses
) -> Iterator[Problem]:
    given = [kind for kind in KINDS if kind in entry and not _is_off(entry, kind)]
    if not given and not any(_means_one(key) for key in entry):
        sentence = "the key 'handler' is missing; without one, 'command' or 'external: true' stands here"
        others = (name for name, there in named.items() if name != steps[1] and _is_run(there))
        yield origin.at_key(steps, sentence + guesses.nearest(str(steps[1]), others))
    if "handler" in given and "command" in given:
        yield origin.at_key(
            (*steps, "command"), "'handler' and 'command' stand here together, and an agent is one of them"
        )
    if "handler" in given and "handles" in entry:
        sentence = "the tasks of a handler are read from its code; only a command or an external agent lists them here"
        yield origin.at_key((*steps, "handles"), sentence)
    if steps[0] == "workers" and "handler" not in given and given and not entry.get("handles"):
        at = (*steps, "handles") if "handles" in entry else steps
        yield origin.at_key(at, "a worker without a handler says what it takes: 'handles: [TaskName]'")
    words = entry.get("command")
    if isinstance(words, list) and words[:1] in ([], [""]):
        yield origin.at_value((*steps, "command"), "a command has at least one word, the program")
    if "external" in given:
        for key in ("environment", "inherit_environment", "restart", "reconnect", *_OF_HANDLERS):
            if key in entry:
                sentence = f"{key!r} is for what is started here, and an external agent is not"
                yield origin.at_key((*steps, key), sentence)
    elif "command" in given and "handler" not in given:
        for key in _OF_HANDLERS:
            if key in entry:
                sentence = f"{key!r} is for the process of a handler, and a command is a program of its own"
                yield origin.at_key((*steps, key), sentence)


def _is_run(entry: object) -> bool:
    return isinstance(entry, dict) and any(kind in entry for kind in KINDS)


def _is_off(entry: Mapping[str, Any], kind: str) -> bool:
    value = entry[kind]
    return kind == "external" and (value is False or (isinstance(value, Text) and value == "false"))


def _means_one(key: str) -> bool:
    """Tell whether an unknown key is one of the kinds, misspelt: then that is said of it, and nothing is missing."""
    return key not in Agent.keys and any(f"{kind!r}?" in did_you_mean(key, Agent.keys) for kind in KINDS)
