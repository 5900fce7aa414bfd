"""What runs an agent: a handler of this package or a command in any language, here, or somebody else, elsewhere.

Like the references, this reads the file's plain values, so that one wrong type elsewhere hides nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from orchestrator.errors import did_you_mean
from orchestrator.topology.model import AGENT_SECTIONS, Agent
from orchestrator.topology.values import Text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchestrator.errors import Problem
    from orchestrator.topology.model import Origin
    from orchestrator.topology.yaml_nodes import Steps

KINDS: Final = ("handler", "command", "external")


def check_kinds(data: Mapping[str, Any], origin: Origin) -> Iterator[Problem]:
    for section in AGENT_SECTIONS:
        named = data.get(section)
        for name, entry in named.items() if isinstance(named, dict) else ():
            if isinstance(entry, dict):
                yield from _check(entry, (section, name), origin)


def _check(entry: Mapping[str, Any], steps: Steps, origin: Origin) -> Iterator[Problem]:
    given = [kind for kind in KINDS if kind in entry and not _is_off(entry, kind)]
    if not given and not any(_means_one(key) for key in entry):
        yield origin.at_key(
            steps, "the key 'handler' is missing; without one, 'command' or 'external: true' stands here"
        )
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
    if entry.get("command") == []:
        yield origin.at_value((*steps, "command"), "a command has at least one word, the program")
    if "external" in given:
        for key in ("environment", "inherit_environment", "restart", "reconnect"):
            if key in entry:
                sentence = f"{key!r} is for what is started here, and an external agent is not"
                yield origin.at_key((*steps, key), sentence)


def _is_off(entry: Mapping[str, Any], kind: str) -> bool:
    value = entry[kind]
    return kind == "external" and (value is False or (isinstance(value, Text) and value == "false"))


def _means_one(key: str) -> bool:
    """Tell whether an unknown key is one of the kinds, misspelt: then that is said of it, and nothing is missing."""
    return key not in Agent.model_fields and any(
        f"{kind!r}?" in did_you_mean(key, Agent.model_fields) for kind in KINDS
    )
