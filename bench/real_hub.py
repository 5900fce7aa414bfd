"""A real `orchestrator hub serve` in a process of its own, and tokens for it."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.measuring import cpu_seconds
from orchestrator.hub import key_file
from orchestrator.protocol.tokens import Claims, SecretKey, mint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@dataclass(frozen=True, slots=True)
class RealHub:
    url: str
    key: SecretKey
    process: asyncio.subprocess.Process

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def token(self, sub: str, life: float = 3600, **claims: Any) -> str:
        """Return a token without a limit on messages, for about `life` seconds: `exp` is a whole number."""
        return mint(self.key, Claims(sub=sub, exp=int(time.time() + life), rate="unlimited", **claims))

    def cpu_seconds(self) -> float | None:
        """Return the processor time that the hub has taken; `None` where the system does not say."""
        return cpu_seconds(self.process.pid)

    def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()


@asynccontextmanager
async def real_hub(folder: Path, *more: str) -> AsyncIterator[RealHub]:
    """Start a hub and wait until it is ready; hubs of the same folder have the same key. It is killed in the end."""
    keys = folder / "keys.yaml"
    if not keys.exists():
        with key_file.changed(keys) as content:
            secret = f"sk_secret_{secrets.token_hex(32)}"
            content.secret_keys.append(key_file.SecretEntry("sk_id_bench", secret, rate="unlimited"))
    key = key_file.load(keys).secret_keys[0].key()
    command = ["hub", "serve", "--keys", str(keys), "--listen", "127.0.0.1:0", "--json"]
    with (folder / "hub.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "orchestrator", *command, *more, stdout=asyncio.subprocess.PIPE, stderr=log
        )
    try:
        assert process.stdout is not None
        ready = json.loads(await process.stdout.readline() or "null")
        if ready is None:
            raise RuntimeError(f"the hub did not start: {(folder / 'hub.log').read_text(encoding='utf-8')}")
        yield RealHub(ready["url"], key, process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
