"""The source behind a module's name is the one that an import would take, and nothing of it is run."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

import pytest

from orchestrator.agents.locating import source_reader


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in {
        "pyproject.toml": "",
        "shared.py": "WHERE = 'root'",
        "both.py": "WHERE = 'root'",
        "topologies/both.py": "WHERE = 'topologies'",
        "pack/__init__.py": "raise RuntimeError('run')",
        "pack/inner.py": "WHERE = 'inner'",
        "loose/deep/inner.py": "WHERE = 'loose'",
        "topologies/loose/other.py": "WHERE = 'other'",
        "latin.py": "",
        "ast.py": "WHERE = 'ours'",
    }.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (tmp_path / "latin.py").write_bytes(b"# coding: latin-1\nWHERE = '\xe9'")
    (tmp_path / "bad.py").write_bytes(b"WHERE = '\xe9'")
    return tmp_path


@pytest.mark.parametrize(
    ("module", "name", "text"),
    [
        ("shared", "shared.py", "WHERE = 'root'"),
        ("both", "topologies/both.py", "WHERE = 'topologies'"),
        ("pack.inner", "pack/inner.py", "WHERE = 'inner'"),
        ("loose.deep.inner", "loose/deep/inner.py", "WHERE = 'loose'"),
        ("loose.other", "topologies/loose/other.py", "WHERE = 'other'"),
        ("latin", "latin.py", "# coding: latin-1\nWHERE = 'é'"),
        ("ast", "ast.py", "WHERE = 'ours'"),
    ],
)
def test_a_module_is_found_where_handlers_are(project: Path, module: str, name: str, text: str) -> None:
    found = source_reader(project / "topologies", project)(module)
    assert found is not None
    assert (found.name, found.text) == (str(Path(name)), text)


def test_a_package_is_its_first_file_and_is_not_run(project: Path) -> None:
    found = source_reader(project, project)("pack")
    assert found is not None
    assert (found.name, found.is_package) == (str(Path("pack/__init__.py")), True)
    assert "pack" not in sys.modules


@pytest.mark.parametrize(
    "module", ["absent", "shared.inner", "pack.absent", "loose", "bad", "json", "sys", "picows.picows"]
)
def test_what_is_not_there_compiled_or_pythons_own_has_no_source(project: Path, module: str) -> None:
    assert source_reader(project, project)(module) is None


def test_what_is_installed_is_named_by_its_whole_path(project: Path) -> None:
    found = source_reader(project, project)("yaml.nodes")
    spec = importlib.util.find_spec("yaml.nodes")
    assert found is not None
    assert spec is not None
    assert found.name == spec.origin
