"""Agents of one process find one environment, or are refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.errors import TopologyError
from orchestrator.runtime.shared_environment import SharedEnvironment, check_inline
from orchestrator.topology.load import parse_topology


def refused(first: str, second: str) -> list[str]:
    text = f"version: 1\nagents:\n  a: {{handler: 'app:A', {first}}}\n  b: {{handler: 'app:B', {second}}}\n"
    topology = parse_topology(text.encode(), {}, source="topology.yaml", path=Path("/nowhere/topology.yaml"))
    try:
        check_inline(topology, {"a", "b"})
    except TopologyError as error:
        return [f"{problem.path}: {problem.sentence}" for problem in error.problems]
    return []


def test_agents_that_agree_share_it() -> None:
    assert refused("environment: {MODE: x, ONE: y}", "environment: {MODE: x, OTHER: z}") == []


@pytest.mark.parametrize(
    ("first", "second", "path", "sentence"),
    [
        ("environment: {MODE: x}", "environment: {MODE: secret}", "agents.b.environment.MODE", "'a' sets this"),
        ("replicas: 1", "inherit_environment: false", "agents.b.inherit_environment", "without it"),
        ("environment: {PYTHONHASHSEED: '1'}", "replicas: 1", "agents.a.environment.PYTHONHASHSEED", "an interpreter"),
    ],
)
def test_what_cannot_be_shared_is_refused_where_it_stands(first: str, second: str, path: str, sentence: str) -> None:
    [said] = refused(first, second)
    assert said.startswith(f"{path}: ")
    assert sentence in said
    assert "secret" not in said


def test_it_is_what_those_who_live_are_to_find_and_in_the_end_what_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_KEY", "withheld")
    before = dict(os.environ)
    kept = {name: value for name, value in before.items() if name != "HUB_KEY"}
    shared = SharedEnvironment()
    shared.add(1, {**kept, "ONE": "1", "ORCHESTRATOR_PEER_ID": "a"})
    shared.add(2, {**kept, "TWO": "2", "ORCHESTRATOR_PEER_ID": "b"})
    assert dict(os.environ) == {**kept, "ONE": "1", "TWO": "2"}
    os.environ["BY_A_HANDLER"] = "stays"
    shared.remove(1)
    shared.add(3, kept)
    assert dict(os.environ) == {**kept, "TWO": "2", "BY_A_HANDLER": "stays"}
    del os.environ["BY_A_HANDLER"]
    shared.restore()
    assert dict(os.environ) == before
