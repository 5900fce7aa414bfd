"""Programs beside the measuring one: told one line of JSON, they answer in lines of JSON.

Nothing here needs more than Python itself, since the stock SDK's environment has nothing else.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).resolve().parents[1]
_LONGEST = 2**22


class Child:
    """A program that runs a module of this folder."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._process, self._stdin, self._stdout = process, process.stdin, process.stdout

    @property
    def pid(self) -> int:
        return self._process.pid

    async def told(self) -> dict[str, Any]:
        """Return its next line. Raises `RuntimeError` when it has ended without one."""
        line = await self._stdout.readline()
        if not line:
            raise RuntimeError(f"the program ended with {await self._process.wait()} before it had said everything")
        return dict(json.loads(line))

    def tell(self, line: dict[str, Any]) -> None:
        self._stdin.write(json.dumps(line).encode() + b"\n")

    async def ended(self) -> None:
        """End its input, and wait until it has ended."""
        self.finish()
        await self._process.wait()

    def finish(self) -> None:
        """End its input, which asks it to end."""
        self._stdin.close()


@asynccontextmanager
async def child(python: str | Path, module: str, order: dict[str, Any]) -> AsyncIterator[Child]:
    """Run a module under an interpreter and give it its order; it is killed if it is still there in the end."""
    process = await asyncio.create_subprocess_exec(
        str(python),
        "-m",
        module,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        limit=_LONGEST,
    )
    try:
        assert process.stdin is not None
        process.stdin.write(json.dumps(order).encode() + b"\n")
        await process.stdin.drain()
        yield Child(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def order() -> dict[str, Any]:
    """Return the order that this program was started with."""
    return dict(json.loads(sys.stdin.readline()))


def say(**line: Any) -> None:
    print(json.dumps(line), flush=True)


def stock_python() -> Path | None:
    """Return the interpreter of the stock SDK's own environment, made by the tests; `None` where there is none."""
    version = f"py{sys.version_info.major}.{sys.version_info.minor}"
    for home in sorted((ROOT / ".venv-sdk").glob(f"metered-realtime-*-{version}")):
        if (home / ".made").exists():
            return home / "bin" / "python"
    return None


STOCK_MISSING = "the stock SDK has no environment here; `python -m pytest tests/interop/test_scenarios.py` makes one"
