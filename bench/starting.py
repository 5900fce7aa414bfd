"""How soon `orchestrator run` has everybody ready, and what a replica costs: forked from one warm process, or spawned anew."""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.measuring import cpu_seconds
from bench.verdict import Bar, tell
from orchestrator.runtime.descendants import descendants_of

if TYPE_CHECKING:
    from collections.abc import Iterator

HANDLERS: Final = """
from orchestrator import Context, Task, Workers, agent, task

class Echo(Task[str]):
    text: str

@agent
class Boss:
    workers: Workers

@agent
class Helper:
    @task
    async def echo(self, job: Echo, ctx: Context) -> str:
        return job.text
"""
TOPOLOGY: Final = """
version: 1
defaults: {{start_method: {method}}}
coordinators:
  boss: {{handler: "app:Boss", workers: [helper]}}
workers:
  helper: {{handler: "app:Helper", replicas: {helpers}}}
"""
SECONDS_BARS: Final = {10: 1.5, 100: 6.0}
MIB_BARS: Final = {100: 12.0}


@dataclass(frozen=True)
class Start:
    seconds: float
    """From the command until its line that says that all are ready."""
    cpu: float
    """Seconds of processor time that all processes of the run had taken by then."""
    pss_mib: float
    """Of the median replica: its proportional share of memory."""
    stop: float
    """Seconds from SIGINT to the end."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicas", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", default=["fork", "spawn"], choices=("fork", "spawn"))
    args = parser.parse_args()
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    found: dict[tuple[int, str], list[Start]] = {}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "app.py").write_text(HANDLERS, encoding="utf-8")
        started(Path(folder), 1, "fork", environ)  # which compiles what is not compiled yet
        for replicas in args.replicas:
            for _ in range(args.rounds):
                for method in args.methods:  # in turn, so that a noisy neighbour meets both
                    start = started(Path(folder), replicas, method, environ)
                    found.setdefault((replicas, method), []).append(start)
    bars = [
        bar for (replicas, method), starts in found.items() if method == "fork" for bar in held_to(replicas, starts)
    ]
    tell("starting", bars, {f"{replicas} {method}": medians(starts) for (replicas, method), starts in found.items()})


def held_to(replicas: int, starts: list[Start]) -> Iterator[Bar]:
    if replicas in SECONDS_BARS:
        slowest = max(start.seconds for start in starts)
        yield Bar(f"{replicas} replicas ready, s, slowest", slowest, "<=", SECONDS_BARS[replicas])
    if replicas in MIB_BARS:
        memory = statistics.median(start.pss_mib for start in starts)
        yield Bar(f"memory of one of {replicas}, MiB", memory, "<=", MIB_BARS[replicas])


def medians(starts: list[Start]) -> dict[str, float]:
    names = [field.name for field in fields(Start)]
    return {name: round(statistics.median(getattr(start, name) for start in starts), 2) for name in names}


def started(folder: Path, replicas: int, method: str, environ: dict[str, str]) -> Start:
    """Run a coordinator with its workers, `replicas` processes in all and beside them the hub, until all are ready."""
    file = folder / f"{method}-{replicas}.yaml"
    file.write_text(TOPOLOGY.format(method=method, helpers=max(replicas - 1, 1)), encoding="utf-8")
    began = time.perf_counter()
    command = [sys.executable, "-m", "orchestrator", "run", str(file), "--log", "json"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environ) as run:
        assert run.stderr is not None
        pids: list[int] = []
        for line in run.stderr:
            record = json.loads(line)
            if record["event"] == "ready" and "peer" in record:
                pids.append(record["pid"])
            if " ready in " in record["event"]:
                break
        seconds = time.perf_counter() - began
        everybody = {run.pid, *descendants_of(run.pid)}
        cpu = sum(cpu_seconds(pid) or 0.0 for pid in everybody)
        shares = statistics.median(pss_mib(pid) for pid in pids)
        ending = time.perf_counter()
        run.send_signal(signal.SIGINT)
        run.stderr.read()
        if run.wait() != 0:
            raise SystemExit(f"the run ended with {run.returncode}")
        return Start(seconds, cpu, shares, time.perf_counter() - ending)


def pss_mib(pid: int) -> float:
    """Return the memory of a process, with what it shares divided by those who share it."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


if __name__ == "__main__":
    main()
