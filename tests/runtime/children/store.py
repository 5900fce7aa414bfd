"""A stand-in for a store process: it takes the Unix socket, says that it is ready, and ends when asked.

STORE in its environment names what it does wrong.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys

from orchestrator.runtime.control import ControlChannel, Drain, Ending, Ready, StoreSpec
from orchestrator.runtime.parent import watch_parent


async def main(control: socket.socket) -> int:
    channel = await ControlChannel.of_child(control)
    async for message in channel:
        match message:
            case StoreSpec(listening=descriptor, address=address, directory=directory, access=access):
                with socket.socket(fileno=os.dup(descriptor)) as listening:
                    assert listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                assert (address, directory) == ("sqlite:///desk.db", "/nowhere")
                assert set(access) == {"helper.1", "helper.2"}
                if os.environ.get("STORE") == "refuse":
                    channel.send(Ending("the store desk.db is used by process 7 already"))
                    await channel.close()
                    return 1
                if os.environ.get("STORE") != "never-ready":
                    channel.send(Ready(0.1))
            case Drain():
                await channel.close()
                return 0
    return 0


if __name__ == "__main__":
    end = socket.socket(fileno=int(sys.argv[1]))
    watch_parent(end, lambda: None)
    sys.exit(asyncio.run(main(end)))
