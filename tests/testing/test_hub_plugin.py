"""The fixture, in runs of pytest that know nothing but the package."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.test_readme import fences

MODULE = "orchestrator.testing.pytest_plugin"
IMPORTS = """
import pytest
from orchestrator.errors import NotAuthorized
from orchestrator.testing import virtual
"""
REFUSED = """
@virtual
async def test_refused(topology_hub):
    async with topology_hub("topology.yaml") as hub, hub.user() as user:
        with pytest.raises(NotAuthorized):
            await user.publish("tasks/helper.1", {})
        CLEARED
"""


def pytest_of(directory: Path, tests: str) -> str:
    """Run tests beside the smallest example of the README, and return what pytest says."""
    (directory / "topology.yaml").write_text(fences("yaml")[0].text)
    (directory / "app.py").write_text(fences("python")[0].text)
    (directory / "test_theirs.py").write_text(tests)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:orchestrator", "-p", MODULE, "-p", "no:asyncio"]
    command += [
        "-p",
        "no:cacheprovider",
        "-W",
        "error",
        "--rootdir",
        str(directory),
        "-c",
        "/dev/null",
        "test_theirs.py",
    ]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=120, check=False)
    return done.stdout + done.stderr


def test_the_document_shows_tests_that_pass(tmp_path: Path) -> None:
    (shown,) = [fence for fence in fences("python") if "(topology_hub" in fence.text]
    said = pytest_of(tmp_path, shown.text)
    assert re.search(rf"^{shown.text.count('def test_')} passed", said, re.MULTILINE), said


@pytest.mark.parametrize(("cleared", "outcome"), [("pass", "1 error"), ("hub.refused.clear()", "1 passed")])
def test_a_refusal_that_was_not_meant_fails_the_test(tmp_path: Path, cleared: str, outcome: str) -> None:
    said = pytest_of(tmp_path, IMPORTS + REFUSED.replace("CLEARED", cleared))
    assert outcome in said, said
    assert ("cli/test" in said) == (outcome == "1 error")


def test_pytest_is_told_of_the_plugin() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"orchestrator": MODULE}
