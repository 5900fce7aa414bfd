"""What tests of agents are made with: a proxy that breaks connections the way that networks do."""

from orchestrator.testing.chaos_log import ProxyEvent
from orchestrator.testing.chaos_proxy import ChaosProxy
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

__all__ = [
    "Bandwidth",
    "ChaosProxy",
    "CloseOnFrame",
    "DelayFrame",
    "Down",
    "DropFrame",
    "DuplicateFrame",
    "Fault",
    "FrameRule",
    "Latency",
    "LimitData",
    "ProxyEvent",
    "Reset",
    "Slicer",
    "SlowClose",
    "Timeout",
]
