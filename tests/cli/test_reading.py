"""Which topology a command is about: where variables come from, in which order, and which files are merged."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

FILE = "version: 1\nname: ${WHICH:-default}\nworkers:\n  w: {handler: app:W, replicas: 2}\nprofiles: {one: {workers: {w: {replicas: 1}}}}\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WHICH", raising=False)
    (tmp_path / "topology.yaml").write_text(FILE)
    return tmp_path


def planned(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["plan", "--no-import", "--json", *arguments]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_an_option_goes_before_the_environment_that_before_the_env_file_and_that_before_the_default(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert planned(capsys, "topology.yaml")["name"] == "default"
    (home / ".env").write_text("WHICH=beside\n")
    assert planned(capsys, "topology.yaml")["name"] == "beside"
    (home / "other.env").write_text("WHICH=named\n")
    assert planned(capsys, "topology.yaml", "--env-file", "other.env")["name"] == "named"
    monkeypatch.setenv("WHICH", "environment")
    assert planned(capsys, "topology.yaml", "--env-file", "other.env")["name"] == "environment"
    assert planned(capsys, "topology.yaml", "--var", "WHICH=option")["name"] == "option"


def test_the_env_file_is_that_beside_the_first_topology(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "sub").mkdir()
    (home / "sub" / "topology.yaml").write_text(FILE)
    (home / ".env").write_text("WHICH=here\n")
    assert planned(capsys, "sub/topology.yaml")["name"] == "default"


def test_files_and_profiles_are_merged_from_left_to_right(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "over.yaml").write_text("name: over\nworkers: {w: {replicas: 5}}\n")
    merged = planned(capsys, "topology.yaml", "-f", "over.yaml")
    assert (merged["name"], len(merged["replicas"])) == ("over", 5)
    assert len(planned(capsys, "-f", "topology.yaml", "-f", "over.yaml", "--profile", "one")["replicas"]) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name a topology file"),
        (["topology.yaml", "--var", "WHICH"], "'WHICH' is no NAME=VALUE"),
        (["topology.yaml", "--var", "1=sk_secret_x"], "'1' is no NAME=VALUE"),
        (["topology.yaml", "--app-dir", "nowhere"], "there is no directory 'nowhere'"),
    ],
)
def test_an_option_that_cannot_be_meant_is_a_mistake_of_usage(
    home: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["validate", *arguments])
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert said in told and "sk_secret" not in told


def test_mistakes_of_an_env_file_are_told_like_those_of_a_topology(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / ".env").write_text("WHICH='open\n")
    assert main(["validate", "--no-import", "topology.yaml"]) == 3
    assert ".env:1:7: WHICH: the quotes around this value do not match" in capsys.readouterr().err
