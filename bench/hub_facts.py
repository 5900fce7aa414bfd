"""What the system says of a hub's process: its memory, its descriptors, and what its sockets hold."""

from __future__ import annotations

import asyncio
from pathlib import Path


def status(pid: int, field: str) -> int:
    """Return a number of ``/proc/PID/status``; memory is in KiB."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise ValueError(f"the system says nothing of {field} for process {pid}")


def resident_mib(pid: int) -> float:
    return status(pid, "VmRSS") / 1024


def peak_mib(pid: int) -> float:
    """Return the most memory that it had since `forget_peak`."""
    return status(pid, "VmHWM") / 1024


def forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def wake_ups(pid: int) -> int:
    """Return how often it has gone to sleep of its own accord: a timer that is left over shows here."""
    return status(pid, "voluntary_ctxt_switches")


def unsent(port: int) -> int:
    """Return the bytes that the kernel holds for the other sides of all connections to a port of this machine."""
    local = f":{port:04X}"
    total = 0
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(local) and fields[3] != "0A":
            total += int(fields[4].partition(":")[0], 16)
    return total


async def visited(port: int) -> None:
    """Connect once, until the hub closes: with the first connection its loop opens a file that it keeps."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n")
    await reader.read()
    writer.close()
