"""A parent of one child, `simple`, to be killed by a test: it passes on what its child says about itself."""

from __future__ import annotations

import asyncio
import os
import sys

from tests.runtime.processes import spawn


async def main() -> int:
    def hear(_stream: str, line: bytes) -> None:
        print(line.decode(), flush=True)

    child = await spawn("tests.runtime.children.simple", hear, os.environ)
    return await child.wait()


sys.exit(asyncio.run(main()))
