"""What `cluster` has found, as JSON, and as the two parts of `docs/scaling.md` that show it and reckon with it."""

from __future__ import annotations

import json
import platform
from typing import TYPE_CHECKING, Any, Final, Protocol

from bench.cluster_servers import ALONE, BY_NATS, BY_REDIS, GROUNDS, HUBS
from bench.hub_report import RESULTS, show_results
from bench.lines import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.verdict import Bar

    Rounds = dict[str, dict[str, list[dict[str, Any]]]]

DOCUMENT: Final = ROOT / "docs" / "scaling.md"
PING_PONG: Final = "ping-pong"
PRESENCE: Final = "presence"
PHASES: Final = (
    "connect",
    "connect in a crowd",
    "subscribe",
    "subscribe in a crowd",
    "leave",
    "leave in a crowd",
)


class Found(Protocol):
    of: Rounds

    def middle(self, workload: str, ground: str, figure: str) -> float | None: ...


def table(found: Found, bars: list[Bar], summary: dict[str, Any]) -> str:
    """Return all figures as Markdown."""
    made = (
        f"Medians of {summary['rounds']} rounds of {summary['seconds']:g} s, CPython {platform.python_version()}, "
        f"{summary['cores']} cores, all processes on one machine. In brackets: microseconds of the processor for each "
        "operation, of all hubs together, and behind the plus of the engine that joins them."
    )
    lines = [
        made,
        "",
        *_loads(found),
        *_presences(found, summary),
        "",
        "| figure | value | bar | |",
        "|---|---|---|---|",
    ]
    for bar in bars:
        value = "not measured" if bar.value is None else f"{bar.value:.3g}"
        lines.append(f"| {bar.name} | {value} | {bar.relation} {bar.limit:g} | {'met' if bar.met else 'missed'} |")
    return "\n".join(lines) + "\n"


def _loads(found: Found) -> Iterator[str]:
    yield f"| workload | {' | '.join(GROUNDS)} |"
    yield f"|---|{'---|' * len(GROUNDS)}"
    for workload, grounds in found.of.items():
        if workload == PRESENCE:
            continue
        for figure, name in (("p50", f"{workload}, p50"), ("p99", f"{workload}, p99")):
            if workload == PING_PONG:
                yield f"| {name} | {' | '.join(_time(found, workload, ground, figure) for ground in GROUNDS)} |"
        cells = [_cost(found, workload, ground) if ground in grounds else "-" for ground in GROUNDS]
        yield f"| {workload}{', an operation' if workload == PING_PONG else ''} | {' | '.join(cells)} |"
    yield ""
    yield "| deliveries a second of one core | " + " | ".join(HUBS) + " |"
    yield f"|---|{'---|' * len(HUBS)}"
    for workload in (name for name in found.of if name.startswith("fan-out")):
        for figure, what in (("per_cpu_s", "of the hubs"), ("per_cpu_s_with_engine", "with that of the engine")):
            values = [found.middle(workload, ground, figure) for ground in HUBS]
            yield f"| {workload}, {what} | {' | '.join('-' if one is None else f'{one / 1e3:,.0f} k' for one in values)} |"


def _time(found: Found, workload: str, ground: str, figure: str) -> str:
    value = found.middle(workload, ground, figure)
    return "-" if value is None else f"{value:.2f} ms"


def _cost(found: Found, workload: str, ground: str) -> str:
    rate, hubs = found.middle(workload, ground, "per_s"), found.middle(workload, ground, "server_cpu_us")
    engine = found.middle(workload, ground, "engine_cpu_us")
    if rate is None or hubs is None:
        return "-"
    more = f" + {engine:.3g}" if ground in (BY_NATS, BY_REDIS) and engine is not None else ""
    return f"{rate / 1e3:,.0f} k/s [{hubs:.3g}{more}]" if rate >= 1e4 else f"{rate:,.0f}/s [{hubs:.3g}{more}]"


def known(found: Found) -> dict[str, dict[str, Any]]:
    """Return what `presence` has found, by ground."""
    return {ground: rounds[0] for ground, rounds in found.of.get(PRESENCE, {}).items()}


def _presences(found: Found, summary: dict[str, Any]) -> Iterator[str]:
    grounds = known(found)
    if not grounds:
        return
    yield ""
    yield (
        f"What peers cost by being there: {summary['peers']:,} come to one hub, and the other one hears of it. "
        "Microseconds of the processor at the hub they come to, at the other, and of the engine; messages and bytes "
        "that each other hub reads."
    )
    yield ""
    yield f"| for one of them | {' | '.join(grounds)} |"
    yield f"|---|{'---|' * len(grounds)}"
    for phase in PHASES:
        yield f"| {phase} | {' | '.join(_phase(told[phase]) for told in grounds.values())} |"
    yield f"| latency of a connect, p50, p99 | {' | '.join(_latency(told) for told in grounds.values())} |"
    for phase in ("memory connected", "memory subscribed"):
        cells = [", ".join(f"{value:.2f} KB" for value in told[phase].values()) for told in grounds.values()]
        yield f"| {phase}, here and at the other hub | {' | '.join(cells)} |"
    cells = [_idle(told["idle second"]) for told in grounds.values()]
    yield f"| a second in which nothing happens, of each hub | {' | '.join(cells)} |"


