"""A child that can be a process or a task of its parent's loop, and does what DO in its environment says."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from contextlib import suppress

from orchestrator.runtime.control import ControlChannel, Drain, HubSpec, Tally, ToChild


async def serve_inline(end: socket.socket) -> int:
    channel = await ControlChannel.of_child(end)
    try:
        return await DOINGS[os.environ["DO"]](channel)
    finally:
        await channel.close()


async def speak(_channel: ControlChannel[ToChild]) -> int:
    print("one")
    print("two", file=sys.stderr)
    await asyncio.to_thread(sys.stdout.buffer.write, b"three\n")
    sys.stdout.flush()
    sys.stdout.write("no end")
    return 0


async def three(_channel: ControlChannel[ToChild]) -> int:
    return 3


async def crash(_channel: ControlChannel[ToChild]) -> int:
    raise ValueError("broken")


async def leave(_channel: ControlChannel[ToChild]) -> int:
    async def part() -> None:
        sys.exit(7)

    await asyncio.gather(asyncio.create_task(part()))
    return 0


async def drain(channel: ControlChannel[ToChild]) -> int:
    print("waiting", flush=True)
    async for message in channel:
        if isinstance(message, Drain):
            channel.send(Tally({"drained": int(message.grace)}))
            return 0
    return 1


async def deaf(_channel: ControlChannel[ToChild]) -> int:
    """Have a second task, and end only when there is no other way."""
    second = asyncio.create_task(asyncio.Event().wait())
    print("waiting", flush=True)
    with suppress(asyncio.CancelledError):
        await second
    await asyncio.Event().wait()
    return 0


async def accept(channel: ControlChannel[ToChild]) -> int:
    """Take one connection on the socket that was lent, and say so on it."""
    loop = asyncio.get_running_loop()
    async for message in channel:
        if isinstance(message, HubSpec):
            with socket.socket(fileno=os.dup(message.listening)) as listening:
                listening.setblocking(False)
                connection, _ = await loop.sock_accept(listening)
            with connection:
                await loop.sock_sendall(connection, b"welcome")
            return 0
    return 1


DOINGS = {each.__name__: each for each in (speak, three, crash, leave, drain, deaf, accept)}


def main() -> int:
    return asyncio.run(serve_inline(socket.socket(fileno=int(sys.argv[1]))))


if __name__ == "__main__":
    sys.exit(main())
