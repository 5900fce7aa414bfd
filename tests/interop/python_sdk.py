"""The stock Python SDK, in an environment of its own, because it wants an older `websockets` than ours."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).resolve().parents[2]
SDK = "metered-realtime==1.0.2"
PROGRAM = Path(__file__).with_name("python_sdk_program.py")


class SdkUnavailable(Exception):
    """The environment cannot be made here."""


def sdk_python() -> Path:
    """Return the interpreter of the SDK's environment, made by the first test that asks. Raises `SdkUnavailable`."""
    home = ROOT / ".venv-sdk" / f"{SDK.replace('==', '-')}-py{sys.version_info.major}.{sys.version_info.minor}"
    python, made = home / "bin" / "python", home / ".made"
    home.parent.mkdir(exist_ok=True)
    (home.parent / ".gitignore").write_text("*\n")
    with (home.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            shutil.rmtree(home, ignore_errors=True)
            try:
                _make(home, python)
            except (OSError, subprocess.SubprocessError) as error:
                output = getattr(error, "stderr", b"") or b""
                raise SdkUnavailable(f"{SDK} could not be installed: {error} {output[-300:].decode()}") from None
            made.touch()
    return python


def _make(home: Path, python: Path) -> None:
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv:
        _run(uv, "venv", "-q", "--python", sys.executable, str(home))
        try:
            _run(uv, "pip", "install", "-q", "--python", str(python), SDK)
        except subprocess.SubprocessError:
            shutil.rmtree(home)
        else:
            return
    _run(sys.executable, "-m", "venv", str(home))
    _run(str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", SDK)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=120, stdin=subprocess.DEVNULL)


class SdkPeer:
    """A process on the SDK, and what it has said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._said: list[dict[str, Any]] = []

    async def next(self, what: str) -> dict[str, Any]:
        """Return the next line of this kind; lines of other kinds stay for later."""
        for at, line in enumerate(self._said):
            if line["what"] == what:
                return self._said.pop(at)
        assert self._process.stdout is not None
        while True:
            text = await self._process.stdout.readline()
            assert text, f"the program ended while {what!r} was awaited, after {self._said}"
            line = json.loads(text)
            if line["what"] == what:
                return dict(line)
            self._said.append(line)

    async def ask(self, do: str, **fields: Any) -> None:
        self._write({"do": do, **fields})

    async def do(self, do: str, **fields: Any) -> None:
        """Make a request, and wait until the SDK says that it was acknowledged."""
        await self.ask(do, **fields)
        await self.next("done")

    def _write(self, line: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(line).encode() + b"\n")


@asynccontextmanager
async def sdk_peer(url: str, **credential: str) -> AsyncIterator[SdkPeer]:
    """Run a peer with ``token=`` or ``api_key=``; it closes its connection when the block ends."""
    process = await asyncio.create_subprocess_exec(
        str(sdk_python()),
        str(PROGRAM),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**20,
        env={"PATH": os.environ["PATH"]},
    )
    try:
        peer = SdkPeer(process)
        peer._write({"url": url, **credential})
        yield peer
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
