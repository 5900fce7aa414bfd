"""The commands at the head of exported files, typed into a shell as a reader would."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

from tests.deployment.exporting import TOPOLOGIES, VALUES, exported, project
from tests.deployment.schemas import program

BIN = Path(sys.executable).parent


def shown(text: str) -> list[str]:
    """Return the commands at the head of a file."""
    head = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
    return [line.removeprefix("#   ") for line in head if line.startswith("#   ")]


def typed(folder: Path, commands: list[str]) -> None:
    """Have a shell do what commands say, with the variables of `VALUES` set. What they print holds no secret."""
    program("openssl", "the package openssl of Debian")
    there = {"REDIS_URL": "redis://there/3", "BACKPLANE_URL": "redis://there/news"}
    environ = {**os.environ, **VALUES, **there, "PATH": f"{BIN}:{os.environ['PATH']}"}
    subprocess.run(
        ["bash", "-e", "-c", "\n".join(commands)], cwd=folder, env=environ, check=True, timeout=60, capture_output=True
    )


def compose_folder(folder: Path, kind: str, *options: str) -> Path:
    """Return the folder of an export for Compose in which the commands have been typed."""
    exported(project(folder, TOPOLOGIES[kind]), "compose", *options)
    typed(folder / "out", shown((folder / "out" / "compose.yaml").read_text()))
    return folder / "out"
