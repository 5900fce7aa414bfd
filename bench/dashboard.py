"""The dashboard with a large run on it, in Chromium: pictures a second, memory, and what three of them cost the hub."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from bench.dashboard_page import MEASURE_PICTURES, REPLICAS_SHOWN, chromium, heap, renderer_memory, signed_in
from bench.dashboard_script import UPDATES, LargeRun
from bench.hub_load import take_turn
from bench.hub_servers import OURS, Server
from bench.hub_workloads import Workload
from bench.measuring import cpu_seconds, run
from bench.real_hub import real_hub
from bench.scripted_run import ScriptedRun, dashboard_token, scripted_run
from bench.verdict import Bar, tell

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser

    from bench.real_hub import RealHub

DASHBOARDS: Final = 3
_MB: Final = 1_000_000


@asynccontextmanager
async def speaking(hub: RealHub, large: LargeRun) -> AsyncIterator[ScriptedRun]:
    """Have a run on the hub that says something four times a second to whoever watches."""
    async with scripted_run(hub.url, hub.key, large.outline(), large.whole()) as scripted:

        async def speak() -> None:
            loop = asyncio.get_running_loop()
            due = loop.time()
            while True:
                due = max(due + 1 / UPDATES, loop.time())
                await asyncio.sleep(due - loop.time())
                if scripted.watchers:
                    await scripted.tell(large.update())

        task = asyncio.create_task(speak())
        try:
            yield scripted
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def one_page(
    browser: Browser, hub: RealHub, scripted: ScriptedRun, *, seconds: float, warm: float
) -> dict[str, Any]:
    """Look at one dashboard for as long as is wished."""
    async with signed_in(browser, hub.url, dashboard_token(hub.key)) as page:
        await asyncio.sleep(warm)
        pids = await renderer_memory(browser)
        before = {pid: cpu_seconds(pid) or 0.0 for pid in pids}
        told = scripted.told
        pictures = await page.evaluate(MEASURE_PICTURES, seconds)
        memory = await renderer_memory(browser)
        used = sum((cpu_seconds(pid) or 0.0) - before.get(pid, 0.0) for pid in memory)
        return {
            **pictures,
            "heap_mb": round(await heap(page) / _MB, 1),
            "page_mb": round(max(memory.values()) / _MB, 1),
            "page_processor_share": round(used / seconds, 3),
            "updates": scripted.told - told,
            "replicas_shown": await page.evaluate(REPLICAS_SHOWN),
        }


async def beside(browser: Browser, hub: RealHub, options: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """Load the hub with dashboards open and without, in turns; who begins changes from round to round."""
    server = Server(OURS, hub.process.pid, {"kind": OURS, "url": hub.url, "key": [hub.key.id, hub.key.secret]})
    times = {"warm": 1.0, "seconds": options.turn}
    workloads = [
        Workload("direct", "direct", {"pairs": 100, "window": 8, **times}, "message"),
        Workload("fan-out", "fan_out", {"subscribers": 100, "window": 16, **times}, "delivery"),
    ]
    found: dict[str, list[dict[str, float]]] = {workload.name: [] for workload in workloads}
    for number in range(options.rounds):
        for workload in workloads:
            told: dict[str, dict[str, Any]] = {}
            for which in ("with", "without") if number % 2 else ("without", "with"):
                async with contextlib.AsyncExitStack() as stack:
                    for tab in range(DASHBOARDS if which == "with" else 0):
                        token = dashboard_token(hub.key, 100 * number + tab + 2)
                        await stack.enter_async_context(signed_in(browser, hub.url, token))
                    told[which] = await take_turn(workload, server)
            found[workload.name].append(
                {
                    "rate": told["with"]["per_s"] / told["without"]["per_s"],
                    "per_processor_second": told["without"]["server_cpu_us"] / told["with"]["server_cpu_us"],
                    "hub_share_with": told["with"]["server_share"],
                    "hub_share_without": told["without"]["server_share"],
                }
            )
    return found


async def measure(options: argparse.Namespace) -> None:
    large = LargeRun(agents=options.agents, replicas=options.replicas, messages=options.messages)
    with tempfile.TemporaryDirectory(prefix="dashboard") as folder:
        async with real_hub(Path(folder)) as hub, speaking(hub, large) as scripted, chromium() as browser:
            page = await one_page(browser, hub, scripted, seconds=options.seconds, warm=options.warm)
            print(page, file=sys.stderr, flush=True)
            hubs = await beside(browser, hub, options) if options.rounds else {}
    middle = {
        name: {figure: round(median(each[figure] for each in rounds), 3) for figure in rounds[0]}
        for name, rounds in hubs.items()
    }
    bars = [
        Bar("pictures a second", page["mean"], ">=", 30),
        Bar("the worst second of them", page["worst"], ">=", 30),
        Bar("MB of the page", page["page_mb"], "<=", 150),
    ]
    for name, figures in middle.items():
        bars.append(
            Bar(f"hub, {name} with {DASHBOARDS} dashboards / none", figures["per_processor_second"], ">=", 0.95)
        )
    tell("dashboard", bars, {"page": page, "hub": middle, "cores": os.cpu_count(), "rounds": options.rounds})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="that pictures are counted for")
    parser.add_argument("--warm", type=float, default=5.0, help="seconds before these")
    parser.add_argument("--agents", type=int, default=50)
    parser.add_argument("--replicas", type=int, default=500)
    parser.add_argument("--messages", type=int, default=2_000, help="a second")
    parser.add_argument("--rounds", type=int, default=5, help="of the hub with and without dashboards")
    parser.add_argument("--turn", type=float, default=3.0, help="seconds that each of these is measured for")
    run(measure(parser.parse_args()), fast=False)


if __name__ == "__main__":
    main()
