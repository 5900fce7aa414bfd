"""What the hub and its rivals are loaded with, and what is asked of the hub."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from bench.hub_servers import NAIVE, NATS, OURS

if TYPE_CHECKING:
    import argparse

_ALONE = {"bystanders": 0, "channels": 0, "patterns": 0}


@dataclass(frozen=True, slots=True)
class Workload:
    name: str
    kind: str
    options: dict[str, Any]
    what: str
    """One operation of it."""
    servers: tuple[str, ...] = (OURS, NAIVE, NATS)
    around: dict[str, int] = field(default_factory=lambda: dict(_ALONE))
    fresh: bool = False
    """Each turn has a server of its own."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A bar: a figure of ours over that of a rival, or of another workload of ours, or by itself; per round."""

    name: str
    workload: str
    figure: str
    relation: Literal["<=", ">="]
    limit: float
    rival: str = ""
    """A server; empty = the hub itself."""
    beside: str = ""
    """Another workload; empty = the same one."""

    @property
    def by_itself(self) -> bool:
        return not self.rival and not self.beside


FAN_OUT, FAN_OUT_WIDE, FAN_OUT_SINGLE = "fan-out 100", "fan-out 1,000", "fan-out 100, window 1"
DIRECT, PING_PONG, CHUNKS, STORM = "direct 100 x 8", "ping-pong", "10,000 chunks/s", "connects"
FEW_CHANNELS, MANY_CHANNELS = "fan-out 100, few channels", "fan-out 100, many channels"
NO_PATTERNS, PATTERNS = "publish, no patterns", "publish, 1,000 patterns"


def workloads(options: argparse.Namespace) -> list[Workload]:
    """Return all of them, as long as is wished."""
    times = {"warm": options.warm, "seconds": options.seconds}
    window, one = {"window": 16, **times}, {"window": 1, **times}
    crowd = {"bystanders": max(options.channels // 100, 10), "patterns": 0}
    quiet = {"bystanders": 10, "channels": 0}
    storm = {"connections": options.connections, "together": 64}
    ours = (OURS,)
    return [
        Workload(FAN_OUT, "fan_out", {"subscribers": 100, **window}, "delivery"),
        Workload(FAN_OUT_WIDE, "fan_out", {"subscribers": 1_000, **window}, "delivery"),
        Workload(FAN_OUT_SINGLE, "fan_out", {"subscribers": 100, **one}, "delivery"),
        Workload(DIRECT, "direct", {"pairs": 100, "window": 8, **times}, "message"),
        Workload(PING_PONG, "round_trips", {"pairs": 1, **times}, "round trip"),
        Workload(CHUNKS, "streams", {"count": 100, "per_second": 10_000, **times}, "chunk"),
        Workload(STORM, "storm", storm, "connection", (OURS, NAIVE), fresh=True),
        Workload(
            FEW_CHANNELS, "fan_out", {"subscribers": 100, **window}, "delivery", ours, {**crowd, "channels": 10}, True
        ),
        Workload(
            MANY_CHANNELS,
            "fan_out",
            {"subscribers": 100, **window},
            "delivery",
            ours,
            {**crowd, "channels": options.channels},
            True,
        ),
        Workload(NO_PATTERNS, "publishes", window, "publish", ours, {**quiet, "patterns": 0}, True),
        Workload(PATTERNS, "publishes", window, "publish", ours, {**quiet, "patterns": 1_000}, True),
    ]


ASKED = (
    Asked("fan-out 100 / NATS", FAN_OUT, "per_s", ">=", 1.3, NATS),
    Asked("fan-out 100 / naive", FAN_OUT, "per_s", ">=", 20, NAIVE),
    Asked("fan-out 1,000 / NATS", FAN_OUT_WIDE, "per_s", ">=", 1.3, NATS),
    Asked("fan-out 1,000 / naive", FAN_OUT_WIDE, "per_s", ">=", 20, NAIVE),
    Asked("fan-out 100, window 1 / NATS", FAN_OUT_SINGLE, "per_s", ">=", 1.0, NATS),
    Asked("direct / NATS", DIRECT, "per_s", ">=", 0.65, NATS),
    Asked("direct / naive", DIRECT, "per_s", ">=", 9, NAIVE),
    Asked("ping-pong p50 / NATS", PING_PONG, "p50", "<=", 1.5, NATS),
    Asked("10,000 chunks/s p99 / NATS", CHUNKS, "p99", "<=", 1.3, NATS),
    Asked("connects / naive", STORM, "per_s", ">=", 1.4, NAIVE),
    Asked("KB for an idle connection", STORM, "kb_per_connection", "<=", 15),
    Asked("a delivery, 1,000 / 100 subscribers", FAN_OUT_WIDE, "server_cpu_us", "<=", 1.2, beside=FAN_OUT),
    Asked("a delivery, many / 10 channels", MANY_CHANNELS, "server_cpu_us", "<=", 1.2, beside=FEW_CHANNELS),
    Asked("a publish, 1,000 / no patterns", PATTERNS, "server_cpu_us", "<=", 1.5, beside=NO_PATTERNS),
)
