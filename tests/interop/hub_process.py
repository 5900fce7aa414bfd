"""A real `orchestrator hub serve`, with a key file of its own."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.hub import key_file
from orchestrator.hub.key_file import PublishableEntry, SecretEntry
from orchestrator.protocol.tokens import Claims, mint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PAGE_KEY = "pk_live_" + "p" * 24


@dataclass
class HubProcess:
    url: str
    http: str
    keys: Path
    process: asyncio.subprocess.Process

    def token(self, sub: str, **claims: Any) -> str:
        key = key_file.load(self.keys).secret_keys[0].key()
        return mint(key, Claims(sub=sub, exp=int(time.time()) + 600, **claims))

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return await self.process.wait()


def _provide_keys(path: Path) -> None:
    if path.exists():
        return
    with key_file.changed(path) as keys:
        keys.secret_keys.append(SecretEntry("sk_id_test", "sk_secret_" + "k" * 32))
        keys.publishable_keys.append(PublishableEntry("pk_id_test", PAGE_KEY))


@asynccontextmanager
async def hub_process(keys: Path, listen: str = "127.0.0.1:0", *more: str) -> AsyncIterator[HubProcess]:
    """Start a hub and wait until it says that it is ready; it is killed if it is still there in the end."""
    _provide_keys(keys)
    command = [sys.executable, "-m", "orchestrator", "hub", "serve", "--keys", str(keys), "--listen", listen, "--json"]
    process = await asyncio.create_subprocess_exec(*command, *more, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        ready = json.loads(await process.stdout.readline())
        assert ready["pid"] == process.pid
        yield HubProcess(ready["url"], ready["http"], keys, process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
