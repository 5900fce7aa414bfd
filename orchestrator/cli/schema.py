"""`orchestrator schema`: the JSON Schema of topology files, for editors."""

from __future__ import annotations

import argparse
from typing import Final

from orchestrator.cli.example_text import examples
from orchestrator.errors import ExitCode

_EPILOG: Final = """\
Keep it beside your topologies, and say so in their first line:
  # yaml-language-server: $schema=topology.schema.json
"""


def arguments(_verb: str, parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EPILOG
    examples(parser, "orchestrator schema > topology.schema.json")
    parser.set_defaults(execute=execute)


def execute(_args: argparse.Namespace) -> int:
    print(text(), end="")
    return ExitCode.DONE


def text() -> str:
    """Return the schema as it is kept in a file."""
    import json

    from orchestrator.topology.json_schema import topology_schema

    return f"{json.dumps(topology_schema(), indent=2, ensure_ascii=False)}\n"
