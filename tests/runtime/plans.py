"""Plans for tests of the runtime, made of topologies whose handlers are never imported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.topology.load import parse_topology
from orchestrator.topology.plan import make_plan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.topology.plan import Plan

SMALL = """
version: 1
coordinators:
  boss: {handler: "app:Boss", workers: [helper]}
workers:
  helper: {handler: "app:Helper", replicas: 2}
"""


def planned(text: str = SMALL, environ: Mapping[str, str] | None = None) -> Plan:
    path = Path("/nowhere/topology.yaml")
    return make_plan(parse_topology(text.encode(), environ or {}, source="topology.yaml", path=path), None)
