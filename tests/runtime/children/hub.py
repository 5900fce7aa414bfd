"""A stand-in for a hub process: it takes the listening socket, says that it is ready, and ends when asked."""

from __future__ import annotations

import asyncio
import os
import socket
import sys

from orchestrator.runtime.control import ControlChannel, Drain, HubSpec, Ready
from orchestrator.runtime.parent import watch_parent


async def main(control: socket.socket) -> int:
    channel = await ControlChannel.of_child(control)
    async for message in channel:
        match message:
            case HubSpec(listening=descriptor, keys=keys):
                with socket.socket(fileno=os.dup(descriptor)) as listening:
                    assert listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                assert len(keys) == 1
                channel.send(Ready(0.1))
            case Drain():
                await channel.close()
                return 0
    return 0


if __name__ == "__main__":
    end = socket.socket(fileno=int(sys.argv[1]))
    watch_parent(end, lambda: None)
    sys.exit(asyncio.run(main(end)))
