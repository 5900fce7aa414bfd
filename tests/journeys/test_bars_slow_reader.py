"""A slow reader and a fast producer, each in a process of its own: nobody's memory grows meanwhile."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from pathlib import Path
from typing import cast

import pytest

from orchestrator import connect
from orchestrator.patterns.stream import ACK_EVERY, CREDIT_CHUNKS
from orchestrator.protocol.tokens import SecretKey, mint
from orchestrator.topology.handlers import HandlerReport
from orchestrator.topology.load import load_topology
from orchestrator.topology.plan import make_plan
from tests.journeys.running import ROOT, running, who
from tests.journeys.slow_reading import Pour, Poured

pytestmark = pytest.mark.bars

TOPOLOGY = """\
version: 1
hub: {key: "${READER_KEY}"}
agents:
  pourer: {handler: tests.journeys.slow_reading:Pourer, concurrency: 2}
"""
KEY = SecretKey("sk_id_journey", f"sk_secret_{secrets.token_hex(32)}")
SECONDS = 60.0
BETWEEN = 0.1
"""Seconds that the reader takes for each token."""
SIZE = 16_384
"""Bytes of a token: without credit there would be hundreds of megabytes of them."""
SETTLED = 30.0
"""Seconds after which memory has to stay what it is: by then everything that is kept for repeats is full."""
GROWTH = 2_048
"""Kibibytes that it may still grow by; what is read from then on comes to more than twice of that."""


def resident(pid: int) -> int:
    """Return a process's memory in kibibytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError(f"process {pid} has ended")


async def read_slowly(url: str, token: str) -> None:
    """Read, and say of each token which it is; the main of the reader's process."""
    async with connect(url, token=token) as user:
        async for word in user.stream("pourer", Pour(size=SIZE)):
            print(word.split()[0], flush=True)
            await asyncio.sleep(BETWEEN)


async def test_a_slow_reader_holds_up_a_fast_producer_and_nobody_grows(tmp_path: Path) -> None:
    topology = tmp_path / "slow.yaml"
    topology.write_text(TOPOLOGY)
    environ = {"READER_KEY": f"{KEY.id}:{KEY.secret}"}
    async with running(topology.name, directory=tmp_path, environ=environ) as run:
        await run.until(lambda record: "replica ready in" in record["event"])
        url = next(record["url"] for record in run.with_event("ready") if who(record) == "hub")
        plan = make_plan(load_topology(topology, environ), cast("dict[str, HandlerReport]", None))
        exp = int(time.time()) + 3_600
        tokens = [mint(KEY, plan.user("cli").claims(name, exp)) for name in ("slow", "curious")]
        reader = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.journeys.test_bars_slow_reader"),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert reader.stdin is not None and reader.stdout is not None
        reader.stdin.write(json.dumps([url, tokens[0]]).encode() + b"\n")
        pids = {"reader": reader.pid, "hub": run.pids()["hub"], "producer": run.pids()["pourer"]}
        memory: dict[str, list[int]] = {name: [] for name in pids}
        ahead: list[int] = []
        numbers: list[int] = []

        async def follow() -> None:
            assert reader.stdout is not None
            async for line in reader.stdout:
                numbers.append(int(line))

        following = asyncio.create_task(follow())
        try:
            async with connect(url, token=tokens[1]) as user:
                began = time.monotonic()
                while time.monotonic() - began < SECONDS:
                    await asyncio.sleep(1.0)  # what is looked at is what happens in that time
                    ahead.append(await user.run("pourer", Poured(), timeout=5) - len(numbers))
                    if time.monotonic() - began > SETTLED:
                        for name, pid in pids.items():
                            memory[name].append(resident(pid))
        finally:
            reader.kill()
            await reader.wait()
            await following
    growth = {name: max(sizes) - sizes[0] for name, sizes in memory.items()}
    said = (
        f"read {len(numbers)}, ahead {max(ahead)}, memory { ({name: sizes[-1] for name, sizes in memory.items()}) } KiB"
    )
    print(f"{said}, growth {growth} KiB")
    assert numbers == list(range(len(numbers)))
    assert 0.5 * SECONDS / BETWEEN < len(numbers) <= SECONDS / BETWEEN + 20
    assert max(ahead) <= CREDIT_CHUNKS + ACK_EVERY + 64, "the producer stays within its credit, whatever is on its way"
    assert max(growth.values()) <= GROWTH


if __name__ == "__main__":
    asyncio.run(read_slowly(*json.loads(sys.stdin.readline())))
