"""From a name to files: packages without importing them, directories, single files, and sentences for the rest."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agents.source_files import NoSource, find_sources


def names(asked: object) -> list[str]:
    return [file.name for file in find_sources(str(asked)).files]


def test_a_package_is_all_of_its_files_in_order() -> None:
    folder = Path(asyncio.__file__).parent
    expected = sorted(f"asyncio/{path.relative_to(folder)}" for path in folder.rglob("*.py"))
    assert names("asyncio") == expected


@pytest.mark.parametrize(
    ("asked", "first"),
    [("json.tool", "tool.py"), ("os", "os.py"), ("email.mime", "mime/__init__.py"), ("agents", "agents/__init__.py")],
)
def test_a_dotted_name_is_a_module_or_a_package(asked: str, first: str) -> None:
    assert names(asked)[0] == first


def test_nothing_is_imported(tmp_path: Path) -> None:
    package = tmp_path / "explosive" / "inner"
    package.mkdir(parents=True)
    for folder in (package.parent, package):
        (folder / "__init__.py").write_text("raise SystemExit('imported')")
    code = "import sys; from agents.source_files import find_sources; print(find_sources(sys.argv[1]).files[0].name)"
    path = os.pathsep.join([str(Path(__file__).parents[2]), str(tmp_path)])
    done = subprocess.run(
        [sys.executable, "-c", code, "explosive.inner"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "inner/__init__.py\n"


def test_what_is_not_the_package_itself_is_skipped(tmp_path: Path) -> None:
    for folder in ("", ".hidden", "__pycache__", "node_modules", "env", "sub", "sub/.git"):
        (tmp_path / "src" / folder).mkdir(exist_ok=True, parents=True)
        (tmp_path / "src" / folder / "m.py").touch()
    (tmp_path / "src" / "env" / "pyvenv.cfg").touch()
    (tmp_path / "src" / "notes.txt").touch()
    assert names(tmp_path / "src") == ["src/m.py", "src/sub/m.py"]


def test_a_link_to_a_directory_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "m.py").touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    assert names(tmp_path) == [f"{tmp_path.name}/m.py"]


def test_one_file_is_itself(tmp_path: Path) -> None:
    (tmp_path / "m.py").touch()
    assert names(tmp_path / "m.py") == ["m.py"]


def test_a_name_that_cannot_travel_is_told(tmp_path: Path) -> None:
    try:
        (tmp_path / os.fsdecode(b"\xff.py")).touch()
    except OSError:  # some file systems take UTF-8 alone, and then there is nothing to tell
        return
    assert find_sources(str(tmp_path)).refused == ((f"{tmp_path.name}/?.py", "its name is not UTF-8"),)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ("  ", "name a package, a directory or a Python file to review"),
        ("a\0b", "name a package, a directory or a Python file to review"),
        ("asyncoi", "there is no package, directory or Python file 'asyncoi' (did you mean 'asyncio'?)"),
        ("json.tol", "there is no package, directory or Python file 'json.tol'"),
        ("sys", "module 'sys' has no Python source: it is compiled, or part of the interpreter"),
        ("~nobody-of-that-name/m.py", "there is no package, directory or Python file '~nobody-of-that-name/m.py'"),
        ("x" * 5_000 + "/", "cannot be looked at: File name too long"),
    ],
)
def test_what_is_no_source_is_said_in_a_sentence(asked: str, sentence: str) -> None:
    with pytest.raises(NoSource) as refused:
        find_sources(asked)
    assert sentence in str(refused.value)


def test_the_nearest_path_is_offered(tmp_path: Path) -> None:
    (tmp_path / "sources").mkdir()
    with pytest.raises(NoSource, match=r"did you mean '.*/sources'\?"):
        find_sources(str(tmp_path / "source"))


def test_a_directory_without_python_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(NoSource, match="there is no Python file in"):
        find_sources(str(tmp_path))


def test_a_file_of_another_kind_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(NoSource, match=r"neither a directory nor a file that ends in \.py"):
        find_sources(str(tmp_path / "notes.txt"))
