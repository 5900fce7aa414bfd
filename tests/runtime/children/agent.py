"""A stand-in for an agent process: it speaks the control protocol, and misbehaves as BEHAVE in its environment says."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from orchestrator.errors import ExitCode
from orchestrator.runtime.control import (
    ControlChannel,
    Drain,
    Ending,
    Online,
    Ready,
    Spec,
    Tally,
    ToChild,
    TokenGranted,
    TokenWanted,
)
from orchestrator.runtime.logs import configure_child
from orchestrator.runtime.parent import watch_parent

BEHAVIOUR = os.environ.get("BEHAVE", "")


async def main(control: socket.socket) -> int:
    channel = await ControlChannel.of_child(control)
    messages = aiter(channel)
    spec = await anext(messages)
    assert isinstance(spec, Spec)
    configure_child({"peer": spec.replica.peer_id, "agent": spec.replica.agent}, spec.log_level)
    early = misbehave_at_start(channel)
    if early is not None:
        await channel.close()
        return early
    channel.send(TokenWanted(1))
    async for message in messages:
        match message:
            case TokenGranted():
                record(spec, message)
                if BEHAVIOUR != "mute":
                    channel.send(Ready(0.1))
                if BEHAVIOUR == "flicker":
                    channel.send(Online(online=False, detail="1006"))
                    channel.send(Online(online=True))
            case Drain():
                if BEHAVIOUR == "stubborn":
                    continue
                channel.send(Tally({"tasks done": 2}))
                await channel.close()
                return ExitCode.FAILED if BEHAVIOUR == "untidy" else ExitCode.DONE
    return ExitCode.DONE


def misbehave_at_start(channel: ControlChannel[ToChild]) -> int | None:
    if BEHAVIOUR == "misfit":
        channel.send(Ending("app:Boss has no method for Review"))
        return ExitCode.INVALID
    if BEHAVIOUR == "replaced":
        channel.send(Ending("another process took over", 4020))
        return ExitCode.TERMINAL
    if BEHAVIOUR == "crash":
        raise RuntimeError("no luck today")
    if BEHAVIOUR == "crash-once" and not (marker := Path(os.environ["MARKER"])).exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if BEHAVIOUR == "babble":
        os.write(control_descriptor(), b"{no message\n")
    if BEHAVIOUR == "parent":
        child = subprocess.Popen([sys.executable, "-c", "import signal,time;signal.pause()"])
        print(f"child {child.pid}", flush=True)
    return None


def control_descriptor() -> int:
    return int(sys.argv[1])


def record(spec: Spec, granted: TokenGranted) -> None:
    """Leave what was told where the test can find it."""
    if folder := os.environ.get("RECORDS"):
        path = Path(folder) / f"{spec.replica.peer_id}-{os.getpid()}"
        path.touch(0o600)
        path.write_text(f"{spec.hub_url}\n{granted.token}\n{spec.instance}\n{spec.store}\n", encoding="utf-8")


if __name__ == "__main__":
    end = socket.socket(fileno=control_descriptor())
    if BEHAVIOUR == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    watch_parent(end, lambda: None)
    sys.exit(asyncio.run(main(end)))
