"""What the documents show is true: files load, code imports, commands exist, and the smallest example runs."""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

from orchestrator.cli.main import main
from orchestrator.topology.load import load_topology
from tests.runtime.traced import forgotten

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TOPOLOGIES = [ROOT / "examples.yaml", *sorted((ROOT / "topologies").glob("*.yaml"))]


class Fence(NamedTuple):
    document: str
    line: int
    language: str
    text: str


def fences(language: str) -> list[Fence]:
    found = []
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, match.start()) + 1
            found.append(Fence(str(document.relative_to(ROOT)), line, match[1], match[2]))
    return [fence for fence in found if fence.language == language]


def shown(fence: Fence) -> str:
    return f"{fence.document}:{fence.line}"


def orchestrator(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "orchestrator", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


def commands() -> list[str]:
    """Return every `orchestrator ...` and `make ...` that the documents show, in code spans and consoles."""
    text = "\n".join(document.read_text(encoding="utf-8") for document in DOCUMENTS)
    text += "\n".join(
        f"`{line.strip('# ')}`" for path in TOPOLOGIES for line in path.read_text().splitlines() if "#" in line
    )
    found = re.findall(r"`((?:orchestrator|make) [^`\n]+)`", text) + re.findall(r"^\$ (.*)$", text, re.MULTILINE)
    return sorted({command.partition("  #")[0].strip() for command in found})


@pytest.mark.parametrize("fence", fences("python"), ids=shown)
def test_python_in_the_documents_runs(fence: Fence, tmp_path: Path) -> None:
    file = tmp_path / "shown.py"
    file.write_text(fence.text)
    with forgotten():  # one of them sets up tracing
        assert runpy.run_path(str(file), run_name="shown")


@pytest.mark.parametrize("fence", fences("yaml"), ids=shown)
def test_yaml_in_the_documents_is_a_topology(fence: Fence, tmp_path: Path) -> None:
    file = tmp_path / "topology.yaml"
    file.write_text(fence.text)
    assert load_topology(file, {}).version == 1


@pytest.mark.parametrize("file", TOPOLOGIES, ids=lambda file: file.name)
def test_every_topology_fits_its_handlers(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(file)]) == 0
    assert capsys.readouterr().err == ""


def test_there_are_commands_to_check() -> None:
    assert {"make run", "make test"} <= set(commands())
    assert sum(command.startswith("orchestrator") for command in commands()) > 5


@pytest.mark.parametrize("command", commands())
def test_every_command_exists_with_its_options(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(command.rpartition(" | ")[2])
    if words[0] == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert words[1] in targets
        return
    if words[0] == "pip":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        name, _, extra = words[-1].rstrip("]").partition("[")
        assert name == project["name"] and extra in {"", *project["optional-dependencies"]}
        return
    verbs = [word for word in words[1:3] if re.fullmatch("[a-z]+", word) and word != "topology"]
    with pytest.raises(SystemExit) as exited:
        main([*verbs, "--help"])
    said = capsys.readouterr()
    assert exited.value.code == 0, said.err
    for option in re.findall(r"--[a-z-]+", command):
        assert option in said.out, f"{command}: {option} is no option of {' '.join(verbs)}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("https://") or (document.parent / target).exists(), target
    for path in re.findall(r"`((?:agents|topologies|docs|tests)/[\w./-]*)`", text):
        assert (ROOT / path).exists(), path


@pytest.fixture
def smallest(tmp_path: Path) -> Path:
    """The smallest example of the README, as a reader would have typed it."""
    (tmp_path / "topology.yaml").write_text(fences("yaml")[0].text)
    (tmp_path / "app.py").write_text(fences("python")[0].text)
    return tmp_path


@pytest.mark.journey
def test_the_smallest_example_answers_as_shown(smallest: Path) -> None:
    shown = next(fence for fence in fences("console") if "--ask" in fence.text)
    command, answer = shown.text.strip().split("\n")
    said = orchestrator(*shlex.split(command.removeprefix("$ orchestrator ")), cwd=smallest)
    assert said.returncode == 0, said.stderr
    assert said.stdout.strip() == answer


def test_the_mistakes_are_told_as_shown(smallest: Path) -> None:
    file = smallest / "topology.yaml"
    file.write_text(file.read_text().replace("[helper]", "[helpr]").replace("replicas: 3", "replicas: thre"))
    said = orchestrator("validate", "topology.yaml", cwd=smallest)
    shown = next(fence for fence in fences("text") if "did you mean" in fence.text)
    assert (said.returncode, said.stderr) == (3, shown.text)


def test_the_exit_codes_are_those_of_the_package() -> None:
    from orchestrator.errors import ExitCode

    listed = (ROOT / "README.md").read_text().partition("Exit codes:")[2].partition("\n\n")[0]
    assert [int(code) for code in re.findall(r"\b\d+\b", listed)] == [int(code) for code in ExitCode]
