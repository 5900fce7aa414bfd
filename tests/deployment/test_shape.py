"""What is to run for a topology, and what cannot be written for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.deployment.shape import CannotExport, Deployment, Sources, deployment_of
from orchestrator.topology.load import parse_topology
from orchestrator.topology.plan import make_plan
from tests.deployment.exporting import AGENTS, KEPT, TOPOLOGIES, VALUES


def shaped(text: str, *, hubs: int | None = None) -> Deployment:
    topology = parse_topology(text.encode(), VALUES, source="topology.yaml", path=Path("/nowhere/topology.yaml"))
    plan = make_plan(topology, None)
    return deployment_of(plan, topology, Sources(("topology.yaml",)), (), version="1.0", hubs=hubs)


def test_each_agent_has_a_workload() -> None:
    found = shaped(TOPOLOGIES["nats"]).workloads
    assert [(each.agent, each.replicas, each.numbered) for each in found] == [("boss", 1, False), ("helper", 3, True)]


@pytest.mark.parametrize(("store", "kept"), [("sqlite:///tasks.db", "file"), ("'memory:'", "memory")])
def test_agents_that_share_what_one_run_reaches_are_together(store: str, kept: str) -> None:
    found = shaped(f"version: 1\nstore: {store}\n{KEPT}")
    assert found.store == kept
    assert [(each.name, each.agent, each.replicas) for each in found.workloads] == [("agents", None, 4)]


def test_a_store_that_nobody_needs_keeps_nobody_together() -> None:
    found = shaped(f"version: 1\nstore: sqlite:///tasks.db\n{AGENTS}")
    assert found.store == "none"
    assert len(found.workloads) == 2


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("alone", []),
        ("nats", [("nats", True, True, "/news", "")]),
        ("redis", [("redis", True, True, "", "/2")]),
        ("both", [("nats", True, False, "", ""), ("redis", False, True, "", "")]),
        ("only joined", [("redis", True, False, "", "")]),
    ],
)
def test_brokers_are_those_of_the_backplane_and_the_store(
    kind: str, expected: list[tuple[str, bool, bool, str, str]]
) -> None:
    found = shaped(TOPOLOGIES[kind]).brokers
    assert [
        (each.engine, each.joins_hubs, each.keeps_tasks, each.backplane_path, each.store_path) for each in found
    ] == expected


@pytest.mark.parametrize(
    ("kind", "hubs", "expected"), [("alone", None, 1), ("nats", None, 2), ("nats", 1, 1), ("redis", 5, 5)]
)
def test_there_are_several_hubs_where_something_joins_them(kind: str, hubs: int | None, expected: int) -> None:
    hub = shaped(TOPOLOGIES[kind], hubs=hubs).hub
    assert hub is not None
    assert hub.count == expected


def test_a_hub_that_runs_elsewhere_is_not_written() -> None:
    found = shaped(TOPOLOGIES["elsewhere"])
    assert (found.hub, found.hub_url) == (None, "wss://hub.example")


def test_external_agents_are_left_to_others() -> None:
    found = shaped(TOPOLOGIES["programs"])
    assert found.external == ("outside",)
    assert [each.programs for each in found.workloads] == [("node",), ()]


@pytest.mark.parametrize(
    ("text", "hubs", "said"),
    [
        (TOPOLOGIES["alone"], 2, "--hubs 2: several hubs act as one only where a backplane joins them"),
        (TOPOLOGIES["elsewhere"], 1, "--hubs: the topology says where its hub is, so none is written"),
        (
            f"version: 1\nhub: {{tls: {{cert: a.pem, key: b.pem}}}}\n{AGENTS}",
            None,
            "'hub: {tls: …}' is for the hub that",
        ),
    ],
)
def test_what_cannot_be_is_said(text: str, hubs: int | None, said: str) -> None:
    with pytest.raises(CannotExport) as refused:
        shaped(text, hubs=hubs)
    assert str(refused.value).startswith(said)
