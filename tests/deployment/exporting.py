"""Topologies of many kinds, and what each is exported as."""

from __future__ import annotations

import argparse
import functools
import importlib
import tempfile
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from orchestrator.cli.main import VERBS, main
from orchestrator.errors import ExitCode

AGENTS: Final = """\
coordinators:
  boss: {handler: "app:Boss", workers: [helper]}
workers:
  helper: {handler: "app:Helper", replicas: 3}
"""
KEPT: Final = AGENTS.replace("replicas: 3", "replicas: 3, tasks: {delivery: at-least-once}")
TOPOLOGIES: Final = {
    "alone": f"version: 1\nname: alone\n{AGENTS}",
    "kept in a file": f"version: 1\nname: file_kept\nstore: sqlite:///tasks.db\n{KEPT}",
    "kept in memory": f"version: 1\nname: memory-kept\nstore: 'memory:'\n{KEPT}",
    "nats": f"version: 1\nname: newsroom\nhub: {{backplane: 'nats://10.0.0.5:4222/news'}}\nstore: nats://10.0.0.5:4222\n{KEPT}",
    "redis": f"version: 1\nname: newsroom\nhub: {{backplane: 'redis://10.0.0.5'}}\nstore: redis://10.0.0.5/2\n{KEPT}",
    "both": f"version: 1\nname: newsroom\nhub: {{backplane: 'nats://10.0.0.5'}}\nstore: redis://10.0.0.5\n{KEPT}",
    "only joined": f"version: 1\nname: newsroom\nhub: {{backplane: 'redis://10.0.0.5'}}\n{AGENTS}",
    "elsewhere": f"version: 1\nname: newsroom\nhub: {{url: 'wss://hub.example', key: '${{HUB_KEY}}'}}\n{AGENTS}",
    "programs": (
        "version: 1\nname: newsroom\n"
        "workers:\n  translate_it: {command: [node, 'a $HOME %h $(X).mjs'], handles: [Translate], replicas: 2}\n"
        "agents:\n  hub: {handler: 'app:Helper'}\n  outside: {external: true}\n"
    ),
    "filled in": (
        "version: 1\nname: newsroom\nhub: {backplane: '${BROKER}', key: '${OTHER_KEY}'}\nstore: '${BROKER}'\n"
        f"{KEPT}agents:\n  clock: {{handler: 'app:Clock', environment: {{MODEL: '${{MODEL:-small}}', KEY: '${{SERVICE_KEY}}'}}}}\n"
    ),
}
VALUES: Final = {
    "BROKER": "nats://someone:whispered@10.0.0.5:4222",
    "OTHER_KEY": "sk_id_other:sk_secret_" + "o" * 40,
    "HUB_KEY": "sk_id_hub:sk_secret_" + "h" * 40,
    "SERVICE_KEY": "hushed",
}


def project(folder: Path, topology: str) -> Path:
    """Write a project, and return its folder."""
    folder.mkdir()
    (folder / "topology.yaml").write_text(topology)
    return folder


def exported(folder: Path, engine: str, *options: str) -> dict[str, str]:
    """Export the topology in a folder, and return the files by name; the variables of `VALUES` are set meanwhile."""
    out = folder / "out"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in VALUES.items():
            patch.setenv(name, value)
        assert main(["export", engine, str(folder / "topology.yaml"), "--out", str(out), *options]) == ExitCode.DONE
    return {file.name: file.read_text() for file in sorted(out.iterdir())}


@functools.cache
def files_of(kind: str, engine: str, *options: str) -> dict[str, str]:
    """Return what one of `TOPOLOGIES` is exported as."""
    with tempfile.TemporaryDirectory() as folder:
        return exported(project(Path(folder) / "project", TOPOLOGIES[kind]), engine, *options)


@functools.cache
def documents(text: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(text) if document is not None]


def command_problem(words: list[str]) -> str:
    """Return what `orchestrator` has against the options of a command that is not carried out; empty if nothing."""
    program, verb, *rest = words
    parser = argparse.ArgumentParser(prog=program, exit_on_error=False)
    importlib.import_module(f"orchestrator.cli.{VERBS[verb].module}").arguments(verb, parser)
    try:
        _, unknown = parser.parse_known_args(rest)
    except (argparse.ArgumentError, SystemExit) as error:
        return f"{' '.join(words)}: {error}"
    return f"unknown: {unknown}" if unknown else ""
