"""What docs/export.md shows of `orchestrator export` is what it does."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
from pathlib import Path

import pytest

from orchestrator.cli.export import ENGINES
from orchestrator.cli.main import main
from orchestrator.cli.reading import topology_arguments
from orchestrator.errors import ExitCode

DOCUMENT = (Path(__file__).parents[1] / "docs" / "export.md").read_text(encoding="utf-8")


def fences(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


@pytest.fixture
def topology(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "topology.yaml").write_text(fences("yaml")[0])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_topology_is_exported_as_shown(topology: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command, _, printed = fences("console")[0].partition("\n")
    assert main(shlex.split(command.removeprefix("$ orchestrator "))) == ExitCode.DONE
    assert capsys.readouterr().out == printed


def test_the_other_command_does_what_is_said(topology: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = fences("console")[1].strip().removeprefix("$ orchestrator ")
    assert main(shlex.split(command)) == ExitCode.DONE
    assert 'image: "registry.example/newsroom:1.4"\n' in capsys.readouterr().out
    assert [path.name for path in topology.iterdir()] == ["topology.yaml"]


@pytest.mark.parametrize("engine", ENGINES)
def test_the_files_and_objects_that_are_named_are_written(engine: str, topology: Path) -> None:
    assert main(["export", engine, "topology.yaml"]) == ExitCode.DONE
    folder = topology / "deploy" / engine
    text = "\n".join(path.read_text() for path in folder.iterdir())
    expected = {
        "compose": ["secrets/hub/keys.yaml", "secrets/backplane", "secrets/topology.env", "nats-accounts.conf"],
        "k8s": ["newsroom-hub-keys --from-file=secrets/hub", "newsroom-researcher", "researcher.$(POD_INDEX)"],
        "systemd": ["newsroom-hub-keys.path", "LoadCredential=", "--only researcher"],
    }
    assert [each for each in expected[engine] if each not in text] == []
    assert f"`{engine}`" in DOCUMENT


def test_every_option_is_described() -> None:
    parser, shared = argparse.ArgumentParser(add_help=False), argparse.ArgumentParser(add_help=False)
    importlib.import_module("orchestrator.cli.export").arguments("export", parser)
    topology_arguments(shared)
    own = set(parser._option_string_actions) - set(shared._option_string_actions)
    assert own
    for option in own:
        assert f"| `{option}" in DOCUMENT, f"{option} is described nowhere"
