"""Every command of docs/scopes.md prints what the document shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCUMENT = (Path(__file__).parents[1] / "docs" / "scopes.md").read_text(encoding="utf-8")
TOPOLOGY = re.findall(r"^```yaml\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)[0]
CONSOLES = re.findall(r"^```console\n\$ (.*?)\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
BEFORE = TOPOLOGY.replace(", replicas: 2", "").replace("asks: [editor]", "asks: [editor, researcher]")


@pytest.mark.parametrize(("command", "shown"), CONSOLES, ids=[command for command, _ in CONSOLES])
def test_a_command_prints_what_is_shown(command: str, shown: str, tmp_path: Path) -> None:
    (tmp_path / "topology.yaml").write_text(TOPOLOGY)
    (tmp_path / "before.yaml").write_text(BEFORE)
    done = subprocess.run(
        command.replace("orchestrator ", f"{sys.executable} -m orchestrator "),
        shell=True,
        cwd=tmp_path,
        env={**os.environ, "HUB_KEY": f"sk_id_7f3a:sk_secret_{'b' * 40}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert timeless(done.stdout) == timeless(shown)


def timeless(text: str) -> str:
    """Leave out when a token ends: it is another time whenever it is made."""
    return re.sub(r"^(  exp +).*", r"\1", text, flags=re.MULTILINE)


def test_there_are_commands_to_try() -> None:
    assert len(CONSOLES) == 3
    assert BEFORE.count("replicas") == 0