def _phase(told: dict[str, Any]) -> str:
    cpu = " + ".join(f"{told[key]:,.0f}" for key in ("cpu_us_here", "cpu_us_there", "cpu_us_engine") if key in told)
    return f"{cpu} us" + (f", {told['messages']:.2f} messages, {told['bytes']:.0f} bytes" if "bytes" in told else "")


def _latency(told: dict[str, Any]) -> str:
    return ", ".join(f"{told['connect latency'][figure]:.1f} ms" for figure in ("p50", "p99"))


def _idle(told: dict[str, Any]) -> str:
    if "bytes" not in told:
        return f"{told['cpu_us_here']:,.0f} us"
    return f"{told['cpu_us_here']:,.0f} us, {told['messages'] / 2:.2g} messages, {told['bytes'] / 2:.0f} bytes"


# -- what follows for large clusters


SIZES: Final = ((3, 20_000), (10, 20_000), (50, 20_000), (500, 20_000), (5_000, 20_000))
"""Hubs, and peers of each."""
STAYS: Final = 600.0
"""Seconds that a peer is there."""
STORM: Final = 30.0
"""Seconds in which everybody is to be back."""


def plan(found: Found) -> str:
    """Return what copying all facts to all hubs comes to, reckoned from what one peer costs, by NATS."""
    told = known(found)
    if BY_NATS not in told or ALONE not in told:
        return ""
    joined = told[BY_NATS]
    crowd = [joined[phase] for phase in PHASES if phase.endswith("crowd")]
    comes, subscribes, _leaves = crowd
    here, heard = joined["memory subscribed"]["kb_here"], joined["memory subscribed"]["kb_there"]
    visit = sum(phase["cpu_us_there"] for phase in crowd)
    visit_bytes = sum(phase["bytes"] for phase in crowd)
    back_here = comes["cpu_us_here"] + subscribes["cpu_us_here"]
    back_there = comes["cpu_us_there"] + subscribes["cpu_us_there"]
    lines = [
        (
            f"With what was measured by NATS: a peer with one subscription takes {here:.1f} KB at its hub and {heard:.2f} KB at "
            f"each other one; a visit (it connects, subscribes and leaves, with many others at that time) takes {visit:.0f} us and "
            f"{visit_bytes:.0f} bytes of each other hub; coming back takes {back_here:.0f} us of its own hub and "
            f"{back_there:.0f} us of each other one. Everybody stays for {STAYS:g} s, and comes back within {STORM:g} s of a storm."
        ),
        "",
        (
            "| hubs x peers of each | peers | memory for those of other hubs | of a core, to hear of visits | bytes a second | "
            "of a core, when half of the hubs come back | of a core, when all do |"
        ),
        "|---|---|---|---|---|---|---|",
    ]
    for hubs, peers in SIZES:
        others = (hubs - 1) * peers
        per_second = others / STAYS
        own = peers * back_here / STORM / 1e6
        half, whole = (share * others * back_there / STORM / 1e6 for share in (0.5, 1.0))
        cells = [
            f"{hubs:,} x {peers:,}",
            f"{hubs * peers:,}",
            _memory(others * heard),
            f"{per_second * visit / 1e4:.1f} %",
            _bytes(per_second * visit_bytes),
            f"{(own + half) * 100:,.0f} %",
            f"{(own + whole) * 100:,.0f} %",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    cores = 1e6 * back_here / STORM / 1e6
    lines += [
        "",
        (
            f"A storm of 1,000,000 clients in {STORM:g} s is {1e6 / STORM:,.0f} connects a second. At {back_here:.0f} us for a "
            f"connect with one subscription, that takes {cores:.1f} cores of hubs, and {cores / 0.7:.0f} hubs when each is to have "
            "three tenths of its core left. TLS and a real network come on top."
        ),
    ]
    return "\n".join(lines) + "\n"


def _memory(kilobytes: float) -> str:
    return f"{kilobytes / 1e6:,.1f} GB" if kilobytes >= 1e6 else f"{kilobytes / 1e3:,.0f} MB"


def _bytes(per_second: float) -> str:
    return f"{per_second / 1e6:,.1f} MB/s" if per_second >= 1e6 else f"{per_second / 1e3:,.0f} KB/s"


def publish(found: Found, everything: dict[str, Any], bars: list[Bar], summary: dict[str, Any]) -> None:
    """Write `cluster.*` and the parts of the document that show them."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "cluster.json").write_text(json.dumps(everything, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "cluster.md").write_text(table(found, bars, summary), encoding="utf-8")
    (RESULTS / "cluster_plan.md").write_text(plan(found), encoding="utf-8")
    show_results(DOCUMENT)
