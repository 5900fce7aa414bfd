"""What runs on the server: each operation is one script, so that it happens whole, at one time, or not at all."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import Final

_LEDGER: Final = ("ledger",)
_ATTEMPTS: Final = ("ledger", "attempts")


@dataclass(frozen=True, slots=True, eq=False)
class Script:
    source: bytes
    sha: bytes
    """By which a server that has seen the source knows it."""


def _script(name: str, parts: tuple[str, ...] = ()) -> Script:
    folder = resources.files(__package__) / "redis_lua"
    source = b"\n".join((folder / f"{part}.lua").read_bytes() for part in (*parts, name))
    return Script(source, hashlib.sha1(source, usedforsecurity=False).hexdigest().encode())


OPEN: Final = _script("open")
LEASE: Final = _script("lease")
ENQUEUE: Final = _script("enqueue", _LEDGER)
CLAIM: Final = _script("claim", ("ledger", "fences"))
EXTEND: Final = _script("extend", _LEDGER)
COMPLETE: Final = _script("complete", _ATTEMPTS)
FAIL: Final = _script("fail", _ATTEMPTS)
RELEASE: Final = _script("release", _ATTEMPTS)
RECLAIM: Final = _script("reclaim", _LEDGER)
ONCE: Final = _script("once", _LEDGER)
CANCEL: Final = _script("cancel", _LEDGER)
OUTCOMES: Final = _script("outcomes", _LEDGER)
GET: Final = _script("get", _LEDGER)
LIST: Final = _script("list", _LEDGER)
STATS: Final = _script("stats", _LEDGER)
RETRY: Final = _script("retry", _LEDGER)
PURGE: Final = _script("purge", _LEDGER)
SWEEP: Final = _script("sweep", _LEDGER)
