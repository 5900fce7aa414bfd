"""Which variables a topology needs where it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.deployment.variables import Variable, variables_of

if TYPE_CHECKING:
    from pathlib import Path

OVERLAY = b"version: 1\nhub: {key: '${HUB_KEY}', backplane: memory}\nstore: ${NATS_URL}\n"


def found(folder: Path, text: str) -> tuple[Variable, ...]:
    (folder / "topology.yaml").write_text(f"version: 1\n{text}")
    return variables_of([folder / "topology.yaml"], OVERLAY, {})


def test_those_with_a_default_are_not_required(tmp_path: Path) -> None:
    assert found(tmp_path, "agents: {a: {handler: 'app:${A}${A:-x}', name: '${B:-b}${C:?say it}$${D}'}}") == (
        Variable("A", required=True),
        Variable("B", required=False),
        Variable("C", required=True),
    )


def test_what_the_overlay_replaces_is_not_needed(tmp_path: Path) -> None:
    assert found(tmp_path, "hub: {backplane: '${MINE}', key: '${KEY}'}\nstore: '${MINE}'") == ()


def test_those_of_profiles_and_of_included_files_are_needed(tmp_path: Path) -> None:
    (tmp_path / "more.yaml").write_text("agents: {a: {name: '${INCLUDED}'}}")
    text = "include: more.yaml\nprofiles: {small: {agents: {a: {replicas: '${COUNT}'}}}}"
    assert [each.name for each in found(tmp_path, text)] == ["COUNT", "INCLUDED"]
