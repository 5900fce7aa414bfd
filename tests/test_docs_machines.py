"""What docs/machines.md shows is what happens: its files load, and its commands print what is shown."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

import pytest

from orchestrator.cli import backplane, machines
from orchestrator.cli.main import main
from orchestrator.errors import ExitCode

DOCUMENT = (Path(__file__).parents[1] / "docs" / "machines.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"^```console\n\$ orchestrator ([^\n]*)\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
NEWSROOM, DESK = re.findall(r"^```yaml\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
PEM = {"hub.pem": "CERTIFICATE", "hub.key": "PRIVATE KEY"}


@pytest.mark.parametrize(("command", "printed"), SHOWN)
def test_a_command_prints_what_is_shown(
    command: str,
    printed: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HUB_KEY", f"sk_id_docs:sk_secret_{'d' * 40}")
    Path("topology.yaml").write_text(NEWSROOM)
    Path("desk.yaml").write_text(DESK)
    for name, what in PEM.items():
        Path(name).write_text(f"-----BEGIN {what}-----\n-----END {what}-----\n")
    code = main(shlex.split(command))
    out, err = capsys.readouterr()
    assert "".join((out, err)) == printed
    assert code == (ExitCode.INVALID if err else ExitCode.DONE)


def test_three_commands_are_shown() -> None:
    assert len(SHOWN) == 3


def test_every_option_is_described() -> None:
    joining, placing = argparse.ArgumentParser(add_help=False), argparse.ArgumentParser(add_help=False)
    backplane.arguments(joining)
    machines.arguments(placing)
    for action in joining._actions:
        assert f"| `{action.option_strings[0]} {action.metavar}` |" in DOCUMENT
    for action in placing._actions:
        assert action.option_strings[0] in DOCUMENT
    assert backplane.VARIABLE in DOCUMENT
