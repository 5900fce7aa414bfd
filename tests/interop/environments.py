"""The stock SDKs, each in an environment of its own that the first test to ask for it makes.

The Python SDK wants an older `websockets` than ours, and the JavaScript one wants npm.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
PYTHON_SDK = "metered-realtime==1.0.2"
JAVASCRIPT = HERE / "javascript"
CLIENTS = ("ours", "python", "javascript")
"""Who every scenario is run with: this package's client and both stock SDKs."""
SDKS = ("python", "javascript")


class Unavailable(Exception):
    """The environment of an SDK cannot be made on this machine."""


def command(client: str) -> list[str]:
    """Return how to run the program of one of `CLIENTS`. Skips the test where that SDK cannot be had, except in CI."""
    if client == "ours":
        return [sys.executable, "-m", "tests.interop.our_client_program"]
    try:
        if client == "python":
            return [str(_python()), str(HERE / "python_sdk_program.py")]
        return [_node(), str(JAVASCRIPT / "program.mjs")]
    except Unavailable as missing:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(missing))


def _python() -> Path:
    name = f"{PYTHON_SDK.replace('==', '-')}-py{sys.version_info.major}.{sys.version_info.minor}"
    home = ROOT / ".venv-sdk" / name
    python = home / "bin" / "python"
    with _one_at_a_time():
        if not (home / ".made").exists():
            shutil.rmtree(home, ignore_errors=True)
            _make_python(home, python)
            (home / ".made").touch()
    return python


def _make_python(home: Path, python: Path) -> None:
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv:
        try:
            _run(uv, "venv", "-q", "--python", sys.executable, str(home))
            _run(uv, "pip", "install", "-q", "--python", str(python), PYTHON_SDK)
        except Unavailable:
            shutil.rmtree(home, ignore_errors=True)
        else:
            return
    _run(sys.executable, "-m", "venv", str(home))
    _run(str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", PYTHON_SDK)


def _node() -> str:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise Unavailable(
            "the JavaScript SDK needs node and npm, and this machine has no " + ("npm" if node else "node")
        )
    modules = JAVASCRIPT / "node_modules"
    made = modules / ".made"
    wanted = hashlib.sha256((JAVASCRIPT / "package-lock.json").read_bytes()).hexdigest()
    with _one_at_a_time():
        if not made.exists() or made.read_text() != wanted:
            _run(npm, "ci", "--prefix", str(JAVASCRIPT), "--no-audit", "--no-fund", "--loglevel=error")
            made.write_text(wanted)
    return node


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Let one of the processes that run tests make an environment, while the others wait for it."""
    folder = ROOT / ".venv-sdk"
    folder.mkdir(exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=120, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError) as error:
        output = (getattr(error, "stderr", None) or b"")[-300:].decode(errors="replace")
        raise Unavailable(f"{Path(command[0]).name} could not install an SDK: {error} {output}") from None
