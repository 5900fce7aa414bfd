"""Arguments that are nearly right, and output that goes nowhere: a sentence, and never a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cli.main import main
from orchestrator.errors import ExitCode

FULL = Path("/dev/full")
"""A file that never has room, where the system has one."""


@pytest.mark.parametrize(
    ("words", "nearest"),
    [(["validate", "--no-imprt", "t.yaml"], "--no-import"), (["graph", "--fromat=svg", "t.yaml"], "--format")],
)
def test_a_misspelt_option_is_told_with_the_nearest_one(
    words: list[str], nearest: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == ExitCode.USAGE
    said = capsys.readouterr().err
    assert f"(did you mean '{nearest}'?)" in said
    assert said.startswith(f"usage: orchestrator {words[0]} ")


def test_what_is_one_argument_too_many_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["validate", "one.yaml", "two.yaml"])
    assert "unrecognized arguments: two.yaml\n" in capsys.readouterr().err


@pytest.mark.skipif(not FULL.exists(), reason="the system has no file without room")
@pytest.mark.parametrize("broken", [False, True])
def test_output_without_room_is_told_in_one_line(tmp_path: Path, broken: bool) -> None:
    file = tmp_path / "t.yaml"
    file.write_text(f"version: {2 if broken else 1}\nworkers:\n  w: {{handler: app:W}}\n")
    with FULL.open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "orchestrator.cli.main", "validate", "--no-import", "--format", "github", str(file)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == ExitCode.FAILED
    assert done.stderr == "orchestrator: what was to be written found no room: no space left on device\n"
