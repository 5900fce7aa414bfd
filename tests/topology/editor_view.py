"""A topology file as an editor sees it: the values of YAML 1.2's core schema, checked against the JSON Schema."""

from __future__ import annotations

import re
from typing import Any, Final

import yaml
from jsonschema import Draft202012Validator

from orchestrator.topology.json_schema import topology_schema

SCHEMA: Final = Draft202012Validator(topology_schema())


class CoreLoader(yaml.SafeLoader):
    """Reads what YAML 1.2 says: `no` is a text, `12:30` is one, and so is `2024-01-01`."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - the name and the type are those of yaml


_SIGN_OR_DIGIT: Final = list("+-.0123456789")
CoreLoader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile("<<$"), ["<"])
CoreLoader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile("(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""])
CoreLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("(?:[tT]rue|TRUE|[fF]alse|FALSE)$"), list("tTfF"))
CoreLoader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile("[-+]?[0-9]+$"), _SIGN_OR_DIGIT)
CoreLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$"),
    _SIGN_OR_DIGIT,
)
CoreLoader.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value))
CoreLoader.add_constructor("tag:yaml.org,2002:float", lambda _, node: float(node.value))


def seen(text: str) -> Any:
    return yaml.load(text, Loader=CoreLoader)


def findings(text: str) -> list[str]:
    """Return what an editor would underline, as the way to it and a message."""
    return [f"{error.json_path}: {error.message}" for error in SCHEMA.iter_errors(seen(text))]
