"""What `hub_load` has found, as lines, as JSON, and as the table that `docs/performance.md` shows."""

from __future__ import annotations

import json
import platform
import re
from typing import TYPE_CHECKING, Any, Final

from bench.hub_servers import NAIVE, NATS, OURS
from bench.hub_workloads import CHUNKS, PING_PONG, STORM
from bench.lines import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bench.verdict import Bar

    Found = dict[str, dict[str, list[dict[str, Any]]]]
    Middle = Callable[[str, str, str], float | None]

RESULTS: Final = ROOT / "bench" / "results"
DOCUMENT: Final = ROOT / "docs" / "performance.md"
SHOWN: Final = re.compile(r"(<!-- (bench/results/[\w.-]+\.md) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
"""A part of a document that is a file of results, word for word."""
_TOLD: Final = {PING_PONG: "p50", CHUNKS: "p99"}
"""Workloads of which a time counts, and not a rate."""
_NAMES: Final = {OURS: "our hub", NATS: "NATS 2.15", NAIVE: "naive hub"}


def cell(middle: Middle, workload: str, server: str) -> str:
    """Return what a server did in a workload: a rate or a time, and in brackets microseconds of its processor."""
    figure = _TOLD.get(workload, "per_s")
    value, cpu = middle(workload, server, figure), middle(workload, server, "server_cpu_us")
    if value is None:
        return "-"
    shown = f"{value:.2f} ms" if figure != "per_s" else f"{value / 1e3:,.0f} k/s" if value >= 1e4 else f"{value:,.0f}/s"
    return shown if cpu is None else f"{shown} [{cpu:.3g}]"


def for_people(found: Found, middle: Middle) -> Iterator[str]:
    for workload, servers in found.items():
        told = "; ".join(f"{_NAMES[server]} {cell(middle, workload, server)}" for server in servers)
        extra = middle(workload, OURS, "kb_per_connection")
        share = max(middle(workload, server, "generator_share") or 0.0 for server in servers)
        memory = "" if extra is None else f"; {extra:.1f} KB each"
        yield f"{workload}: {told}{memory}; generator {share:.2f} of a core"


def table(found: Found, middle: Middle, bars: list[Bar], summary: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    compared = {name: servers for name, servers in found.items() if len(servers) > 1}
    alone = {name: servers for name, servers in found.items() if len(servers) == 1}
    made = (
        f"Medians of {summary['rounds']} rounds of {summary['seconds']:g} s, CPython {platform.python_version()}, "
        f"{summary['cores']} cores. In brackets: microseconds of the server's processor for each operation."
    )
    lines = [
        made,
        "",
        f"| workload | {' | '.join(_NAMES.values())} |",
        f"|---|{'---|' * len(_NAMES)}",
    ]
    for workload in compared:
        figure = _TOLD.get(workload)
        name = f"{workload}, {figure}" if figure else workload
        lines.append(f"| {name} | {' | '.join(cell(middle, workload, server) for server in _NAMES)} |")
    if alone:
        lines += ["", "| our hub alone | us of its processor for each operation |", "|---|---|"]
        lines += [f"| {workload} | {middle(workload, OURS, 'server_cpu_us') or 0:.3g} |" for workload in alone]
    memory = middle(STORM, OURS, "kb_per_connection")
    if memory is not None:
        lines.append(f"| memory of an idle connection | {memory:.1f} KB |")
    lines += ["", "| figure | value | bar | |", "|---|---|---|---|"]
    for bar in bars:
        value = "not measured" if bar.value is None else f"{bar.value:.3g}"
        lines.append(f"| {bar.name} | {value} | {bar.relation} {bar.limit:g} | {'met' if bar.met else 'missed'} |")
    return "\n".join(lines) + "\n"


def write(lines: list[dict[str, Any]], report: str, *, publish: bool) -> None:
    """Write `latest.*`, which no commit holds, or else `hub.*` and the part of the document that shows it."""
    name = "hub" if publish else "latest"
    RESULTS.mkdir(exist_ok=True)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (RESULTS / f"{name}.jsonl").write_text(text, encoding="utf-8")
    (RESULTS / f"{name}.md").write_text(report, encoding="utf-8")
    if publish:
        show_results(DOCUMENT)


def show_results(document: Path) -> None:
    """Bring every part of a document that shows a file of results up to it."""

    def shown(part: re.Match[str]) -> str:
        return f"{part[1]}{(ROOT / part[2]).read_text(encoding='utf-8')}{part[4]}"

    document.write_text(SHOWN.sub(shown, document.read_text(encoding="utf-8")), encoding="utf-8")
