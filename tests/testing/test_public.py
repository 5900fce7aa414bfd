"""What `orchestrator.testing` hands out, and that its document tells of all of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator import testing
from orchestrator.testing import ChaosProxy

DOCUMENT = (Path(__file__).parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")
ROOTS = {"Fault", "FrameRule", "ProxyEvent"}
"""For type checkers: nobody makes one."""


@pytest.mark.parametrize("name", sorted(set(testing.__all__) - ROOTS))
def test_what_is_handed_out_is_documented(name: str) -> None:
    assert getattr(testing, name).__doc__
    assert f"{name}(" in DOCUMENT


@pytest.mark.parametrize("name", sorted(name for name in vars(ChaosProxy) if not name.startswith("_")))
def test_what_a_proxy_can_do_is_documented(name: str) -> None:
    assert name == "port" or getattr(ChaosProxy, name).__doc__
    assert f"proxy.{name}" in DOCUMENT


def test_it_needs_no_test_framework() -> None:
    code = "import sys, orchestrator.testing; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {name.partition(".")[0] for name in done.stdout.split()} & {"pytest", "_pytest", "hypothesis", "picows"}
