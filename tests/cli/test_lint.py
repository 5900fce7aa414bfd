"""`orchestrator lint`: what it prints, where, and the code it exits with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.cli.main import main
from orchestrator.errors import ExitCode
from orchestrator.topology.explanations import CODES, explanation

ROOT = Path(__file__).parents[2]
SHIPPED = [ROOT / "examples.yaml", *sorted((ROOT / "topologies").glob("*.yaml"))]

TOPOLOGY = """\
version: 1
agents:
  teller:
    handler: tales:Teller
    scopes: {publish: ["**"]}
"""
HANDLERS = """\
from orchestrator import StreamTask, User, agent, task

class Tell(StreamTask[str]):
    prompt: str

@agent
class Teller:
    @task
    async def tell(self, ask: Tell):
        yield ask.prompt

    async def told(self, user: User):
        await user.send("reader", {"told": True})
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with a finding of its own in line 5, and one of its handlers in line 13; the directory is the present one."""
    (tmp_path / "tales.py").write_text(HANDLERS)
    (tmp_path / "tales.yaml").write_text(TOPOLOGY)
    monkeypatch.chdir(tmp_path)
    return Path("tales.yaml")


@pytest.mark.parametrize("shipped", SHIPPED, ids=lambda path: path.name)
def test_nothing_is_found_in_what_we_ship(shipped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", "--strict", "--no-import", str(shipped)]) == ExitCode.DONE
    assert capsys.readouterr().out == f"{shipped}: nothing found\n"


def test_findings_are_told_with_their_places_and_codes(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", str(file)]) == ExitCode.DONE
    told = [line for line in capsys.readouterr().out.splitlines() if "[ORC" in line]
    assert told == [
        (
            "tales.py:13:15: warning: Teller.told: whether this message arrived is asked by nobody; catch PeerNotFound, or"
            " hand out a task [ORC102]"
        ),
        (
            "tales.yaml:5:24: warning: agents.teller.scopes.publish[0]: '**' in '**' reaches names of any depth; name"
            " them, or use '*', which stays within one level [ORC106]"
        ),
    ]


def test_strict_makes_an_error_of_a_warning(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", str(file), "--no-import", "--strict"]) == ExitCode.INVALID
    assert capsys.readouterr().err == ""


def test_an_error_needs_no_strictness_and_is_not_repeated(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(TOPOLOGY + f"    environment: {{A_TOKEN: ghp_{'canary7' * 6}, B_PASSWORD: canary}}\n")
    for form in ("text", "json", "github"):
        assert main(["lint", str(file), "--no-import", "--format", form]) == ExitCode.INVALID
        printed = capsys.readouterr()
        assert "ORC108" in printed.out
        assert "canary" not in printed.out + printed.err


def test_findings_as_json(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", str(file), "--no-import", "--json"]) == ExitCode.DONE
    found = json.loads(capsys.readouterr().out)
    assert [(one["source"], one["line"], one["column"], one["code"], one["severity"]) for one in found] == [
        ("tales.py", 13, 15, "ORC102", "warning"),
        ("tales.yaml", 5, 24, "ORC106", "warning"),
    ]


def test_nothing_found_is_an_empty_list_for_programs(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", str(ROOT / "examples.yaml"), "--no-import", "--json"]) == ExitCode.DONE
    assert json.loads(capsys.readouterr().out) == []


def test_findings_as_annotations(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", str(file), "--no-import", "--format", "github"]) == ExitCode.DONE
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("::Teller")[0] for line in lines[:1]] == [
        "::warning file=tales.py,line=13,col=15,title=ORC102"
    ]
    assert len(lines) == 2


def test_no_handler_is_run_without_imports(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Path("ran")
    Path("tales.py").write_text(f"open({str(ran)!r}, 'w').close()\n{HANDLERS}")
    assert main(["lint", str(file), "--no-import"]) == ExitCode.DONE
    assert "tales.py:14:15" in capsys.readouterr().out
    assert not ran.exists()


def test_what_is_no_valid_topology_gets_no_advice(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(TOPOLOGY.replace("tales:Teller", "tales:Tellr"))
    assert main(["lint", str(file)]) == ExitCode.INVALID
    printed = capsys.readouterr()
    assert "ORC" not in printed.out
    assert "(did you mean 'Teller'?)" in printed.err


@pytest.mark.parametrize("code", [*CODES, "orc104"])
def test_each_code_is_explained(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", "--explain", code]) == ExitCode.DONE
    assert capsys.readouterr().out == explanation(code.upper())


def test_what_is_no_code_is_explained_by_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["lint", "--explain", "ORC140"])
    assert ended.value.code == ExitCode.USAGE
    assert "there is no code 'ORC140' (did you mean" in capsys.readouterr().err
