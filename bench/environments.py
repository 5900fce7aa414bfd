"""Environments of their own for what a measurement compares with: made when they are first needed, and kept."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench.lines import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence


def home_of(name: str) -> Path:
    return ROOT / ".venv-sdk" / f"{name}-py{sys.version_info.major}.{sys.version_info.minor}"


def python_with(name: str, wheels: Sequence[str]) -> Path | None:
    """Return the interpreter of the environment `name`, which has these wheels; `None` where it cannot be had."""
    home = home_of(name)
    python, made, wanted = home / "bin" / "python", home / ".made", "\n".join(wheels)
    home.parent.mkdir(exist_ok=True)
    with (home.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if made.exists() and made.read_text(encoding="utf-8") == wanted:
            return python
        shutil.rmtree(home, ignore_errors=True)
        try:
            for command in _commands(home, python, wheels):
                subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr, timeout=300)
        except (OSError, subprocess.SubprocessError) as error:
            print(f"{name} is left out, since it could not be installed: {error}", file=sys.stderr)
            return None
        made.write_text(wanted, encoding="utf-8")
    return python


def _commands(home: Path, python: Path, wheels: Sequence[str]) -> list[list[str]]:
    """Return what makes an environment: with uv where there is one, for its speed."""
    uv = Path(sys.executable).with_name("uv")
    if uv.exists():
        return [
            [str(uv), "venv", "-q", "--python", sys.executable, str(home)],
            [str(uv), "pip", "install", "-q", "--python", str(python), *wheels],
        ]
    return [
        [sys.executable, "-m", "venv", str(home)],
        [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *wheels],
    ]
