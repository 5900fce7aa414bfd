"""A worker that is a program of its own: it speaks the frames of docs/programs.md, and needs no handler."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from orchestrator import User, connect
from orchestrator.errors import PeerNotFound


async def token() -> str:
    """Read the token anew whenever it is needed: whoever started this program keeps the file fresh."""
    return await asyncio.to_thread(Path(os.environ["ORCHESTRATOR_TOKEN_FILE"]).read_text)


def answer(task: Mapping[str, Any]) -> dict[str, Any]:
    """Return the frame that ends a task: its result, or why there is none."""
    if task.get("task") != "Shout":
        error = {"type": "UnknownTask", "message": f"{task.get('task')} is not done here", "retryable": False}
        return {"type": "task-error", "taskId": task["taskId"], "error": error}
    return {"type": "task-result", "taskId": task["taskId"], "result": task["payload"]["text"].upper() + "!"}


async def serve(me: User, inbox: str) -> None:
    async for message in me.subscribe(inbox):
        if message.data.get("type") == "task":
            with suppress(PeerNotFound):  # whoever asked is gone, and waits no more
                await me.send(message.sender, answer(message.data), when_disconnected="wait")


async def main() -> None:
    async with connect(os.environ["ORCHESTRATOR_URL"], token_provider=token) as me:
        serving = asyncio.create_task(serve(me, f"tasks/{me.peer_id}"))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, serving.cancel)
        with suppress(asyncio.CancelledError):  # leaving the block says goodbye to the hub
            await serving


if __name__ == "__main__":
    asyncio.run(main())
