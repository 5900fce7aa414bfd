"""What tests of agents are made with: a topology in one process and virtual time, bad days by seed, and a proxy that
breaks connections."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.hub.rehearsal import Comparison, replay_check
    from orchestrator.testing.chaos_log import ProxyEvent
    from orchestrator.testing.chaos_proxy import ChaosProxy
    from orchestrator.testing.clock import FakeClock, virtual
    from orchestrator.testing.faults import (
        Bandwidth,
        Down,
        Fault,
        Latency,
        LimitData,
        Reset,
        Slicer,
        SlowClose,
        Timeout,
    )
    from orchestrator.testing.frame_rules import CloseOnFrame, DelayFrame, DropFrame, DuplicateFrame, FrameRule
    from orchestrator.testing.hub import TestHub
    from orchestrator.testing.network import Refusal
    from orchestrator.testing.simulation import Simulated, Simulation, SimulationFailed, simulate

__all__ = [
    "Bandwidth",
    "ChaosProxy",
    "CloseOnFrame",
    "Comparison",
    "DelayFrame",
    "Down",
    "DropFrame",
    "DuplicateFrame",
    "FakeClock",
    "Fault",
    "FrameRule",
    "Latency",
    "LimitData",
    "ProxyEvent",
    "Refusal",
    "Reset",
    "Simulated",
    "Simulation",
    "SimulationFailed",
    "Slicer",
    "SlowClose",
    "TestHub",
    "Timeout",
    "replay_check",
    "simulate",
    "virtual",
]

_ELSEWHERE = {
    "ChaosProxy": "chaos_proxy",
    "CloseOnFrame": "frame_rules",
    "DelayFrame": "frame_rules",
    "DropFrame": "frame_rules",
    "DuplicateFrame": "frame_rules",
    "FakeClock": "clock",
    "FrameRule": "frame_rules",
    "ProxyEvent": "chaos_log",
    "Refusal": "network",
    "Simulated": "simulation",
    "Simulation": "simulation",
    "SimulationFailed": "simulation",
    "TestHub": "hub",
    "simulate": "simulation",
    "virtual": "clock",
}

_HUBS = "orchestrator.hub.rehearsal"


def __getattr__(name: str) -> Any:
    """Import a name when it is first used: the pytest plugin is loaded by every run of pytest, and needs few of them."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    place = _HUBS if name in ("Comparison", "replay_check") else f"{__name__}.{_ELSEWHERE.get(name, 'faults')}"
    value = getattr(importlib.import_module(place), name)
    globals()[name] = value
    return value
