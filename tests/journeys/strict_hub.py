"""A hub in a process of its own, with a key that everybody knows, and whatever settings and loop a test needs.

Its main takes one argument, of JSON: the settings, and ``loop``, which is ``uvloop``, as hubs have it, or ``asyncio``.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.hub.keys import KeyRing
from orchestrator.hub.listening import listen, parse_address
from orchestrator.hub.serve import serve, serve_here
from orchestrator.hub.settings import Settings
from tests.hub.sockets import KEY
from tests.journeys.running import ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from orchestrator.hub.server import Server


@dataclass
class StrictHub:
    url: str
    process: asyncio.subprocess.Process
    log: Path

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def cpu(self) -> float:
        """Return the seconds of CPU that its main thread has used."""
        return int(Path(f"/proc/{self.process.pid}/schedstat").read_text().split()[0]) / 1e9

    def resident(self) -> int:
        """Return its memory in bytes."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def said(self) -> list[str]:
        return self.log.read_text().splitlines()


@asynccontextmanager
async def strict_hub(folder: Path, before: tuple[str, ...] = (), **settings: Any) -> AsyncIterator[StrictHub]:
    """Start a hub by `before`, a command that runs another one; it is killed in the end."""
    command = [*before, sys.executable, "-m", "tests.journeys.strict_hub", json.dumps(settings)]
    log = folder / "hub.log"
    with log.open("w") as file:
        process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=file)
    try:
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().strip()
        assert url, log.read_text()
        yield StrictHub(url, process, log)
        assert process.returncode is None, log.read_text()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def main() -> int:
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.INFO, stream=sys.stderr)
    given = json.loads(sys.argv[1])
    loop = given.pop("loop", "uvloop")
    listening, keys, settings = listen(parse_address("127.0.0.1:0")), KeyRing([KEY]), Settings(**given)

    def ready(server: Server) -> None:
        print(server.url, flush=True)

    if loop == "asyncio":
        return asyncio.run(serve_here(listening, keys, settings, on_ready=ready))
    return serve(listening, keys, settings, on_ready=ready)


if __name__ == "__main__":
    sys.exit(main())
