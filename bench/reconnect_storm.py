"""A thousand clients lose their hub at once, find nobody for three seconds, and come back."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.front import Front
from bench.lines import STOCK_MISSING, Child, child, stock_python
from bench.measuring import run
from bench.real_hub import real_hub
from bench.verdict import Bar, percentile, tell

if TYPE_CHECKING:
    from bench.front import Arrival
    from bench.real_hub import RealHub

BIN = 0.1
"""Seconds."""


class Storm(NamedTuple):
    """What the front and the workers saw; times are readings of one monotonic clock, in seconds."""

    cut_at: float
    hub_ready_after: float
    arrivals: list[Arrival]
    told: list[dict[str, Any]]


async def storm(stack: AsyncExitStack, options: argparse.Namespace) -> Storm:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    front = Front()
    front_port = await front.start()
    stack.push_async_callback(front.stop)
    hub = await stack.enter_async_context(real_hub(folder))
    front.port = hub.port
    children = [
        await stack.enter_async_context(
            _worker(hub, front_port, range(first, options.clients, options.workers), options)
        )
        for first in range(options.workers)
    ]
    for each in children:
        await each.told()
    await asyncio.sleep(options.age)
    front.arrivals.clear()
    cut_at = time.monotonic()
    front.cut_all()
    hub.kill()
    again = await stack.enter_async_context(real_hub(folder))
    ready_after = time.monotonic() - cut_at
    await asyncio.sleep(options.down - ready_after)
    front.port = again.port
    told = await asyncio.gather(*(_outcome(each, cut_at + options.down + options.patience) for each in children))
    return Storm(cut_at, ready_after, front.arrivals, told)


def _worker(hub: RealHub, front_port: int, numbers: range, options: argparse.Namespace) -> Any:
    tokens = [hub.token(f"c{number}") for number in numbers]
    order = {"url": f"ws://127.0.0.1:{front_port}", "tokens": tokens}
    if not options.stock:
        return child(sys.executable, "bench.storm_ours", order)
    python = stock_python()
    if python is None:
        raise SystemExit(STOCK_MISSING)
    return child(python, "bench.storm_stock", order)


async def _outcome(worker: Child, until: float) -> dict[str, Any]:
    """Return what a worker tells when its clients are back, or when the time is over."""
    telling = asyncio.create_task(worker.told())
    await asyncio.wait({telling}, timeout=until - time.monotonic())
    worker.finish()
    return await telling


def histogram(times: list[float]) -> tuple[list[int], float]:
    """Return how many fell into each bin from the first to the last one, and the peak as a multiple of the mean."""
    if not times:
        return [], 0.0
    first = min(times)
    counts = Counter(int((at - first) / BIN) for at in times)
    bins = [counts[at] for at in range(max(counts) + 1)]
    return bins, max(bins) * len(bins) / len(times)


async def measure(options: argparse.Namespace) -> None:
    async with AsyncExitStack() as stack:
        cut_at, ready_after, arrivals, told = await storm(stack, options)
    back = sorted(at - cut_at for each in told for at in each["back_at"])
    attempts, peak = histogram([arrival.at for arrival in arrivals])
    let_in, let_in_peak = histogram([arrival.at for arrival in arrivals if arrival.let_in])
    all_back = back[-1] if len(back) == options.clients else None
    gave_up = sum(each["gave_up"] for each in told)
    bars = [
        Bar("all back, s after the cut", all_back, "<=", 15.0),
        Bar("peak of attempts / mean", peak, "<=", 3.0),
        Bar("gave up", gave_up, "<=", 0),
    ]
    figures: dict[str, object] = {
        "client": "stock" if options.stock else "ours",
        "clients": options.clients,
        "age_s": options.age,
        "down_s": options.down,
        "hub_ready_after_s": round(ready_after, 2),
        "back": len(back),
        "back_s": {f"p{share}": round(percentile(back, share / 100), 2) for share in (50, 90, 99)},
        "attempts": len(arrivals),
        "attempts_first_s": round(min(arrival.at for arrival in arrivals) - cut_at, 3),
        "attempts_last_s": round(max(arrival.at for arrival in arrivals) - cut_at, 3),
        "attempts_mean_per_bin": round(len(arrivals) / len(attempts), 1),
        "attempts_per_100_ms": attempts,
        "let_in_peak_to_mean": round(let_in_peak, 2),
        "let_in_per_100_ms": let_in,
        "worker_late_p99_ms": round(max(each["late"][0] for each in told) * 1000, 1),
        "worker_late_max_ms": round(max(each["late"][-1] for each in told) * 1000, 1),
        "worker_cpu_s": [round(each["cpu"], 2) for each in told],
    }
    tell("reconnect_storm", bars, figures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2, help="processes that the clients are spread over")
    parser.add_argument("--down", type=float, default=3.0, help="seconds for which everybody is refused, from 2 on")
    parser.add_argument("--age", type=float, default=31.0, help="seconds for which they were connected before the cut")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds to wait for the last client")
    parser.add_argument("--stock", action="store_true", help="the stock Python SDK instead of this package's client")
    run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
